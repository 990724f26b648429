"""One action on many jobs: each once, whatever happens to them meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from taskpusher import bulk as bulks
from taskpusher.bulk import CHUNK, PAGE, Bulk
from taskpusher.errors import InvalidField, MoveRefused, Stopping, StoreFull, UnknownBulk
from taskpusher.job import INSTEAD, MOVES, Action, ErrorClass, Held, Job, State, Wish
from taskpusher.moves import FOR_MANY
from taskpusher.push import new_job
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome
from taskpusher.stores.base import Add, Change, Edit, Page, Query, Store, Written
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import FakeClock, ScriptedRunner, eventually

URL = "http://app.example/work"
W, R, P, C, E, X = State.WAITING, State.RUNNING, State.PAUSED, State.COMPLETED, State.ERROR, State.CANCELED


class Meddler(MemoryStore):
    """A store in which things happen at chosen moments: after a page was read, before a change is written."""

    def __init__(self) -> None:
        super().__init__()
        self.after_page: Callable[[Page], Awaitable[None]] | None = None
        self.before_write: Callable[[Change], Exception | None] | None = None
        self.commits: list[int] = []  # how many changes were queued before the loop's next turn

    async def page(self, query: Query, cursor: bytes | None, limit: int, most: int = 0) -> Page:
        page = await super().page(query, cursor, limit, most)
        if self.after_page is not None:
            await self.after_page(page)
        return page

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        loop = asyncio.get_running_loop()
        if not self.commits or self.commits[-1] == 0:
            self.commits.append(0)
            loop.call_soon(self.commits.append, 0)
        self.commits[-1] += len(changes)
        for change in changes:
            if self.before_write is not None and (error := self.before_write(change)) is not None:
                refused: asyncio.Future[list[Written]] = loop.create_future()
                refused.set_exception(error)
                return refused
        return super().write(*changes)


@pytest.fixture(params=["memory", "lmdb"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "lmdb":
        return lambda: LmdbStore(tmp_path / "tasker.db")
    kept = MemoryStore()
    return lambda: kept


@asynccontextmanager
async def running(store: Store, runner: Any = None, **settings: Any) -> AsyncIterator[TaskPusher]:
    pusher = TaskPusher(store, {"http": runner or ScriptedRunner()}, **settings)
    await pusher.start()
    try:
        yield pusher
    finally:
        await pusher.stop(grace=0)
        await pusher.close()


async def uids(pusher: TaskPusher, state: State) -> set[str]:
    found: set[str] = set()
    cursor = None
    while True:
        page = await pusher.page(Query(state), cursor, 500)
        found |= {job.uid for job in page.jobs}
        cursor = page.cursor
        if cursor is None:
            return found


async def waiting(pusher: TaskPusher, number: int, **fields: Any) -> set[str]:
    """Jobs that are due in an hour."""
    jobs = [await pusher.push(URL, delay=3600, **fields) for _ in range(number)]
    return {job.uid for job in jobs}


def figures(bulk: Bulk) -> tuple[int, int | None, int, int, str]:
    return bulk.count, bulk.total, bulk.skipped, bulk.failed, bulk.cut_short or bulk.error


# ---- each action --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ((), "cancel", X),
        ((Action.PAUSE,), "cancel", X),
        ((), "pause", P),
        ((Action.PAUSE,), "resume", W),
        ((Action.CANCEL,), "retry", W),
        ((), "delete", None),
        ((Action.CANCEL,), "delete", None),
    ],
)
async def test_an_action_moves_all_jobs_of_a_state_that_match(
    new_store: Callable[[], Store], before: tuple[Action, ...], action: str, after: State | None
) -> None:
    async with running(new_store()) as pusher:
        meant = await waiting(pusher, 3, queue="mail")
        others = await waiting(pusher, 2, queue="other")
        for uid in meant | others:
            for step in before:
                await getattr(pusher, step)(uid)
        await pusher.set_queue("mail", paused=True)  # what waits again stays where it can be seen
        state = (await pusher.get(next(iter(others)))).state
        bulk = await pusher.bulk(action, Query(state, queue="mail"))
        assert figures(bulk) == (3, 3, 0, 0, "") and bulk.done and bulk.finished_ms >= bulk.started_ms
        assert await uids(pusher, state) == others
        if after is not None:
            assert await uids(pusher, after) == meant
        else:
            assert sum((await pusher.counts()).values()) == 2


class AlwaysFails(ScriptedRunner):
    """Every attempt fails for good."""

    def __init__(self) -> None:
        super().__init__(play=self._fail)

    async def _fail(self, held: Held) -> Outcome:
        return Failure(ErrorClass.ANSWERED, "answered 500", final=True)


async def test_retry_forgives_each_error_once_even_if_it_fails_again_meanwhile(
    new_store: Callable[[], Store],
) -> None:
    async with running(new_store(), AlwaysFails(), concurrency=20) as pusher:
        for _ in range(PAGE + 50):
            await pusher.push(URL)

        async def all_failed() -> bool:
            return len(await uids(pusher, E)) == PAGE + 50

        await eventually(all_failed)
        bulk = await pusher.bulk("retry", Query(E))
        assert figures(bulk) == (PAGE + 50, PAGE + 50, 0, 0, "")
        await eventually(all_failed)
        for uid in await uids(pusher, E):
            assert (await pusher.get(uid)).run == 2


async def test_run_has_waiting_jobs_run_now_each_once_though_they_wait_again_later() -> None:
    """Those that fail at once wait again further down the list, where the walk meets them once more."""
    store, clock = Meddler(), FakeClock()
    number = 2 * PAGE + 1
    runner = ScriptedRunner(*[Failure(ErrorClass.NOT_SENT, "refused")] * 2 * number)
    async with running(store, runner, concurrency=50, clock=clock) as pusher:
        fields = {"url": URL, "delay": 1, "max_attempts": 9}
        await pusher.add(*[new_job(fields, pusher.defaults, clock.now()) for _ in range(number)])
        met: list[str] = []

        async def let_them_fail(page: Page) -> None:
            if met:
                await eventually(lambda: len(runner.ran) == len(met) and not pusher._workers.running)
            met.extend(job.uid for job in page.jobs)
            if len(met) > number:
                store.after_page = None

        store.after_page = let_them_fail
        bulk = await pusher.bulk(Action.RUN, Query(W))
        store.after_page = None
        assert len(met) > len(set(met)) == bulk.count == number
        await eventually(lambda: len(runner.ran) == number and not pusher._workers.running)
        assert {job.attempt for job in (await pusher.page(Query(W), None, 2 * number)).jobs} == {1}


async def test_a_canceled_call_is_cut_after_that_was_written(new_store: Callable[[], Store]) -> None:
    cut: list[str] = []
    entered: list[str] = []

    async def play(held: Held) -> Outcome:
        entered.append(held.job.uid)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(held.job.uid)
            assert (await pusher.get(held.job.uid)).state is X
            raise
        raise AssertionError

    async with running(new_store(), ScriptedRunner(play=play), concurrency=3) as pusher:
        told: list[Job] = []
        jobs = {(await pusher.push(URL)).uid for _ in range(3)}
        await eventually(lambda: len(entered) == 3)
        pusher.events.listen(told.extend)
        bulk = await pusher.bulk("cancel", Query(R))
        assert figures(bulk) == (3, 3, 0, 0, "")
        await eventually(lambda: set(cut) == jobs)
        assert {job.uid for job in told} == jobs and {job.state for job in told} == {X}
        for uid in jobs:
            (attempt,) = (await pusher.details(uid)).attempts
            assert attempt.error is not None and "canceled" in attempt.error.message


async def test_a_running_job_of_another_kind_gets_a_wish_and_a_call_is_refused(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def play(held: Held) -> Outcome:
        await gate.wait()
        raise AssertionError

    store = MemoryStore()
    pusher = TaskPusher(
        store, {"http": ScriptedRunner(play=play), "command": ScriptedRunner(play=play)}, concurrency=2
    )
    await pusher.start()
    call = await pusher.push(URL)
    other = await pusher.push(URL, delay=3600)
    await pusher.store.write(Edit(replace(other, kind="command", due_ms=0, revision=1)))
    await pusher.run(other.uid)
    await eventually(lambda: len(pusher._workers.running) == 2)
    bulk = await pusher.bulk("pause", Query(R))
    assert figures(bulk)[:4] == (1, 2, 0, 1) and "cancel it" in bulk.error
    assert (await pusher.get(other.uid)).wish is Wish.PAUSE
    assert (await pusher.get(call.uid)).wish is None
    await pusher.stop(grace=0)
    await pusher.close()


# ---- which jobs ---------------------------------------------------------------------------------------


async def test_filters_choose_as_they_do_in_lists(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        meant = await pusher.push("http://b.example/x?1", delay=3600, queue="q", tags=["t", "u"])
        await waiting(pusher, 3)
        await pusher.push("http://b.example/y", delay=3600, queue="r", tags=["v"])
        for given in ({"queue": "q"}, {"tag": "u"}, {"url": "http://b.example/x"}):
            dry = await pusher.bulk("cancel", Query(W, **given), dry_run=True)
            assert figures(dry) == (1, 1, 0, 0, "")
        by_host = await pusher.bulk("cancel", Query(W, host="b.example", kind="http"), dry_run=True)
        assert by_host.count == 2
        assert len(await uids(pusher, W)) == 5
        await pusher.bulk("cancel", Query(W, tag="u", host="b.example"))
        assert await uids(pusher, X) == {meant.uid}


async def test_5000_jobs_are_moved_in_chunks_and_each_is_told_once(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        adds = [await waiting_add(pusher, n) for n in range(5000)]
        await pusher.add(*adds)
        told: list[str] = []
        pusher.events.listen(lambda jobs: told.extend(job.uid for job in jobs))
        bulk = pusher.bulk("cancel", Query(W, queue="even"))
        seen = set()
        while not bulk.done:
            seen.add(bulk.count)
            await asyncio.sleep(0)
        assert figures(bulk) == (2500, 2500, 0, 0, "")
        assert len(told) == len(set(told)) == 2500
        assert len(seen) > 5  # it lets others go on
        counts = await pusher.counts()
        assert counts == {(X, "even"): 2500, (W, "odd"): 2500}


async def waiting_add(pusher: TaskPusher, number: int) -> Add:
    queue = "odd" if number % 2 else "even"
    return new_job({"url": URL, "delay": 3600, "queue": queue}, pusher.defaults, pusher.clock.now())


async def test_no_commit_takes_more_than_a_chunk() -> None:
    store = Meddler()
    async with running(store) as pusher:
        await pusher.add(*[await waiting_add(pusher, n) for n in range(2 * PAGE + 1)])
        store.commits.clear()
        await pusher.bulk("pause", Query(W))
        assert max(store.commits) == CHUNK <= 500
        assert sum(store.commits) == 2 * PAGE + 1


async def test_jobs_pushed_meanwhile_are_left_alone_and_the_walk_ends() -> None:
    store, clock = Meddler(), FakeClock()
    async with running(store, clock=clock) as pusher:
        await pusher.add(*[await waiting_add(pusher, n) for n in range(PAGE + 1)])
        before = await uids(pusher, W)
        late: set[str] = set()

        async def push(page: Page) -> None:
            """Behind the others, where the walk has still to come."""
            if len(late) < 2 * PAGE:
                clock.advance(1)
                fields = {"url": URL, "delay": 7200}
                adds = [new_job(fields, pusher.defaults, clock.now()) for _ in range(PAGE)]
                late.update(one.job.uid for one in await pusher.add(*adds) if one.job is not None)

        store.after_page = push
        bulk = await pusher.bulk("cancel", Query(W))
        store.after_page = None
        assert figures(bulk) == (PAGE + 1, PAGE + 1, 0, 0, "")
        assert await uids(pusher, X) == before
        assert await uids(pusher, W) == late


async def test_a_clock_that_was_set_back_hides_no_job_from_a_bulk() -> None:
    clock = FakeClock()
    async with running(MemoryStore(), clock=clock) as pusher:
        jobs = await waiting(pusher, 3)
        clock.jump(-600)
        assert (await pusher.bulk("cancel", Query(W))).count == 3
        assert await uids(pusher, X) == jobs


# ---- what others do meanwhile -------------------------------------------------------------------------


async def test_a_job_that_changed_and_still_matches_is_moved_and_one_that_does_not_is_skipped() -> None:
    store = Meddler()
    async with running(store) as pusher:
        changed, left, moved, gone, plain = [
            (await pusher.push(URL, delay=3600, queue="q", title=str(n))).uid for n in range(5)
        ]

        async def meddle(page: Page) -> None:
            store.after_page = None
            await pusher.edit(changed, {"title": "new", "priority": 1})
            await pusher.edit(left, {"queue": "other"})
            await pusher.pause(moved)
            await pusher.remove(gone)

        store.after_page = meddle
        bulk = await pusher.bulk("cancel", Query(W, queue="q"))
        assert figures(bulk) == (2, 5, 3, 0, "")
        assert await uids(pusher, X) == {changed, plain}
        assert (await pusher.get(changed)).title == "new"
        assert (await pusher.get(left)).state is W and (await pusher.get(moved)).state is P


async def test_a_job_that_changes_again_and_again_is_moved_in_the_end() -> None:
    store = Meddler()
    async with running(store) as pusher:
        (uid,) = await waiting(pusher, 1)
        left = 5

        def meddle(change: Change) -> None:
            nonlocal left
            if isinstance(change, Edit) and change.job.state is X and left:
                left -= 1
                row = store._rows[uid]
                store._rows[uid] = replace(row, job=replace(row.job, revision=row.job.revision + 1))

        store.before_write = meddle
        assert figures(await pusher.bulk("cancel", Query(W))) == (1, 1, 0, 0, "")
        assert left == 0


async def test_a_delete_meets_a_job_that_changed_meanwhile() -> None:
    store = Meddler()
    async with running(store) as pusher:
        changed, moved = [(await pusher.push(URL, delay=3600)).uid for _ in range(2)]

        async def meddle(page: Page) -> None:
            store.after_page = None
            await pusher.edit(changed, {"title": "new"})
            await pusher.cancel(moved)

        store.after_page = meddle
        assert figures(await pusher.bulk("delete", Query(W))) == (1, 2, 1, 0, "")
        assert await uids(pusher, X) == {moved} and await uids(pusher, W) == set()


async def test_a_job_that_a_person_brings_back_is_not_moved_twice() -> None:
    store, clock = Meddler(), FakeClock()
    async with running(store, clock=clock) as pusher:
        first = await pusher.push(URL, delay=60)
        await pusher.add(*[await waiting_add(pusher, n) for n in range(PAGE)])
        await pusher.set_queue("default", paused=True)
        pages = 0

        async def bring_back(page: Page) -> None:
            nonlocal pages
            pages += 1
            if pages == 2:
                await pusher.retry(first.uid)
                await pusher.edit(first.uid, {"delay": 7200})  # now it is ahead of the walk

        store.after_page = bring_back
        bulk = await pusher.bulk("cancel", Query(W))
        assert pages >= 2 and bulk.count == PAGE + 1
        assert await uids(pusher, W) == {first.uid}


async def test_one_that_can_not_be_moved_does_not_spoil_the_others(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        await pusher.set_queue("default", paused=True)
        old = [(await pusher.push(URL, key="k")).uid]
        await pusher.cancel(old[0])
        others = {(await pusher.push(URL)).uid for _ in range(3)}
        for uid in others:
            await pusher.cancel(uid)
        holder = await pusher.push(URL, key="k")
        bulk = await pusher.bulk("retry", Query(X))
        assert figures(bulk)[:4] == (3, 4, 0, 1)
        assert holder.uid in bulk.error and not bulk.cut_short
        assert await uids(pusher, X) == set(old) and await uids(pusher, W) == others | {holder.uid}


async def test_a_change_that_fails_for_no_known_reason_counts_as_failed() -> None:
    store = Meddler()
    async with running(store) as pusher:
        (bad,) = await waiting(pusher, 1)
        good = await waiting(pusher, 3)

        def fail(change: Change) -> Exception | None:
            return OSError("secret") if isinstance(change, Edit) and change.job.uid == bad else None

        store.before_write = fail
        bulk = await pusher.bulk("cancel", Query(W))
        assert figures(bulk)[:4] == (3, 4, 0, 1) and "log" in bulk.error and "secret" not in bulk.error
        assert await uids(pusher, X) == good


# ---- its end ------------------------------------------------------------------------------------------


async def test_a_bulk_that_is_canceled_ends_after_its_chunk(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        await pusher.add(*[await waiting_add(pusher, n) for n in range(1000)])
        bulk = pusher.bulk("cancel", Query(W))
        await eventually(lambda: bulk.count)
        bulk.cancel()
        await bulk
        assert bulk.done and "canceled" in bulk.cut_short and bulk.total == 1000
        assert 0 < bulk.count < 1000 and bulk.count % CHUNK == 0
        assert len(await uids(pusher, X)) == bulk.count
        bulk.cancel("too late")
        assert "canceled" in bulk.cut_short


async def test_a_stop_ends_a_bulk_between_chunks_and_the_rest_is_as_it_was(
    new_store: Callable[[], Store],
) -> None:
    async with running(new_store()) as pusher:
        await pusher.add(*[await waiting_add(pusher, n) for n in range(1000)])
        bulk = pusher.bulk("pause", Query(W))
        await eventually(lambda: bulk.count)
        await pusher.stop(grace=0)
        assert bulk.done and "stopped" in bulk.cut_short and 0 < bulk.count < 1000
        with pytest.raises(Stopping):
            pusher.bulk("pause", Query(W))
    async with running(new_store()) as pusher:
        assert len(await uids(pusher, P)) == bulk.count
        assert len(await uids(pusher, W)) == 1000 - bulk.count
        with pytest.raises(UnknownBulk):
            pusher.find_bulk(bulk.uid)
        rest = await pusher.bulk("pause", Query(W))
        assert rest.count == 1000 - bulk.count


async def test_a_stop_does_not_wait_for_a_bulk_whose_store_hangs() -> None:
    store = Meddler()
    async with running(store) as pusher:
        await waiting(pusher, 1)

        async def hang(page: Page) -> None:
            await asyncio.Event().wait()

        store.after_page = hang
        bulk = pusher.bulk("pause", Query(W))
        await asyncio.sleep(0)
        await pusher.stop(grace=0)
        await bulk
        assert "stopped" in bulk.cut_short


async def test_a_bulk_ends_when_the_store_can_take_no_more() -> None:
    store = Meddler()
    async with running(store) as pusher:
        await waiting(pusher, 2 * CHUNK)
        store.before_write = lambda change: StoreFull("the disk is full")
        bulk = await pusher.bulk("cancel", Query(W))
        assert "full" in bulk.cut_short and bulk.count == 0
        store.before_write = None


async def test_the_last_bulks_are_known_and_older_ones_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulks, "KEPT", 3)
    async with running(MemoryStore()) as pusher:
        ended = [await pusher.bulk("cancel", Query(W)) for _ in range(5)]
        for bulk in ended[-3:]:
            assert pusher.find_bulk(bulk.uid) is bulk
        for bulk in ended[:2]:
            with pytest.raises(UnknownBulk):
                pusher.find_bulk(bulk.uid)


async def test_bulks_that_run_at_once_take_turns() -> None:
    store = Meddler()
    async with running(store) as pusher:
        await pusher.add(*[await waiting_add(pusher, n) for n in range(1000)])
        store.commits.clear()
        long = pusher.bulk("cancel", Query(W, queue="odd"))
        short = pusher.bulk("pause", Query(W, queue="even"))
        await short
        await long
        assert (long.count, short.count) == (500, 500)
        assert max(store.commits) == CHUNK  # of all of them together
        assert await pusher.counts() == {(X, "odd"): 500, (P, "even"): 500}


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("action", FOR_MANY)
@pytest.mark.parametrize("state", State)
async def test_a_pair_is_allowed_where_the_table_has_a_move_and_told_what_to_do_instead_where_not(
    state: State, action: Action
) -> None:
    legal = MOVES.get(("http", state, action)) or (
        ("http", state, action) not in INSTEAD and MOVES.get(("*", state, action))
    )
    async with running(MemoryStore()) as pusher:
        if legal:
            assert (await pusher.bulk(action, Query(state))).count == 0
            return
        with pytest.raises(MoveRefused) as refusal:
            pusher.bulk(action, Query(state), dry_run=True)
        hints = [hint for (_, of, _), hint in INSTEAD.items() if of is state]
        assert any(hint in str(refusal.value) for hint in hints)


async def test_what_is_nothing_to_do_to_many_or_names_no_state_is_refused() -> None:
    async with running(MemoryStore()) as pusher:
        for action in ("edit", "claim", "burn"):
            with pytest.raises(InvalidField, match="action"):
                pusher.bulk(action, Query(W))
        with pytest.raises(InvalidField, match="state"):
            pusher.bulk("cancel", Query())


async def test_a_dry_run_moves_nothing(new_store: Callable[[], Store]) -> None:
    async with running(new_store()) as pusher:
        jobs = await waiting(pusher, 3, tags=["t"])
        for query in (Query(W), Query(W, tag="t"), Query(W, queue="default")):
            assert figures(await pusher.bulk("delete", query, dry_run=True)) == (3, 3, 0, 0, "")
        assert await uids(pusher, W) == jobs
