"""The wall clock is set, forward and back, and the machine sleeps: dates keep to it, delays do not notice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskpusher.errors import StoreFull
from taskpusher.job import ErrorClass, Held, Job, State
from taskpusher.push import new_job
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome, Released
from taskpusher.stores.base import Store
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import OK, FakeClock, ScriptedRunner, eventually

URL = "http://localhost:8000/work"
DAY = 86_400
HOUR = 3_600


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return LmdbStore(tmp_path / "tasker.db") if request.param == "lmdb" else MemoryStore()


@asynccontextmanager
async def running(
    store: Store, clock: FakeClock, runner: ScriptedRunner | None = None, **settings: Any
) -> AsyncIterator[TaskPusher]:
    pusher = TaskPusher(store, {"http": runner or ScriptedRunner()}, clock=clock, **settings)
    await pusher.start()
    try:
        yield pusher
    finally:
        await pusher.stop(grace=0)
        await pusher.close()


async def settled_down(pusher: TaskPusher) -> None:
    """Until due times have been moved and nothing is on its way."""
    feed = pusher._workers.feed
    await eventually(lambda: pusher._shift._task is None and not feed.behind)
    await eventually(lambda: len(feed._waiters) == pusher._concurrency and not feed._claims)


async def advanced(pusher: TaskPusher, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    pusher._workers.feed.wake()  # the timer of the loop does not turn with the clock
    await settled_down(pusher)


async def states(pusher: TaskPusher, *jobs: Job) -> list[State]:
    return [(await pusher.get(job.uid)).state for job in jobs]


def date(clock: FakeClock, seconds: float) -> str:
    return datetime.fromtimestamp(clock.now() / 1000 + seconds, UTC).isoformat()


W, C = State.WAITING, State.COMPLETED


@pytest.mark.parametrize("by", [DAY, -DAY, HOUR, -HOUR, 2 * DAY + 0.5])
async def test_a_delay_ends_when_it_would_have_ended(store: Store, by: float) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        jobs = [await pusher.push(URL, delay=seconds) for seconds in (60, 600, 2 * DAY)]
        await advanced(pusher, clock, 30)
        clock.jump(by)
        await settled_down(pusher)
        assert await states(pusher, *jobs) == [W, W, W]
        await advanced(pusher, clock, 29)
        assert await states(pusher, *jobs) == [W, W, W]
        await advanced(pusher, clock, 2)
        assert await states(pusher, *jobs) == [C, W, W]
        await advanced(pusher, clock, 600)
        assert await states(pusher, *jobs) == [C, C, W]
        assert (await pusher.get(jobs[2].uid)).due_ms == clock.now() + (2 * DAY - 661) * 1000


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_a_backoff_ends_when_it_would_have_ended(store: Store, by: float) -> None:
    clock = FakeClock()
    runner = ScriptedRunner(*[Failure(ErrorClass.NOT_SENT, "refused", retry_after=100)] * 2)
    async with running(store, clock, runner) as pusher:
        job = await pusher.push(URL, max_attempts=3)
        await eventually(lambda: runner.ran)
        await settled_down(pusher)
        clock.jump(by)
        await settled_down(pusher)
        await advanced(pusher, clock, 99)
        assert len(runner.ran) == 1
        await advanced(pusher, clock, 2)
        assert len(runner.ran) == 2  # and the next backoff is of the new time: it is not moved again
        clock.jump(-by)
        await settled_down(pusher)
        await advanced(pusher, clock, 99)
        assert await states(pusher, job) == [W]
        await advanced(pusher, clock, 2)
        assert await states(pusher, job) == [C]


async def test_a_clock_that_is_set_there_and_back_moves_each_job_each_time(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        await pusher.set_queue("q", paused=True)
        clock.jump(DAY)
        job = await pusher.push(URL, queue="q", due_at=date(clock, 20))
        clock.jump(-DAY)
        clock.jump(DAY)
        await settled_down(pusher)
        clock.advance(30)
        clock.jump(-DAY)
        clock.jump(DAY)
        clock.jump(-DAY)
        await settled_down(pusher)
        assert (await pusher.get(job.uid)).due_ms <= clock.now()


async def test_a_date_keeps_to_the_wall_clock(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        soon = await pusher.push(URL, due_at=date(clock, HOUR))
        late = await pusher.push(URL, due_at=date(clock, 2 * DAY))
        clock.jump(DAY)
        await settled_down(pusher)
        assert await states(pusher, soon, late) == [C, W]  # at once, without another wake-up
        clock.jump(-DAY)
        await settled_down(pusher)
        await advanced(pusher, clock, DAY + HOUR)
        assert await states(pusher, late) == [W]
        await advanced(pusher, clock, DAY)
        assert await states(pusher, late) == [C]


async def test_what_was_due_stays_due_when_the_clock_is_set_back(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        await pusher.set_queue("q", paused=True)
        plain = await pusher.push(URL, queue="q")
        delayed = await pusher.push(URL, queue="q", delay=1)
        held = await pusher.pause((await pusher.push(URL, queue="q", delay=2)).uid)
        dated = await pusher.push(URL, queue="q", due_at=date(clock, 3))
        ahead = await pusher.push(URL, queue="q", due_at=date(clock, HOUR))
        await advanced(pusher, clock, 10)
        clock.jump(-DAY)
        after = await pusher.push(URL, queue="q", due_at=date(clock, HOUR))
        await settled_down(pusher)
        await pusher.set_queue("q", paused=False)
        await pusher.resume(held.uid)
        await settled_down(pusher)
        found = await states(pusher, plain, delayed, held, dated, ahead, after)
        assert found == [C, C, C, C, W, W]


async def test_a_job_that_ran_as_the_clock_was_set_back_is_due_when_it_is_given_back(store: Store) -> None:
    clock, begun = FakeClock(), asyncio.Event()

    async def play(held: Held) -> Outcome:
        if held.job.attempt == 1:
            begun.set()
            await asyncio.sleep(0.01)
            clock.jump(-DAY)
            return Released("given back")
        return OK

    async with running(store, clock, ScriptedRunner(play=play)) as pusher:
        job = await pusher.push(URL)
        await begun.wait()
        await eventually(lambda: pusher.clock.era)
        await settled_down(pusher)
        assert await states(pusher, job) == [C]


async def test_a_sleep_of_the_machine_counts_for_delays_and_dates(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        jobs = [await pusher.push(URL, delay=HOUR), await pusher.push(URL, due_at=date(clock, HOUR))]
        clock.sleep(HOUR + 1)
        await settled_down(pusher)
        assert await states(pusher, *jobs) == [C, C] and clock.era == 0


async def test_jobs_expire_by_the_wall_clock(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        job = await pusher.push(URL, delay=2 * DAY, expires_at=date(clock, 3 * DAY))
        clock.jump(4 * DAY)

        async def gone() -> bool:
            return await states(pusher, job) == [State.ERROR]

        await eventually(gone)


class Slow:
    """A store whose walks and writes come late, as those of many jobs do."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.full = 0
        self.after_page: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def page(self, *args: Any) -> Any:
        await self.go_on.wait()
        if self.full:
            self.full -= 1
            raise StoreFull("full")
        page = await self._store.page(*args)
        if self.after_page and page.jobs:
            await self.after_page()
        return page


