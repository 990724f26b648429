"""What happened to a job."""

from typing import Any

from taskpusher.job import AttemptRecord, ErrorClass, JobError, State
from taskpusher.stores.base import Details
from taskpusher.testing import NOW, a_job
from taskpusher.web.pages.timeline import Event, timeline

FAILED = JobError(ErrorClass.ANSWERED, "answered 500")


def lines(*attempts: AttemptRecord, **job: Any) -> list[Event]:
    return timeline(Details(a_job(**job), b"", None, list(attempts)))


def attempt(number: int, after: float, took: float, **more: Any) -> AttemptRecord:
    return AttemptRecord(number, NOW + round(after * 1000), took, **more)


def test_a_job_that_waits() -> None:
    pushed, waits = lines(queue="mail")
    assert (pushed.title, pushed.detail, pushed.at) == ("Pushed", "to the queue mail", NOW)
    assert (waits.title, waits.detail) == ("Waits", "for attempt 1")


def test_attempts_with_how_long_they_were_waited_for_and_took() -> None:
    first = attempt(1, 1.0, 2.0, status=500, error=FAILED)
    _, one, two, end = lines(
        first, attempt(2, 7.0, 1.0, status=200), state=State.COMPLETED, finished_ms=NOW + 8000
    )
    assert (one.title, one.detail, one.look, one.error_class) == (
        "Attempt 1",
        "500 answered 500",
        "error",
        "answered",
    )
    assert (two.detail, two.look, two.error_class) == ("200", "completed", "")
    assert one.bar is not None and two.bar is not None
    assert (one.bar.waited, one.bar.ran) == (200, 400)
    assert (two.bar.waited, two.bar.ran) == (800, 200)
    assert two.bar.words == "waited 4s, took 1s"
    assert (end.title, end.look) == ("Completed", "completed")


def test_where_it_is_now() -> None:
    def last(state: State) -> tuple[str, str, str]:
        event = lines(state=state, attempt=1)[-1]
        return event.title, event.detail, event.look

    assert last(State.RUNNING) == ("Attempt 1", "under way", "running")
    assert last(State.PAUSED) == ("Paused", "until somebody resumes it", "paused")
    assert last(State.ERROR) == ("Error", "", "error")
    assert last(State.CANCELED) == ("Canceled", "", "")


def test_of_a_clock_that_was_set_back_no_bar_is_negative() -> None:
    _, one, *_ = lines(attempt(1, -100.0, 0.0), state=State.RUNNING)
    assert one.bar is not None
    assert (one.bar.waited, one.bar.ran) == (0, 4)
    assert one.bar.words == "waited 0ms, took 0ms"


def test_attempts_that_are_not_kept_are_told_of_and_not_waited_for() -> None:
    _, earlier, one, _ = lines(attempt(3, 1000.0, 1.0))
    assert (earlier.title, earlier.detail) == ("2 earlier attempts", "not kept")
    assert one.bar is not None
    assert (one.bar.waited, one.bar.ran) == (0, 1000)
    assert lines(attempt(2, 0.0, 1.0))[1].title == "1 earlier attempt"
