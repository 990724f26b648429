"""What an outcome makes of a job."""

from random import Random

import pytest

from taskpusher.attempt import attempt, settle
from taskpusher.job import ErrorClass, Held, Job, Result, State, Wish, claimed
from taskpusher.retry import delay
from taskpusher.runners.base import Failure, Outcome, Released, Success
from taskpusher.testing import NOW, ScriptedRunner, a_job


def running(**fields: object) -> Job:
    return claimed(a_job(**fields), 7, "node/1", NOW)


def settled(job: Job, outcome: Outcome) -> Job:
    return settle(job, outcome, NOW + 2000, 2.0, Random(1)).job


def answered(status: int, **more: object) -> Failure:
    return Failure(ErrorClass.ANSWERED, f"answered {status}", Result(status), **more)


def test_success_completes_the_job() -> None:
    change = settle(running(), Success(Result(200, (), b"ok")), NOW + 2000, 2.0, Random(1))
    job = change.job
    assert (job.state, job.finished_ms, job.duration, job.status) == (State.COMPLETED, NOW + 2000, 2.0, 200)
    assert job.claim == 0 and change.claim == 7 and job.error is None and job.failures == 0
    assert change.attempt.number == 1 and change.attempt.started_ms == NOW and change.attempt.error is None


RETRIED = [
    *(Failure(kind, "x") for kind in (ErrorClass.NOT_SENT, ErrorClass.UNKNOWN, ErrorClass.FAILED)),
    *(answered(status) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
]
FINAL = [
    *(answered(status) for status in (201, 204, 301, 400, 401, 404, 410, 422, 499, 600)),
    Failure(ErrorClass.NOT_SENT, "target not allowed", final=True),
]


@pytest.mark.parametrize("failure", RETRIED)
def test_what_may_pass_is_retried_while_attempts_are_left(failure: Failure) -> None:
    job = settled(running(max_attempts=2), failure)
    assert job.state is State.WAITING and job.failures == 1 and job.due_ms > NOW and job.delayed
    assert job.error is not None and job.error.message == failure.message
    last = settled(running(max_attempts=2, failures=1, attempt=1), failure)
    assert last.state is State.ERROR and last.failures == 2 and last.finished_ms


@pytest.mark.parametrize("failure", FINAL)
def test_what_will_not_pass_is_final(failure: Failure) -> None:
    assert settled(running(max_attempts=9), failure).state is State.ERROR


def test_the_first_attempt_counts_among_max_attempts() -> None:
    assert settled(running(max_attempts=1), RETRIED[0]).state is State.ERROR


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (Failure(ErrorClass.NOT_SENT, "refused"), State.WAITING),
        (Failure(ErrorClass.UNKNOWN, "reset"), State.ERROR),
        (answered(503), State.ERROR),
    ],
)
def test_with_once_only_a_call_that_never_went_out_is_repeated(failure: Failure, state: State) -> None:
    assert settled(running(max_attempts=5, once=True), failure).state is state


def test_a_released_job_goes_back_to_its_place_with_no_failure_charged() -> None:
    job = settled(running(due_ms=NOW - 9, seq=4), Released("stopped"))
    assert (job.state, job.due_ms, job.seq, job.failures, job.attempt) == (State.WAITING, NOW - 9, 4, 0, 1)


def test_with_once_a_job_released_after_sending_is_an_unknown_error() -> None:
    job = settled(running(once=True), Released("stopped"))
    assert job.state is State.ERROR and job.error is not None and job.error.error_class is ErrorClass.UNKNOWN
    unsent = settled(running(once=True), Released("stopped", sent=False))
    assert unsent.state is State.WAITING


@pytest.mark.parametrize(
    ("wish", "state"), [(Wish.CANCEL, State.CANCELED), (Wish.PAUSE, State.PAUSED), (None, State.WAITING)]
)
@pytest.mark.parametrize(
    "outcome", [Released("stopped"), Released("crashed", crashed=True), Failure(ErrorClass.FAILED, "exit 1")]
)
def test_a_job_that_would_wait_again_goes_where_the_wish_on_it_says(
    wish: Wish | None, state: State, outcome: Outcome
) -> None:
    job = settled(running(kind="command", max_attempts=5, wish=wish), outcome)
    assert job.state is state and job.wish is None and job.claim == 0


def test_a_command_that_took_the_tasker_down_three_times_is_set_aside() -> None:
    crash = Released("crashed", crashed=True)
    job = settled(running(kind="command", crashes=1), crash)
    assert job.state is State.WAITING and job.crashes == 2
    job = settled(running(kind="command", crashes=2), crash)
    assert job.state is State.ERROR and job.error is not None and job.error.error_class is ErrorClass.CRASHED
    assert settled(running(crashes=50), crash).state is State.WAITING, "a URL job runs no code of ours"


def test_backoff_doubles_to_an_hour_and_is_spread() -> None:
    random = Random(3)
    for failures, expected in ((1, 5), (2, 10), (3, 20), (10, 2560), (11, 3600), (1000, 3600)):
        waits = [delay(failures, None, random) for _ in range(200)]
        assert all(0.8 * expected <= wait <= 1.2 * expected for wait in waits)
        assert max(waits) - min(waits) > 0.2 * expected


def test_retry_after_is_a_floor_believed_up_to_a_day() -> None:
    random = Random(3)
    assert delay(1, 120.0, random) == 120.0
    assert delay(1, 1e9, random) == 86400.0
    assert delay(3, 1.0, random) >= 16


async def test_a_runner_that_raises_is_an_unknown_failure() -> None:
    async def play(held: Held) -> Outcome:
        raise RuntimeError("boom")

    outcome = await attempt(Held(running()), ScriptedRunner(play=play))
    assert isinstance(outcome, Failure) and outcome.error_class is ErrorClass.UNKNOWN
    assert "RuntimeError" in outcome.message and "boom" in outcome.message


async def test_a_kind_without_a_runner_fails_for_good() -> None:
    outcome = await attempt(Held(running(kind="command")), None)
    assert isinstance(outcome, Failure) and outcome.final and "command" in outcome.message
