"""A job's whole way, from push to its last state."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskpusher.errors import InvalidField, MoveRefused, UidTaken, UnknownJob
from taskpusher.job import ErrorClass, Held, Job, Result, State
from taskpusher.push import new_job
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome, Success
from taskpusher.stores.base import Query, Store
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import FakeClock, ScriptedRunner, eventually
from taskpusher.uid import new_uid

URL = "http://localhost:8000/work"


class Gate(ScriptedRunner):
    """Holds every job until it is let go; knows which were cut."""

    def __init__(self) -> None:
        super().__init__(play=self._hold)
        self.open = asyncio.Event()
        self.cut: list[str] = []
        self.now_running = 0
        self.most_running = 0

    async def _hold(self, held: Held) -> Outcome:
        self.now_running += 1
        self.most_running = max(self.most_running, self.now_running)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cut.append(held.job.uid)
            raise
        finally:
            self.now_running -= 1
        return Success(Result(200, (), b"ok"))


@pytest.fixture(params=["memory", "lmdb"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "lmdb":
        return lambda: LmdbStore(tmp_path / "tasker.db")
    kept = MemoryStore()
    return lambda: kept


@pytest.fixture
def nothing_logged() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def running(store: Store, runner: Any = None, **settings: Any) -> AsyncIterator[TaskPusher]:
    pusher = TaskPusher(store, {"http": runner or ScriptedRunner()}, **settings)
    await pusher.start()
    try:
        yield pusher
    finally:
        await pusher.stop(grace=0)
        await pusher.close()


async def in_state(pusher: TaskPusher, uid: str, state: State) -> Job:
    async def check() -> Job | None:
        job = await pusher.get(uid)
        return job if job.state is state else None

    return await eventually(check)  # type: ignore[no-any-return]


async def test_a_pushed_job_is_run_and_completed(new_store: Callable[[], Store]) -> None:
    runner = ScriptedRunner()
    async with running(new_store(), runner) as pusher:
        job = await pusher.push(URL, method="POST", body="hello", title="t")
        done = await in_state(pusher, job.uid, State.COMPLETED)
        assert done.attempt == 1 and done.failures == 0 and done.finished_ms >= done.started_ms
        details = await pusher.details(job.uid)
        assert details.result == Result(200, (), b"ok") and len(details.attempts) == 1
        assert [(held.job.uid, held.body) for held in runner.ran] == [(job.uid, b"hello")]


async def test_a_job_fails_waits_and_is_attempted_again(new_store: Callable[[], Store]) -> None:
    clock = FakeClock()
    runner = ScriptedRunner(Failure(ErrorClass.NOT_SENT, "refused"))
    async with running(new_store(), runner, clock=clock) as pusher:
        job = await pusher.push(URL, max_attempts=2)
        await eventually(lambda: runner.ran)

        async def failed_once() -> bool:
            return (await pusher.get(job.uid)).failures == 1

        await eventually(failed_once)
        waiting = await pusher.get(job.uid)
        assert waiting.state is State.WAITING and waiting.due_ms > clock.now()
        clock.advance(7)
        await pusher.push(URL)  # any wake-up looks at the clock
        done = await in_state(pusher, job.uid, State.COMPLETED)
        assert done.attempt == 2 and done.failures == 1
        assert len((await pusher.details(job.uid)).attempts) == 2


async def test_a_delayed_job_runs_when_it_is_due(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        job = await pusher.push(URL, delay=0.05)
        assert job.state is State.WAITING
        done = await in_state(pusher, job.uid, State.COMPLETED)
        assert done.started_ms >= job.due_ms


async def test_a_job_due_sooner_than_the_one_slept_for_is_not_late(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        later = await pusher.push(URL, delay=3600)
        sooner = await pusher.push(URL, delay=0.05)
        await in_state(pusher, sooner.uid, State.COMPLETED)
        assert (await pusher.get(later.uid)).state is State.WAITING


async def test_no_more_jobs_run_at_once_than_there_are_workers(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    async with running(new_store(), gate, concurrency=3) as pusher:
        jobs = [await pusher.push(URL) for _ in range(10)]
        await eventually(lambda: gate.now_running == 3)
        gate.open.set()
        for job in jobs:
            await in_state(pusher, job.uid, State.COMPLETED)
        assert gate.most_running == 3 and len(gate.ran) == 10


async def test_a_running_job_is_canceled_cut_and_noted(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    async with running(new_store(), gate, concurrency=1) as pusher:
        job, behind = await pusher.push(URL), await pusher.push(URL)
        await eventually(lambda: gate.now_running)
        canceled = await pusher.cancel(job.uid)
        assert canceled.state is State.CANCELED
        await eventually(lambda: gate.cut == [job.uid])
        await in_state(pusher, behind.uid, State.RUNNING)  # the worker is free again
        gate.open.set()
        await in_state(pusher, behind.uid, State.COMPLETED)
        details = await pusher.details(job.uid)
        assert details.job.state is State.CANCELED
        assert details.attempts[0].error is not None
        assert details.attempts[0].error.error_class is ErrorClass.UNKNOWN


async def test_a_thousand_cancels_while_running_leave_the_workers_whole(
    new_store: Callable[[], Store],
) -> None:
    gate = Gate()
    async with running(new_store(), gate, concurrency=8) as pusher:
        for _ in range(40):
            jobs = [await pusher.push(URL) for _ in range(8)]
            await eventually(lambda: gate.now_running == 8)
            await asyncio.gather(*(pusher.cancel(job.uid) for job in jobs))
        gate.open.set()
        last = [await pusher.push(URL) for _ in range(20)]
        for job in last:
            await in_state(pusher, job.uid, State.COMPLETED)
        counts = await pusher.counts()
        assert counts == {(State.CANCELED, "default"): 320, (State.COMPLETED, "default"): 20}


async def test_a_job_retried_while_its_cut_attempt_still_ends_can_be_cut_again(
    new_store: Callable[[], Store],
) -> None:
    leave, running_now = asyncio.Event(), 0

    async def play(held: Held) -> Outcome:
        nonlocal running_now
        running_now += 1
        try:
            await asyncio.Event().wait()
        finally:
            running_now -= 1
            if held.job.attempt == 1:
                await leave.wait()  # a runner that takes its time to clean up
        raise AssertionError("unreachable")

    async with running(new_store(), ScriptedRunner(play=play), concurrency=2) as pusher:
        job = await pusher.push(URL)
        await eventually(lambda: running_now)
        await pusher.cancel(job.uid)
        await pusher.retry(job.uid)
        await eventually(lambda: running_now)
        leave.set()
        await eventually(lambda: pusher._workers.running and len(pusher._workers.running) == 1)
        await pusher.cancel(job.uid)
        await eventually(lambda: not running_now and not pusher._workers.running)
        assert not pusher.broken.done()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(None, id="no outcome"),
        pytest.param(asyncio.CancelledError(), id="a cancel of its own"),
        pytest.param(ValueError("\ud800"), id="an error that can't be written"),
        pytest.param(Failure(ErrorClass.NOT_SENT, "\ud800"), id="a message that can't be written"),
        pytest.param(Success(Result(200, (("\ud800", ""),))), id="a result that can't be written"),
    ],
)
@pytest.mark.usefixtures("nothing_logged")  # no test report could hold what is said
async def test_a_runner_that_misbehaves_takes_no_worker_with_it(
    new_store: Callable[[], Store], bad: Any
) -> None:
    async def play(held: Held) -> Outcome:
        if held.job.title:
            return Success(Result(200))
        if isinstance(bad, BaseException):
            raise bad
        return bad  # type: ignore[no-any-return]

    store = new_store()
    async with running(store, ScriptedRunner(play=play), concurrency=1) as pusher:
        jobs = [await pusher.push(URL) for _ in range(2)]
        good = await pusher.push(URL, title="good")
        await in_state(pusher, good.uid, State.COMPLETED)
        if isinstance(store, LmdbStore) or not isinstance(bad, Success):
            assert {(await pusher.get(job.uid)).state for job in jobs} == {State.ERROR}
        assert not pusher.broken.done()


async def test_what_is_said_of_a_queue_at_the_same_time_is_all_kept(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        await asyncio.gather(pusher.set_queue("q", paused=True), pusher.set_queue("q", concurrency=3))
        (figures,) = await pusher.queues()
        assert figures.rule.paused and figures.rule.concurrency == 3


async def test_pause_resume_run_retry_and_duplicate(new_store: Callable[[], Store]) -> None:
    runner = ScriptedRunner(Failure(ErrorClass.ANSWERED, "404", Result(404)))
    async with running(new_store(), runner) as pusher:
        job = await pusher.push(URL, delay=3600, key="k")
        assert (await pusher.pause(job.uid)).state is State.PAUSED
        with pytest.raises(MoveRefused):
            await pusher.run(job.uid)
        assert (await pusher.resume(job.uid)).state is State.WAITING
        await pusher.run(job.uid)
        await in_state(pusher, job.uid, State.ERROR)
        await pusher.retry(job.uid)
        done = await in_state(pusher, job.uid, State.COMPLETED)
        assert (done.run, done.attempt, done.failures) == (2, 2, 0)
        with pytest.raises(MoveRefused, match="duplicate"):
            await pusher.retry(job.uid)
        copy = await pusher.duplicate(job.uid)
        assert copy.uid != job.uid and copy.key == "" and copy.run == 1
        await in_state(pusher, copy.uid, State.COMPLETED)


async def test_edit_changes_a_waiting_job_and_only_what_is_given(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        job = await pusher.push(URL, delay=3600, method="POST", body="a", title="t", tags=["x"])
        after = await pusher.edit(job.uid, {"priority": 1, "body": "bcd"})
        assert (after.priority, after.body_size, after.title, after.due_ms) == (1, 3, "t", job.due_ms)
        assert (await pusher.details(job.uid)).body == b"bcd"
        with pytest.raises(InvalidField, match="priority"):
            await pusher.edit(job.uid, {"priority": 11})


async def test_remove_forgets_and_an_unknown_uid_is_told(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        job = await pusher.push(URL, delay=3600)
        await pusher.remove(job.uid)
        for ask in (pusher.get, pusher.details, pusher.cancel, pusher.remove, pusher.duplicate):
            with pytest.raises(UnknownJob):
                await ask(job.uid)


async def test_the_same_uid_twice_is_one_job_and_runs_once(new_store: Callable[[], Store]) -> None:
    runner = ScriptedRunner()
    async with running(new_store(), runner) as pusher:
        uid = new_uid(0)
        first = await pusher.push(URL, uid=uid, delay=0)
        await in_state(pusher, uid, State.COMPLETED)
        again = await pusher.push(URL, uid=uid, delay=0)
        assert again.uid == first.uid and again.state is State.COMPLETED
        with pytest.raises(UidTaken):
            await pusher.push(URL + "?other", uid=uid)
        assert len(runner.ran) == 1


async def test_a_paused_queue_waits_and_goes_on_when_resumed(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        await pusher.set_queue("q", paused=True)
        held, other = await pusher.push(URL, queue="q"), await pusher.push(URL)
        await in_state(pusher, other.uid, State.COMPLETED)
        assert (await pusher.get(held.uid)).state is State.WAITING
        figures = await pusher.set_queue("q", paused=False)
        assert not figures.rule.paused
        await in_state(pusher, held.uid, State.COMPLETED)


async def test_a_queues_concurrency_holds_while_other_queues_go_on(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    async with running(new_store(), gate, concurrency=10) as pusher:
        await pusher.set_queue("q", concurrency=2)
        for _ in range(6):
            await pusher.push(URL, queue="q")
        await eventually(lambda: gate.now_running == 2)
        await pusher.push(URL)
        await eventually(lambda: gate.now_running == 3)
        gate.open.set()

        async def all_done() -> bool:
            return (await pusher.counts()).get((State.COMPLETED, "q")) == 6

        await eventually(all_done)
        assert gate.most_running == 3


async def test_one_hung_host_leaves_workers_for_the_others(new_store: Callable[[], Store]) -> None:
    gate = Gate()

    async def play(held: Held) -> Outcome:
        return await gate._hold(held) if held.job.host == "hung" else Success(Result(200))

    async with running(new_store(), ScriptedRunner(play=play), concurrency=4, per_host=2) as pusher:
        hung = [await pusher.push("http://hung/") for _ in range(20)]
        good = [await pusher.push("http://good/") for _ in range(20)]
        for job in good:
            await in_state(pusher, job.uid, State.COMPLETED)
        assert gate.now_running == 2
        gate.open.set()
        for job in hung:
            await in_state(pusher, job.uid, State.COMPLETED)


async def test_a_job_past_its_expires_at_ends_as_expired(new_store: Callable[[], Store]) -> None:
    runner = ScriptedRunner()
    async with running(new_store(), runner) as pusher:
        soon = pusher.clock.now() + 60
        await pusher.set_queue("q", paused=True)
        job = await pusher.push(URL, queue="q", expires_at=_rfc3339(soon))
        done = await in_state(pusher, job.uid, State.ERROR)
        assert done.error is not None and done.error.error_class is ErrorClass.EXPIRED
        assert done.finished_ms >= soon and not runner.ran


async def test_a_job_that_failed_past_its_expires_at_ends_as_expired(new_store: Callable[[], Store]) -> None:
    async def play(held: Held) -> Outcome:
        await asyncio.sleep(0.1)  # past its expires_at
        return Failure(ErrorClass.NOT_SENT, "refused", retry_after=3600)

    async with running(new_store(), ScriptedRunner(play=play)) as pusher:
        job = await pusher.push(URL, expires_at=_rfc3339(pusher.clock.now() + 60), max_attempts=2)
        done = await in_state(pusher, job.uid, State.ERROR)
        assert done.attempt == 1 and done.error is not None
        assert done.error.error_class is ErrorClass.EXPIRED


async def test_a_job_pushed_while_upkeep_looks_expires_in_time(new_store: Callable[[], Store]) -> None:
    store, uids = new_store(), []
    figures = store.figures

    async def with_a_push() -> Any:
        if not uids:
            late = _rfc3339(pusher.clock.now() + 60)
            uids.append((await pusher.push(URL, queue="q", expires_at=late)).uid)
        return await figures()

    pusher = TaskPusher(store, {"http": ScriptedRunner()})
    store.figures = with_a_push  # type: ignore[method-assign]
    await pusher.start()
    await pusher.set_queue("q", paused=True)
    await eventually(lambda: uids)
    await in_state(pusher, uids[0], State.ERROR)
    await pusher.stop()
    await pusher.close()


async def test_a_job_that_a_claim_finds_expired_is_told_of(new_store: Callable[[], Store]) -> None:
    clock, told = FakeClock(), []
    async with running(new_store(), clock=clock) as pusher:
        pusher.events.listen(told.extend)
        job = await pusher.push(URL, delay=10, expires_at=_rfc3339(clock.now() + 20_000))
        clock.advance(30)
        await pusher.push(URL)  # any wake-up looks at the clock
        await in_state(pusher, job.uid, State.ERROR)
        await eventually(lambda: (job.uid, State.ERROR) in [(one.uid, one.state) for one in told])


async def test_a_drained_job_has_the_time_at_which_it_really_started(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    clock = FakeClock()
    pusher = TaskPusher(new_store(), {"http": gate}, clock=clock, concurrency=1)
    await pusher.start()
    jobs = [await pusher.push(URL) for _ in range(2)]
    await eventually(lambda: gate.now_running)
    stopping = asyncio.create_task(pusher.stop(drain=True))
    await asyncio.sleep(0)
    clock.advance(60)
    gate.open.set()
    await stopping
    last = await pusher.get(jobs[1].uid)
    assert last.state is State.COMPLETED and last.started_ms == clock.now()
    await pusher.close()


async def test_finished_jobs_are_forgotten_after_their_keeping(new_store: Callable[[], Store]) -> None:
    runner = ScriptedRunner(Failure(ErrorClass.ANSWERED, "404", Result(404)))
    async with running(new_store(), runner, keep=0.05, keep_errors=3600.0, concurrency=1) as pusher:
        bad, good = await pusher.push(URL), await pusher.push(URL)

        async def gone() -> bool:
            return good.uid not in [job.uid for job in (await pusher.page(Query())).jobs]

        await in_state(pusher, bad.uid, State.ERROR)
        await eventually(gone)
        assert (await pusher.get(bad.uid)).state is State.ERROR


async def test_stop_lets_running_jobs_end_and_claims_nothing_more(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    store = new_store()
    pusher = TaskPusher(store, {"http": gate}, concurrency=1)
    await pusher.start()
    first, second = await pusher.push(URL), await pusher.push(URL)
    await eventually(lambda: gate.now_running)
    stopping = asyncio.create_task(pusher.stop(grace=10))
    await asyncio.sleep(0)
    assert not pusher.ready
    third = await pusher.push(URL)  # pushes stay open during the stop
    gate.open.set()
    await stopping
    assert (await pusher.get(first.uid)).state is State.COMPLETED
    assert (await pusher.get(second.uid)).state is State.WAITING
    assert (await pusher.get(third.uid)).state is State.WAITING
    await pusher.close()
    async with running(new_store()) as pusher:
        await in_state(pusher, second.uid, State.COMPLETED)
        await in_state(pusher, third.uid, State.COMPLETED)


async def test_a_stop_past_the_grace_releases_what_runs(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    pusher = TaskPusher(new_store(), {"http": gate}, concurrency=2)
    await pusher.start()
    job, once = await pusher.push(URL), await pusher.push(URL, once=True)
    await eventually(lambda: gate.now_running == 2)
    await pusher.stop(grace=0.05)
    assert sorted(gate.cut) == sorted([job.uid, once.uid])
    released = await pusher.get(job.uid)
    assert (released.state, released.attempt, released.failures) == (State.WAITING, 1, 0)
    spent = await pusher.get(once.uid)
    assert spent.state is State.ERROR
    assert spent.error is not None and spent.error.error_class is ErrorClass.UNKNOWN
    await pusher.close()


async def test_hurry_ends_a_stop_at_once(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    pusher = TaskPusher(new_store(), {"http": gate})
    await pusher.start()
    job = await pusher.push(URL)
    await eventually(lambda: gate.now_running)
    stopping = asyncio.create_task(pusher.stop(grace=3600))
    pusher.hurry()
    async with asyncio.timeout(5):
        await stopping
    assert (await pusher.get(job.uid)).state is State.WAITING
    await pusher.close()


@pytest.mark.parametrize("per_host", [0, 1])
async def test_drain_empties_what_is_due_and_leaves_the_rest(
    new_store: Callable[[], Store], per_host: int
) -> None:
    async def play(held: Held) -> Outcome:
        await asyncio.sleep(0.001)
        return Success(Result(200))

    pusher = TaskPusher(new_store(), {"http": ScriptedRunner(play=play)}, concurrency=4, per_host=per_host)
    await pusher.start()
    due = [await pusher.push(f"http://h{n % 3}/") for n in range(50)]
    later = await pusher.push(URL, delay=3600)
    async with asyncio.timeout(20):
        await pusher.stop(drain=True, grace=5)
    assert {(await pusher.get(job.uid)).state for job in due} == {State.COMPLETED}
    assert (await pusher.get(later.uid)).state is State.WAITING
    await pusher.close()


async def test_an_idle_drain_ends_at_once(new_store: Callable[[], Store]) -> None:
    pusher = TaskPusher(new_store(), {"http": ScriptedRunner()})
    await pusher.start()
    async with asyncio.timeout(5):
        await pusher.stop(drain=True, grace=5)
    await pusher.close()


async def test_jobs_that_ran_in_a_crash_run_again_in_their_order(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    store = new_store()
    pusher = TaskPusher(store, {"http": gate}, concurrency=2)
    await pusher.start()
    jobs = [await pusher.push(URL) for _ in range(3)] + [await pusher.push(URL, once=True)]
    await eventually(lambda: gate.now_running == 2)
    await crash(pusher)
    runner = ScriptedRunner()
    async with running(new_store(), runner, concurrency=1) as pusher:
        for job in jobs:
            await in_state(pusher, job.uid, State.COMPLETED)
        assert [held.job.uid for held in runner.ran] == [job.uid for job in jobs]
        first = await pusher.get(jobs[0].uid)
        assert (first.attempt, first.failures, first.crashes) == (2, 0, 1)


async def crash(pusher: TaskPusher) -> None:
    """End the pusher as kill -9 would: nothing is settled."""
    workers = pusher._workers
    for task in workers._tasks:
        task.cancel()
    await asyncio.wait(workers._tasks)
    await pusher._upkeep.stop()
    pusher._pulse.stop()
    workers.feed.close()
    await pusher.store.close()


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


async def test_a_pusher_without_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="concurrency"):
        TaskPusher(MemoryStore(), {}, concurrency=0)


async def test_a_start_that_fails_lets_go_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LmdbStore(tmp_path / "tasker.db")

    async def fail() -> None:
        raise RuntimeError("queues")

    monkeypatch.setattr(store, "queues", fail)
    with pytest.raises(RuntimeError):
        await TaskPusher(store, {}).start()
    async with running(LmdbStore(tmp_path / "tasker.db")) as pusher:
        await in_state(pusher, (await pusher.push(URL)).uid, State.COMPLETED)


async def test_a_drain_ends_when_the_disk_has_failed(new_store: Callable[[], Store]) -> None:
    gate = Gate()
    pusher = TaskPusher(new_store(), {"http": gate}, concurrency=1)
    await pusher.start()
    for _ in range(3):
        await pusher.push(URL)
    await eventually(lambda: gate.now_running)
    stopping = asyncio.create_task(pusher.stop(drain=True, grace=3600))
    pusher._break(OSError("gone"))
    async with asyncio.timeout(10):
        await stopping
    await pusher.close()


async def test_many_jobs_of_one_push_find_the_workers_that_wait(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        adds = [new_job({"url": URL}, pusher.defaults, pusher.clock.now()) for _ in range(300)]
        await asyncio.gather(pusher.add(*adds), pusher.push(URL))
        await eventually(lambda: completed(pusher, 301))


async def completed(pusher: TaskPusher, number: int) -> bool:
    counts = await pusher.counts()
    return counts.get((State.COMPLETED, "default")) == number
