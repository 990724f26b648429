"""When to attempt again: failures -> delay, and which failures are worth another attempt."""

from random import Random

from .job import ErrorClass, Job

FIRST_DELAY = 5.0  # seconds
LONGEST_DELAY = 3600.0
LONGEST_RETRY_AFTER = 86400.0
JITTER = 0.2  # each delay is spread by up to a fifth either way, so that failures do not return as one wave

RETRYABLE_STATUSES = frozenset({408, 425, 429}) | frozenset(range(500, 600))


def delay(failures: int, retry_after: float | None, random: Random) -> float:
    """Seconds to wait after the `failures`-th failure: 5, 10, 20, … up to an hour, ± a fifth.

    A Retry-After (RFC 9110, 10.2.3) is a floor, never cut short by the jitter, and believed up to a day.
    """
    backoff = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 30))
    spread = backoff * (1 + JITTER * (2 * random.random() - 1))
    return max(spread, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def worth_another(job: Job, error_class: ErrorClass, status: int) -> bool:
    """Whether a failure of this class may go away by itself, and the job allows another call."""
    if error_class is ErrorClass.NOT_SENT:
        return True
    if job.once:  # the call may have gone out
        return False
    if error_class is ErrorClass.ANSWERED:
        return status in RETRYABLE_STATUSES
    return error_class in (ErrorClass.UNKNOWN, ErrorClass.FAILED)
