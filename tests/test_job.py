"""Every move, and every move refused."""

import msgspec
import pytest

from taskpusher.errors import MoveRefused, StoreUnreadable
from taskpusher.job import (
    MOVES,
    RECORD_VERSION,
    Action,
    Job,
    State,
    Wish,
    canceled,
    destination,
    expired,
    from_record,
    paused,
    retried,
    to_record,
)
from taskpusher.testing import NOW, a_job

TABLE = {
    # action: {state: what it leads to}
    Action.CANCEL: {"waiting": "canceled", "paused": "canceled", "running": "canceled"},
    Action.PAUSE: {"waiting": "paused"},
    Action.RESUME: {"paused": "waiting"},
    Action.RETRY: {"error": "waiting", "canceled": "waiting"},
    Action.RUN: {"waiting": "waiting"},
    Action.EDIT: {"waiting": "waiting", "paused": "paused"},
    Action.REMOVE: {state: state for state in ("waiting", "paused", "completed", "error", "canceled")},
    Action.EXPIRE: {"waiting": "error", "paused": "error"},
    Action.CLAIM: {"waiting": "running"},
    Action.SUCCEED: {"running": "completed"},
    Action.FAIL: {"running": "error"},
    Action.AGAIN: {"running": "waiting"},
    Action.RELEASE: {"running": "waiting"},
}
A_PERSONS = list(TABLE)[:7]
CASES = [(action, state) for action in TABLE for state in State]


@pytest.mark.parametrize(("action", "state"), CASES)
def test_an_http_job_moves_as_the_table_says(action: Action, state: State) -> None:
    job = a_job(state=state)
    expected = TABLE[action].get(state.value)
    if expected is not None:
        assert destination(job, action) == expected
        return
    with pytest.raises(MoveRefused) as refusal:
        destination(job, action)
    text = str(refusal.value)
    assert action.value in text and state.value in text
    if action in A_PERSONS:
        assert text.partition(": ")[2] not in ("", "look at its state first")


@pytest.mark.parametrize(
    ("action", "state", "instead"),
    [
        (Action.RETRY, State.RUNNING, "cancel it first"),
        (Action.RETRY, State.WAITING, "use run"),
        (Action.RETRY, State.COMPLETED, "duplicate it"),
        (Action.PAUSE, State.RUNNING, "cancel it"),
        (Action.EDIT, State.RUNNING, "cancel it first"),
        (Action.REMOVE, State.RUNNING, "cancel it first"),
        (Action.RUN, State.PAUSED, "resume it first"),
    ],
)
def test_a_refused_move_says_what_to_do_instead(action: Action, state: State, instead: str) -> None:
    with pytest.raises(MoveRefused, match=instead):
        destination(a_job(state=state), action)


def test_a_canceled_job_has_the_duration_of_the_attempt_that_was_cut() -> None:
    running = a_job(state=State.RUNNING, started_ms=NOW - 1500, duration=9.0)
    assert canceled(running, NOW).duration == 1.5
    assert canceled(a_job(duration=9.0), NOW).duration == 9.0


def test_cancel_and_pause_of_a_running_command_are_wishes() -> None:
    job = a_job(kind="command", state=State.RUNNING, claim=7)
    for make, wish in ((lambda job: canceled(job, NOW), Wish.CANCEL), (paused, Wish.PAUSE)):
        after = make(job)
        assert after.wish is wish and after.state is State.RUNNING and after.claim == 7
        assert after.revision == job.revision + 1


def test_a_retry_forgives_failures_and_keeps_the_count_of_attempts() -> None:
    job = a_job(state=State.ERROR, attempt=4, failures=4, finished_ms=NOW, expires_ms=NOW)
    after = retried(job, NOW + 5)
    assert (after.attempt, after.failures, after.run, after.finished_ms) == (4, 0, 2, 0)
    assert after.due_ms == NOW + 5 and after.expires_ms == 0 and after.error is None


def test_a_finished_job_has_no_wish_left() -> None:
    """One that came too late for the attempt stays on the job while it waits, but not beyond its end."""
    for end in (expired, canceled):
        assert end(a_job(kind="command", wish=Wish.PAUSE), NOW).wish is None


def test_every_move_leads_somewhere_a_kind_can_be() -> None:
    assert all(isinstance(where, State | Wish) for where in MOVES.values())


def test_a_record_reads_back_as_the_job_it_was() -> None:
    job = a_job(headers=(("a", "é"),), tags=("x",), extra={"cwd": "/"}, title="💌")
    assert from_record(to_record(job)) == job
    assert to_record(job)[0] == RECORD_VERSION


def test_a_record_of_another_version_is_refused() -> None:
    record = to_record(a_job())
    with pytest.raises(StoreUnreadable, match="format 9"):
        from_record(bytes([9]) + record[1:])
    for damaged in (b"", record[:1], record[:40]):
        with pytest.raises(StoreUnreadable):
            from_record(damaged)


def test_an_older_record_with_fewer_fields_still_reads() -> None:
    short = bytes([RECORD_VERSION]) + msgspec.msgpack.encode(["uid", "http", "waiting", "http://x/"])
    assert from_record(short) == Job(uid="uid", target="http://x/")
