"""The feed: gathers what the workers settle and claim, sleeps until the next due job, hands jobs out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from .clock import Clock
from .errors import ClaimLost, StoreBroken, StoreError
from .job import Held, Job
from .stores.base import Claimed, Settle, Store, Then

logger = logging.getLogger("taskpusher")

LONGEST_SLEEP = 600.0  # seconds: a timer stands still while the machine sleeps

Next = asyncio.Future[Held | None]
Settling = tuple[Settle, Next]  # what is being written for whom


class Feed:
    """Jobs for whoever calls `next`.

    `give_back` takes a job that was claimed when nobody waited any more; `settled` hears what became of jobs,
    those that the store settled as expired among them; `pushed` which jobs came along, `began` which are held
    from now on. `then` goes to the store's `claim`.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        give_back: Callable[[Held], None],
        settled: Callable[[Sequence[Job]], None],
        pushed: Callable[[Sequence[Job]], None],
        began: Callable[[Sequence[Held]], None],
        then: Then | None = None,
    ) -> None:
        self._store, self._clock, self._give_back = store, clock, give_back
        self._tell_settled, self._tell_pushed, self._tell_began = settled, pushed, began
        self._then = then
        self._waiters: deque[Next] = deque()
        self._settling: list[Settling] = []  # not asked of the store yet
        self._gathering = False  # what comes in this turn of the loop is asked in one
        self._claims: set[asyncio.Future[Claimed]] = set()
        self._unsettled = 0  # of those who wait, how many have a settlement under way
        self._asked = 0  # jobs asked of the store and not answered yet
        self._out = 0  # jobs handed out whose work has not ended
        self._hints = 0  # times that something may have become claimable
        self._timer: asyncio.TimerHandle | None = None
        self._until: int | None = None  # claim only what was due then (draining)
        self.behind = 0  # ms: claim only what was due so long ago (the clock was set, see timeshift.py)
        self.closed = asyncio.Event()

    # ---- for the workers --------------------------------------------------------------------------

    def first(self) -> Next:
        """A job for a worker that has none out; None when the feed is closed."""
        self._out += 1
        return self.next()

    def next(self, change: Settle | None = None) -> Next:
        """The next job, for whom the work of the last has come to `change`; None when the feed is closed.

        The claim rides in the commit that settles the last one. Raises what kept `change` from being written;
        a lost claim is only logged, since whoever took the job has written what became of it.
        """
        self._out -= 1
        future: Next = asyncio.get_running_loop().create_future()
        if change is not None:
            self._settling.append((change, future))
        elif self.closed.is_set():
            future.set_result(None)
            return future
        else:
            self._waiters.append(future)
        if not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_soon(self._ask)
        return future

    # ---- for the pusher ---------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may have become claimable."""
        self._hints += 1
        self._ask()  # at once: the claim is to ride in the commit of what has just been written

    def drain(self, until: int) -> None:
        """Go on with what is due at `until` (ms), then close."""
        self._until = until
        self.wake()

    def close(self) -> None:
        """Claim nothing more; those who wait get None, once what they settle has been written."""
        self.closed.set()
        self._cancel_timer()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def settled(self) -> None:
        """Until every settlement and claim has been answered (and what came too late given back)."""
        while self._settling or self._claims:
            if self._settling:
                self._ask()
            await asyncio.wait(self._claims)

    # ---- asking the store -------------------------------------------------------------------------

    def _ask(self) -> None:
        self._gathering = False
        settling, self._settling = self._settling, []
        self._unsettled += len(settling)
        # Also when nothing was left the last time: a job that has ended may have made room for another.
        limit = 0 if self.closed.is_set() else len(self._waiters) + self._unsettled - self._asked
        if limit <= 0 and not settling:
            return
        limit = max(0, limit)
        self._asked += limit
        changes = [change for change, _ in settling]
        now, due = self._clock.now(), self._until
        if self.behind:
            due = now - self.behind if due is None else min(due, now - self.behind)
        claim = asyncio.ensure_future(self._store.claim(limit, now, due, changes, self._then))
        self._claims.add(claim)
        claim.add_done_callback(partial(self._answered, settling, limit, self._hints))

    def _answered(
        self, settling: list[Settling], limit: int, hints: int, claim: "asyncio.Future[Claimed]"
    ) -> None:
        self._claims.discard(claim)
        self._asked -= limit
        self._unsettled -= len(settling)
        error = StoreBroken("the store dropped a claim") if claim.cancelled() else claim.exception()
        if error is not None:
            self._refused(settling, error)
            return
        claimed = claim.result()
        self._settled(settling, claimed)
        self._tell_began(claimed.jobs)
        for held in claimed.jobs:
            self._hand_out(held)
        if len(claimed.jobs) < limit and not self.closed.is_set():
            self._run_dry(claimed.next_due, hints)

    def _refused(self, settling: list[Settling], error: BaseException) -> None:
        for _, future in settling:
            if not future.done():
                future.set_exception(error)
        if isinstance(error, StoreError):
            self._sleep(self._clock.now() + 1000)
            return
        while self._waiters:  # a fault of the store's: whoever waits must not wait for ever
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _settled(self, settling: list[Settling], claimed: Claimed) -> None:
        """Tell what was settled; whoever had it settled waits for the next job from now on."""
        closed = self.closed.is_set()
        told, pushed = [*claimed.expired], [*claimed.pushed]
        for (change, future), job in zip(settling, claimed.settled, strict=True):
            if isinstance(job, Job):
                told.append(job)
                if change.then:
                    pushed += [add.job for add in change.then]
            elif isinstance(job, ClaimLost):
                logger.info("an attempt ended after its job was taken from it", extra={"uid": change.job.uid})
            elif not future.done():
                future.set_exception(job)
            if not closed:
                self._waiters.append(future)  # one that is done already is passed over
            elif not future.done():
                future.set_result(None)
        if told:
            self._tell_settled(told)
        if pushed:
            self._tell_pushed(pushed)

    def _hand_out(self, held: Held) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._out += 1
                waiter.set_result(held)
                return
        self._give_back(held)

    def _run_dry(self, next_due: int | None, hints: int) -> None:
        """The store had fewer jobs than were asked for."""
        if hints != self._hints:  # asked before the latest hint
            self._ask()
        elif self._until is None:
            self._sleep(next_due)
        elif next_due is not None and next_due <= self._until:
            self._ask()
        elif not (self._claims or self._settling or self._out):
            self.close()

    def _sleep(self, due: int | None) -> None:
        self._cancel_timer()
        if due is None or self.closed.is_set():
            return
        wait = min(max(0.0, (due + self.behind - self._clock.now()) / 1000), LONGEST_SLEEP)
        self._timer = asyncio.get_running_loop().call_later(wait, self.wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
