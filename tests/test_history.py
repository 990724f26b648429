"""What happened in the last hours, days and months: by the minute, kept over restarts and crashes."""

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from taskpusher.buckets import Bucket, Spread, plus, point, since, spaced, total
from taskpusher.errors import StoreFull
from taskpusher.history import DAY, DAYS, HOUR, HOURS, LEVELS, MINUTE, MINUTES, History, Level
from taskpusher.job import ErrorClass, Job, State, canceled, claimed
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Success
from taskpusher.stores.base import Add, Change, Note, Written
from taskpusher.stores.check import check
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.tally import DURATIONS, Tally
from taskpusher.testing import NOW, FakeClock, ScriptedRunner, a_job, eventually, no_limits, settled

START = NOW // 1000  # the beginning of an hour


class World:
    """A history over a store in memory, its clock turned by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.written: list[int] = []  # changes of each write
        self.broken: Exception | None = None
        self._write = self.store.write
        self.store.write = self.write  # type: ignore[method-assign]

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        if self.broken is not None:
            raise self.broken
        self.written.append(len(changes))
        return self._write(*changes)

    async def begin(self) -> None:
        """As a start of the program does."""
        await self.store.open("node", no_limits)
        self.tally = Tally()
        self.history = History(self.store, self.clock, self.tally)

    def happen(self, pushed: int = 0, completed: int = 0, errors: int = 0) -> None:
        ends = [(Success(), completed), (Failure(ErrorClass.NOT_SENT, "refused"), errors)]
        self.move([a_job() for _ in range(pushed)])
        for outcome, times in ends:
            for _ in range(times):
                change = settled(claimed(a_job(), 1, "node", NOW), outcome)
                self.tally.ended(outcome, change)
                self.move([change.job])

    def move(self, jobs: Sequence[Job]) -> None:
        if jobs:
            self.history.moved(jobs)
            self.tally.moved(jobs)

    async def pass_by(self, seconds: float = MINUTE) -> None:
        """Time passes; what the timer of the history would do is done."""
        self.clock.advance(seconds)
        await self.tick()

    async def tick(self) -> None:
        history = self.history
        if history._timer is not None:
            history._timer.cancel()
            history._tick()
        while history._keeping is not None:
            await asyncio.sleep(0)

    def kill(self) -> None:
        """The process goes; what it had in memory too."""
        if self.history._timer is not None:
            self.history._timer.cancel()

    async def kept(self, level: Level) -> dict[int, Bucket]:
        history = self.history
        notes = await history._kept(level, 0, 10_000)
        return {bucket.start: bucket for bucket in notes.values()}

    async def sums(self, level: Level) -> Counter[str]:
        return summed((await self.kept(level)).values())


def summed(buckets: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in buckets:
        found.update({"pushed": one.pushed, "completed": one.completed, "errors": one.errors})
    return +found


@pytest.fixture
async def world() -> World:
    world = World()
    await world.begin()
    return world


# ---- minutes ------------------------------------------------------------------------------------------


async def test_a_minute_is_kept_when_it_is_over(world: World) -> None:
    world.happen(pushed=3, completed=2, errors=1)
    await world.pass_by()
    (minute,) = (await world.kept(MINUTES)).values()
    assert (minute.start, minute.pushed, minute.completed, minute.errors) == (START, 3, 2, 1)
    assert minute.attempts == {"success": 2, "not_sent": 1}
    assert sum(minute.durations.counts) == 3 and minute.durations.sum == 1.5
    assert list(await world.kept(HOURS)) == [START] and list(await world.kept(DAYS)) == [START // DAY * DAY]
    assert world.written == [3], "minute, hour and day in one commit"


async def test_nothing_is_armed_or_written_while_nothing_moves(world: World) -> None:
    assert world.history._timer is None
    world.happen(pushed=1)
    assert world.history._timer is not None
    await world.pass_by()
    assert world.history._timer is None
    await world.pass_by(HOUR)
    assert world.history._timer is None and world.history._keeping is None
    assert len(world.written) == 1
    await world.history.stop()
    assert len(world.written) == 1


async def test_many_moves_arm_one_timer_to_the_end_of_the_minute(world: World) -> None:
    world.clock.advance(45)
    world.happen(pushed=1)
    timer = world.history._timer
    assert timer is not None
    left = timer.when() - asyncio.get_running_loop().time()
    assert 14 < left <= 15
    world.happen(pushed=5, completed=5)
    assert world.history._timer is timer
    await world.history.stop()


async def test_a_timer_that_comes_early_waits_for_the_end(world: World) -> None:
    world.happen(pushed=1)
    first = world.history._timer
    await world.pass_by(59.9)
    second = world.history._timer
    assert second not in (None, first) and not world.written
    assert second is not None and second.when() - asyncio.get_running_loop().time() < 0.2
    await world.pass_by(0.1)
    assert world.history._timer is None and len(world.written) == 1


async def test_the_depth_of_queues_is_that_of_the_end(world: World) -> None:
    for queue, due in (("mail", NOW), ("mail", NOW), ("later", NOW + 9000)):
        await world._write(Add(a_job(queue=queue, due_ms=due)))
    world.happen(pushed=3)
    await world.pass_by()
    (minute,) = (await world.kept(MINUTES)).values()
    assert (minute.waiting, minute.queues) == (3, {"mail": 2, "later": 1})
    await world.store.claim(2, NOW)
    depths = await world.history.queues("hour")
    assert depths["mail"][-2:] == [2, 0] and depths["later"][-2:] == [1, 1] and depths["mail"][0] == 0


# ---- restarts -----------------------------------------------------------------------------------------


async def test_a_restart_goes_on_with_the_minute(world: World) -> None:
    world.happen(pushed=1)
    world.clock.advance(20)
    await world.history.stop()
    await world.begin()
    assert (await world.history.series("hour")).points[-1].pushed == 1
    world.happen(pushed=2)
    assert (await world.history.series("hour")).points[-1].pushed == 3
    await world.pass_by(40)
    assert await world.sums(MINUTES) == await world.sums(HOURS) == await world.sums(DAYS) == {"pushed": 3}
    assert list(await world.kept(MINUTES)) == [START]


async def test_a_kill_loses_only_the_minute_that_was_not_over(world: World) -> None:
    for _ in range(5):
        world.happen(pushed=1)
        await world.pass_by()
    world.happen(pushed=10)
    world.kill()
    await world.begin()
    world.happen(pushed=1)
    await world.pass_by()
    assert await world.sums(MINUTES) == await world.sums(HOURS) == await world.sums(DAYS) == {"pushed": 6}


async def test_what_was_written_is_there_after_a_kill(tmp_path: Path) -> None:
    clock, tally = FakeClock(), Tally()
    store = LmdbStore(tmp_path / "db")
    await store.open("node", no_limits)
    history = History(store, clock, tally)
    for _ in range(3):
        history.moved([])
        tally.moved([a_job()])
        assert history._timer is not None
        history._timer.cancel()
        if clock.now() < NOW + 2 * MINUTE * 1000:
            clock.advance(MINUTE)
            history._tick()
            assert history._keeping is not None
            await history._keeping
    shutil.copytree(tmp_path / "db", tmp_path / "killed")
    await store.close()
    assert check(tmp_path / "killed").findings == []
    store = LmdbStore(tmp_path / "killed")
    await store.open("node", no_limits)
    points = (await History(store, clock, Tally()).series("hour")).points
    assert [one.pushed for one in points[-3:]] == [1, 1, 0]
    await store.close()


async def test_a_pusher_keeps_its_history_in_lmdb(tmp_path: Path) -> None:
    for _ in range(2):
        pusher = TaskPusher(LmdbStore(tmp_path / "db"), {"http": ScriptedRunner()}, clock=FakeClock())
        async with pusher:
            job = await pusher.push("http://localhost/x")

            async def done(pusher: TaskPusher = pusher, uid: str = job.uid) -> bool:
                return (await pusher.get(uid)).state is State.COMPLETED

            await eventually(done)
    async with TaskPusher(LmdbStore(tmp_path / "db"), {}, clock=FakeClock()) as pusher:
        last = (await pusher.history.series("month")).points[-1]
        assert (last.pushed, last.completed, last.attempts) == (2, 2, 2)


# ---- adding up ----------------------------------------------------------------------------------------


def buckets() -> st.SearchStrategy[Bucket]:
    counts, small = st.lists(st.integers(0, 9), max_size=len(DURATIONS) + 1), st.integers(0, 99)
    spreads = st.builds(lambda n: Spread(tuple(n), float(sum(n))), counts)
    names = st.dictionaries(st.sampled_from(("success", "not_sent", "cut")), st.integers(1, 9))
    return st.builds(
        Bucket, st.just(0), small, small, small, small, names, spreads, spreads, small, st.just({})
    )


@given(one=buckets(), other=buckets())
def test_what_came_since_and_what_was_before_are_the_whole(one: Bucket, other: Bucket) -> None:
    whole = plus(one, other)
    assert replace(since(one, whole, 0), waiting=other.waiting) == replace(
        plus(Bucket(0), other), waiting=other.waiting
    )
    assert whole.completed == one.completed + other.completed
    assert sum(whole.durations.counts) == sum(one.durations.counts) + sum(other.durations.counts)


steps = st.tuples(
    st.sampled_from(("go on", "go on", "restart", "kill", "full", "jump")),
    st.sampled_from((1, 30, 60, 61, 600, 3600)),
    st.integers(0, 3),
)


@settings(max_examples=100, deadline=None)
@given(walk=st.lists(steps, max_size=10))
def test_minutes_hours_and_days_have_the_same_sums_whatever_happens(walk: list[Any]) -> None:
    asyncio.run(_walk(walk))


async def _walk(walk: list[Any]) -> None:
    world, kept, in_memory = World(), Counter[str](), Counter[str]()
    await world.begin()
    for what, seconds, number in walk:
        world.happen(pushed=number, errors=1)
        in_memory.update({"pushed": number, "errors": 1})
        world.broken = StoreFull("full") if what == "full" else None
        if what == "jump":
            world.clock.jump(seconds if number % 2 else -seconds)
            world.clock.follow()
        await world.pass_by(seconds)
        if world.written and world.history._timer is None and what != "full":
            kept, in_memory = kept + in_memory, Counter()
        if what == "restart":
            await world.history.stop()
            kept, in_memory = kept + in_memory, Counter()
        if what == "kill":
            world.kill()
            in_memory = Counter()
        if what in ("restart", "kill"):
            await world.begin()
    world.broken = None
    await world.history.stop()
    await world.begin()
    expected = +(kept + in_memory)
    for level in LEVELS:
        assert await world.sums(level) == expected, level.name


# ---- charts -------------------------------------------------------------------------------------------


async def test_an_hour_has_sixty_points_a_day_ninety_six_a_month_thirty(world: World) -> None:
    for span, step, count in (("hour", 60, 60), ("day", 900, 96), ("month", DAY, 30)):
        series = await world.history.series(span)  # type: ignore[arg-type]
        assert (series.span, series.step, len(series.points)) == (span, step, count)
        starts = [one.start for one in series.points]
        assert starts == list(range(starts[0], starts[0] + step * count, step))
        assert starts[-1] <= START < starts[-1] + step and not starts[-1] % step
        assert all(one == point(Bucket(one.start)) for one in series.points), "empty ones are zeros"


async def test_each_span_shows_the_same_jobs_and_the_minute_that_is_not_over(world: World) -> None:
    for _ in range(50):
        world.happen(pushed=2, completed=3, errors=1)
        await world.pass_by()
    world.happen(pushed=1, errors=1)
    for span in ("hour", "day", "month"):
        points = (await world.history.series(span)).points  # type: ignore[arg-type]
        assert sum(one.pushed for one in points) == 101
        assert sum(one.attempts for one in points) == 201
    points = (await world.history.series("hour")).points
    assert [one.pushed for one in points[-3:]] == [2, 2, 1]
    assert points[-2].error_rate == 0.25 and points[-1].error_rate == 1.0
    assert 0.25 < points[-1].p50 < points[-1].p95 < points[-1].p99 <= 0.5
    assert len(world.written) == 50


async def test_a_depth_lasts_while_nothing_moves(world: World) -> None:
    await world._write(Add(a_job(due_ms=NOW + 99_000_000)))
    world.happen(pushed=1)
    await world.pass_by()
    await world.pass_by(3 * HOUR)
    assert {one.waiting for one in (await world.history.series("hour")).points} == {1}
    day = [one.waiting for one in (await world.history.series("day")).points]
    assert set(day[:83]) == {0} and set(day[83:]) == {1}


async def test_lateness_is_in_seconds(world: World) -> None:
    world.tally.lateness.note(450)
    world.happen(pushed=1)
    await world.pass_by()
    (minute,) = (await world.kept(MINUTES)).values()
    assert minute.lateness.sum == 0.45
    assert 0.1 < point(minute).lateness_p95 <= 0.5


async def test_a_chart_asked_for_while_a_minute_is_being_kept_counts_it_once(world: World) -> None:
    world.happen(pushed=1)
    world.clock.advance(MINUTE)
    assert world.history._timer is not None
    world.history._timer.cancel()
    world.history._tick()
    for _ in range(20):
        series = await world.history.series("hour")
        assert sum(one.pushed for one in series.points) == 1
        await asyncio.sleep(0)
    assert world.history._keeping is None and await world.sums(MINUTES) == {"pushed": 1}


async def test_a_slow_store_makes_no_minute_count_twice_or_not_at_all(world: World) -> None:
    quick = world.store.notes

    async def slow(*asked: Any, **more: Any) -> list[tuple[str, bytes]]:
        found = await quick(*asked, **more)
        for _ in range(7):
            await asyncio.sleep(0)
        return found

    world.store.notes = slow  # type: ignore[method-assign]
    history = world.history
    for number in range(1, 30):
        world.happen(pushed=1)
        world.clock.advance(MINUTE)
        assert history._timer is not None
        history._timer.cancel()
        history._tick()
        charts = []
        for _ in range(number):
            charts.append(asyncio.create_task(history.series("hour")))
            await asyncio.sleep(0)
        for chart in charts:
            assert sum(one.pushed for one in (await chart).points) == number
    await history.stop()
    await world.begin()
    assert await world.sums(MINUTES) == await world.sums(DAYS) == {"pushed": 29}


def test_points_are_made_of_what_lies_between_them() -> None:
    row = spaced(
        [Bucket(70, 1, waiting=5), Bucket(10, 1, waiting=9), Bucket(130, 2), Bucket(61, 1)], 60, 60, 3
    )
    assert [(one.start, one.pushed, one.waiting) for one in row] == [(60, 2, 5), (120, 2, 0), (180, 0, 0)]


# ---- keeping and forgetting ---------------------------------------------------------------------------


async def test_old_buckets_go_and_days_last(world: World) -> None:
    for _ in range(1500):
        world.happen(pushed=1)
        await world.pass_by()
    minutes = await world.kept(MINUTES)
    assert len(minutes) == 1440 and min(minutes) == START + 1500 * MINUTE - DAY
    assert (await world.sums(HOURS))["pushed"] == (await world.sums(DAYS))["pushed"] == 1500
    await world.pass_by(3 * 365 * DAY)
    for _ in range(800):
        world.happen(pushed=1)
        await world.pass_by()
        assert len(world.store._notes) <= 1440 + 26 + 2
    now = world.clock.now() // 1000
    for level in LEVELS:
        kept = await world.kept(level)
        assert all(now - start <= level.kept for start in kept), level.name
        assert summed(kept.values()) == {"pushed": 800}
    assert len(await world.store.notes("history/")) == 800 + 14 + 1


@pytest.mark.parametrize("by", [-DAY, 365 * DAY, -365 * DAY, -3 * HOUR])
async def test_a_clock_that_is_set_loses_nothing_and_is_gone_by(world: World, by: int) -> None:
    for _ in range(3):
        world.happen(pushed=1)
        await world.pass_by()
    world.happen(pushed=1)
    world.clock.jump(by)
    world.clock.follow()
    await world.pass_by(30)
    for _ in range(3):
        world.happen(pushed=1)
        assert (await world.history.series("hour")).points[-1].pushed >= 1
        await world.pass_by()
    series = await world.history.series("hour")
    assert sum(one.pushed for one in series.points) == 4
    world.clock.jump(-by)
    world.clock.follow()
    world.happen(pushed=1)
    await world.pass_by()
    assert (await world.sums(DAYS))["pushed"] == 8
    assert all(rate["pushed"] > 0 for rate in world.history.rates().values())


async def test_a_clock_that_was_far_ahead_leaves_nothing_for_ever(world: World) -> None:
    for _ in range(40):
        world.happen(pushed=1)
        await world.pass_by()
    world.clock.jump(5 * 365 * DAY)
    world.clock.follow()
    world.happen(pushed=1)
    await world.pass_by()
    world.clock.jump(-5 * 365 * DAY)
    world.clock.follow()
    world.happen(pushed=1)
    await world.pass_by()
    now = world.clock.now() // 1000
    for level in LEVELS:
        assert max(await world.kept(level)) <= now
    assert await world.sums(MINUTES) == {"pushed": 39}, "it took a few"


async def test_a_machine_that_slept_counts_what_was_before_where_it_was(world: World) -> None:
    world.happen(pushed=1)
    world.clock.sleep(8 * HOUR)
    await world.tick()
    assert list(await world.kept(MINUTES)) == [START]


async def test_a_store_without_room_is_told_of_once_and_gets_it_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.broken = StoreFull("full")
    for _ in range(100):
        world.happen(pushed=1)
        await world.pass_by()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert sum(one.pushed for one in (await world.history.series("hour")).points) == 59
    assert (await world.history.series("month")).points[-1].pushed == 100
    world.broken = None
    world.happen(pushed=1)
    await world.pass_by()
    assert await world.sums(HOURS) == await world.sums(DAYS) == {"pushed": 101}
    assert len(await world.kept(MINUTES)) == 60, "the newest"
    world.broken = StoreFull("full again")
    world.happen(pushed=1)
    await world.pass_by()
    assert len(caplog.records) == 2
    world.broken = None
    await world.history.stop()
    await world.begin()
    assert await world.sums(DAYS) == {"pushed": 102}


async def test_a_store_that_does_not_answer_keeps_a_stop_no_longer_than_it_may(world: World) -> None:
    world.store.write = lambda *changes: asyncio.get_running_loop().create_future()  # type: ignore[method-assign]
    for _ in range(3):
        world.happen(pushed=1)
        world.clock.advance(MINUTE)
        assert world.history._timer is not None
        world.history._timer.cancel()
        world.history._tick()
        for _ in range(5):
            await asyncio.sleep(0)
    keeping = world.history._keeping
    assert keeping is not None
    assert [task.get_name() for task in asyncio.all_tasks()].count("history") == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.history.stop(), 0.01)
    assert keeping.cancelled()


async def test_a_bucket_that_cannot_be_read_is_left_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.happen(pushed=1)
    await world.pass_by()
    await world._write(Note(MINUTES.note(START), b"\xc1"), Note(HOURS.note(START), b"\x01"))
    world.happen(pushed=1)
    await world.pass_by()
    assert await world.sums(MINUTES) == {"pushed": 1} == await world.sums(HOURS)
    assert await world.sums(DAYS) == {"pushed": 2}
    assert "can't be read" in caplog.text


def test_a_bucket_of_an_older_program_can_be_read() -> None:
    older = msgspec.msgpack.encode([START, 1, 2])
    assert msgspec.msgpack.decode(older, type=Bucket) == Bucket(START, 1, 2)
    newer = msgspec.msgpack.encode([*msgspec.structs.astuple(Bucket(START, 1)), "more"])
    assert msgspec.msgpack.decode(newer, type=Bucket) == Bucket(START, 1)


# ---- rates --------------------------------------------------------------------------------------------


async def test_rates_are_a_second_over_a_minute_five_and_an_hour(world: World) -> None:
    assert world.history.rates()["1m"] == {"pushed": 0, "completed": 0, "errors": 0}
    for _ in range(120):
        world.happen(pushed=6, completed=3)
        await world.pass_by()
    rates = world.history.rates()
    assert {name: rate["pushed"] for name, rate in rates.items()} == {"1m": 0.1, "5m": 0.1, "60m": 0.1}
    assert rates["1m"]["completed"] == 0.05
    world.happen(pushed=9)
    world.clock.advance(30)
    assert world.history.rates()["1m"]["pushed"] == round(15 / 90, 3)
    await world.tick()
    await world.pass_by(30)
    await world.pass_by(61)
    assert world.history.rates()["1m"]["pushed"] == 0
    assert world.history.rates()["5m"]["pushed"] == round((3 * 6 + 9) / 301, 3)


async def test_rates_right_after_the_start_are_over_what_has_been(world: World) -> None:
    world.happen(pushed=10)
    world.clock.advance(5)
    assert {rate["pushed"] for rate in world.history.rates().values()} == {2.0}


async def test_what_happened_before_the_start_of_a_pusher_is_not_counted_again(world: World) -> None:
    world.happen(pushed=1)
    await world.history.stop()
    world.history = History(world.store, world.clock, world.tally)
    world.happen(pushed=1)
    await world.pass_by()
    assert await world.sums(MINUTES) == {"pushed": 2}


def test_a_total_is_all_that_the_tally_has() -> None:
    tally = Tally()
    tally.moved([a_job(), canceled(a_job(), NOW)])
    tally.cut()
    found = total(tally)
    assert (found.pushed, found.canceled, found.attempts["cut"]) == (1, 1, 1)
    assert since(found, total(tally), 5) == Bucket(5)


def test_the_hours_of_a_day_and_the_days_begin_at_midnight_utc() -> None:
    assert DAYS.start(START + 5) == 1_799_971_200 and HOURS.start(START + 5) == START
    assert MINUTES.note(START) == "history/m/001800000000"


async def test_those_who_look_in_the_same_minute_read_the_store_once(world: World) -> None:
    world.happen(pushed=3, completed=2)
    await world.pass_by()
    reads, notes = 0, world.store.notes

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal reads
        reads += 1
        return notes(*given, **named)

    world.store.notes = counted  # type: ignore[method-assign]
    first = await world.history.series("day")
    often = reads
    assert first == await world.history.series("day") and often > 0
    assert reads == often
    world.happen(completed=1)
    assert (await world.history.series("day")).points[-1].completed == 3, "the minute that is not over counts"
    assert reads == often
    await world.pass_by()
    assert (await world.history.series("day")).points[-1].completed == 3
    assert reads > often
