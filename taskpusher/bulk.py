"""Bulks: one action on all jobs of a state that match a filter, a chunk at a time, while all else goes on.

    bulk = pusher.bulk("retry", Query(State.ERROR, queue="mail"))
    await bulk                      # or look at bulk.count and bulk.total meanwhile, or bulk.cancel()

A bulk walks the list of its state once. It moves every job that was there when it began and is still there
when its turn comes, each at most once, by the moves of `moves.py`; one that changes under its hands is read
again. Nothing of a bulk is stored: it ends with the process, between two chunks, and the rest is as it was.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Generator
from typing import Any

from .clock import Clock
from .errors import (
    InvalidField,
    MoveRefused,
    StaleEdit,
    Stopping,
    StoreFull,
    TaskPusherError,
    UnknownBulk,
    UnknownJob,
)
from .job import Action, Job, State, destination
from .moves import FOR_MANY, Move, Moves, move
from .stores.base import Query, Remove, Store
from .uid import new_uid

logger = logging.getLogger("taskpusher")

PAGE = 500  # jobs read at once
CHUNK = 100  # jobs moved in one commit: five times as many go no faster, and others wait three times as long
STOPPED = "the tasker stopped; send it again for the rest"
KEPT = 100  # bulks that have ended; the newest


class Bulk:
    """How far it is; await it for its end. Times are ms since 1970, 0 = none."""

    def __init__(self, uid: str, action: Action, query: Query, dry_run: bool, now: int) -> None:
        self.uid, self.action, self.query, self.dry_run = uid, action, query, dry_run
        self.total: int | None = None  # jobs that matched when it began; None while they are counted
        self.count = 0  # moved; in a dry run, counted
        self.skipped = 0  # moved or removed by somebody else before their turn came
        self.failed = 0  # could not be moved; `error` says why of the first
        self.error = ""
        self.started_ms, self.finished_ms = now, 0
        self.ended = asyncio.Event()
        self.cut_short = ""  # why it ends, or ended, before it came to the end of the list

    @property
    def done(self) -> bool:
        return self.ended.is_set()

    def cancel(self, reason: str = "it was canceled") -> None:
        """Have it end after the chunk that is under way. What has been moved stays moved."""
        if not self.done:
            self.cut_short = self.cut_short or reason

    async def wait(self, timeout: float | None = None) -> bool:
        """Whether it has ended within so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.ended.wait()
        except TimeoutError:
            pass
        return self.done

    def __await__(self) -> Generator[Any, None, "Bulk"]:
        yield from self.ended.wait().__await__()
        return self

    def takes(self, job: Job, now: int) -> bool:
        """Whether it is one to move: it matches, and was not pushed since the bulk began.

        A job from before the clock was set back is from the future, and older than the bulk all the same.
        """
        query = self.query
        return job.state is query.state and query.matches(job) and not self.started_ms < job.created_ms <= now

    def refused(self, error: BaseException) -> None:
        """One job could not be moved."""
        self.failed += 1
        known = isinstance(error, TaskPusherError)
        self.error = self.error or (str(error) if known else "an error of the tasker; its log says more")


class _Met:
    """Numbers of jobs (`seq`) that were met: one comes back into the list when it fails again, or is retried.

    A bit for each number, a thousand in one integer: neighbours in the list were mostly pushed together.
    """

    def __init__(self) -> None:
        self._bits: dict[int, int] = {}

    def first(self, seq: int) -> bool:
        """Whether this one is met for the first time."""
        block, bit = seq >> 10, 1 << (seq & 1023)
        known = self._bits.get(block, 0)
        self._bits[block] = known | bit
        return not known & bit


