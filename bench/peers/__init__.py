"""The peers, each set up as its documentation advises, and durable where it can be."""

import os
from dataclasses import dataclass

IN_FLIGHT = 50
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Peer:
    """`fill` gets the number of jobs as its last word; both run where the peer's packages are."""

    name: str
    package: str  # whose version is told
    store: str  # redis, sqlite, beanstalkd
    fill: tuple[str, ...]
    work: tuple[str, ...]
    in_flight: int
    share: float  # of the jobs: the slow ones get fewer
    setting: str


def _celery(pool: str, number: int) -> tuple[str, ...]:
    quiet = ("--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("celery", "-A", "celery_jobs", "worker", f"--pool={pool}", f"--concurrency={number}", *quiet)


def _rq(worker: str, number: int) -> tuple[str, ...]:
    return ("rq", "worker-pool", "bench", "-q", "-n", str(number), "-w", worker)


def _bullmq(client: str) -> tuple[str, ...]:
    return ("node", "jobs.mjs", "work", str(IN_FLIGHT), client)


HUEY = ("huey_consumer", "huey_jobs.huey", "-q", "-k", "thread", "-w")

PEERS = (
    Peer(
        "RQ", "rq", "redis", ("python", "rq_jobs.py"), _rq("rq.worker.Worker", 8),
        8, 0.1, "a pool of 8 workers, a process for each job",
    ),
    Peer(
        "RQ, SimpleWorker", "rq", "redis", ("python", "rq_jobs.py"), _rq("rq.worker.SimpleWorker", 8),
        8, 0.2, "a pool of 8 workers without a process for each job, for trusted code",
    ),
    Peer(
        "Celery, prefork", "celery", "redis", ("python", "celery_jobs.py"), _celery("prefork", CORES),
        CORES, 0.5, "a process for each core, acknowledged late, 64 fetched ahead for each, no results",
    ),
    Peer(
        "Celery, gevent", "celery", "redis", ("python", "celery_jobs.py"), _celery("gevent", IN_FLIGHT),
        IN_FLIGHT, 0.5, "50 greenlets in one process, otherwise the same",
    ),
    Peer(
        "Huey on SQLite", "huey", "sqlite", ("python", "huey_jobs.py"), (*HUEY, "8"),
        8, 0.5, "8 threads, fsync=True, no results",
    ),
    Peer(
        "Huey on Redis", "huey", "redis", ("python", "huey_jobs.py"), (*HUEY, str(IN_FLIGHT)),
        IN_FLIGHT, 0.5, "50 threads, no results",
    ),
    Peer(
        "Dramatiq", "dramatiq", "redis", ("python", "dramatiq_jobs.py"),
        ("dramatiq", "dramatiq_jobs", "--processes=2", "--threads=25", "--skip-logging"),
        IN_FLIGHT, 1.0, "2 processes with 25 threads each",
    ),
    Peer(
        "SAQ", "saq", "redis", ("python", "saq_jobs.py"), ("saq", "saq_jobs.settings", "--quiet"),
        IN_FLIGHT, 0.5, "one process, concurrency 50",
    ),
    Peer(
        "BullMQ", "bullmq", "redis", ("node", "jobs.mjs", "fill"), _bullmq("undici"),
        IN_FLIGHT, 1.0, "one Node process, concurrency 50, calls by undici's pool, 1,000 finished jobs kept",
    ),
    Peer(
        "BullMQ, fetch", "bullmq", "redis", ("node", "jobs.mjs", "fill"), _bullmq("fetch"),
        IN_FLIGHT, 1.0, "the same, calls by Node's own fetch",
    ),
    Peer(
        "beanstalkd", "greenstalk", "beanstalkd", ("python", "beanstalkd_jobs.py", "fill"),
        ("python", "beanstalkd_jobs.py", "work", "8"),
        8, 1.0, "a binlog synced at each write (-f 0), a Python worker with 8 threads",
    ),
)  # fmt: skip
