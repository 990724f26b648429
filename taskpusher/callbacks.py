"""`--error-callback`: a job that ends in error for good is told to a URL, by a job of its own.

That job is pushed in the commit that ends the other one, so that a crash loses none and makes none up. It is
like any other, but that it has no callback itself.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from .clock import Clock
from .document import whole
from .errors import StoreError
from .job import Job, State
from .stores.base import ATTEMPTS_KEPT, Add, Details, Edit, Settle, Store
from .uid import new_uid
from .url import parse_url

logger = logging.getLogger("taskpusher")

EVENT = "job.error"
QUEUE = "callbacks"
TAG = "callback"
ABOUT = "about"  # in `Job.extra`: the uid of the job that is told of
MAX_ATTEMPTS = 10  # over some 45 minutes
TIMEOUT = 30.0  # seconds

Ending = TypeVar("Ending", Settle, Edit)


class ErrorCallback:
    """Makes the jobs that tell `url` of jobs in error. Raises ValueError for a URL that can't be called."""

    def __init__(self, url: str, store: Store, clock: Clock) -> None:
        self._target, self._host = parse_url(url)
        self._store, self._clock = store, clock

    async def along(self, change: Ending) -> Ending:
        """The change, with the callback to be pushed along with it if it ends its job in error."""
        if change.job.state is not State.ERROR or ABOUT in change.job.extra:
            return change
        return replace(change, then=self.jobs(await self._after(change)))

    async def _after(self, change: Settle | Edit) -> Details:
        """What is kept of the job once the change has been made."""
        job = change.job
        try:
            found = await self._store.details(job.uid)
        except (StoreError, msgspec.MsgspecError) as error:  # better to tell less than nothing
            logger.warning("a callback tells less than it could: %s", error, extra={"uid": job.uid})
            found = None
        before = found or Details(job, b"", None, [])
        attempts = before.attempts if change.attempt is None else [*before.attempts, change.attempt]
        result = change.result if isinstance(change, Settle) and change.result else before.result
        return Details(job, before.body, result, attempts[-ATTEMPTS_KEPT:])

    def jobs(self, details: Details) -> tuple[Add, ...]:
        """The callback of a job that is in error, unless it is one itself. Can be the `then` of a claim."""
        about = details.job
        if ABOUT in about.extra:
            return ()
        try:
            body = msgspec.json.encode({"event": EVENT, "job": whole(details, masked=True)})
        except Exception:  # what can't be told can't be stored either: whoever does that says more
            logger.exception("a callback could not be made", extra={"uid": about.uid})
            return ()
        now = self._clock.now()
        job = Job(
            uid=new_uid(now),
            target=self._target,
            method="POST",
            headers=(("Content-Type", "application/json"),),
            body_size=len(body),
            success="2xx",
            extra={ABOUT: about.uid},
            host=self._host,
            queue=QUEUE,
            due_ms=now,
            timeout=TIMEOUT,
            max_attempts=MAX_ATTEMPTS,
            title=f"{EVENT} {about.uid}",
            tags=(TAG, about.uid),
            created_ms=now,
            trace=about.trace,
        )
        return (Add(job, body),)


class NoCallback:
    """Where nobody wants to be told."""

    async def along(self, change: Ending) -> Ending:
        return change

    jobs: Callable[[Details], tuple[Add, ...]] | None = None


Callbacks = ErrorCallback | NoCallback


def callbacks(url: str | None, store: Store, clock: Clock) -> Callbacks:
    """What tells that URL of errors. Raises ValueError for one that can't be called."""
    if url is None:
        return NoCallback()
    try:
        return ErrorCallback(url, store, clock)
    except ValueError as error:
        raise ValueError(f"error_callback: the URL {error}") from None
