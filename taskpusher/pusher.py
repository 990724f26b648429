"""TaskPusher: takes jobs, keeps them, runs them."""

import asyncio
import logging
import platform
from collections.abc import Coroutine, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .bulk import Bulk, Bulks
from .callbacks import callbacks
from .clock import Clock, SystemClock
from .errors import StoreFull, UnknownJob
from .events import Events
from .history import History
from .job import Action, Job, State, destination, edited
from .moves import Move, Moves
from .pulse import Pulse
from .push import Defaults, changes, copied, new_job
from .queues import caps
from .recovery import recover
from .runners.base import Runner
from .stats import Glance, Measures, Stats
from .stores.base import (
    Add,
    Details,
    Edit,
    Page,
    Query,
    QueueFigures,
    QueueRule,
    Store,
    Written,
)
from .tally import Tally
from .timeshift import TimeShift
from .upkeep import Upkeep
from .worker import Workers

if TYPE_CHECKING:
    from .tracing import Tracing

logger = logging.getLogger("taskpusher")

DAY = 86400.0  # seconds
FIRST_WRITES = 1.0  # seconds that a start waits for what an earlier run left running to be taken back
LAST_WRITES = 0.3  # seconds that a stop waits for its last writes; closing the store still writes them
LAST_ANSWERS = 2.0  # seconds that a runner may take to close its connections
DRAIN_LOOK = 0.05  # seconds between two looks at what a drain has left


