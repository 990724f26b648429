"""The workers: each attempts a job, settles it, writes that down, and takes the next."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from .attempt import attempt, settle
from .callbacks import Callbacks
from .clock import Clock
from .errors import ClaimLost, StoreError
from .events import Events
from .feed import Feed
from .job import ErrorClass, Held, State
from .runners.base import Failure, Outcome, Released, Runner
from .stores.base import Settle, Store
from .tally import Tally

logger = logging.getLogger("taskpusher")

FULL_PAUSE = 1.0  # seconds before a settlement that found no room is written again
UNSTORABLE = Failure(ErrorClass.UNKNOWN, "what came of it could not be stored; the log says why", final=True)


class Workers:
    """`count` loops over one feed; knows which attempt runs which job, so that it can be cut."""

    def __init__(
        self,
        count: int,
        store: Store,
        runners: Mapping[str, Runner],
        clock: Clock,
        events: Events,
        tally: Tally,
        callbacks: Callbacks,
        random: Random,
        broken: Callable[[BaseException], None],
    ) -> None:
        self._count = count
        self._broken = broken
        self._store, self._runners, self._clock, self._events = store, runners, clock, events
        self._tally, self._callbacks, self._random = tally, callbacks, random
        self.feed = Feed(
            store, clock, self._give_back, events.settled, events.moved, self._began, callbacks.jobs
        )
        self.running: dict[int, tuple[asyncio.Task[None], Held]] = {}  # by claim: what was cut may run anew
        self._cut: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._returns: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for number in range(self._count):
            task = asyncio.create_task(self._work(), name=f"worker-{number}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A worker that dies of an error would leave its job running for ever: better to stop and recover."""
        if not task.cancelled() and (error := task.exception()):
            logger.critical("a worker failed; stopping", exc_info=error)
            self._broken(error)

    def _began(self, held: Sequence[Held]) -> None:
        self._tally.began(held)
        self._events.began(held)

    async def _work(self) -> None:
        held = await self.feed.first()
        while held is not None:
            held = await self._run(held)

    async def _run(self, held: Held) -> Held | None:
        """The life of one attempt. The claim of the next job rides in the commit that settles this one."""
        begun = self._clock.monotonic()
        outcome = await self._attempt(held)
        if outcome is None:  # cut: whoever did that has written why
            self._tally.cut()
            return await self.feed.next()
        duration = self._clock.monotonic() - begun
        change = settle(held.job, outcome, self._clock.now(), duration, self._random, self._clock.era)
        self._tally.ended(outcome, change)
        if change.job.state is State.ERROR:
            change = await self._callbacks.along(change)
        try:
            return await self.feed.next(change)
        except StoreError as error:
            self._say_later(change, error)
            await asyncio.sleep(FULL_PAUSE)
        except Exception:
            logger.exception("an outcome could not be stored", extra={"uid": held.job.uid})
            change = settle(held.job, UNSTORABLE, self._clock.now(), duration, self._random)
            change = await self._callbacks.along(change)
        await self._settle(change)
        return await self.feed.first()

    async def _attempt(self, held: Held) -> Outcome | None:
        """The outcome, or None when the attempt was cut."""
        task = asyncio.current_task()
        assert task is not None
        self.running[held.job.claim] = (task, held)
        try:
            return await attempt(held, self._runners.get(held.job.kind))
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            return None
        finally:
            del self.running[held.job.claim]
            if task in self._cut:
                self._cut.discard(task)
                task.uncancel()

    async def _settle(self, change: Settle) -> None:
        """Settle apart from the feed; while there is no room, again."""
        while True:
            try:
                await self._store.write(change)
            except ClaimLost:
                logger.info("an attempt ended after its job was taken from it", extra={"uid": change.job.uid})
            except StoreError as error:
                self._say_later(change, error)
                await asyncio.sleep(FULL_PAUSE)
                continue
            else:
                self._events.settled([change.job])
                self._events.moved([add.job for add in change.then])
            return

    def _say_later(self, change: Settle, error: StoreError) -> None:
        logger.warning("can't settle a job yet: %s", error, extra={"uid": change.job.uid})

    # ---- cutting ----------------------------------------------------------------------------------

    def cut(self, claim: int) -> None:
        """End the attempt that runs under that claim, if one still does. What it came to is dropped."""
        task, _ = self.running.get(claim, (None, None))
        if task is not None and task not in self._cut:  # a second cancel would hit it as it cleans up
            self._cut.add(task)
            task.cancel()

    async def release_all(self, message: str) -> None:
        """Give back every job that runs: first written, then cut."""
        await asyncio.gather(*(self._release(held, message) for _, held in list(self.running.values())))

    async def _release(self, held: Held, message: str) -> None:
        now = self._clock.now()
        duration = max(0, now - held.job.started_ms) / 1000
        change = await self._callbacks.along(settle(held.job, Released(message), now, duration, self._random))
        try:
            await self._store.write(change)
        except (ClaimLost, StoreError) as error:
            logger.info("could not release a job: %s", error, extra={"uid": held.job.uid})
        else:
            self._events.settled([change.job], "job released")
            self._events.moved([add.job for add in change.then])
        self.cut(held.job.claim)

    def _give_back(self, held: Held) -> None:
        """A job came when nobody wanted one any more: nothing was sent, it goes back to its place."""
        outcome = Released("nobody was free to run it any more; nothing was sent", sent=False)
        change = settle(held.job, outcome, self._clock.now(), 0.0, self._random)
        task = asyncio.create_task(self._settle(change))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    def abandon(self) -> None:
        """End what still waits for the store; what that can't write any more, the next start takes back."""
        for task in self._tasks | self._returns:
            task.cancel()

    async def ended(self) -> None:
        """Until every worker has ended and every job that was not wanted is back. Close the feed first."""
        await self.feed.settled()
        if pending := self._tasks | self._returns:
            await asyncio.wait(pending)