class Bulks:
    """Those that run, in turns of one chunk each, and the last that have ended."""

    def __init__(self, store: Store, clock: Clock, moves: Moves, kinds: Collection[str]) -> None:
        self._store, self._clock, self._moves, self._kinds = store, clock, moves, kinds
        self._tasks: dict[Bulk, asyncio.Task[None]] = {}
        self._ended: deque[Bulk] = deque(maxlen=KEPT)
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def begin(self, action: str, query: Query, dry_run: bool) -> Bulk:
        """Begin one. Raises InvalidField, Stopping, MoveRefused where that state allows it to no job."""
        checked = self._checked(action, query)
        if self._closed:
            raise Stopping
        now = self._clock.now()
        bulk = Bulk(new_uid(now), checked, query, dry_run, now)
        self._tasks[bulk] = asyncio.create_task(self._run(bulk), name="bulk")
        return bulk

    def get(self, uid: str) -> Bulk:
        """One that runs, or is among the last that have ended. Raises UnknownBulk."""
        for bulk in (*self._tasks, *self._ended):
            if bulk.uid == uid:
                return bulk
        raise UnknownBulk(uid)

    def close(self) -> None:
        """Begin no more; those that run end after their chunk."""
        self._closed = True
        for bulk in self._tasks:
            bulk.cancel(STOPPED)

    async def ended(self) -> None:
        """Until all of them have ended. Close them first."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def abandon(self) -> None:
        """End those that still wait for the store."""
        for task in self._tasks.values():
            task.cancel()

    def _checked(self, action: str, query: Query) -> Action:
        if action not in FOR_MANY:
            known = ", ".join(FOR_MANY)
            raise InvalidField("action", f"is nothing that is done to many jobs; those are {known}")
        if query.state is None:
            raise InvalidField("state", "is missing; a bulk moves jobs of one state")
        check_pair(Action(action), query.state, [query.kind] if query.kind else self._kinds)
        return Action(action)

    # ---- one bulk ---------------------------------------------------------------------------------

    async def _run(self, bulk: Bulk) -> None:
        """Count, then move. However it ends, it says so."""
        try:
            await self._count(bulk)
            if not bulk.dry_run:
                await self._walk(bulk, self._move)
        except asyncio.CancelledError:
            bulk.cut_short = bulk.cut_short or STOPPED
        except StoreFull as error:
            bulk.cut_short = str(error) or "the disk is full"
        except Exception as error:
            logger.exception("a bulk failed", extra={"bulk": bulk.uid, "action": bulk.action.value})
            known = isinstance(error, TaskPusherError)
            bulk.cut_short = str(error) if known else "an error of the tasker; its log says more"
        finally:
            bulk.finished_ms = self._clock.now()
            bulk.ended.set()
            del self._tasks[bulk]
            self._ended.append(bulk)
        if not bulk.dry_run:
            logger.info("bulk ended", extra=_facts(bulk))

    async def _count(self, bulk: Bulk) -> None:
        """The store counts by state and queue; for other filters, and for a look at them, one has to walk."""
        state, queue = bulk.query.state, bulk.query.queue
        if bulk.query.counted():
            counts = await self._store.counts()
            bulk.total = sum(n for (of, name), n in counts.items() if of is state and queue in ("", name))
            bulk.count = bulk.total if bulk.dry_run else 0
            return
        found = 0

        async def add(bulk: Bulk, jobs: list[Job]) -> None:
            nonlocal found
            found += len(jobs)
            bulk.count = found if bulk.dry_run else 0

        await self._walk(bulk, add)
        bulk.total = None if bulk.cut_short else found

    async def _walk(self, bulk: Bulk, take: Callable[[Bulk, list[Job]], Awaitable[None]]) -> None:
        """Hand the jobs of the list to `take`, each once.

        The pages are read without the filter: one that few jobs match would be a long look, and other
        threads want their turn.
        """
        met = _Met()
        cursor = None
        while not bulk.cut_short:
            async with self._turn:
                page = await self._store.page(Query(bulk.query.state), cursor, PAGE)
            now = self._clock.now()
            jobs = [job for job in page.jobs if bulk.takes(job, now) and met.first(job.seq)]
            for at in range(0, len(jobs), CHUNK):
                async with self._turn:
                    if not bulk.cut_short:
                        await take(bulk, jobs[at : at + CHUNK])
            cursor = page.cursor
            if cursor is None:
                return
            await asyncio.sleep(0)  # a store in memory never waits

    # ---- one chunk --------------------------------------------------------------------------------

    async def _move(self, bulk: Bulk, jobs: list[Job]) -> None:
        """Each for itself and all in one commit; those that changed meanwhile are read and moved again."""
        while jobs:
            made = [one for job in jobs if (one := self._made(bulk, job)) is not None]
            writes = [self._moves.begin(one) for one in made]
            self._moves.wake()
            results = await asyncio.gather(*writes, return_exceptions=True)
            stale = [
                one for one, result in zip(made, results, strict=True) if not self._settled(bulk, one, result)
            ]
            for result in results:
                if isinstance(result, StoreFull):
                    raise result
            jobs = await self._again(bulk, stale)

    def _made(self, bulk: Bulk, job: Job) -> Move | None:
        try:
            return move(job, bulk.action, self._clock.now())
        except MoveRefused as error:  # of this kind of job
            bulk.refused(error)
        except Exception as error:
            logger.exception("a job could not be moved", extra={"uid": job.uid})
            bulk.refused(error)
        return None

    def _settled(self, bulk: Bulk, made: Move, result: object) -> bool:
        """Count what became of it; False where it has to be made anew."""
        match result:
            case StaleEdit():
                return False
            case UnknownJob():
                bulk.skipped += 1
            case BaseException():
                bulk.refused(result)
            case _:
                bulk.count += 1
                self._moves.told(made)
        return True

    async def _again(self, bulk: Bulk, stale: list[Move]) -> list[Job]:
        """The jobs as they are now; those that are no longer meant are skipped."""
        jobs = []
        for made in stale:
            change = made.change
            job = await self._store.get(change.uid if isinstance(change, Remove) else change.job.uid)
            if job is not None and bulk.takes(job, self._clock.now()):
                jobs.append(job)
            else:
                bulk.skipped += 1
        return jobs


def check_pair(action: Action, state: State, kinds: Collection[str]) -> None:
    """Raises MoveRefused, which says what to do instead, if no job of these kinds can be moved so."""
    refusal: MoveRefused | None = None
    for kind in kinds:
        try:
            destination(Job(uid="", target="", kind=kind, state=state), action)
        except MoveRefused as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


def _facts(bulk: Bulk) -> dict[str, object]:
    facts: dict[str, object] = {"bulk": bulk.uid, "action": bulk.action.value, "state": str(bulk.query.state)}
    facts |= {"count": bulk.count, "skipped": bulk.skipped, "failed": bulk.failed}
    if bulk.cut_short or bulk.error:
        facts["error"] = bulk.cut_short or bulk.error
    return facts
