"""Many new jobs in LMDB at once: the way of those that are pushed a thousand a request.

What the general way in tables.py does for any change is done here for new jobs, many in one go.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import TypeGuard

from msgspec.structs import replace

from ..job import Job, State, to_record
from .base import Add, Change, Written
from .lanes import Head, Lane
from .layout import Row, pack_place, uid_key
from .numbers import short_hash
from .tables import Tables


def only_new(changes: Sequence[Change]) -> TypeGuard[Sequence[Add]]:
    """Whether all of them are jobs that are to wait, and none comes too late to be a new one."""
    waiting = State.WAITING  # looked up once: that takes longer than the rest
    return all(
        isinstance(change, Add) and change.job.state is waiting and change.refusal is None
        for change in changes
    )


def add(tables: Tables, adds: Sequence[Add], at_once: int) -> Generator[None, None, list[Written]]:
    """Add all of the jobs or none of them, `at_once` before others get their turn. Raises UidTaken."""
    adding = _Adding(tables)
    try:
        with tables.apart():
            yield from adding.put_all(adds, at_once)
    except _NotAllNew:
        return (yield from tables.write(adds, at_once))
    yield from adding.tell(at_once)
    return [Written(job) for job in adding.jobs]


class _NotAllNew(Exception):
    """There is a job with that uid or that key already, or it comes twice: each is to be looked at."""


class _Lane:
    """Where some of them wait: one priority of one lane."""

    __slots__ = ("heads", "key", "name")

    def __init__(self, name: Lane, key: bytes) -> None:
        self.name, self.key = name, key
        self.heads: list[Head] = []


class _Adding:
    """Rows of new jobs, put table by table: one call for many costs a third of a call for each."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.jobs: list[Job] = []
        self._lanes: dict[tuple[str, str, int], _Lane] = {}

    def put_all(self, adds: Sequence[Add], at_once: int) -> Iterator[None]:
        """Raises _NotAllNew when some of them have been put."""
        for first in range(0, len(adds), at_once):
            if first:
                yield
            self._put(adds[first : first + at_once])

    def _put(self, adds: Sequence[Add]) -> None:
        jobs: list[Row] = []
        ready: list[Row] = []
        due: list[Row] = []
        for change in adds:
            job = replace(change.job, seq=self._tables.new_seq())
            uid, place = uid_key(job.uid), pack_place(job.due_ms, job.seq)
            lane = self._lanes.get((job.queue, job.blocked_by, job.priority)) or self._lane(job)
            jobs.append((uid, to_record(job)))
            ready.append((lane.key + place, uid))
            due.append((place, uid))
            lane.heads.append((job.due_ms, job.seq, uid))
            self.jobs.append(job)
        self._put_new("jobs", jobs)
        self._put_new("ready", ready)
        self._put_new("due", due)
        self._put_rare(adds)

    def _put_rare(self, adds: Sequence[Add]) -> None:
        """What most jobs have not."""
        jobs = self.jobs[-len(adds) :]
        bodies = [(uid_key(change.job.uid), change.body) for change in adds if change.body]
        keys = [(short_hash(job.key), uid_key(job.uid)) for job in jobs if job.key]
        expires = [(pack_place(job.expires_ms, job.seq), uid_key(job.uid)) for job in jobs if job.expires_ms]
        self._put_new("bodies", bodies)
        self._put_new("keys", keys)
        self._put_new("expires", expires)

    def _lane(self, job: Job) -> _Lane:
        name = (job.queue, job.blocked_by)
        key = self._tables.numbers.key(self._tables.txn, name) + bytes((job.priority,))
        lane = self._lanes[*name, job.priority] = _Lane(name, key)
        return lane

    def _put_new(self, table: str, rows: list[Row]) -> None:
        if not rows:
            return
        rows.sort()  # neighbours in the table: the page of one is at hand for the next
        cursor = self._tables.txn.cursor(self._tables.db(table))
        _, added = cursor.putmulti(rows, overwrite=False)
        if added != len(rows):
            raise _NotAllNew

    def tell(self, at_once: int) -> Iterator[None]:
        """Tell memory what the tables hold now."""
        for number, ((queue, _, priority), lane) in enumerate(self._lanes.items(), 1):
            if number % at_once == 0:
                yield
            self._tables.counts.shift(State.WAITING, queue, len(lane.heads))
            self._tables.lanes.added(lane.name, priority, *sorted(lane.heads))
