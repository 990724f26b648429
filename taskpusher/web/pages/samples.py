"""What is told from the newest jobs, read at most every few seconds, once for all who look.

Nothing is counted for it while nobody looks, and it is right again after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from ...clock import Clock
from ...groups import Group, HostFigures, group, hosts
from ...job import Job, State
from ...pusher import TaskPusher
from ...stores.base import Query

FEW = 1000  # jobs of each state
GOOD_FOR = 2.0  # seconds

T = TypeVar("T")


class Fresh(Generic[T]):
    """A value that is made anew when it is older than `GOOD_FOR`; those who ask meanwhile wait for it.

    One that `worth` says False of is made anew for everybody.
    """

    def __init__(
        self,
        clock: Clock,
        make: Callable[[], Awaitable[T]],
        worth: Callable[[T], bool] = lambda value: True,
    ) -> None:
        self._clock, self._make, self._worth = clock, make, worth
        self._made: tuple[float, T] | None = None
        self._making = asyncio.Lock()

    async def get(self) -> T:
        async with self._making:
            now = self._clock.monotonic()
            if self._made is None or now - self._made[0] >= GOOD_FOR or not self._worth(self._made[1]):
                self._made = now, await self._make()
            return self._made[1]


class Sample(NamedTuple):
    """`ended`: completed and failed, newest of both; `errors`: those that failed. And what they tell."""

    ended: list[Job]
    errors: list[Job]
    hosts: list[HostFigures]
    groups: list[Group]


class Samples:
    """One sample for all who look."""

    def __init__(self, pusher: TaskPusher) -> None:
        self._pusher = pusher
        self._sample = Fresh(pusher.clock, self._read)

    async def newest(self) -> Sample:
        return await self._sample.get()

    async def _read(self) -> Sample:
        """Both states back to the same moment: the older jobs of one would weigh more than they did."""
        completed = (await self._pusher.page(Query(State.COMPLETED), None, FEW)).jobs
        errors = (await self._pusher.page(Query(State.ERROR), None, FEW)).jobs
        since = max((jobs[-1].finished_ms for jobs in (completed, errors) if len(jobs) == FEW), default=0)
        ended = [job for job in (*completed, *errors) if job.finished_ms >= since]
        return await asyncio.to_thread(lambda: Sample(ended, errors, hosts(ended), group(errors)))
