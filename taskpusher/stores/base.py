"""What a store is: the Protocol, and the changes it writes.

The pusher decides what shall be; the store keeps it and decides the order. One suite,
`taskpusher.testing.StoreContract`, says what every store must do.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from struct import pack
from typing import Protocol

import msgspec

from ..errors import CursorGone, InvalidField
from ..histogram import Histogram
from ..job import FINISHED, AttemptRecord, Held, Job, Result, State
from ..shape import shape

ATTEMPTS_KEPT = 100  # the newest, of each job
LONGEST_NOTE_NAME = 400  # bytes in UTF-8

# ---- changes: what can be written ---------------------------------------------------------------------


class Add(msgspec.Struct, frozen=True, gc=False):
    """A new job. The store gives it its `seq`.

    A job with the same uid and fingerprint, or a live one with the same key, is found instead of added;
    the same uid with another fingerprint raises UidTaken. What would have to be added raises its `refusal`.
    """

    job: Job
    body: bytes = b""
    refusal: InvalidField | None = None  # it comes too late to be a new job


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


class Note(msgspec.Struct, frozen=True):
    """Something kept under a name, in the place of what was; None removes it. Nothing of a job's.

    Names sort by their bytes in UTF-8; a longer one than LONGEST_NOTE_NAME is an InvalidField.
    """

    name: str
    value: bytes | None

    def __post_init__(self) -> None:
        if len(self.name.encode()) > LONGEST_NOTE_NAME:
            raise InvalidField("name", f"a note's has at most {LONGEST_NOTE_NAME} bytes")


Change = Add | Edit | Settle | Remove | QueueRule | Note


class Written(msgspec.Struct, frozen=True, gc=False):
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


_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def phrases(text: str) -> list[str]:
    """The words of a free text; several in double quotes are one, and `\\"` in them is a quote."""
    found = _WORDS.finditer(text)
    parts = (re.sub(r"\\(.)", r"\1", one[1]) if one[2] is None else one[2] for one in found)
    return [part for part in parts if part]


@lru_cache(256)
def words(text: str) -> tuple[str, ...]:
    """What is looked for: the phrases, lowered."""
    return tuple(phrase.lower() for phrase in phrases(text))


class Query(msgspec.Struct, frozen=True):
    """Which jobs to list: all that match every field given. state None: jobs of every state."""

    state: State | None = None
    queue: str = ""
    kind: str = ""
    host: str = ""
    tag: str = ""
    url: str = ""  # a prefix
    key: str = ""
    error: str = ""  # an ErrorClass
    shape: str = ""  # of the error's message, see shape.py
    status: tuple[int, int] = (0, 0)  # lowest, highest; (0, 0): any; (-1, 0): none came
    attempts: tuple[int, int] = (0, 0)  # least, most; most 0: no end; (0, -1): not one
    created: tuple[int, int] = (0, 0)  # ms since 1970: from, and until before; 0: open
    text: str = ""  # words (see `phrases`) that all stand in it somewhere, in capitals or not
    masked: bool = False  # the text is not looked for where secrets may stand: url, key, error message

    def filtered(self) -> bool:
        return self != Query(self.state, masked=self.masked)

    def counted(self) -> bool:
        """Whether the counts by state and queue say how many there are."""
        return self == Query(self.state, self.queue, masked=self.masked)

    def matches(self, job: Job) -> bool:
        return (
            (not self.queue or job.queue == self.queue)
            and (not self.kind or job.kind == self.kind)
            and (not self.host or job.host == self.host)
            and (not self.tag or self.tag in job.tags)
            and (not self.url or job.target.startswith(self.url))
            and (not self.key or job.key == self.key)
            and self._matches_past(job)
            and (not self.text or self._matches_text(job))
        )

    def _matches_past(self, job: Job) -> bool:
        """What happened to it."""
        lowest, highest = self.status
        least, most = self.attempts
        since, until = self.created
        return (
            (self.status == (0, 0) or lowest <= job.status <= highest)
            and least <= job.attempt
            and (not most or job.attempt <= max(most, 0))
            and since <= job.created_ms
            and (not until or job.created_ms < until)
            and (not self.error or (job.error is not None and job.error.error_class == self.error))
            and (not self.shape or (job.error is not None and shape(job.error.message) == self.shape))
        )

    def _matches_text(self, job: Job) -> bool:
        parts = [job.uid, job.title, job.queue, job.host, *job.tags]
        if job.error is not None:
            parts.append(job.error.error_class)
        if not self.masked:
            parts += [job.target, job.key, job.error.message if job.error is not None else ""]
        text = "\n".join(parts).lower()  # at once: a line break is in no field, so in no word either
        return all(word in text for word in words(self.text))


class Page(msgspec.Struct, frozen=True):
    jobs: list[Job]
    cursor: bytes | None  # where the next page begins; None: this was the last
    total: int
    looked: int = 0  # records looked at for the total; 0: it came from the counts
    complete: bool = True  # False: the look ended before the list did, and `total` is the least it may be


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

    def page(self, query: Query, cursor: bytes | None, limit: int, most: int = 0) -> Awaitable[Page]:
        """Up to `limit` jobs after `cursor`, which is a `Page.cursor` or a `position`.

        `most`: how many records may be looked at for the jobs, and as many for the total; 0 is no bound.
        Where the bound ends the look, the page may hold fewer jobs, even none, and go on all the same.
        """

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

    def notes(
        self, prefix: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> Awaitable[list[tuple[str, bytes]]]:
        """Up to `limit` notes with names that begin so, by name, from beyond the name `after` (empty: from
        the first); `newest_first`: the greatest name first."""

    def figures(self) -> Awaitable[StoreFigures]:
        """What the store takes and has left."""

    def watch(self, hint: Callable[[], None], broken: Callable[[BaseException], None]) -> None:
        """Call `hint` when there may be something to claim, renew or take back that this node does not
        know of; `broken` when the disk has failed. A store that one process owns has no hints to give."""
