"""Upkeep: jobs past their expires_at, finished jobs past their keeping. Sleeps until there is something."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .callbacks import Callbacks
from .clock import Clock
from .errors import StaleEdit, StoreError, UnknownJob
from .events import Events
from .job import Job, State, expired
from .stores.base import Change, Edit, Remove, Store

logger = logging.getLogger("taskpusher")

CHUNK = 500  # jobs a commit: other writers wait no longer than that takes
PRUNE_PAUSE = 60_000  # ms: finished jobs are forgotten in lots, not one by one
FULL_PAUSE = 5_000  # ms between two looks while the disk is full
LONGEST_SLEEP = 3600.0  # seconds: a timer stands still while the machine sleeps
NEVER = 1 << 62  # ms


class Upkeep:
    """`keep`: how long a finished job is kept, in ms, by state; `wake` is called when it has pushed a job."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        callbacks: Callbacks,
        wake: Callable[[], None],
        keep: Mapping[State, int],
    ) -> None:
        self._store, self._clock, self._events, self._keep = store, clock, events, keep
        self._callbacks, self._wake = callbacks, wake
        self._next_prune = 0
        self._wake_at = 0
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        self._task = asyncio.create_task(self._run(), name="upkeep")
        return self._task

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def moved(self, jobs: Sequence[Job]) -> None:
        """A listener of Events: a job that waits, or does so again, may have to expire."""
        for job in jobs:
            if job.expires_ms and job.state in (State.WAITING, State.PAUSED):
                self.expect(job.expires_ms)

    def expect(self, due: int) -> None:
        """There will be something to do at that moment."""
        if due < self._wake_at:
            self._wake_at = due
            self._sooner.set()

    def look(self) -> None:
        """The clock was set: what was expected at some moment may be due."""
        self._next_prune = 0
        self.expect(0)

    async def _run(self) -> None:
        while True:
            self._wake_at = NEVER  # what comes while it looks counts too
            try:
                due = min(await self._expire(), await self._prune())
            except StoreError as error:
                logger.warning("upkeep has to wait: %s", error)
                due = self._clock.now() + FULL_PAUSE
            await self._sleep(due)

    async def _sleep(self, due: int) -> None:
        """Until `due`, or until the earliest of what `expect` brings."""
        self._wake_at = min(due, self._wake_at)
        while (wait := (self._wake_at - self._clock.now()) / 1000) > 0:
            self._sooner.clear()
            try:
                async with asyncio.timeout(min(wait, LONGEST_SLEEP)):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    async def _expire(self) -> int:
        """Settle what is past its expires_at; when to look again."""
        while True:
            now = self._clock.now()
            jobs, following = await self._store.expiring(now, CHUNK)
            edits = [await self._callbacks.along(Edit(expired(job, now))) for job in jobs]
            await self._write(edits)
            if len(jobs) < CHUNK:
                return NEVER if following is None else following

    async def _prune(self) -> int:
        """Forget finished jobs past their keeping; sooner when the disk is full. When to look again."""
        now = self._clock.now()
        full = (await self._store.figures()).full
        if now < self._next_prune and not full:
            return self._next_prune
        due = now + min(self._keep.values())
        for state, kept in self._keep.items():
            keep = kept // 2 if full else kept
            following = await self._prune_state(state, now - keep)
            if following is not None:
                due = min(due, following + keep)
        pause = FULL_PAUSE if full else max(1000, min(PRUNE_PAUSE, *self._keep.values()))
        self._next_prune = now + pause if full else max(due, now + pause)
        return self._next_prune

    async def _prune_state(self, state: State, before: int) -> int | None:
        while True:
            jobs, following = await self._store.finished(state, before, CHUNK)
            await self._write([Remove(job.uid, job.revision) for job in jobs])
            if len(jobs) < CHUNK:
                return following

    async def _write(self, changes: list[Any]) -> None:
        """Each for itself: a person may have moved one of the jobs meanwhile."""
        writes = [self._one(self._store.write(change), change) for change in changes]
        await asyncio.gather(*writes)

    async def _one(self, written: Awaitable[Any], change: Change) -> None:
        try:
            await written
        except (StaleEdit, UnknownJob):
            return
        if isinstance(change, Edit):
            self._events.settled([change.job])
            if change.then:
                self._events.moved([add.job for add in change.then])
                self._wake()
        else:
            self._events.removed()
