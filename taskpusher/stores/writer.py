"""The one thread that writes to LMDB, many requests a commit.

What arrives while a commit is under way goes into the next one; nobody is answered before the commit that
holds his request has been synced.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import lmdb

from ..errors import StoreBroken, StoreFull, TaskPusherError
from .base import Add, Change, Claimed, Written
from .tables import Tables

logger = logging.getLogger("taskpusher")

FULL_PAUSE = 1.0  # seconds between two tries to write to a full disk
PAGE = 4096  # bytes
FULL = "the disk is full; nothing was stored: make room, the tasker goes on by itself"


class Write:
    """Changes to be made together."""

    __slots__ = ("changes", "error", "future", "result")

    def __init__(self, changes: Sequence[Change], future: "asyncio.Future[list[Written]]") -> None:
        self.changes = changes
        self.future = future
        self.result: list[Written] | None = None
        self.error: Exception | None = None

    def run(self, tables: Tables) -> "Claim | None":
        self.result = self.error = None
        try:
            self.result = tables.write(self.changes)
        except TaskPusherError as error:
            self.error = error
        except lmdb.Error:  # the transaction's fault, not the request's
            raise
        except Exception as error:
            logger.exception("a change could not be written")
            self.error = error
        return None

    def adds(self) -> bool:
        return any(isinstance(change, Add) for change in self.changes)

    def size(self) -> int:
        """Bytes that the jobs may take on the disk, about."""
        return sum(PAGE + len(change.body) for change in self.changes if isinstance(change, Add))


class Claim:
    """Jobs asked for."""

    __slots__ = ("due", "error", "future", "limit", "now", "result")

    def __init__(self, limit: int, now: int, due: int, future: "asyncio.Future[Claimed]") -> None:
        self.limit, self.now, self.due = limit, now, due
        self.future = future
        self.result: Claimed | None = None
        self.error: Exception | None = None

    def run(self, tables: Tables) -> "Claim | None":
        """Claim; where many held-back jobs were met, the rest comes with the next commit."""
        self.error = None
        claimed, more = tables.claim(self.limit, self.now, self.due)
        if more and not (claimed.jobs or claimed.expired):
            self.result = None
            return self
        self.result = claimed
        return None

    def adds(self) -> bool:
        return False


Request = Write | Claim


class Writer:
    """Runs requests in commits, in a thread of its own; their futures are answered on the event loop."""

    def __init__(
        self,
        env: Any,
        tables: Tables,
        loop: asyncio.AbstractEventLoop,
        resize: Callable[[], None],
        broken: Callable[[BaseException], None],
        nearly_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._env, self._tables, self._loop = env, tables, loop
        self._resize, self._broken, self._nearly_full = resize, broken, nearly_full
        self._pending: list[Request] = []
        self._lock = threading.Lock()  # of _pending, _idle and _flushing
        self._idle = True
        self._batches: SimpleQueue[list[Request] | None] = SimpleQueue()
        self._closing = threading.Event()
        self.full = False
        self.commits = 0
        self._thread = threading.Thread(target=self._run, name="taskpusher-writer", daemon=True)
        self._thread.start()

    # ---- on the event loop ------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue a request. What is submitted before the loop's next turn shares a commit."""
        with self._lock:
            self._pending.append(request)
            wake = self._idle
            self._idle = False
        if wake:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        with self._lock:
            batch, self._pending = self._pending, []
        self._batches.put(batch)

    def close(self) -> None:
        """Finish what was submitted, then end the thread. Blocks; call it off the loop."""
        self._closing.set()
        self._flush()
        self._batches.put(None)
        self._thread.join()

    def _answer(self, batch: list[Request]) -> None:
        for request in batch:
            future = request.future
            if future.done():
                continue
            if request.error is not None:
                future.set_exception(request.error)
            else:
                future.set_result(request.result)  # type: ignore[arg-type]

    # ---- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            while batch:
                try:
                    unfinished = self._commit(batch)
                except BaseException as error:
                    self._fail(error)
                    return
                with self._lock:
                    batch, self._pending = unfinished + self._pending, []
                    self._idle = not batch

    def _commit(self, batch: list[Request]) -> list[Request]:
        """One commit and its answers; again after the map has grown, or when the disk has room again.

        Returns the requests that want another commit.
        """
        while batch:
            try:
                unfinished = self._transact(batch)
            except lmdb.MapFullError:
                self._resize()
            except lmdb.Error as error:
                if not self._no_space(error):
                    raise
                batch = self._wait_for_room(batch)
            else:
                again = set(unfinished)
                self._loop.call_soon_threadsafe(self._answer, [one for one in batch if one not in again])
                return unfinished
            self._reload()
        return []

    def _transact(self, batch: list[Request]) -> list[Request]:
        with self._env.begin(write=True) as txn:
            self._tables.begin(txn)
            unfinished: list[Request] = [
                rest for request in batch if (rest := request.run(self._tables)) is not None
            ]
            self._tables.finish()
        self.commits += 1
        if self.full:
            logger.warning("the disk has room again")
            self.full = False
        return unfinished

    def _wait_for_room(self, batch: list[Request]) -> list[Request]:
        """The disk is full: refuse what would take more of it; the rest, which frees or settles, waits."""
        if not self.full:
            logger.error("the disk is full: new jobs are refused until there is room")
            self.full = True
        with self._lock:
            batch, self._pending = batch + self._pending, []
        refused = {request for request in batch if request.adds() or self._closing.is_set()}
        for request in refused:
            request.error = StoreFull(FULL)
        self._loop.call_soon_threadsafe(self._answer, list(refused))
        if not refused:
            self._closing.wait(FULL_PAUSE)
        return [request for request in batch if request not in refused]

    def _no_space(self, error: lmdb.Error) -> bool:
        """Whether the disk is full. A write that it took in part is an I/O error in LMDB's words."""
        told = str(error)
        return (
            "No space left" in told
            or "quota" in told
            or ("Input/output error" in told and self._nearly_full())
        )

    def _reload(self) -> None:
        with self._env.begin() as txn:
            self._tables.load(txn)

    def _fail(self, error: BaseException) -> None:
        """The disk failed, or we did: nobody may be answered, since nobody knows what was kept."""
        logger.critical("the store failed; stopping", extra={"error": error}, exc_info=error)
        reason = StoreBroken(f"the store failed: {error}")
        reason.__cause__ = error
        self._loop.call_soon_threadsafe(self._broken, reason)


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
