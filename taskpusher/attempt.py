"""One attempt: the runner makes an outcome of the job; settling makes a change of the outcome."""

import asyncio
import logging
from random import Random

from .job import AttemptRecord, ErrorClass, Held, Job, JobError, again, failed, released, stopped, succeeded
from .retry import delay, worth_another
from .runners.base import Failure, Outcome, Released, Runner, Success
from .stores.base import Settle

logger = logging.getLogger("taskpusher")


async def attempt(held: Held, runner: Runner | None) -> Outcome:
    """Do the job once. Whatever goes wrong is in the outcome, but for the cancel of this very task."""
    kind = held.job.kind
    if runner is None:
        return Failure(ErrorClass.FAILED, f"this tasker has no runner of the kind {kind}", final=True)
    try:
        outcome = await runner.run(held)
        if not isinstance(outcome, Outcome):
            raise TypeError(f"it returned {outcome!r:.100}, which is no outcome")
        return outcome
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        logger.exception("a runner failed", extra={"uid": held.job.uid, "kind": kind})
        said = str(error).encode(errors="replace").decode()
        return Failure(ErrorClass.UNKNOWN, f"{type(error).__name__} in the {kind} runner: {said}")


def settle(job: Job, outcome: Outcome, now: int, duration: float, random: Random, era: int = 0) -> Settle:
    """What the outcome makes of the job. Pure: `now` in ms, in that `era`; `duration` in seconds."""
    match outcome:
        case Success(result):
            after = succeeded(job, now, duration, result.status)
            return Settle(after, job.claim, _record(job, duration, result.status, None), result)
        case Failure():
            return _settle_failure(job, outcome, now, duration, random, era)
    return _settle_release(job, outcome, now, duration)


def _settle_failure(
    job: Job, failure: Failure, now: int, duration: float, random: Random, era: int
) -> Settle:
    error = JobError(failure.error_class, failure.message)
    status = failure.result.status if failure.result else 0
    left = job.failures + 1 < job.max_attempts and not failure.final
    if left and job.wish:
        after = stopped(job, now, duration)
    elif left and worth_another(job, failure.error_class, status):
        wait = delay(job.failures + 1, failure.retry_after, random)
        after = again(job, now + round(wait * 1000), duration, status, error, era)
    else:
        after = failed(job, now, duration, status, error)
    return Settle(after, job.claim, _record(job, duration, status, error), failure.result)


MOST_CRASHES = 3  # for kinds that run code of ours beside the tasker


def _settle_release(job: Job, outcome: Released, now: int, duration: float) -> Settle:
    """Back to its place in the queue, unless it may not be repeated or keeps taking the tasker down."""
    crashes = 1 if outcome.crashed else 0
    error = JobError(ErrorClass.UNKNOWN if outcome.sent else ErrorClass.NOT_SENT, outcome.message)
    if job.once and outcome.sent:
        error = JobError(ErrorClass.UNKNOWN, f"{outcome.message}; once: it is not repeated")
        after = failed(job, now, duration, 0, error)
    elif job.kind != "http" and job.crashes + crashes >= MOST_CRASHES:
        error = JobError(ErrorClass.CRASHED, f"it was running in {MOST_CRASHES} crashes of the tasker")
        after = failed(job, now, duration, 0, error)
    elif job.wish:
        after = stopped(job, now, duration)
    else:
        after = released(job, now, duration, error, crashes)
    return Settle(after, job.claim, _record(job, duration, 0, error))


def _record(job: Job, duration: float, status: int, error: JobError | None) -> AttemptRecord:
    return AttemptRecord(job.attempt, job.started_ms, duration, status, error)


def cut_record(job: Job, now: int) -> AttemptRecord:
    """The note of an attempt that a person's cancel cut short."""
    error = JobError(ErrorClass.UNKNOWN, "canceled while the call was under way")
    return AttemptRecord(job.attempt, job.started_ms, max(0, now - job.started_ms) / 1000, 0, error)
