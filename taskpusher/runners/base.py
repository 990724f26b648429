"""What a runner is, and what an attempt can come to."""

from typing import Protocol

import msgspec

from ..job import ErrorClass, Held, Result


class Success(msgspec.Struct, frozen=True):
    result: Result = Result()


class Failure(msgspec.Struct, frozen=True):
    """The attempt failed. `retry_after` is the wait in seconds that the target asked for."""

    error_class: ErrorClass
    message: str
    result: Result | None = None
    retry_after: float | None = None
    final: bool = False  # no further attempt, whatever is left of them


class Released(msgspec.Struct, frozen=True):
    """The tasker gave the attempt up for reasons of its own: it stopped, or crashed."""

    message: str
    crashed: bool = False
    sent: bool = True  # whether the work may have begun


Outcome = Success | Failure | Released


class Runner(Protocol):
    """Does the jobs of one kind."""

    async def run(self, held: Held) -> Outcome:
        """Do the job, within its own `timeout`, and say what it came to.

        Failures of the work are a Failure, not an exception. When the task is cancelled the work must be
        stopped: that is how a running job is cut.
        """

    async def close(self) -> None:
        """Let go of connections and processes."""
