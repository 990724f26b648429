"""Fill a store with waiting jobs, through the library, before a tasker is started on it.

    python -m bench.fill STORE JOBS QUEUES URL

One queue is `default`; of more, each gets its share: between a tenth of the largest and all of it. Prints as
JSON the seconds it took and the uid of the job that nine tenths of the others stand before.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from taskpusher.push import Defaults, new_job
from taskpusher.queues import caps
from taskpusher.stores.base import Add
from taskpusher.stores.lmdb import LmdbStore

from .results import Figures

CHUNK = 1000  # jobs of one write
FEWEST, MOST = 10, 100  # jobs of one of many queues


def lanes(queues: int) -> int:
    """How many jobs that many queues have."""
    return sum(map(_depth, range(queues)))


def fill(store: Path, jobs: int, queues: int, url: str, within: float) -> Figures:
    """In a process of its own; see above."""
    command = [sys.executable, "-m", "bench.fill", str(store), str(jobs), str(queues), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise RuntimeError(f"the store could not be filled: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


async def _fill(path: Path, jobs: int, queues: int, url: str) -> Figures:
    store = LmdbStore(path)
    await store.open("bench", caps(0))
    begun, deep, written = time.perf_counter(), "", 0
    names = _names(jobs, queues)
    while chunk := [_add(url, name) for name in islice(names, CHUNK)]:
        await store.write(*chunk)
        written += len(chunk)
        if not deep and written >= jobs * 0.9:
            deep = chunk[-1].job.uid
    seconds = time.perf_counter() - begun
    await store.close()
    return {"jobs": written, "seconds": seconds, "deep": deep}


def _add(url: str, queue: str) -> Add:
    return new_job({"url": url, "queue": queue}, Defaults(), time.time_ns() // 1_000_000)


def _names(jobs: int, queues: int) -> Iterator[str]:
    """The queue of each job; those of many queues come in turns."""
    if queues == 1:
        yield from ("default" for _ in range(jobs))
        return
    for turn in range(MOST):
        yield from (f"queue-{number}" for number in range(queues) if turn < _depth(number))


def _depth(number: int) -> int:
    return FEWEST + number * 37 % (MOST - FEWEST + 1)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))))
