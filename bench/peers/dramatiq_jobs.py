"""Dramatiq: `python dramatiq_jobs.py N` fills; `dramatiq dramatiq_jobs` works."""

import os
import sys

import dramatiq
from calling import call
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(host="127.0.0.1", port=int(os.environ["BENCH_REDIS_PORT"])))


@dramatiq.actor(actor_name="call")
def work() -> None:
    call()


def fill(jobs: int) -> None:
    for _ in range(jobs):
        work.send()


if __name__ == "__main__":
    fill(int(sys.argv[1]))
