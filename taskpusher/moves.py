"""A person's moves: made of a job as it was read, written, told.

One job or a hundred thousand, the same functions do it: `TaskPusher` for one, `bulk.py` for many.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from .attempt import cut_record
from .clock import Clock
from .errors import MoveRefused, StaleEdit, UnknownJob
from .events import Events
from .job import Action, Job, State, canceled, destination, due_now, paused, resumed, retried
from .stores.base import Edit, Remove, Store

# What can be done to many at once; an edit is made for one job.
FOR_MANY = (Action.CANCEL, Action.PAUSE, Action.RESUME, Action.RETRY, Action.RUN, Action.REMOVE)


class Move(msgspec.Struct, frozen=True):
    """What shall be written; `cut` is the claim of the call that ends with it, 0 where none does."""

    change: Edit | Remove
    cut: int = 0


def move(job: Job, action: Action, now: int) -> Move:
    """The move of a job as it was read, at `now` (ms). Raises MoveRefused."""
    match action:
        case Action.CANCEL:
            return _cancel(job, now)
        case Action.PAUSE:
            return Move(Edit(paused(job)))
        case Action.RESUME:
            return Move(Edit(resumed(job)))
        case Action.RETRY:
            return Move(Edit(retried(job, now)))
        case Action.RUN:
            return Move(Edit(due_now(job, now)))
        case Action.REMOVE:
            destination(job, action)
            return Move(Remove(job.uid, job.revision))
    raise ValueError(f"{action} is no move that a person makes of a job alone")


def allowed(job: Job, action: Action) -> bool:
    """Whether the table has that move for the job as it is."""
    try:
        destination(job, action)
    except MoveRefused:
        return False
    return True


def _cancel(job: Job, now: int) -> Move:
    after = canceled(job, now)
    if job.state is State.RUNNING and after.state is State.CANCELED:
        return Move(Edit(after, attempt=cut_record(job, now)), cut=job.claim)
    return Move(Edit(after))


class Moves:
    """Writes moves. `wake` says that there may be something to claim, `cut` ends the call under a claim."""

    def __init__(
        self, store: Store, clock: Clock, events: Events, wake: Callable[[], None], cut: Callable[[int], None]
    ) -> None:
        self._store, self._clock, self._events = store, clock, events
        self.wake, self._cut = wake, cut

    async def of(self, uid: str, action: Action) -> Job:
        """Move one job; as it stands after it, or for the last time. Raises UnknownJob, MoveRefused."""
        return await self.write(uid, lambda job: move(job, action, self._clock.now()))

    async def write(self, uid: str, make: Callable[[Job], Move]) -> Job:
        """Write what `make` makes of the job, again when it changed meanwhile."""
        while True:
            job = await self._store.get(uid)
            if job is None:
                raise UnknownJob(uid)
            made = make(job)
            writing = self.begin(made)
            self.wake()  # a free worker's claim rides in the same commit
            try:
                await writing
            except StaleEdit:
                continue
            self.told(made)
            return made.change.job if isinstance(made.change, Edit) else job

    def begin(self, made: Move) -> "asyncio.Future[Any]":
        """Queue its write, which is done when the future is. Raises StaleEdit, UnknownJob, KeyTaken there."""
        return asyncio.ensure_future(self._store.write(made.change))

    def told(self, made: Move) -> None:
        """What has been written is told; only then is the call cut."""
        if isinstance(made.change, Edit):
            self._events.moved([made.change.job])
        else:
            self._events.removed()
        if made.cut:
            self._cut(made.cut)
