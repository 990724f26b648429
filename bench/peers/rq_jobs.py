"""RQ: `python rq_jobs.py N` fills; `rq worker-pool bench` works."""

import os
import sys

from calling import call
from redis import Redis
from rq import Queue

CHUNK = 1000


def fill(jobs: int) -> None:
    queue = Queue("bench", connection=Redis(port=int(os.environ["BENCH_REDIS_PORT"])))
    for made in range(0, jobs, CHUNK):
        queue.enqueue_many([Queue.prepare_data(call) for _ in range(min(CHUNK, jobs - made))])


if __name__ == "__main__":
    fill(int(sys.argv[1]))
