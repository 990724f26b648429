"""What happened to a job, as lines of its page. All pure."""

from collections.abc import Sequence
from typing import NamedTuple

from ...job import AttemptRecord, Job, State
from ...stores.base import Details
from ...wording import short

BAR = 1000  # units of a line's bar
LEAST = 4  # units that can be seen


class Bar(NamedTuple):
    """How long a try was waited for and how long it took, in parts of `BAR`."""

    waited: int
    ran: int
    words: str


class Event(NamedTuple):
    """A line of the timeline; `at` in ms, `took` in seconds."""

    title: str
    detail: str
    at: int
    look: str = ""
    took: float | None = None
    error_class: str = ""
    bar: Bar | None = None


def timeline(details: Details) -> list[Event]:
    """What happened, oldest first."""
    job = details.job
    pushed = Event("Pushed", f"to the queue {job.queue}", job.created_ms)
    tries = _tries(job, details.attempts)
    return [pushed, *tries, *_present(job)]


def _tries(job: Job, attempts: Sequence[AttemptRecord]) -> list[Event]:
    ends = [one.started_ms + round(one.duration * 1000) for one in attempts]
    lost = attempts[0].number - 1 if attempts else 0
    # of the first that is kept nobody knows how long it was waited for, if there were others before
    begins = [attempts[0].started_ms if lost else job.created_ms, *ends] if attempts else []
    longest = max([1, *(end - before for before, end in zip(begins, ends, strict=False))])
    found = [
        _try(attempt, attempt.started_ms - before, end - attempt.started_ms, longest)
        for attempt, before, end in zip(attempts, begins, ends, strict=False)
    ]
    if lost:
        found.insert(0, Event(f"{lost} earlier {'attempt' if lost == 1 else 'attempts'}", "not kept", 0))
    return found


def _try(attempt: AttemptRecord, waited: int, ran: int, longest: int) -> Event:
    """`waited`, `ran` and `longest` in ms; a clock that was set back makes none of them negative."""
    waited, error = max(0, waited), attempt.error
    words = f"waited {short(waited / 1000)}, took {short(attempt.duration)}"
    return Event(
        f"Attempt {attempt.number}",
        " ".join(filter(None, (str(attempt.status or ""), error.message if error else ""))),
        attempt.started_ms,
        "error" if error else "completed",
        attempt.duration,
        error.error_class if error else "",
        Bar(_part(waited, longest), max(LEAST, _part(ran, longest)), words),
    )


def _part(span: int, longest: int) -> int:
    return round(BAR * min(1.0, max(0, span) / longest))


def _present(job: Job) -> list[Event]:
    """Where it is now, and what comes next."""
    match job.state:
        case State.RUNNING:
            return [Event(f"Attempt {job.attempt}", "under way", job.started_ms, "running")]
        case State.WAITING:
            return [Event("Waits", f"for attempt {job.attempt + 1}", job.due_ms, "waiting")]
        case State.PAUSED:
            return [Event("Paused", "until somebody resumes it", 0, "paused")]
    look = {State.COMPLETED: "completed", State.ERROR: "error"}.get(job.state, "")
    return [Event(job.state.capitalize(), "", job.finished_ms, look)]
