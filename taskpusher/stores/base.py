"""What a store is: the Protocol, and the changes it writes.

The pusher decides what shall be; the store keeps it and decides the order. One suite,
`taskpusher.testing.StoreContract`, says what every store must do.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from struct import pack
from typing import Protocol

import msgspec

from ..errors import CursorGone
from ..histogram import Histogram
from ..job import FINISHED, AttemptRecord, Held, Job, Result, State

ATTEMPTS_KEPT = 100  # the newest, of each job

# ---- changes: what can be written ---------------------------------------------------------------------


class Add(msgspec.Struct, frozen=True):
    """A new job. The store gives it its `seq`.

    A job with the same uid and fingerprint, or a live one with the same key, is found instead of added;
    the same uid with another fingerprint raises UidTaken.
    """

    job: Job
    body: bytes = b""


class Edit(msgspec.Struct, frozen=True):
    """The job as it shall be, made from the one whose revision is one less; else StaleEdit.

    An edit that leaves a running job running (a wish, progress, a lease) does not touch its claim.
    `attempt` is noted with it where the edit ends one (a running job canceled); `then` as for Settle.
    """

    job: Job
    body: bytes | None = None  # None: as it was
    attempt: AttemptRecord | None = None
    then: tuple[Add, ...] = ()


class Settle(msgspec.Struct, frozen=True):
    """What an attempt made of the job; refused with ClaimLost unless it is still held under `claim`.

    What came in while it ran is kept: progress, and on a job that waits again, a wish it did not know of.

    `then` are jobs pushed in the same commit: none of them when this is refused. One that can't be added,
    because its uid or key is taken, is left out; it keeps neither this nor the others from being written.
    """

    job: Job
    claim: int
    attempt: AttemptRecord
    result: Result | None = None
    then: tuple[Add, ...] = ()


class Remove(msgspec.Struct, frozen=True):
    """Forget a job that is not running, as it was at `revision`."""

    uid: str
    revision: int


class QueueRule(msgspec.Struct, frozen=True, array_like=True):
    """What a person said of a queue; kept."""

    name: str
    paused: bool = False
    concurrency: int = 0  # most jobs of it running at once; 0 = no limit of its own


Change = Add | Edit | Settle | Remove | QueueRule


class Written(msgspec.Struct, frozen=True):
    """What became of one change: the job as it now stands (None: removed, or no job's change)."""

    job: Job | None
    existing: bool = False  # an Add that found the job there already


# ---- what a store is asked ----------------------------------------------------------------------------


class Claimed(msgspec.Struct, frozen=True):
    jobs: list[Held]
    next_due: int | None  # when fewer than asked for: the earliest moment another one may run
    expired: list[Job] = []  # what was met past its expires_ms, settled as such
    pushed: list[Job] = []  # what `then` had pushed along with those
    settled: list[Job | Exception] = []  # for each settlement: the job as it now stands, or what refused it


class Query(msgspec.Struct, frozen=True):
    """Which jobs to list: all that match every field given. state None: jobs of every state."""

    state: State | None = None
    queue: str = ""
    kind: str = ""
    host: str = ""
    tag: str = ""
    url: str = ""  # a prefix

    def filtered(self) -> bool:
        return bool(self.queue or self.kind or self.host or self.tag or self.url)

    def matches(self, job: Job) -> bool:
        return (
            (not self.queue or job.queue == self.queue)
            and (not self.kind or job.kind == self.kind)
            and (not self.host or job.host == self.host)
            and (not self.tag or self.tag in job.tags)
            and (not self.url or job.target.startswith(self.url))
        )


class Page(msgspec.Struct, frozen=True):
    jobs: list[Job]
    cursor: bytes | None  # where the next page begins; None: this was the last
    total: int


class Details(msgspec.Struct, frozen=True):
    """A job and all that is kept beside it, from one moment."""

    job: Job
    body: bytes
    result: Result | None
    attempts: list[AttemptRecord]


class QueueFigures(msgspec.Struct, frozen=True):
    rule: QueueRule
    waiting: int
    running: int
    paused: int
    oldest_due: int | None  # the earliest due_ms among the waiting


class Totals(msgspec.Struct, frozen=True):
    """How many jobs there are: by state, and of some queues by state."""

    states: dict[State, int]
    queues: dict[str, dict[State, int]]
    oldest_due: int | None  # the earliest due_ms among the waiting


class Commits:
    """How commits went since the store was opened: seconds that each took, changes that it held."""

    def __init__(self) -> None:
        self.seconds = Histogram((0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5))
        self.changes = Histogram((1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000))


class StoreFigures(msgspec.Struct, frozen=True):
    """Bytes. `free` is room inside `size` that will be used again before the file grows."""

    kind: str
    path: str
    size: int
    free: int
    disk_free: int
    full: bool
    commits: Commits | None = None  # of a store that has any


# Made of a job that the store itself has ended: what is pushed along with it. It must not raise.
Then = Callable[[Details], Sequence[Add]]

# The limit keys a job counts against while it runs, each with the most that may run at once.
Caps = Callable[[Job], Iterable[tuple[str, int]]]


def position(state: State | None, job: Job) -> bytes:
    """Where the job stands in the list of `state`: the key by which pages go on. Raises CursorGone."""
    if state is State.WAITING:
        return pack(">QQ", job.due_ms, job.seq)
    if state is State.PAUSED:
        return pack(">Q", job.seq)
    if state in FINISHED:
        if not job.finished_ms:
            raise CursorGone(job.uid)
        return pack(">QQ", job.finished_ms, job.seq)
    return bytes.fromhex(job.uid.replace("-", ""))


def newest_first(state: State | None) -> bool:
    """Finished jobs, and jobs of all states, are listed newest first; the others in the order they run."""
    return state is None or state in FINISHED


def ownerless(running: Iterable[Job], owner: str, now: int) -> tuple[list[Job], int | None]:
    """The orphans among jobs of one node, `owner` being its present epoch; and when the next lease ends."""
    orphans, ends = [], []
    for job in running:
        if job.lease_until > now:
            ends.append(job.lease_until)
        elif job.lease_until or job.owner != owner:
            orphans.append(job)
    return sorted(orphans, key=lambda job: job.seq), min(ends, default=None)


class Store(Protocol):
    """Keeps jobs.

    `write` and `claim` are queued when they are called, in that order, and done when their awaitable is:
    then the change has been synced to disk. What is called before the next await shares one commit. Only a
    write of many changes may be overtaken, so that others do not wait for it.
    """

    async def open(self, node: str, caps: Caps) -> None:
        """Own the store under the name `node`, a new epoch of it. Raises StoreLocked, StoreUnreadable."""

    async def close(self) -> None:
        """Finish what was queued and let go. Nothing may be called afterwards."""

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        """All of the changes or none of them, in one commit.

        Raises UidTaken, KeyTaken, StaleEdit, ClaimLost, UnknownJob, StoreFull.
        """

    def claim(
        self,
        limit: int,
        now: int,
        due: int | None = None,
        settles: Sequence[Settle] = (),
        then: Then | None = None,
    ) -> Awaitable[Claimed]:
        """Up to `limit` jobs due at `due` (None: `now`), running from `now` under claim tokens of this epoch.

        First, in the same commit, what `settles` says of jobs that were claimed before: each for itself, so
        that one that is refused (ClaimLost) does not take the others with it.

        Queues take turns; within one: by priority, due time, order of pushing. Left out are jobs of paused
        queues, of queues at their concurrency and of limit keys at their cap; jobs past `expires_ms` are
        settled as expired instead, and what `then` makes of each is pushed in the same commit.
        """

    def orphans(self, now: int) -> Awaitable[tuple[list[Job], int | None]]:
        """Running jobs that nobody holds any more, as pushed; and when the next lease ends.

        A job with `lease_until` is held until then, whoever runs; another one by its owner: not by an
        earlier epoch, nor by a node that has not called `renew` for a lease.
        """

    def renew(self) -> Awaitable[dict[str, Job]]:
        """Say that this node lives; by uid, the jobs it held that carry a wish or were taken from it."""

    def get(self, uid: str) -> Awaitable[Job | None]:
        """The job, without what is kept beside it."""

    def details(self, uid: str) -> Awaitable[Details | None]:
        """The job with body, result and attempts."""

    def page(self, query: Query, cursor: bytes | None, limit: int) -> Awaitable[Page]:
        """Up to `limit` jobs after `cursor`, which is a `Page.cursor` or a `position`."""

    def expiring(self, now: int, limit: int) -> Awaitable[tuple[list[Job], int | None]]:
        """Waiting and paused jobs past their `expires_ms`; and when the next one will be."""

    def finished(self, state: State, before: int, limit: int) -> Awaitable[tuple[list[Job], int | None]]:
        """Jobs of that state that finished before that moment, oldest first; and when the next one did."""

    def counts(self) -> Awaitable[dict[tuple[State, str], int]]:
        """How many jobs there are, by state and queue."""

    def totals(self, most: int) -> Awaitable[Totals]:
        """How many jobs there are by state, and by state in `most` queues, which stay the same while they
        have jobs. Asked every few seconds: it may not cost more when there are more queues."""

    def queues(self) -> Awaitable[list[QueueFigures]]:
        """Every queue that has live jobs or a rule."""

    def figures(self) -> Awaitable[StoreFigures]:
        """What the store takes and has left."""

    def watch(self, hint: Callable[[], None], broken: Callable[[BaseException], None]) -> None:
        """Call `hint` when there may be something to claim, renew or take back that this node does not
        know of; `broken` when the disk has failed. A store that one process owns has no hints to give."""
