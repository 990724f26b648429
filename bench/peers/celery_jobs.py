"""Celery: `python celery_jobs.py N` fills; `celery -A celery_jobs worker` works.

Acknowledged late, since a job that is acknowledged early is lost with its worker; many are fetched ahead, as
the guide to optimizing says of short ones; results are not kept, as it says of those that nobody reads.
"""

import os
import sys

from calling import call
from celery import Celery

app = Celery("bench", broker=f"redis://127.0.0.1:{os.environ['BENCH_REDIS_PORT']}/0")
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
work = app.task(name="call")(call)


def fill(jobs: int) -> None:
    with app.producer_pool.acquire() as producer:
        for _ in range(jobs):
            work.apply_async(producer=producer)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
