"""The feed: gathers the workers' claims, sleeps until the next due job, hands jobs out."""

import asyncio
from collections import deque
from collections.abc import Callable

from .clock import Clock
from .errors import StoreError
from .job import Held, Job
from .stores.base import Claimed, Store

LONGEST_SLEEP = 600.0  # seconds: a timer does not see that the wall clock was set

Give = Callable[[Held], None]


class Feed:
    """Jobs for whoever calls `next`.

    `give_back` takes a job that was claimed when nobody waited any more, `expired` one that had expired.
    """

    def __init__(self, store: Store, clock: Clock, give_back: Give, expired: Callable[[Job], None]) -> None:
        self._store, self._clock, self._give_back, self._expired = store, clock, give_back, expired
        self._waiters: deque[asyncio.Future[Held | None]] = deque()
        self._out = 0  # jobs handed out whose work has not ended
        self._asked = 0  # jobs asked of the store and not answered yet
        self._hints = 0  # times that something may have become claimable
        self._timer: asyncio.TimerHandle | None = None
        self._until: int | None = None  # claim only what was due then (draining)
        self.closed = asyncio.Event()
        self._claims: set[asyncio.Future[Claimed]] = set()

    def first(self) -> "asyncio.Future[Held | None]":
        """The first job of a worker; None when the feed is closed."""
        self._out += 1
        return self.next()

    def next(self) -> "asyncio.Future[Held | None]":
        """The next job, for whom the work of the last has ended; None when the feed is closed.

        It is asked of the store at once, so that the claim rides in the commit that settles the last one.
        """
        self._out -= 1
        future: asyncio.Future[Held | None] = asyncio.get_running_loop().create_future()
        if self.closed.is_set():
            future.set_result(None)
            return future
        self._waiters.append(future)
        self._ask(1)  # even when nothing was left: the job that has ended may have made room for another
        return future

    def wake(self) -> None:
        """Something may have become claimable."""
        self._hints += 1
        self._ask_for_all()

    def _ask_for_all(self) -> None:
        wanted = len(self._waiters) - self._asked
        if wanted > 0 and not self.closed.is_set():
            self._ask(wanted)

    def drain(self, until: int) -> None:
        """Go on with what is due at `until` (ms), then close."""
        self._until = until
        self.wake()

    def close(self) -> None:
        """Claim nothing more; those who wait get None."""
        self.closed.set()
        self._cancel_timer()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def settled(self) -> None:
        """Until every claim that was asked for has been answered (and given back, once closed)."""
        while self._claims:
            await asyncio.wait(self._claims)

    def _ask(self, limit: int) -> None:
        self._asked += limit
        claim = asyncio.ensure_future(self._store.claim(limit, self._clock.now(), self._until))
        hints = self._hints
        self._claims.add(claim)
        claim.add_done_callback(lambda done: self._answered(done, limit, hints))

    def _answered(self, claim: "asyncio.Future[Claimed]", limit: int, hints: int) -> None:
        self._claims.discard(claim)
        self._asked -= limit
        if claim.cancelled():
            return
        if isinstance(error := claim.exception(), StoreError):
            self._sleep(self._clock.now() + 1000)
            return
        if error is not None:
            raise error
        claimed = claim.result()
        for held in claimed.jobs:
            self._hand_out(held)
        for job in claimed.expired:
            self._expired(job)
        if len(claimed.jobs) == limit or self.closed.is_set():
            return
        if hints != self._hints:  # asked before the latest hint
            self._ask_for_all()
            return
        if self._until is None:
            self._sleep(claimed.next_due)
        elif claimed.next_due is not None and claimed.next_due <= self._until:
            self._ask_for_all()
        elif not self._asked and not self._out:
            self.close()

    def _hand_out(self, held: Held) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._out += 1
                waiter.set_result(held)
                return
        self._give_back(held)

    def _sleep(self, due: int | None) -> None:
        self._cancel_timer()
        if due is None or self.closed.is_set():
            return
        wait = min(max(0.0, (due - self._clock.now()) / 1000), LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(wait, self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
