"""A worker's turn, in LMDB: its last job is settled, its next one claimed. The way that nearly all jobs go.

What the general way in tables.py does for any change is done here for these two, many in one go.
"""

import logging
from collections.abc import Generator, Sequence
from struct import pack
from typing import Any

import lmdb
from msgspec import MsgspecError
from msgspec.structs import replace

from ..errors import ClaimLost
from ..job import FINISHED, Held, Job, State, claimed, expired, to_record
from .base import ATTEMPTS_KEPT, Claimed, Details, Settle, Then
from .lanes import Taken
from .layout import Row, encode, finished_key, readable
from .tables import Tables

logger = logging.getLogger("taskpusher")

PAGE = 4096  # bytes
HEAVY = 100 * PAGE  # bytes of bodies claimed before others get their turn; a job counts a page at least
MOST_PASSED_OVER = 500  # jobs that one claim may move to a blocked lane or expire; it is asked for again then


def settle(tables: Tables, changes: Sequence[Settle]) -> list[Job | Exception]:
    """What became of each: the job as it now stands, or what refused it."""
    settling = _Settling(tables)
    settled: list[Job | Exception] = []
    for change in changes:
        try:
            settled.append(settling.settle(change))
        except ClaimLost as error:
            settled.append(error)
        except lmdb.Error:  # the transaction's fault, not the change's
            raise
        except Exception as error:
            logger.exception("a settlement could not be written")
            settled.append(error)
    settling.put()
    return settled


class _Settling:
    """Rows of settled jobs, put table by table: one call for many costs a third of a call for each."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._running = tables.db("running")
        self._jobs: list[Row] = []
        self._finished: list[Row] = []
        self._attempts: list[Row] = []
        self._results: list[Row] = []
        self._ended: dict[tuple[State, str], int] = {}

    def settle(self, change: Settle) -> Job:
        tables, job = self._tables, change.job
        uid, before = tables.running.get(job.uid, (b"", None))
        if before is None or not _plain(change, before):
            return tables.settle(change)
        rows = (  # all of them before the first is put
            (uid, to_record(job)),
            (finished_key(job), uid),
            (uid + pack(">I", job.attempt), encode(change.attempt)),
            (uid, encode(change.result)) if change.result is not None else None,
        )
        tables.txn.delete(uid, db=self._running)
        self._jobs.append(rows[0])
        self._finished.append(rows[1])
        self._attempts.append(rows[2])
        if rows[3] is not None:
            self._results.append(rows[3])
        slot = (job.state, job.queue)
        self._ended[slot] = self._ended.get(slot, 0) + 1
        del tables.running[job.uid]
        tables.lanes.ended(job.queue, tables.caps(job))
        return job

    def put(self) -> None:
        tables = self._tables
        _put(tables, "jobs", self._jobs)
        _put(tables, "finished", self._finished)
        _put(tables, "attempts", self._attempts)
        _put(tables, "results", self._results)
        for (state, queue), n in self._ended.items():
            tables.counts.shift(state, queue, n)
            tables.counts.shift(State.RUNNING, queue, -n)


def _plain(change: Settle, before: Job) -> bool:
    """Whether the job has ended, under this claim, with nothing to look after but its own rows."""
    job = change.job
    return (
        before.claim == change.claim
        and before.revision + 1 == job.revision
        and job.state in FINISHED
        and not before.key
        and job.attempt <= ATTEMPTS_KEPT
        and not change.then
    )


def claim(
    tables: Tables,
    limit: int,
    now: int,
    due: int,
    settled: list[Job | Exception],
    then: Then | None = None,
) -> Generator[None, None, Claimed]:
    """The next jobs. When many had to be passed over, fewer, and `next_due` says to ask again."""
    claiming = _Claiming(tables, now, then)
    next_due = None
    while len(claiming.held) < limit:
        if claiming.passed_over >= MOST_PASSED_OVER:
            next_due = due
            break
        taken = tables.lanes.take(due)
        if taken is None:
            next_due = tables.lanes.next_due()
            break
        claiming.claim(taken)
        if claiming.weight >= HEAVY:
            claiming.weight = 0
            yield
    claiming.put()
    return Claimed(claiming.held, next_due, claiming.late, claiming.pushed, settled)


class _Claiming:
    """Jobs that are claimed at one moment."""

    def __init__(self, tables: Tables, now: int, then: Then | None) -> None:
        self._tables, self._now, self._then = tables, now, then
        self.held: list[Held] = []
        self.late: list[Job] = []  # past their expires_ms
        self.pushed: list[Job] = []  # along with those
        self.passed_over = 0
        self.weight = 0  # bytes, since others had their turn
        self._owner = tables.owner.encode()
        self._jobs: list[Row] = []
        self._running: list[Row] = []
        self._begun: dict[str, int] = {}  # by queue

    def claim(self, taken: Taken) -> None:
        """Have the job run, wait in the lane of a full limit key, or expire."""
        tables, uid = self._tables, taken[2][2]
        self.weight += PAGE
        job = readable(uid, tables.txn.get(uid, db=tables.db("jobs")))
        if job is None:
            self._leave_out(taken)
            return
        limits = tables.caps(job)
        if job.expires_ms and job.expires_ms <= self._now:
            after = expired(job, self._now)
            self.late.append(after)
            self._pass_over(uid, job, after)
            if self._then is not None:
                self.pushed += tables.push(self._then(self._details(uid, after)))
        elif full := tables.lanes.full_key(limits):
            self._pass_over(uid, job, replace(job, blocked_by=full))
        else:
            self._run(taken, job, limits)

    def _run(self, taken: Taken, job: Job, limits: Any) -> None:
        tables, (lane, priority, head) = self._tables, taken
        uid = head[2]
        after = claimed(job, tables.new_claim(), tables.owner, self._now)
        self._jobs.append((uid, to_record(after)))
        self._running.append((uid, self._owner))
        tables.unwait(taken, job.expires_ms)
        tables.lanes.removed(lane, priority, head)
        tables.lanes.started(job.queue, limits)
        tables.running[job.uid] = (uid, after)
        self._begun[job.queue] = self._begun.get(job.queue, 0) + 1
        body = tables.txn.get(uid, b"", db=tables.db("bodies")) if job.body_size else b""
        self.weight += len(body)
        self.held.append(Held(after, body))

    def _pass_over(self, uid: bytes, before: Job, after: Job) -> None:
        self.passed_over += 1
        self._tables.put(uid, before, after)
        self._tables.moved(before, after, uid)

    def _details(self, uid: bytes, job: Job) -> Details:
        """What `then` is told. What can't be read beside the job does not keep others from running."""
        try:
            return self._tables.details(self._tables.txn, uid, job)
        except MsgspecError:
            logger.exception("what is kept beside a job can't be read", extra={"uid": job.uid})
            return Details(job, b"", None, [])

    def _leave_out(self, taken: Taken) -> None:
        """One that can't be read does not keep the others from running."""
        self.passed_over += 1
        tables, (lane, priority, head) = self._tables, taken
        tables.unwait(taken, 0)
        tables.counts.shift(State.WAITING, lane[0], -1)
        tables.lanes.removed(lane, priority, head)

    def put(self) -> None:
        _put(self._tables, "jobs", self._jobs)
        _put(self._tables, "running", self._running)
        for queue, n in self._begun.items():
            self._tables.counts.shift(State.WAITING, queue, -n)
            self._tables.counts.shift(State.RUNNING, queue, n)


def _put(tables: Tables, name: str, rows: list[Row]) -> None:
    if rows:
        tables.txn.cursor(tables.db(name)).putmulti(rows)
