"""What a job costs in the store alone: settled, claimed, committed, without calls, workers or an event loop.

    python bench/turns.py [JOBS A COMMIT ...]

CPU microseconds a job, of the thread that does it.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from taskpusher.attempt import settle
from taskpusher.clock import SystemClock
from taskpusher.job import Held, Result
from taskpusher.push import Defaults, new_job
from taskpusher.runners.base import Success
from taskpusher.stores import turns
from taskpusher.stores.lmdb import LmdbStore

JOBS = 20_000
ANSWER = Result(
    200,
    (
        ("Server", "nginx"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "2"),
        ("Connection", "keep-alive"),
    ),
    b"ok",
)


class Stopwatch:
    """CPU seconds by the name of what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - began


async def measure(at_once: int) -> dict[str, float]:
    now, random, watch = SystemClock().now(), Random(1), Stopwatch()
    with tempfile.TemporaryDirectory(dir=".") as name:
        store = LmdbStore(Path(name, "db"))
        await store.open("bench", lambda job: ())
        for _ in range(0, JOBS, 1000):
            await store.write(*(new_job({"url": "http://localhost/x"}, Defaults(), now) for _ in range(1000)))
        await asyncio.sleep(1.5)  # the store has let go of its transaction by then
        tables, held = store._tables, list[Held]()
        for _ in range(JOBS // at_once):
            with watch("the change"):
                changes = [settle(one.job, Success(ANSWER), now, 0.001, random) for one in held]
            txn = store._env.begin(write=True)
            tables.begin(txn)
            with watch("settled"):
                done = turns.settle(tables, changes)
            with watch("claimed"):
                held = _all(turns.claim(tables, at_once, now, now, done)).jobs
            with watch("committed"):
                tables.finish()
                txn.commit()
        await store.close()
    return {name: seconds / JOBS * 1e6 for name, seconds in watch.seconds.items()}


def _all(steps: Iterator[None]):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


if __name__ == "__main__":
    for at_once in map(int, sys.argv[1:] or ("8", "25", "100")):
        found = asyncio.run(measure(at_once))
        parts = ", ".join(f"{name} {us:.1f}" for name, us in found.items())
        print(f"{at_once} jobs a commit: {parts} µs a job")
