"""What happened since the start, in plain numbers."""

import asyncio

from taskpusher.histogram import Histogram
from taskpusher.job import ErrorClass, Held, Job, State, canceled, claimed, expired
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Released, Success
from taskpusher.stores.memory import MemoryStore
from taskpusher.tally import Tally
from taskpusher.testing import NOW, ScriptedRunner, a_job, eventually, settled


def running(**fields: object) -> Job:
    return claimed(a_job(**fields), 1, "node/1", NOW)


def test_a_value_goes_into_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1, 5))
    for value in (0, 1, 1.5, 5, 6):
        histogram.note(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 13.5


def test_moves_are_counted_by_where_they_lead() -> None:
    tally = Tally()
    job, error = a_job(), settled(running(), Failure(ErrorClass.UNKNOWN, "cut", final=True)).job
    tally.moved([job, canceled(job, NOW), settled(running(), Success()).job, error, expired(job, NOW)])
    assert tally.pushed == 1
    assert tally.finished == {State.COMPLETED: 1, State.ERROR: 2, State.CANCELED: 1}
    assert tally.expired == 1


def test_what_is_sent_back_to_wait_was_not_pushed_again() -> None:
    tally = Tally()
    tally.moved([settled(running(max_attempts=2), Failure(ErrorClass.UNKNOWN, "cut")).job])
    assert (tally.pushed, sum(tally.finished.values())) == (0, 0)


def test_attempts_are_counted_by_what_they_came_to() -> None:
    tally = Tally()
    failure = Failure(ErrorClass.NOT_SENT, "nobody there")
    for job, outcome in (
        (running(), Success()),
        (running(max_attempts=2), failure),
        (running(), failure),
        (running(), Released("stopping")),
    ):
        tally.ended(outcome, settled(job, outcome))
    tally.cut()
    assert {name: n for name, n in tally.attempts.items() if n} == {
        "success": 1,
        "not_sent": 2,
        "released": 1,
        "cut": 1,
    }
    assert tally.retries == 1
    assert sum(tally.durations.counts) == 4 and tally.durations.sum == 2.0


def test_a_runner_may_name_any_class() -> None:
    tally = Tally()
    odd = Failure(ErrorClass.EXPIRED, "says a runner of somebody else's")
    for _ in range(2):
        tally.ended(odd, settled(running(), odd))
    assert tally.attempts["expired"] == 2


def test_waits_are_measured_from_due_and_from_the_push() -> None:
    tally = Tally()
    first = claimed(a_job(created_ms=NOW - 5000, due_ms=NOW - 40), 1, "node/1", NOW)
    later = claimed(a_job(created_ms=NOW - 5000, due_ms=NOW - 20, attempt=3), 2, "node/1", NOW)
    ahead = claimed(a_job(created_ms=NOW + 9, due_ms=NOW + 9), 3, "node/1", NOW)  # the clock was set back
    tally.began([Held(first), Held(later), Held(ahead)])
    assert sum(tally.lateness.counts) == 3 and tally.lateness.sum == 60
    assert sum(tally.waits.counts) == 2 and tally.waits.sum == 5000


async def test_a_pusher_tallies_what_it_does() -> None:
    runner = ScriptedRunner(Failure(ErrorClass.UNKNOWN, "cut", final=True))
    async with TaskPusher(MemoryStore(), {"http": runner}) as pusher:
        for _ in range(2):
            await pusher.push("http://localhost/")
        held = await pusher.push("http://localhost/", delay="1h")
        await eventually(lambda: sum(pusher.tally.finished.values()) == 2)
        await pusher.pause(held.uid)
        await pusher.resume(held.uid)
        tally = pusher.tally
        assert tally.pushed == 3
        assert (tally.finished[State.COMPLETED], tally.finished[State.ERROR]) == (1, 1)
        assert (tally.attempts["success"], tally.attempts["unknown"]) == (1, 1)
        assert sum(tally.waits.counts) == sum(tally.lateness.counts) == 2


async def test_a_call_that_is_cut_is_tallied_so() -> None:
    async def for_ever(held: Held) -> Success:
        await asyncio.Event().wait()
        raise AssertionError

    async with TaskPusher(MemoryStore(), {"http": ScriptedRunner(play=for_ever)}) as pusher:
        job = await pusher.push("http://localhost/")
        await eventually(lambda: bool(pusher._workers.running))
        await pusher.cancel(job.uid)
        await eventually(lambda: pusher.tally.attempts["cut"] == 1)
        assert pusher.tally.finished[State.CANCELED] == 1
        assert sum(pusher.tally.durations.counts) == 0
