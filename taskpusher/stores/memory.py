"""Jobs in memory: for tests, trials and embedding; gone when the process is.

Also the plainest reading of what a store must do: dictionaries and sorted lists, one event loop, no threads.
"""

import asyncio
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace

from ..errors import ClaimLost, KeyTaken, StaleEdit, TaskPusherError, UidTaken, UnknownJob
from ..job import LIVE, AttemptRecord, Held, Job, Result, State, claimed, expired
from .base import (
    ATTEMPTS_KEPT,
    Add,
    Caps,
    Change,
    Claimed,
    Details,
    Edit,
    Note,
    Page,
    Query,
    QueueFigures,
    QueueRule,
    Remove,
    Settle,
    StoreFigures,
    Then,
    Totals,
    Written,
    newest_first,
    ownerless,
    position,
)
from .lanes import Head, Lane, Lanes
from .pages import Lister, Look, beyond


class _Row(msgspec.Struct, frozen=True):
    job: Job
    body: bytes = b""
    result: Result | None = None
    attempts: tuple[AttemptRecord, ...] = ()


class MemoryStore:
    """A store that forgets everything with the process; a second `open` finds the jobs of the first."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._keys: dict[str, str] = {}  # key -> uid of the live job that has it
        self._rules: dict[str, QueueRule] = {}
        self._notes: dict[str, bytes] = {}
        self._ready: dict[tuple[Lane, int], list[Head]] = {}
        self._counts: Counter[tuple[State, str]] = Counter()
        self._seq = 0
        self._epoch = 0
        self._claims = 0
        self.owner = ""

    async def open(self, node: str, caps: Caps) -> None:
        self._epoch += 1
        self.owner = f"{node}/{self._epoch}"
        self._caps = caps
        self._lanes = Lanes(self._peek)
        for rule in self._rules.values():
            self._lanes.ruled(rule)
        jobs = [row.job for row in self._rows.values()]
        for job in sorted(jobs, key=lambda job: job.state is not State.RUNNING):
            if job.state is State.RUNNING:
                self._lanes.started(job.queue, caps(job))
            elif job.state is State.WAITING:
                self._lanes.added((job.queue, job.blocked_by), job.priority, _head(job))

    async def close(self) -> None:
        pass

    def _peek(self, lane: Lane, priority: int, count: int) -> list[Head]:
        return self._ready.get((lane, priority), [])[:count]

    # ---- writing ----------------------------------------------------------------------------------

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        future: asyncio.Future[list[Written]] = asyncio.get_running_loop().create_future()
        staged: dict[str, _Row | None] = {}
        try:
            written = [self._apply(change, staged) for change in changes]
        except TaskPusherError as error:
            future.set_exception(error)
            return future
        self._keep_all(staged)
        for change in changes:
            if isinstance(change, QueueRule):
                self._rule(change)
            elif isinstance(change, Note):
                self._note(change)
        future.set_result(written)
        return future

    def _apply(self, change: Change, staged: dict[str, _Row | None]) -> Written:
        match change:
            case Add():
                return self._add(change, staged)
            case Settle():
                return self._settle(change, staged)
            case Edit():
                return self._edit(change, staged)
            case Remove():
                self._fresh(change.uid, change.revision, staged)
                staged[change.uid] = None
        return Written(None)

    def _rule(self, rule: QueueRule) -> None:
        self._rules[rule.name] = rule
        if rule == QueueRule(rule.name):
            del self._rules[rule.name]
        self._lanes.ruled(rule)

    def _note(self, note: Note) -> None:
        if note.value is None:
            self._notes.pop(note.name, None)
        else:
            self._notes[note.name] = note.value

    def _row(self, uid: str, staged: dict[str, _Row | None]) -> _Row | None:
        return staged[uid] if uid in staged else self._rows.get(uid)

    def _fresh(self, uid: str, revision: int, staged: dict[str, _Row | None]) -> _Row:
        row = self._row(uid, staged)
        if row is None:
            raise UnknownJob(uid)
        if row.job.revision != revision:
            raise StaleEdit(uid)
        return row

    def _add(self, change: Add, staged: dict[str, _Row | None]) -> Written:
        job = change.job
        if found := self._row(job.uid, staged):
            if found.job.fingerprint and found.job.fingerprint == job.fingerprint:
                return Written(found.job, existing=True)
            raise UidTaken(job.uid)
        if holder := self._holder(job.key, staged):
            return Written(holder, existing=True)
        if change.refusal is not None:
            raise change.refusal
        self._seq += 1
        job = replace(job, seq=self._seq)
        staged[job.uid] = _Row(job, change.body)
        return Written(job)

    def _settle(self, change: Settle, staged: dict[str, _Row | None]) -> Written:
        row = self._row(change.job.uid, staged)
        if row is None or row.job.state is not State.RUNNING or row.job.claim != change.claim:
            raise ClaimLost(change.job.uid)
        job = change.job
        if row.job.revision != job.revision - 1:
            wish = row.job.wish if job.state is State.WAITING else None
            job = replace(job, revision=row.job.revision + 1, progress=row.job.progress, wish=wish)
        attempts = (*row.attempts, change.attempt)[-ATTEMPTS_KEPT:]
        result = row.result if change.result is None else change.result
        staged[job.uid] = _Row(job, row.body, result, attempts)
        self._push(change.then, staged)
        return Written(job)

    def _edit(self, change: Edit, staged: dict[str, _Row | None]) -> Written:
        job = change.job
        row = self._fresh(job.uid, job.revision - 1, staged)
        had = row.job.key if row.job.state in LIVE else ""
        if job.key != had and job.state in LIVE and (holder := self._holder(job.key, staged)):
            raise KeyTaken(job.key, holder.uid)
        body = row.body if change.body is None else change.body
        attempts = row.attempts if change.attempt is None else (*row.attempts, change.attempt)
        staged[job.uid] = _Row(job, body, row.result, attempts[-ATTEMPTS_KEPT:])
        self._push(change.then, staged)
        return Written(job)

    def _push(self, adds: Sequence[Add], staged: dict[str, _Row | None]) -> list[Job]:
        """Add what goes with another change; what can't be added is left out."""
        pushed = []
        for add in adds:
            try:
                written = self._add(add, staged)
            except UidTaken:
                continue
            if written.job is not None and not written.existing:
                pushed.append(written.job)
        return pushed

    def _holder(self, key: str, staged: dict[str, _Row | None]) -> Job | None:
        """The live job that has the key, as things stand within this write."""
        if not key:
            return None
        for row in staged.values():
            if row is not None and row.job.key == key and row.job.state in LIVE:
                return row.job
        uid = self._keys.get(key)
        return self._rows[uid].job if uid and uid not in staged else None

    # ---- the indexes ------------------------------------------------------------------------------

    def _keep_all(self, staged: dict[str, _Row | None]) -> None:
        for uid, row in staged.items():
            self._keep(uid, row)

    def _keep(self, uid: str, row: _Row | None) -> None:
        before = self._rows.get(uid)
        if before is not None:
            self._unindex(before.job)
        if row is None:
            self._rows.pop(uid, None)
            return
        self._rows[uid] = row
        self._index(row.job)

    def _unindex(self, job: Job) -> None:
        self._counts[job.state, job.queue] -= 1
        if job.key and self._keys.get(job.key) == job.uid:
            del self._keys[job.key]
        if job.state is State.RUNNING:
            self._lanes.ended(job.queue, self._caps(job))
        elif job.state is State.WAITING:
            lane, head = (job.queue, job.blocked_by), _head(job)
            heads = self._ready[lane, job.priority]
            del heads[bisect_left(heads, head)]
            if not heads:
                del self._ready[lane, job.priority]
            self._lanes.removed(lane, job.priority, head)

    def _index(self, job: Job) -> None:
        self._counts[job.state, job.queue] += 1
        if job.key and job.state in LIVE:
            self._keys[job.key] = job.uid
        if job.state is State.RUNNING:
            self._lanes.started(job.queue, self._caps(job))
        elif job.state is State.WAITING:
            lane, head = (job.queue, job.blocked_by), _head(job)
            insort(self._ready.setdefault((lane, job.priority), []), head)
            self._lanes.added(lane, job.priority, head)

    # ---- claiming ---------------------------------------------------------------------------------

    def claim(
        self,
        limit: int,
        now: int,
        due: int | None = None,
        settles: Sequence[Settle] = (),
        then: Then | None = None,
    ) -> Awaitable[Claimed]:
        future: asyncio.Future[Claimed] = asyncio.get_running_loop().create_future()
        due = now if due is None else due
        settled = [self._settle_alone(change) for change in settles]
        held: list[Held] = []
        late: list[Job] = []
        pushed: list[Job] = []
        while len(held) < limit and (taken := self._lanes.take(due)) is not None:
            row = self._rows[taken[2][2].decode()]
            job = self._next_state(row.job, now)
            self._keep(job.uid, replace(row, job=job))
            if job.state is State.RUNNING:
                held.append(Held(job, row.body))
            elif job.state is State.ERROR:
                late.append(job)
                if then is not None:
                    pushed += self._push_alone(then(Details(job, row.body, row.result, list(row.attempts))))
        next_due = self._lanes.next_due() if len(held) < limit else None
        future.set_result(Claimed(held, next_due, late, pushed, settled))
        return future

    def _settle_alone(self, change: Settle) -> Job | Exception:
        staged: dict[str, _Row | None] = {}
        try:
            job = self._settle(change, staged).job
        except ClaimLost as error:
            return error
        assert job is not None
        self._keep_all(staged)
        return job

    def _push_alone(self, adds: Sequence[Add]) -> list[Job]:
        staged: dict[str, _Row | None] = {}
        pushed = self._push(adds, staged)
        self._keep_all(staged)
        return pushed

    def _next_state(self, job: Job, now: int) -> Job:
        """Expired, held back in the lane of a full limit key, or claimed."""
        if job.expires_ms and job.expires_ms <= now:
            return expired(job, now)
        if full := self._lanes.full_key(self._caps(job)):
            return replace(job, blocked_by=full)
        self._claims += 1
        return claimed(job, (self._epoch << 32) + self._claims, self.owner, now)

    async def orphans(self, now: int) -> tuple[list[Job], int | None]:
        running = [row.job for row in self._rows.values() if row.job.state is State.RUNNING]
        return ownerless(running, self.owner, now)

    async def renew(self) -> dict[str, Job]:
        return {}

    def watch(self, hint: Callable[[], None], broken: Callable[[BaseException], None]) -> None:
        pass

    # ---- reading ----------------------------------------------------------------------------------

    async def get(self, uid: str) -> Job | None:
        row = self._rows.get(uid)
        return row.job if row else None

    async def details(self, uid: str) -> Details | None:
        row = self._rows.get(uid)
        return Details(row.job, row.body, row.result, list(row.attempts)) if row else None

    async def page(self, query: Query, cursor: bytes | None, limit: int, most: int = 0) -> Page:
        jobs = [row.job for row in self._rows.values() if query.state in (None, row.job.state)]
        backwards = newest_first(query.state)
        listed = sorted(((position(query.state, job), job.uid) for job in jobs), reverse=backwards)

        async def read(after: bytes | None, size: int, room: int) -> Look:
            start = 0 if after is None else _start_of(listed, after, backwards)
            part = listed[start : start + size]
            found = [(place, job) for place, uid in part if query.matches(job := self._rows[uid].job)]
            kept = [row for row in found if beyond(query, row[0], cursor)][:room]
            return Look(kept, len(found), len(part), part[-1][0] if part else after)

        total = sum(query.matches(job) for job in jobs) if query.counted() else None
        return await Lister(read, query, limit, most).page(cursor, total)

    async def expiring(self, now: int, limit: int) -> tuple[list[Job], int | None]:
        held = [row.job for row in self._rows.values() if row.job.state in (State.WAITING, State.PAUSED)]
        timed = [job for job in held if job.expires_ms]
        return _until(timed, lambda job: job.expires_ms, now + 1, limit)

    async def finished(self, state: State, before: int, limit: int) -> tuple[list[Job], int | None]:
        jobs = [row.job for row in self._rows.values() if row.job.state is state]
        return _until(jobs, lambda job: job.finished_ms, before, limit)

    async def counts(self) -> dict[tuple[State, str], int]:
        return {slot: n for slot, n in self._counts.items() if n}

    async def totals(self, most: int) -> Totals:
        states: Counter[State] = Counter()
        queues: dict[str, dict[State, int]] = {}
        for (state, queue), n in (await self.counts()).items():
            states[state] += n
            if queue in queues or len(queues) < most:
                queues.setdefault(queue, {})[state] = n
        dues = [heads[0][0] for heads in self._ready.values()]
        return Totals(dict(states), queues, min(dues, default=None))

    async def queues(self) -> list[QueueFigures]:
        live = {queue for (state, queue), n in self._counts.items() if n and state in LIVE}
        return [self._queue(name) for name in sorted(live | set(self._rules))]

    def _queue(self, name: str) -> QueueFigures:
        n = {state: self._counts[state, name] for state in LIVE}
        dues = [heads[0][0] for (lane, _), heads in self._ready.items() if lane[0] == name]
        rule = self._rules.get(name, QueueRule(name))
        return QueueFigures(
            rule, n[State.WAITING], n[State.RUNNING], n[State.PAUSED], min(dues, default=None)
        )

    async def notes(
        self, prefix: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> list[tuple[str, bytes]]:
        names = sorted(
            (name for name in self._notes if name.startswith(prefix)), key=str.encode, reverse=newest_first
        )
        if after:
            place = after.encode()
            names = [n for n in names if (n.encode() < place if newest_first else n.encode() > place)]
        return [(name, self._notes[name]) for name in names[:limit]]

    async def figures(self) -> StoreFigures:
        return StoreFigures("memory", "memory:", 0, 0, 0, False)


def _head(job: Job) -> Head:
    return job.due_ms, job.seq, job.uid.encode()


def _start_of(listed: list[tuple[bytes, str]], place: bytes, backwards: bool) -> int:
    """Where the rows beyond that place begin."""
    if backwards:
        return bisect_left(listed, True, key=lambda row: row[0] < place)
    return bisect_left(listed, True, key=lambda row: row[0] > place)


def _until(
    jobs: list[Job], moment: Callable[[Job], int], before: int, limit: int
) -> tuple[list[Job], int | None]:
    jobs.sort(key=lambda job: (moment(job), job.seq))
    past = [job for job in jobs[:limit] if moment(job) < before]
    return past, moment(jobs[len(past)]) if len(past) < len(jobs) else None
