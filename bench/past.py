"""Fill a store with what a year in service leaves: jobs of every state, many queues and hosts, a history.

    python -m bench.past STORE JOBS PORT

Of a million jobs 800,000 wait, 100,000 are completed, 80,000 failed in some fifty ways, 10,000 are canceled
and as many paused. Prints as JSON the uids of jobs whose pages are worth a look.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from taskpusher.buckets import Bucket, Spread
from taskpusher.history import LEVELS, MINUTES, Level, _encode
from taskpusher.job import AttemptRecord, ErrorClass, Job, JobError, Result, State
from taskpusher.push import Defaults, new_job
from taskpusher.queues import caps
from taskpusher.stores.base import Add, Edit, Note, Settle
from taskpusher.stores.lmdb import LmdbStore

from .results import Figures

CHUNK = 1000  # jobs of one write
QUEUES, HOSTS, BAD_HOSTS = 200, 500, 20
PARTS = {  # those that wait come last: what ended was claimed before
    State.COMPLETED: 0.10,
    State.ERROR: 0.08,
    State.CANCELED: 0.01,
    State.PAUSED: 0.01,
    State.WAITING: 0.80,
}
BIG = 64 * 1024  # bytes of a big body


class Failure(NamedTuple):
    error_class: ErrorClass
    status: int
    message: str


# Each with its own number in it; with the bad hosts they come to some fifty groups.
FAILURES = (
    Failure(ErrorClass.ANSWERED, 500, "answered 500; success is 200"),
    Failure(ErrorClass.ANSWERED, 404, "answered 404; success is 200"),
    Failure(ErrorClass.ANSWERED, 503, "answered 503, retry after {n} s; success is 200"),
    Failure(ErrorClass.UNKNOWN, 0, "no answer within {n} s of sending http://h{host}.example/call/{n}"),
    Failure(ErrorClass.NOT_SENT, 0, "can't connect to 10.0.{host}.{n}:443: connection refused"),
)


def fill(store: Path, jobs: int, port: int, within: float) -> Figures:
    """In a process of its own; see above. The waiting jobs call that port of this machine."""
    command = [sys.executable, "-m", "bench.past", str(store), str(jobs), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise RuntimeError(f"the store could not be filled: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


async def _fill(path: Path, jobs: int, port: int) -> Figures:
    store = LmdbStore(path)
    await store.open("bench", caps(0))
    now = _now()
    uids = {"big": await _big(store, now, port), "tried": await _tried(store, now, port)}
    for state, part in PARTS.items():
        count = round(jobs * part)
        for first in range(0, count, CHUNK):
            numbers = range(first, min(first + CHUNK, count))
            await _write(
                store, [_job(number, state, now - (count - number) * 25, port) for number in numbers]
            )
    notes = _history(now // 1000)
    while some := list(islice(notes, CHUNK)):
        await store.write(*some)
    await store.close()
    return uids


# ---- jobs ---------------------------------------------------------------------------------------------


async def _write(store: LmdbStore, jobs: list[Job]) -> None:
    """As a tasker would have left them: what ended was claimed first, and has an attempt and a result."""
    if jobs[0].state in (State.WAITING, State.PAUSED, State.CANCELED):
        await store.write(*(Add(job) for job in jobs))
        return
    await store.write(*(Add(_waiting(job)) for job in jobs))
    await store.write(*await _ended(store, jobs))


def _waiting(job: Job) -> Job:
    """As it was pushed."""
    past = {"attempt": 0, "failures": 0, "started_ms": 0, "finished_ms": 0, "duration": 0.0, "status": 0}
    return replace(job, state=State.WAITING, error=None, **past)


async def _ended(store: LmdbStore, jobs: list[Job]) -> list[Settle]:
    """What settles them, the only ones that wait, so that they are as they shall be."""
    held = {one.job.uid: one.job for one in (await store.claim(len(jobs), _now())).jobs}
    return [_settled(job, held[job.uid]) for job in jobs]


def _settled(job: Job, running: Job) -> Settle:
    ended = replace(job, seq=running.seq, revision=running.revision + 1)
    attempt = AttemptRecord(job.attempt, job.started_ms, job.duration, job.status, job.error)
    result = Result(job.status, (("content-type", "text/plain"),), b"ok") if job.status else None
    return Settle(ended, running.claim, attempt, result)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _job(number: int, state: State, at: int, port: int) -> Job:
    job = _pushed(number, at, port, state is State.WAITING)
    match state:
        case State.COMPLETED:
            return replace(job, state=state, status=200, **_times(job, number))
        case State.ERROR:
            return _failed(job, number)
        case State.CANCELED:
            return replace(job, state=state, finished_ms=at + 1000)
    return replace(job, state=state)


def _pushed(number: int, at: int, port: int, waits: bool) -> Job:
    host = f"127.0.0.1:{port}" if waits else f"h{number * 7 % HOSTS}.example"
    fields = {
        "url": f"http://{host}/tasks/{number}?customer={number * 31 % 9973}",
        "queue": f"queue-{number * 13 % QUEUES}",
        "title": f"Invoice {number}" if number % 3 else "",
        "tags": [f"customer-{number % 97}", "nightly"] if number % 4 == 0 else [],
    }
    return new_job(fields, Defaults(max_attempts=3), at).job


def _times(job: Job, number: int) -> dict[str, object]:
    took = 0.02 + number % 100 / 50
    started = job.created_ms + 5
    return {
        "attempt": 1,
        "started_ms": started,
        "duration": took,
        "finished_ms": started + round(took * 1000),
    }


def _failed(job: Job, number: int) -> Job:
    host = number * 7 % BAD_HOSTS
    failure = FAILURES[(host + number % 3) % len(FAILURES)]
    message = failure.message.format(n=number % 250, host=host)
    return replace(
        job,
        state=State.ERROR,
        host=f"h{host}.example",
        status=failure.status,
        error=JobError(failure.error_class, message),
        failures=3,
        **{**_times(job, number), "attempt": 3},
    )


async def _big(store: LmdbStore, now: int, port: int) -> str:
    """The uid of a job that was sent as much as it was answered: 64 KiB."""
    body = json.dumps([{"id": n, "name": f"row {n}"} for n in range(BIG)])[: BIG - 2].encode() + b"]"
    add = new_job({"url": f"http://127.0.0.1:{port}/big", "body": body.decode()}, Defaults(), now)
    job = replace(add.job, state=State.COMPLETED, status=200, **_times(add.job, 1))
    await store.write(Add(_waiting(job), body))
    (settle,) = await _ended(store, [job])
    await store.write(replace(settle, result=Result(200, (), body[:BIG])))
    return job.uid


async def _tried(store: LmdbStore, now: int, port: int) -> str:
    """The uid of a job that failed a hundred times, and waits for the next time."""
    begun = now - 100 * 60_000
    fields = {"url": f"http://127.0.0.1:{port}/tried", "max_attempts": 200, "delay": "7d"}
    job = new_job(fields, Defaults(), begun).job
    (one,) = await store.write(Add(job))
    for number in range(1, 101):
        assert one.job is not None
        error = JobError(ErrorClass.ANSWERED, f"answered 503, retry after {number} s; success is 200")
        attempt = AttemptRecord(number, begun + number * 60_000, 0.2 * number, 503, error)
        job = replace(
            one.job, attempt=number, failures=number, error=error, status=503, revision=one.job.revision + 1
        )
        (one,) = await store.write(Edit(job, attempt=attempt))
    return job.uid


# ---- the history --------------------------------------------------------------------------------------


def _history(now: int) -> Iterator[Note]:
    """Buckets of every minute, hour and day that is kept, up to the one before this."""
    for level in LEVELS:
        last = level.start(now)
        for start in range(max(last - level.kept, 0) + level.length, last, level.length):
            yield Note(level.note(start), _encode(_bucket(level, start)))


def _bucket(level: Level, start: int) -> Bucket:
    times = level.length // MINUTES.length
    number = start // level.length
    done, failed = (400 + number * 37 % 200) * times, (number * 11 % 40) * times
    counts = tuple(done * share // 100 for share in (0, 5, 15, 25, 25, 15, 8, 4, 2, 1))
    return Bucket(
        start, done + failed, done, failed, number % 3, {"completed": done, "answered": failed},
        Spread(counts, done * 0.1), Spread(counts, done * 0.01), 1000 + number * 17 % 500,
        {f"queue-{each}": number * each % 100 for each in range(50)},
    )  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
