"""What becomes of the jobs that wait when the wall clock is set.

A date is a date: such a job runs by the new time. A delay or a backoff is a length of time, so it ends when
it would have ended: `due_ms` moves with the clock. And what was due stays due. Until all have been moved,
the feed claims what was due by the old time, so that no delay is cut short.

A job's `era` says whether its `due_ms` was made since the clock was set. So a job is never moved twice,
whenever it is met, and the walk may begin anew at any time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from struct import pack
from typing import Any

from msgspec.structs import replace

from .clock import Clock
from .errors import StaleEdit, StoreError, UnknownJob
from .feed import Feed
from .job import Job, State, shifted
from .stores.base import Add, Edit, Query, Store

logger = logging.getLogger("taskpusher")

CHUNK = 500  # jobs a commit: other writers wait no longer than that takes
FULL_PAUSE = 5.0  # seconds before the walk begins anew while the disk is full

Scale = tuple[int, int]  # ms that the clock had been set by in all, and the last moment by that time


class TimeShift:
    """`look` has upkeep look at the clock; `ended` hears of the end of each walk, an error's too."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        feed: Feed,
        look: Callable[[], None],
        ended: Callable[["asyncio.Task[None]"], None],
    ) -> None:
        self._store, self._clock, self._feed, self._look, self._ended = store, clock, feed, look, ended
        self._total = 0  # ms that the clock has been set by
        self._before: Scale = (0, 0)  # by which all jobs went when the latest walk was first wanted
        self._eras: dict[int, Scale] = {}  # those that ended since
        self._again = False
        self._task: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._clock.follow()
        self._unwatch = self._clock.watch(self._told)

    async def stop(self) -> None:
        unwatch, self._unwatch = self._unwatch, lambda: None
        unwatch()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # ---- pushes -----------------------------------------------------------------------------------

    def marked(self, adds: Sequence[Add]) -> Sequence[Add]:
        """The same, made in the present era."""
        if not (era := self._clock.era):
            return adds
        return [replace(add, job=replace(add.job, era=era)) for add in adds]

    def arrived(self, adds: Sequence[Add]) -> None:
        """They have been written: if the clock was set meanwhile, the walk may have missed them."""
        if adds and adds[0].job.era != self._clock.era:
            self._walk_again()

    # ---- when the clock was set -------------------------------------------------------------------

    def _told(self) -> None:
        """The clock was set, or the machine has slept: whoever counts on a time looks at it again."""
        self._feed.wake()  # what has been settled by the old time is on its way
        era, ended = self._clock.era, self._clock.now()
        by = self._clock.follow()
        if by:
            logger.warning("the wall clock was set by %+.3f s: delays go on as they were", by / 1000)
            self._begin_era(era, (self._total, ended), by)
        self._feed.wake()
        self._look()

    def _begin_era(self, ended: int, scale: Scale, by: int) -> None:
        if self._task is None:
            self._before = scale
            self._eras.clear()
        else:
            self._eras[ended] = scale
        self._total += by
        self._feed.behind = max(0, self._feed.behind + by)
        self._walk_again()

    def _walk_again(self) -> None:
        self._again = True
        if self._task is None:
            self._task = asyncio.create_task(self._walk_all(), name="moving due times")
            self._task.add_done_callback(self._ended)

    # ---- the walk ---------------------------------------------------------------------------------

    async def _walk_all(self) -> None:
        while self._again:
            self._again = False
            try:
                await self._store.write()  # of nothing: what was under way has been written then
                for state in (State.PAUSED, State.WAITING, State.PAUSED):  # one may change between them
                    await self._walk(state)
            except StoreError as error:
                logger.warning("moving due times has to wait: %s", error)
                await asyncio.sleep(FULL_PAUSE)
                self._again = True
        self._task = None
        self._feed.behind = 0
        self._feed.wake()

    async def _walk(self, state: State) -> None:
        cursor = self._first_place() if state is State.WAITING else None
        while True:
            page = await self._store.page(Query(state), cursor, CHUNK)
            moved = [after for job in page.jobs if (after := self._moved(job))]
            await asyncio.gather(*(self._one(self._store.write(Edit(job))) for job in moved))
            if page.cursor is None:
                return
            cursor = page.cursor

    def _first_place(self) -> bytes:
        """Where in the list of the waiting to begin: what was due by every time of late stays so."""
        ends = [ended for _, ended in (self._before, *self._eras.values())]
        return pack(">QQ", min(self._clock.now(), *ends), (1 << 64) - 1)

    def _moved(self, job: Job) -> Job | None:
        """The job by the present time, if that makes a difference."""
        now, era = self._clock.now(), self._clock.era
        if job.era == era:
            return None
        total, ended = self._eras.get(job.era, self._before)
        if job.due_ms <= min(now, ended):
            return None  # due by either time
        if job.delayed:
            return shifted(job, max(0, job.due_ms + self._total - total), era)
        if now < job.due_ms <= ended:
            return shifted(job, now, era)
        return None

    async def _one(self, written: Awaitable[Any]) -> None:
        try:
            await written
        except (StaleEdit, UnknownJob):
            self._again = True  # a person or a worker was faster; it may have to be moved still
