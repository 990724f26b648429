"""A store in memory that does to its users what a disk does.

It answers late, is full for a while, and dies between what it wrote and what it told of it. What was
committed stays, in the `Disk`, for the next opening.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from taskpusher.errors import StoreFull
from taskpusher.job import Job
from taskpusher.stores.base import Add, Caps, Change, Claimed, QueueRule, Settle, StoreFigures, Then, Written
from taskpusher.stores.memory import MemoryStore

READS = ("get", "details", "page", "expiring", "finished", "counts", "totals", "queues", "orphans", "notes")


class Disk(MemoryStore):
    """What has been committed; `moved(before, after)` hears of every job's every change."""

    def __init__(self, moved: Callable[[Job | None, Job | None], None]) -> None:
        super().__init__()
        self._moved = moved

    @property
    def jobs(self) -> dict[str, Job]:
        return {uid: row.job for uid, row in self._rows.items()}

    def job(self, uid: str) -> Job | None:
        row = self._rows.get(uid)
        return row.job if row else None

    def rule(self, queue: str) -> QueueRule:
        return self._rules.get(queue, QueueRule(queue))

    def _keep(self, uid: str, row: Any) -> None:
        before = self._rows.get(uid)
        super()._keep(uid, row)
        self._moved(before.job if before else None, row.job if row else None)


class FaultyStore:
    """One opening of the disk. `dead`: the process was killed, nothing is written or answered any more."""

    def __init__(self, disk: Disk, random: Random) -> None:
        self.disk, self._random = disk, random
        self.dead = self.full = False
        self._queue: list[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._committing = False
        self._told_at = 0.0  # answers come in the order of their commits

    async def open(self, node: str, caps: Caps) -> None:
        await self._late()
        await self.disk.open(node, caps)

    async def close(self) -> None:
        while self._committing or self._queue:
            await asyncio.sleep(0.01)
        self.dead = True

    def watch(self, hint: Callable[[], None], broken: Callable[[BaseException], None]) -> None:
        pass

    async def renew(self) -> dict[str, Job]:
        return {}

    # ---- writing ----------------------------------------------------------------------------------

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        refused = self.full and (any(isinstance(change, Add) for change in changes) or self._one_in(2))
        return self._submit(lambda: self.disk.write(*changes), refused)

    def claim(
        self,
        limit: int,
        now: int,
        due: int | None = None,
        settles: Sequence[Settle] = (),
        then: Then | None = None,
    ) -> Awaitable[Claimed]:
        refused = self.full and self._one_in(2)
        return self._submit(lambda: self.disk.claim(limit, now, due, settles, then), refused)

    def _submit(self, make: Callable[[], Awaitable[Any]], refused: bool) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.dead:
            return future  # for ever
        if refused:
            future.set_exception(StoreFull("full"))
            return future
        self._queue.append((make, future))
        if not self._committing:
            self._committing = True
            asyncio.get_running_loop().call_later(self._delay(), self._commit)
        return future

    def _commit(self) -> None:
        self._committing = False
        if self.dead:
            return
        batch, self._queue = self._queue, []
        answers = [(future, make()) for make, future in batch]
        loop = asyncio.get_running_loop()
        self._told_at = max(self._told_at + 1e-4, loop.time() + self._delay())
        loop.call_at(self._told_at, self._answer, answers)

    def _answer(self, answers: list[tuple["asyncio.Future[Any]", Any]]) -> None:
        for future, written in answers:
            error = written.exception()  # taken, so that nobody misses it
            if self.dead or future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(written.result())

    # ---- reading ----------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name not in READS:
            raise AttributeError(name)

        async def read(*args: Any) -> Any:
            await self._late()
            return await getattr(self.disk, name)(*args)

        return read

    async def figures(self) -> StoreFigures:
        await self._late()
        return StoreFigures("memory", "memory:", 0, 0, 0, self.full)

    async def _late(self) -> None:
        await asyncio.sleep(self._delay())
        if self.dead:
            await asyncio.get_running_loop().create_future()

    def _delay(self) -> float:
        return self._random.choice((0.001, 0.001, 0.001, 0.002, 0.05, 5.0) if self._one_in(20) else (0.001,))

    def _one_in(self, n: int) -> bool:
        return self._random.randrange(n) == 0