async def test_no_delay_is_cut_short_while_jobs_are_being_moved(store: Store) -> None:
    clock, slow = FakeClock(), Slow(store)
    async with running(slow, clock) as pusher:  # type: ignore[arg-type]
        old = await pusher.push(URL, delay=60)
        slow.go_on.clear()
        clock.jump(DAY)
        new = await pusher.push(URL, delay=60)
        for _ in range(3):
            pusher._workers.feed.wake()
            await store.write()
        assert await states(pusher, old, new) == [W, W]
        clock.jump(DAY)  # once more, before anything was moved
        slow.go_on.set()
        await settled_down(pusher)
        assert await states(pusher, old, new) == [W, W]
        await advanced(pusher, clock, 59)
        assert await states(pusher, old, new) == [W, W]
        await advanced(pusher, clock, 2)
        assert await states(pusher, old, new) == [C, C]


async def test_a_job_that_is_changed_while_it_is_moved_is_moved_all_the_same(store: Store) -> None:
    clock, slow = FakeClock(), Slow(store)
    async with running(slow, clock) as pusher:  # type: ignore[arg-type]
        jobs = [await pusher.push(URL, delay=60) for _ in range(3)]

        async def a_person() -> None:
            slow.after_page = None
            await pusher.edit(jobs[0].uid, {"title": "other"})
            await pusher.edit(jobs[1].uid, {"delay": 90})
            await pusher.remove(jobs[2].uid)

        slow.after_page = a_person
        clock.jump(DAY)
        await settled_down(pusher)
        dues = [(await pusher.get(job.uid)).due_ms - clock.now() for job in jobs[:2]]
        assert dues == [60_000, 90_000]


async def test_many_pushes_under_way_as_the_clock_is_set_are_moved_too(store: Store) -> None:
    clock = FakeClock()
    async with running(store, clock) as pusher:
        adds = [
            new_job({"url": URL, "delay": 60, "queue": str(n % 7)}, pusher.defaults, clock.now())
            for n in range(700)
        ]
        pushing = asyncio.create_task(pusher.add(*adds))
        await asyncio.sleep(0)
        clock.jump(-DAY)
        written = await pushing
        await settled_down(pusher)
        dues = {(await pusher.get(one.job.uid)).due_ms for one in written if one.job}
        assert dues == {clock.now() + 60_000}


async def test_moving_waits_for_a_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpusher.timeshift.FULL_PAUSE", 0.001)
    clock, slow = FakeClock(), Slow(store)
    async with running(slow, clock) as pusher:  # type: ignore[arg-type]
        job = await pusher.push(URL, delay=60)
        slow.full = 3
        clock.jump(DAY)
        await settled_down(pusher)
        assert slow.full == 0 and (await pusher.get(job.uid)).due_ms == clock.now() + 60_000


async def test_a_stop_in_the_middle_of_it_ends_it(store: Store) -> None:
    clock, slow = FakeClock(), Slow(store)
    async with running(slow, clock) as pusher:  # type: ignore[arg-type]
        await pusher.push(URL, delay=60)
        slow.go_on.clear()
        clock.jump(DAY)
        await asyncio.sleep(0)
        assert pusher._shift._task is not None
    assert pusher._shift._task.done() and clock._told == []