class TaskPusher:
    """The object that takes, keeps and runs jobs.

    `runners` by kind; `concurrency` jobs at once, `per_host` of them to one host (0: no cap); `timeout`,
    `keep` and `keep_errors` in seconds; `max_body` in bytes; `error_callback` is a URL that is told of jobs
    that end in error, `tracing` makes spans. Use it as a context manager, or call `start`, then `stop` and
    `close`.
    """

    def __init__(
        self,
        store: Store,
        runners: Mapping[str, Runner],
        *,
        concurrency: int = 4,
        per_host: int = 0,
        timeout: float = 3600.0,
        max_attempts: int = 1,
        success: str = "200",
        max_body: int = 10 << 20,
        keep: float = 7 * DAY,
        keep_errors: float = 30 * DAY,
        error_callback: str | None = None,
        tracing: "Tracing | None" = None,
        node: str = "",
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency: at least one worker is needed")
        self.clock = clock or SystemClock()
        self.store, self._tracing = store, tracing
        self.runners = runners if tracing is None else tracing.runners(runners)
        self.defaults = Defaults(
            timeout=timeout, max_attempts=max_attempts, success=success, max_body=max_body
        )
        self.node = node or platform.node() or "tasker"
        self.events = Events()
        self.tally = Tally()
        self.ready = False
        self._callbacks = callbacks(error_callback, store, self.clock)
        self.per_host = per_host
        self._caps = caps(per_host)
        self._concurrency = concurrency
        self._random = random or Random()  # noqa: S311 - jitter is no secret
        self._rules: dict[str, QueueRule] = {}
        self._keep = {
            State.COMPLETED: round(keep * 1000),
            State.CANCELED: round(keep * 1000),
            State.ERROR: round(keep_errors * 1000),
        }

    # ---- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, take back what an earlier run left running, and begin to work."""
        self.broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        self.history = History(self.store, self.clock, self.tally)
        self._started = self.clock.monotonic()
        self._workers = Workers(
            self._concurrency,
            self.store,
            self.runners,
            self.clock,
            self.events,
            self.tally,
            self._callbacks,
            self._random,
            self._break,
        )
        wake = self._workers.feed.wake
        self._moves = Moves(self.store, self.clock, self.events, wake, self._workers.cut)
        self._bulks = Bulks(self.store, self.clock, self._moves, self.runners.keys())
        self.store.watch(wake, self._break)
        await self.store.open(self.node, self._caps)
        try:
            await self._begin()
        except BaseException:
            await self.store.close()
            raise

    async def _begin(self) -> None:
        """What `start` does with the store open."""
        self._pulse = Pulse(self.clock, lambda: bool(self._workers.running) or self._bulks.busy)
        wake = self._workers.feed.wake
        self._upkeep = Upkeep(self.store, self.clock, self.events, self._callbacks, wake, self._keep)
        feed, look = self._workers.feed, self._upkeep.look
        self._shift = TimeShift(self.store, self.clock, feed, look, self._ended)
        heard_by = (self.history.moved, self._upkeep.moved, self.tally.moved)
        self._listening = [self.events.listen(listener) for listener in heard_by]
        # On a full disk that waits for room: requests are answered meanwhile, claims come after it.
        self._recovery = asyncio.create_task(
            recover(self.store, self.clock, self.events, self._callbacks, self._random), name="recovery"
        )
        await asyncio.wait([self._recovery], timeout=FIRST_WRITES)
        if self._recovery.done():
            self._recovery.result()
        self._recovery.add_done_callback(self._ended)
        self._recovery.add_done_callback(lambda _: wake())  # what it took back late, after the first claims
        self._rules = {figures.rule.name: figures.rule for figures in await self.store.queues()}
        self._workers.start()
        self._upkeep.start().add_done_callback(self._ended)
        self._shift.start()
        self.ready = True

    async def stop(self, *, drain: bool = False, grace: float = 30.0) -> None:
        """End the work: claim nothing more (`drain`: nothing but what is due now), wait `grace` seconds for
        what runs, then give the rest back. Jobs pushed meanwhile are kept for the next start."""
        self.ready = False
        self._bulks.close()
        feed = self._workers.feed
        if drain:
            now = self.clock.now()
            feed.drain(now)
            await self._unless_hurried(self._all_claimed(now))
        feed.close()
        await self._unless_hurried(self._workers.ended(), grace)
        # on a full disk nothing can be released: the next start does it
        await self._at_most(
            LAST_WRITES, self._workers.release_all("the tasker stopped while the job was running")
        )
        await self._at_most(LAST_WRITES, self._workers.ended())
        await self._at_most(LAST_WRITES, self._bulks.ended())
        self._workers.abandon()
        self._bulks.abandon()
        self._recovery.cancel()
        await self._shift.stop()
        await self._upkeep.stop()
        self._pulse.stop()
        while self._listening:
            self._listening.pop()()
        await self._at_most(LAST_WRITES, self.history.stop())

    async def _all_claimed(self, due: int) -> None:
        """Until every job that was due then has been claimed, but for those of paused queues."""
        feed = self._workers.feed
        while not feed.closed.is_set() and _any_due(await self.store.queues(), due):  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_LOOK)
        await feed.settled()

    async def _unless_hurried(self, waiting: Coroutine[Any, Any, Any], timeout: float | None = None) -> None:
        """Wait for it, for the timeout in seconds, for `hurry`, or for the disk to fail."""
        tasks = [asyncio.create_task(waiting), asyncio.create_task(self._hurry.wait())]
        first = [*tasks, self.broken]
        await asyncio.wait(first, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _at_most(self, timeout: float, waiting: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(waiting)
        await asyncio.wait([task], timeout=timeout)
        task.cancel()
        await asyncio.wait([task])

    def hurry(self) -> None:
        """End a `stop` that is under way at once."""
        self._hurry.set()

    async def close(self) -> None:
        """Let go of the store and the runners; after `stop`."""
        for runner in self.runners.values():
            await self._at_most(LAST_ANSWERS, runner.close())
        await self.store.close()

    async def __aenter__(self) -> "TaskPusher":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self.close()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Recovery or upkeep has ended: not by an error, or the pusher can't go on."""
        if not task.cancelled() and (error := task.exception()):
            logger.critical("%s failed; stopping", task.get_name(), exc_info=error)
            self._break(error)

    def _break(self, error: BaseException) -> None:
        if not self.broken.done():
            self.broken.set_result(error)

    # ---- pushing ----------------------------------------------------------------------------------

    async def push(self, url: str, **fields: object) -> Job:
        """Push one job; the fields are those of `POST /add`. Raises InvalidField, UidTaken, StoreFull.

        Where a live job has the same `key`, or the same `uid` and request, that one is returned.
        """
        (written,) = await self.add(new_job({"url": url, **fields}, self.defaults, self.clock.now()))
        assert written.job is not None
        return written.job

    async def add(self, *adds: Add) -> list[Written]:
        """Push jobs that `new_job` has made, all or none of them."""
        if self._tracing is not None:
            return await self._tracing.push(adds, self._add)
        return await self._add(adds)

    async def _add(self, adds: Sequence[Add]) -> list[Written]:
        self._pulse.touch()
        adds = tuple(self._shift.marked(adds))
        writing = self.store.write(*adds)
        self._workers.feed.wake()  # a free worker's claim rides in the same commit
        try:
            written = await writing
        except StoreFull:
            self._upkeep.expect(self.clock.now())  # finished jobs may make room
            raise
        if len(adds) > 1:  # that claim may have overtaken them
            self._workers.feed.wake()
        self._shift.arrived(adds)
        self.events.moved([one.job for one in written if one.job is not None and not one.existing])
        return written

    async def duplicate(self, uid: str) -> Job:
        """Push the same request once more, under a new uid and without its key."""
        details = await self.details(uid)
        (written,) = await self.add(copied(details.job, details.body, self.clock.now()))
        assert written.job is not None
        return written.job

    # ---- looking ----------------------------------------------------------------------------------

    async def get(self, uid: str) -> Job:
        """The job. Raises UnknownJob."""
        job = await self.store.get(uid)
        if job is None:
            raise UnknownJob(uid)
        return job

    async def details(self, uid: str) -> Details:
        """The job with its body, result and attempts. Raises UnknownJob."""
        details = await self.store.details(uid)
        if details is None:
            raise UnknownJob(uid)
        return details

    async def page(self, query: Query, cursor: bytes | None = None, limit: int = 100, most: int = 0) -> Page:
        """A page of the jobs that match; go on with `Page.cursor`. `most` as for the store."""
        self._pulse.touch()
        return await self.store.page(query, cursor, limit, most)

    async def counts(self) -> dict[tuple[State, str], int]:
        return await self.store.counts()

    async def stats(self) -> Stats:
        waiting = await self.store.page(Query(State.WAITING), None, 1)
        return Stats(
            counts=await self.store.counts(),
            rates=self.history.rates(),
            oldest_due=waiting.jobs[0].due_ms if waiting.jobs else None,
            uptime=self.clock.monotonic() - self._started,
            workers=self._concurrency,
            busy=len(self._workers.running),
            lag=self._pulse.lag,
            store=await self.store.figures(),
        )

    async def measures(self, most_queues: int) -> Measures:
        """What a monitor asks every few seconds; how many jobs there are, in so many queues at most."""
        return Measures(
            now=self.clock.now(),
            totals=await self.store.totals(most_queues),
            tally=self.tally,
            workers=self._concurrency,
            busy=len(self._workers.running),
            lag=self._pulse.lag,
            store=await self.store.figures(),
        )

    async def glance(self) -> Glance:
        """How it is, for who looks once a second."""
        finished = self.tally.finished
        return Glance(
            now=self.clock.now(),
            totals=await self.store.totals(0),
            finished=(finished[State.COMPLETED], finished[State.ERROR]),
            workers=self._concurrency,
            busy=len(self._workers.running),
        )

    def blocked(self) -> bool:
        """The event loop was blocked for 5 s within the last minute."""
        return self._pulse.blocked()

    # ---- a person's moves -------------------------------------------------------------------------

    async def cancel(self, uid: str) -> Job:
        """Cancel it; a running call is cut after that has been written."""
        return await self._moves.of(uid, Action.CANCEL)

    async def pause(self, uid: str) -> Job:
        return await self._moves.of(uid, Action.PAUSE)

    async def resume(self, uid: str) -> Job:
        return await self._moves.of(uid, Action.RESUME)

    async def retry(self, uid: str) -> Job:
        """Send a failed or canceled job back to waiting, failures forgiven."""
        return await self._moves.of(uid, Action.RETRY)

    async def run(self, uid: str) -> Job:
        """Have a waiting job run now."""
        return await self._moves.of(uid, Action.RUN)

    async def edit(self, uid: str, fields: Mapping[str, object]) -> Job:
        """Change fields of a waiting or paused job. Raises InvalidField too."""

        def make(job: Job) -> Move:
            destination(job, Action.EDIT)
            changed, body = changes(job, fields, self.defaults, self.clock.now())
            if "due_ms" in changed:
                changed["era"] = self.clock.era
            return Move(Edit(edited(job, **changed), body=body))

        return await self._moves.write(uid, make)

    async def remove(self, uid: str) -> None:
        """Forget a job that is not running. Raises UnknownJob, MoveRefused."""
        await self._moves.of(uid, Action.REMOVE)

    def bulk(self, action: Action | str, query: Query, *, dry_run: bool = False) -> Bulk:
        """Move all jobs of a state that match: cancel, pause, resume, retry, run or delete them.

        It goes on by itself; await it for its end. A dry run counts them. Raises InvalidField, Stopping, and
        MoveRefused where no job of that state can be moved so.
        """
        self._pulse.touch()
        return self._bulks.begin(action, query, dry_run)

    def find_bulk(self, uid: str) -> Bulk:
        """One that runs or has ended lately. Raises UnknownBulk."""
        return self._bulks.get(uid)

    # ---- queues -----------------------------------------------------------------------------------

    async def queues(self) -> Sequence[QueueFigures]:
        """Every queue that has live jobs or a rule."""
        return await self.store.queues()

    async def set_queue(
        self, name: str, *, paused: bool | None = None, concurrency: int | None = None
    ) -> QueueFigures:
        """Pause or limit a queue; None leaves it as it is. Kept over restarts."""
        rule = self._rules.get(name, QueueRule(name))
        rule = QueueRule(
            name,
            rule.paused if paused is None else paused,
            rule.concurrency if concurrency is None else concurrency,
        )
        self._rules[name] = rule  # before the wait: whoever says more of it meanwhile builds on this
        if rule == QueueRule(name):
            del self._rules[name]
        writing = self.store.write(rule)
        self._workers.feed.wake()
        await writing
        found = {figures.rule.name: figures for figures in await self.store.queues()}
        return found.get(name, QueueFigures(rule, 0, 0, 0, None))


def _any_due(queues: Sequence[QueueFigures], due: int) -> bool:
    return any(one.oldest_due is not None and one.oldest_due <= due and not one.rule.paused for one in queues)
