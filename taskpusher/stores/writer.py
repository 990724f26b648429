"""Group commit: requests run on the event loop, in a transaction that a thread begins and commits.

What arrives while a commit is under way goes into the next one; nobody is answered before the commit that
holds his request has been synced.

Only what waits for the disk is in the thread. Each call into LMDB lets go of Python's lock and takes it back;
beside a busy event loop that costs many times the call. LMDB allows it: a write transaction must be begun and
ended by one thread, which owns its lock, and be used by one thread at a time.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any

import lmdb

from ..errors import StoreBroken, StoreFull
from .base import Commits
from .layout import Txn
from .requests import AT_ONCE, Request
from .tables import Tables

logger = logging.getLogger("taskpusher")

FULL_PAUSE = 1.0  # seconds between two tries to write to a full disk
FEW = 8  # requests in a commit while the disk is nearly full: one needs new pages before it frees old ones
REST = 1.0  # seconds without a request after which the lock that a transaction holds is let go
FULL = "the disk is full; nothing was stored: make room, the tasker goes on by itself"


class Verdict(Enum):
    """What the thread is to make of a transaction."""

    COMMIT = auto()
    AGAIN = auto()  # drop it for the error that running it met; once more, if there may be room then
    REST = auto()  # drop it; another one when it is asked for
    BEGIN = auto()  # after a rest
    END = auto()  # drop it: nothing more will come


class Writer:
    """Runs requests in commits and answers their futures. To be used on one event loop."""

    def __init__(
        self,
        env: Any,
        tables: Tables,
        loop: asyncio.AbstractEventLoop,
        resize: Callable[[], None],
        reopen: Callable[[], Any],
        broken: Callable[[BaseException], None],
        nearly_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._env, self._tables, self._loop = env, tables, loop
        self._resize, self._reopen = resize, reopen
        self._broken, self._nearly_full = broken, nearly_full
        self._pending: list[Request] = []
        self._batch: list[Request] = []  # in the transaction under way
        self._steps: Iterator[None] = iter(())  # of running the batch
        self._txn: Txn = None  # open, and ours; None while the thread has it
        self._number = 0  # of the last transaction
        self._met: lmdb.Error | None = None  # by running the batch; goes with the verdict AGAIN
        self._big_next = False  # whose turn it is, where big and small requests are pending
        self._busy = True  # a batch is under way, or the next one is on its way to begin
        self._pause: asyncio.TimerHandle | None = None  # until a full disk is tried again
        self._resting = False
        self._rest_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0  # loop time
        self._closing = self._ended = False
        self.full = False
        self.figures = Commits()  # its seconds are noted in the thread
        self._verdicts: SimpleQueue[Verdict] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="taskpusher-writer", daemon=True)
        self._thread.start()

    @property
    def commits(self) -> int:
        return sum(self.figures.changes.counts)

    @property
    def lives(self) -> bool:
        """Whether its thread does: one that met what it can't go on after has ended."""
        return self._thread.is_alive()

    # ---- on the event loop ------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request. What is submitted before the loop's next turn shares a commit."""
        if self._ended:
            request.future.set_exception(StoreBroken("the store is closed"))
            return
        self._pending.append(request)
        if not self._busy:
            self._begin()

    def _begin(self) -> None:
        self._busy = True
        if self._resting:
            self._resting = False
            self._verdicts.put(Verdict.BEGIN)
        else:
            self._loop.call_soon(self._next)

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._closing = True
        if self._rest_timer is not None:
            self._rest_timer.cancel()
        if self._pause is not None:
            self._pause.cancel()
            self._next()
        elif not self._busy:
            self._begin()
        await self._loop.run_in_executor(None, self._thread.join)

    def _opened(self, txn: Txn, error: lmdb.Error | None) -> None:
        """The thread has begun a transaction; `error` says why the last one was not kept."""
        self._txn = txn
        batch, self._batch = self._batch, []
        if error is None:
            self._committed(batch)
            self._next()
        else:
            self._again(batch, error)

    def _next(self) -> None:
        """Begin with what is pending, in the transaction that is open."""
        self._pause = None
        if self._pending:
            self._batch = self._take()
            self._steps = self._run(self._batch)
            self._go_on()
        elif self._closing:
            self._hand_over(Verdict.END)
        else:
            self._busy = False
            self._idle_since = self._loop.time()
            if self._rest_timer is None:
                self._rest_timer = self._loop.call_later(REST, self._rest)

    def _rest(self) -> None:
        """Let other programs that look at the store have the lock while there is nothing to do."""
        self._rest_timer = None
        if self._busy:
            return  # the timer is set again when nothing is left
        left = self._idle_since + REST - self._loop.time()
        if left > 0:
            self._rest_timer = self._loop.call_later(left, self._rest)
        else:
            self._resting = True
            self._hand_over(Verdict.REST)

    def _take(self) -> list[Request]:
        """What goes into the next commit: all that is pending, but for big requests. Those go one by one,
        in every other commit: whoever pushes one job does not wait for several who push a thousand."""
        big = [request for request in self._pending if request.is_big()]
        if big and (self._big_next or len(big) == len(self._pending)):
            self._big_next = False
            self._pending.remove(big[0])
            return big[:1]
        self._big_next = bool(big)
        return self._take_small()

    def _take_small(self) -> list[Request]:
        """While there is little room, few: what a commit frees can be used by the next one but one."""
        small = [request for request in self._pending if not request.is_big()]
        if self.full:
            del small[1:]
        elif len(small) > FEW and self._nearly_full():  # it asks the system: not for a handful
            del small[FEW:]
        taken = set(small)
        self._pending = [request for request in self._pending if request not in taken]
        return small

    def _go_on(self) -> None:
        try:
            next(self._steps)
        except StopIteration:
            self._hand_over(Verdict.COMMIT)
        except lmdb.Error as error:  # a big transaction writes pages before its commit
            self._met = error
            self._hand_over(Verdict.AGAIN)
        except BaseException as error:
            self._hand_over(Verdict.END)
            self._fail(error)
        else:
            self._loop.call_soon(self._go_on)

    def _run(self, batch: list[Request]) -> Iterator[None]:
        self._tables.begin(self._txn)
        yield from self._run_each(batch)
        if batch[0].is_big() and not self.full:  # who came meanwhile need not wait for another commit
            late = self._take_small()
            batch += late
            yield from self._run_each(late)
        self._tables.finish()

    def _run_each(self, requests: list[Request]) -> Iterator[None]:
        weight = 0
        for request in requests:
            yield from request.run(self._tables)
            weight += request.weight()
            if weight > AT_ONCE:
                weight = 0
                yield

    def _hand_over(self, verdict: Verdict) -> None:
        self._txn = None
        self._ended = verdict is Verdict.END
        self._verdicts.put(verdict)

    def _committed(self, batch: list[Request]) -> None:
        if batch:
            self.figures.changes.note(sum(request.made() for request in batch))
        if self.full and batch:
            logger.warning("the disk has room again")
            self.full = False
        self._answer(batch)

    def _answer(self, batch: list[Request]) -> None:
        for request in batch:
            future = request.future
            if future.done():
                continue
            if request.error is not None:
                future.set_exception(request.error)
            else:
                future.set_result(request.result)  # type: ignore[arg-type]

    # ---- when it was not kept ---------------------------------------------------------------------

    def _again(self, batch: list[Request], error: lmdb.Error) -> None:
        """Nothing of the batch was kept: run it once more, when there is room for it."""
        self._pending = batch + self._pending
        if isinstance(error, lmdb.MapFullError) or self._refuse() or len(batch) > 1:
            self._next()
        else:
            self._pause = self._loop.call_later(FULL_PAUSE, self._next)

    def _refuse(self) -> bool:
        """The disk is full: refuse what would take more of it; the rest, which frees or settles, waits."""
        if not self.full:
            logger.error("the disk is full: new jobs are refused until there is room")
            self.full = True
        refused: list[Request] = []
        waiting: list[Request] = []
        for request in self._pending:
            (refused if self._closing or request.adds() else waiting).append(request)
        for request in refused:
            request.error = StoreFull(FULL)
        self._answer(refused)
        self._pending = waiting
        return bool(refused)

    def _fail(self, error: BaseException) -> None:
        """The disk failed, or we did: nobody may be answered, since nobody knows what was kept."""
        logger.critical("the store failed; stopping", extra={"error": error}, exc_info=error)
        reason = StoreBroken(f"the store failed: {error}")
        reason.__cause__ = error
        self._broken(reason)

    # ---- in the thread ----------------------------------------------------------------------------

    def _serve(self) -> None:
        error: lmdb.Error | None = None
        try:
            while True:
                txn = self._transaction(error)
                self._number = txn.id()
                if error is not None:  # here: it may take a second, and the loop has nothing of ours to touch
                    self._tables.load(txn)
                self._loop.call_soon_threadsafe(self._opened, txn, error)
                verdict = self._verdicts.get()
                error = self._end(txn, verdict)
                if verdict is Verdict.END or (verdict is Verdict.REST and not self._awoken()):
                    return
        except BaseException as failure:
            self._loop.call_soon_threadsafe(self._fail, failure)

    def _transaction(self, error: lmdb.Error | None) -> Txn:
        try:
            return self._env.begin(write=True)
        except lmdb.PanicError:
            if error is None:
                raise
        # the meta page found no room: LMDB gives the environment up, the file is as it was before
        self._env = self._reopen()
        txn = self._env.begin(write=True)
        if txn.id() != self._number:
            txn.abort()
            raise error  # it is not: nobody knows whether that commit will last
        return txn

    def _awoken(self) -> bool:
        return self._verdicts.get() is Verdict.BEGIN

    def _end(self, txn: Txn, verdict: Verdict) -> lmdb.Error | None:
        """Commit or drop it; why it was not kept, if running it once more may help."""
        try:
            if verdict is Verdict.COMMIT:
                begun = time.perf_counter()
                txn.commit()
                self.figures.seconds.note(time.perf_counter() - begun)
                return None
            txn.abort()
            met, self._met = self._met, None
            if met is not None:
                raise met
            return None
        except lmdb.MapFullError as error:
            full = error
        except lmdb.Error as error:
            if not self._no_space(error):
                raise
            return error
        self._resize()
        return full

    def _no_space(self, error: lmdb.Error) -> bool:
        """Whether the disk is full. A write that it took in part is an I/O error in LMDB's words."""
        told = str(error)
        return (
            "No space left" in told
            or "quota" in told
            or ("Input/output error" in told and self._nearly_full())
        )


class Room:
    """Whether there is room for new jobs: asked of the disk once a second, more often when it runs short."""

    def __init__(self, measure: Callable[[], int]) -> None:
        self._measure = measure  # bytes that new jobs may take
        self._measured = 0.0
        self._left = 0
        self.enough = True

    def check(self, size: int, doubtful: bool) -> bool:
        """Whether jobs of `size` bytes may come in. `doubtful`: the last commit found the disk full."""
        age = time.monotonic() - self._measured
        if age >= 1.0 or (size > self._left and age >= 0.05):
            self._measured += age
            self._left = self._measure()
        elif doubtful:
            return False
        had, self.enough = self.enough, size <= self._left
        if self.enough:
            self._left -= size
        elif had:
            logger.error("the disk is nearly full: new jobs are refused until there is room")
        return self.enough
