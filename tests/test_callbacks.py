"""Jobs in error are told to a URL, by jobs that are pushed in the commit that ends them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

from taskpusher.callbacks import ErrorCallback
from taskpusher.document import whole
from taskpusher.job import ErrorClass, Held, Job, Result, State, expired, from_record
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome, Success
from taskpusher.stores.base import Add, Edit, Query, Store
from taskpusher.stores.layout import uid_key
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import NOW, FakeClock, ScriptedRunner, a_job, eventually

CALLBACK = "https://me:pass@app.example/errors"
WORK = "http://user:secret@localhost:8000/work?token=abc"
GONE = Failure(ErrorClass.ANSWERED, "answered 410 Gone", Result(410, (("X-Id", "7"),), b"it is gone"))


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


class Told(ScriptedRunner):
    """Fails every job but callbacks, whose outcome is another one; keeps what they told."""

    def __init__(self, outcome: Outcome = GONE, callback: Outcome | None = None) -> None:
        super().__init__(play=self._come_to)
        self.outcome, self.callback = outcome, callback or Success(Result(204))
        self.calls: list[Held] = []

    async def _come_to(self, held: Held) -> Outcome:
        if not held.job.target.startswith("https://"):
            return self.outcome
        self.calls.append(held)
        return self.callback

    def documents(self) -> list[Any]:
        return [msgspec.json.decode(held.body) for held in self.calls]


@asynccontextmanager
async def pushing(store: Store, runner: Any, **settings: Any) -> AsyncIterator[TaskPusher]:
    settings = {"error_callback": CALLBACK} | settings
    async with TaskPusher(store, {"http": runner}, **settings) as pusher:
        yield pusher


async def all_jobs(pusher: TaskPusher) -> list[Job]:
    return (await pusher.page(Query())).jobs


async def test_a_job_that_fails_for_good_is_told_of(new_store: Any) -> None:
    runner = Told()
    async with pushing(new_store(), runner) as pusher:
        job = await pusher.push(WORK, body="payload", headers={"X-Key": "hidden"}, title="the work")
        (call,) = await eventually(lambda: runner.calls)
        (document,) = runner.documents()
        assert document["event"] == "job.error"
        told = document["job"]
        assert (told["uid"], told["state"], told["title"]) == (job.uid, "error", "the work")
        assert told["error"] == {"class": "answered", "message": "answered 410 Gone"}
        assert told["result"]["status"] == 410
        assert [one["status"] for one in told["attempts"]] == [410]
        for secret in (b"secret", b"abc", b"payload", b"hidden", b"it is gone"):
            assert secret not in call.body
        made = call.job
        assert (made.target, made.method, made.host) == (CALLBACK, "POST", "app.example")
        assert made.headers == (("Content-Type", "application/json"),)
        assert (made.queue, made.tags, made.max_attempts) == ("callbacks", ("callback", job.uid), 10)
        assert made.title == f"job.error {job.uid}"
        assert made.body_size == len(call.body)

        async def completed() -> bool:
            return (await pusher.get(made.uid)).state is State.COMPLETED

        await eventually(completed)


async def test_what_is_told_is_what_the_job_is(new_store: Any) -> None:
    runner = Told(Failure(ErrorClass.UNKNOWN, "cut", retry_after=None))
    clock = FakeClock()
    async with pushing(new_store(), runner, clock=clock) as pusher:
        job = await pusher.push(WORK, max_attempts=2)

        async def failed() -> bool:
            clock.advance(10)
            pusher._workers.feed.wake()
            return (await pusher.get(job.uid)).state is State.ERROR

        await eventually(failed)
        await eventually(lambda: runner.calls)
        (document,) = runner.documents()
        assert len(document["job"]["attempts"]) == 2
        now = whole(await pusher.details(job.uid), masked=True)
        assert document["job"] == msgspec.json.decode(msgspec.json.encode(now))


@pytest.mark.parametrize("outcome", [Success(), Failure(ErrorClass.UNKNOWN, "cut")])
async def test_nothing_is_told_while_a_job_may_still_succeed(new_store: Any, outcome: Outcome) -> None:
    runner = Told(outcome)
    async with pushing(new_store(), runner) as pusher:
        await pusher.push(WORK, max_attempts=2)
        await pusher.cancel((await pusher.push(WORK, delay="1h")).uid)
        await eventually(lambda: runner.ran and not pusher._workers.running)
        assert len(await all_jobs(pusher)) == 2
    assert not runner.calls


async def test_a_callback_that_fails_is_tried_again_and_calls_nobody_back(new_store: Any) -> None:
    runner, clock = Told(callback=Failure(ErrorClass.NOT_SENT, "nobody there")), FakeClock()
    async with pushing(new_store(), runner, clock=clock) as pusher:
        await pusher.push(WORK)

        async def given_up() -> bool:
            clock.advance(4000)
            pusher._workers.feed.wake()
            return len([job for job in await all_jobs(pusher) if job.state is State.ERROR]) == 2

        await eventually(given_up)
        assert len(runner.calls) == 10
        assert len(await all_jobs(pusher)) == 2
        copy = await pusher.duplicate(runner.calls[0].job.uid)
        runner.callback = GONE

        async def copy_failed() -> bool:
            clock.advance(4000)
            pusher._workers.feed.wake()
            return (await pusher.get(copy.uid)).state is State.ERROR

        await eventually(copy_failed)
        assert len(await all_jobs(pusher)) == 3


async def test_a_job_that_a_person_sent_back_is_told_of_again(new_store: Any) -> None:
    runner = Told()
    async with pushing(new_store(), runner) as pusher:
        job = await pusher.push(WORK)
        await eventually(lambda: len(runner.calls) == 1)
        await pusher.retry(job.uid)
        await eventually(lambda: len(runner.calls) == 2)
        assert [document["job"]["run"] for document in runner.documents()] == [1, 2]


async def test_a_job_that_expires_is_told_of_whoever_finds_it(new_store: Any) -> None:
    runner, clock = Told(), FakeClock()
    async with pushing(new_store(), runner, clock=clock) as pusher:
        waiting = await pusher.push(WORK, expires_at="2027-01-15T08:05:00Z", delay="1m", queue="held")
        paused = await pusher.push(WORK, expires_at="2027-01-15T08:05:00Z", delay="1m")
        await pusher.pause(paused.uid)
        clock.advance(3600)
        pusher._workers.feed.wake()  # a claim meets the one
        pusher._upkeep._sooner.set()  # upkeep the other
        await eventually(lambda: len(runner.calls) == 2)
        told = {document["job"]["uid"]: document["job"] for document in runner.documents()}
        assert told.keys() == {waiting.uid, paused.uid}
        assert {one["error"]["class"] for one in told.values()} == {"expired"}
        assert (await pusher.get(waiting.uid)).attempt == 0


async def test_a_job_that_a_crash_ended_is_told_of_at_the_next_start(new_store: Any) -> None:
    store = new_store()
    await store.open("node", lambda job: ())
    job = a_job(once=True, target=WORK)
    await store.write(Add(job))
    await store.claim(1, job.due_ms)
    await store.close()  # it runs still: so a killed tasker leaves it
    runner = Told()
    async with pushing(new_store(), runner, node="node"):
        await eventually(lambda: runner.calls)
    (document,) = runner.documents()
    assert document["job"]["uid"] == job.uid
    assert document["job"]["error"]["class"] == "unknown"


@pytest.mark.usefixtures("nothing_logged")  # no test report could hold what is said
async def test_an_outcome_that_can_not_be_stored_is_told_of_as_what_was_stored(tmp_path: Path) -> None:
    runner = Told(Failure(ErrorClass.UNKNOWN, "half a pair: \ud800", final=True))
    async with pushing(LmdbStore(tmp_path / "db"), runner) as pusher:
        job = await pusher.push(WORK)
        await eventually(lambda: runner.calls)
        (document,) = runner.documents()
        assert document["job"]["uid"] == job.uid
        assert "could not be stored" in document["job"]["error"]["message"]


@pytest.mark.usefixtures("nothing_logged")
async def test_what_can_not_be_read_beside_a_job_holds_up_neither_it_nor_its_callback(tmp_path: Path) -> None:
    store, clock = LmdbStore(tmp_path / "db"), FakeClock()
    await store.open("node", lambda job: ())
    first, second = a_job(expires_ms=NOW + 5), a_job(expires_ms=NOW + 5)
    await store.write(Add(first), Add(second))
    await store.close()
    with lmdb.open(str(tmp_path / "db"), max_dbs=30) as env:
        results = env.open_db(b"results")
        with env.begin(write=True) as txn:
            for job in (first, second):
                txn.put(uid_key(job.uid), b"\xc1 is no MessagePack", db=results)
    await store.open("node", lambda job: ())
    callback = ErrorCallback(CALLBACK, store, clock)
    change = await callback.along(Edit(expired(first, NOW + 9)))
    await store.write(change)
    claimed = await store.claim(1, NOW + 9, then=callback.jobs)
    assert [job.uid for job in claimed.expired] == [second.uid]
    told = [change.then[0].job.extra, *(job.extra for job in claimed.pushed)]
    assert told == [{"about": first.uid}, {"about": second.uid}]
    await store.close()


async def test_without_a_callback_nothing_is_pushed(new_store: Any) -> None:
    runner = Told()
    async with pushing(new_store(), runner, error_callback=None) as pusher:
        job = await pusher.push(WORK)

        async def failed() -> bool:
            return (await pusher.get(job.uid)).state is State.ERROR

        await eventually(failed)
        assert len(await all_jobs(pusher)) == 1


async def test_the_callback_is_there_as_soon_as_the_job_is_in_error(tmp_path: Path) -> None:
    """In one commit: whoever sees the one sees the other."""
    runner = Told()
    async with pushing(LmdbStore(tmp_path / "db"), runner, concurrency=20) as pusher:
        store = pusher.store
        for _ in range(30):
            await pusher.push(WORK)

        def look(txn: Any) -> tuple[int, int]:
            finished = [job.extra for job in _jobs(store, txn)]
            return sum(not extra for extra in finished), sum(bool(extra) for extra in finished)

        while len(runner.calls) < 30:
            failed, callbacks = store._read(look)  # type: ignore[attr-defined]
            assert failed == callbacks
            await asyncio.sleep(0)


def _jobs(store: Any, txn: Any) -> list[Job]:
    """Those in error, and all callbacks, as one moment has them."""
    jobs = [from_record(record) for _, record in txn.cursor(store._tables.db("jobs"))]
    return [job for job in jobs if job.extra or job.state is State.ERROR]


@pytest.mark.parametrize("url", ["app.example", "ftp://app.example/", ""])
async def test_a_url_that_can_not_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="error_callback"):
        TaskPusher(MemoryStore(), {}, error_callback=url)
