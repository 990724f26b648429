"""Streams of events: what they tell, when, and what they cost nobody."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from taskpusher.errors import InvalidField
from taskpusher.job import State
from taskpusher.runners.base import Success
from taskpusher.stores.base import Query
from taskpusher.web import User, create_app
from taskpusher.web.live import Live
from taskpusher.web.problems import Problem

URL = "http://app.example/"


class Reader:
    """One who reads a stream; `stop` keeps it from reading on."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.text = ""
        self.over = False
        self.sends = 0
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.leaves = asyncio.Event()
        self.came = asyncio.Event()

    async def receive(self) -> Any:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.head = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        await self.may_read.wait()
        self.sends += 1
        self.text += message["body"].decode()
        self.over = not message.get("more_body", False)
        self.came.set()

    def events(self, name: str = "tick") -> list[Any]:
        blocks = [block.split("\n") for block in self.text.split("\n\n") if block.startswith("event:")]
        return [json.loads(data[len("data: ") :]) for event, data in blocks if event == f"event: {name}"]

    async def until(self, true: Callable[["Reader"], Any]) -> Any:
        async with asyncio.timeout(5):
            while not (found := true(self)):
                self.came.clear()
                await self.came.wait()
        return found


def scope(query: str = "", method: str = "GET", path: str = "/tasks/events") -> dict[str, Any]:
    head = [(b"host", b"localhost")]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": head,
    }


@asynccontextmanager
async def reading(live: Live, query: str = "") -> AsyncIterator[Reader]:
    reader = Reader()
    asked = scope(query)
    answer = await live.stream(Request(asked, reader.receive))
    task = asyncio.create_task(answer(asked, reader.receive, reader.send))
    try:
        yield reader
    finally:
        reader.may_read.set()
        reader.leaves.set()
        async with asyncio.timeout(5):
            await task


@pytest.fixture
def live(site: Any) -> Live:
    """Ticks a hundred times a second."""
    return Live(site.pusher, least=0.01, most=5)


def listeners(site: Any) -> int:
    events = site.pusher.events
    return len(events._listeners) + len(events._watchers)


async def test_a_tick_comes_at_once_with_how_it_is(site: Any, live: Live) -> None:
    await site.pusher.push(URL, delay="1h")
    due = (await site.pusher.page(Query(State.WAITING))).jobs[0].due_ms
    async with reading(live) as reader:
        (tick,) = await reader.until(Reader.events)
        assert reader.head == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
    assert tick["states"] == {state.value: int(state is State.WAITING) for state in State}
    assert (tick["busy"], tick["workers"], tick["oldest_due"], tick["moved"]) == (0, 4, due, 0)
    assert tick["rates"].keys() == {"completed", "errors"}
    assert abs(tick["now"] - site.pusher.clock.now()) < 5000


async def test_what_moves_is_told_until_it_is_calm(site: Any, live: Live) -> None:
    site.finish(Success())
    async with reading(live) as reader:
        await reader.until(Reader.events)
        for _ in range(10):
            await site.pusher.push(URL)
        await reader.until(lambda reader: reader.events()[-1]["states"]["completed"] == 10)
        await reader.until(lambda reader: reader.events()[-1]["moved"] == 0)
        last = reader.events()[-1]
        assert last["rates"] == {"completed": 0, "errors": 0}
        assert last["busy"] == 0
        assert sum(tick["moved"] for tick in reader.events()) == 30  # pushed, begun, settled
        assert max(tick["rates"]["completed"] for tick in reader.events()) > 0


async def test_a_job_that_begins_and_jobs_that_are_removed_are_told_too(site: Any, live: Live) -> None:
    async with reading(live) as reader:
        job = await site.pusher.push(URL, delay="50ms")
        await reader.until(lambda reader: reader.events()[-1:] and reader.events()[-1]["busy"] == 1)
        assert reader.events()[-1]["states"]["running"] == 1
        await site.pusher.cancel(job.uid)
        await reader.until(lambda reader: reader.events()[-1]["states"]["canceled"] == 1)
        await reader.until(lambda reader: reader.events()[-1]["moved"] == 0)
        await site.pusher.remove(job.uid)
        await reader.until(lambda reader: reader.events()[-1]["states"]["canceled"] == 0)


def counted_looks(site: Any, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that the pusher is looked at."""
    looks: list[None] = []
    glance = site.pusher.glance

    async def counted() -> Any:
        looks.append(None)
        return await glance()

    monkeypatch.setattr(site.pusher, "glance", counted)
    return looks


async def test_nothing_is_read_while_nothing_moves(
    site: Any, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = counted_looks(site, monkeypatch)
    async with reading(live) as reader:
        await reader.until(Reader.events)
        await site.pusher.push(URL, delay="1h")
        await reader.until(lambda reader: len(reader.events()) > 1 and reader.events()[-1]["moved"] == 0)
        assert live._timer is None
        assert len(looks) == len(reader.events())


async def test_one_look_serves_all_streams(site: Any, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = counted_looks(site, monkeypatch)
    async with reading(live) as one, reading(live) as two, reading(live) as three:
        readers = (one, two, three)
        for _ in range(5):
            await site.pusher.push(URL, delay="1h")
            number = await site.number()
            for reader in readers:
                await reader.until(
                    lambda reader, number=number: (
                        reader.events()[-1:] and reader.events()[-1]["states"]["waiting"] == number
                    )
                )
        assert len(looks) <= max(len(reader.events()) for reader in readers) + 3


async def test_streams_that_begin_one_after_the_other_do_not_have_the_store_read_more_often(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(site.pusher, least=0.03)
    looks: list[float] = []
    glance = site.pusher.glance

    async def timed() -> Any:
        looks.append(asyncio.get_running_loop().time())
        return await glance()

    async def move() -> None:
        while True:
            await site.pusher.push(URL, delay="1h")
            await asyncio.sleep(0.002)

    monkeypatch.setattr(site.pusher, "glance", timed)
    moving = asyncio.create_task(move())
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(reading(live, "every=2"))
        await first.until(Reader.events)
        loop = asyncio.get_running_loop()
        while loop.time() < looks[-1] + 0.04:  # too late to be given what was read, too early for the next
            await asyncio.sleep(0.001)
        second = await stack.enter_async_context(reading(live, "every=2"))
        for reader in (first, second):
            await reader.until(lambda reader: len(reader.events()) > 4)
    moving.cancel()
    assert len(looks) > 5
    assert min(later - earlier for earlier, later in pairwise(looks)) > 0.025


async def test_a_slower_stream_is_told_of_all_moves_at_once(site: Any) -> None:
    live = Live(site.pusher, least=0.05)
    async with reading(live) as quick, reading(live, "every=5") as slow:
        await slow.until(Reader.events)
        for n in range(1, 6):
            await site.pusher.push(URL, delay="1h")
            await quick.until(
                lambda reader, n=n: reader.events()[-1:] and reader.events()[-1]["states"]["waiting"] == n
            )
        await slow.until(lambda reader: reader.events()[-1]["states"]["waiting"] == 5)
        assert len(slow.events()) < len(quick.events())
        assert sum(tick["moved"] for tick in slow.events()) == 5


async def test_who_does_not_read_gets_the_newest_alone(site: Any, live: Live) -> None:
    async with reading(live) as quick, reading(live) as stuck:
        await stuck.until(Reader.events)
        stuck.may_read.clear()
        for n in range(1, 20):
            await site.pusher.push(URL, delay="1h")
            await quick.until(
                lambda reader, n=n: reader.events()[-1:] and reader.events()[-1]["states"]["waiting"] == n
            )
        before = stuck.sends
        stuck.may_read.set()
        await stuck.until(lambda reader: reader.events()[-1]["states"]["waiting"] == 19)
        assert stuck.sends <= before + 3
        assert sum(tick["moved"] for tick in stuck.events()) == 19


async def test_the_moves_of_one_job_are_told_to_who_asks_for_it(site: Any, live: Live) -> None:
    job = await site.pusher.push(URL, delay="1h")
    async with reading(live, f"uid={job.uid}") as reader, reading(live) as other:
        await reader.until(Reader.events)
        await other.until(Reader.events)
        await site.pusher.pause(job.uid)
        await site.pusher.push(URL, delay="1h")
        await reader.until(lambda reader: reader.events("job"))
        assert reader.events("job") == [{"uid": job.uid, "state": "paused", "revision": 1}]
        await site.pusher.resume(job.uid)
        await site.pusher.run(job.uid)
        await reader.until(lambda reader: reader.events("job")[-1]["state"] == "running")
        site.finish(Success())
        await reader.until(lambda reader: reader.events("job")[-1]["state"] == "completed")
        revisions = [event["revision"] for event in reader.events("job")]
        assert revisions == sorted(revisions)
        assert not other.events("job")


async def test_a_comment_comes_while_there_is_nothing_to_say(site: Any) -> None:
    live = Live(site.pusher, beat=0.01)
    async with reading(live) as reader:
        await reader.until(lambda reader: reader.text.count(":\n\n") >= 3)
        assert len(reader.events()) == 1


async def test_nobody_listens_when_the_last_stream_has_gone(site: Any, live: Live) -> None:
    before = listeners(site)
    async with reading(live) as one:
        await one.until(Reader.events)
        async with reading(live) as two:
            await two.until(Reader.events)
            assert listeners(site) == before + 2
        assert listeners(site) == before + 2
        await site.pusher.push(URL, delay="1h")
    assert listeners(site) == before
    assert (live._timer, live._looking, live._newest) == (None, None, None)
    assert not live._by_uid
    async with reading(live) as again:
        await again.until(Reader.events)


async def test_closing_ends_all_streams_and_begins_no_more(site: Any, live: Live) -> None:
    async with reading(live) as one, reading(live, "every=60") as two:
        await one.until(Reader.events)
        live.close()
        await one.until(lambda reader: reader.over)
        await two.until(lambda reader: reader.over)
        with pytest.raises(Problem) as refused:
            await live.stream(Request(scope()))
        assert refused.value.status == 503


async def test_there_are_only_so_many_streams(site: Any) -> None:
    live = Live(site.pusher, most=2)
    async with reading(live) as one:
        await one.until(Reader.events)
        async with reading(live) as two:
            await two.until(Reader.events)
            with pytest.raises(Problem) as refused:
                await live.stream(Request(scope()))
            assert refused.value.status == 503
        async with reading(live) as three:
            await three.until(Reader.events)


@pytest.mark.parametrize(
    "query", ["every=0", "every=3", "every=", "every=x", "uid=x", "every=1&every=1", "other=1"]
)
async def test_what_is_asked_is_checked(live: Live, query: str) -> None:
    with pytest.raises(InvalidField):
        await live.stream(Request(scope(query)))


async def test_a_look_that_fails_is_logged_and_tried_again(
    site: Any, live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(live) as reader:
        await reader.until(Reader.events)
        monkeypatch.setattr(site.pusher, "glance", lambda: 1 / 0)
        await site.pusher.push(URL, delay="1h")
        async with asyncio.timeout(5):
            while "can't be read" not in caplog.text:
                await asyncio.sleep(0.001)
        monkeypatch.undo()
        await site.pusher.push(URL, delay="1h")
        await reader.until(lambda reader: reader.events()[-1]["states"]["waiting"] == 2)


# ---- in the app ---------------------------------------------------------------------------------------


async def test_a_stream_is_for_users_who_may_look(site: Any) -> None:
    client = await site.client(users=[User("app", "pw", "add"), User("eye", "pw", "readonly")])
    assert (await client.head("/tasks/events")).status_code == 401
    assert (await client.head("/tasks/events", auth=("app", "pw"))).status_code == 403
    answer = await client.head("/tasks/events", auth=("eye", "pw"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in answer.headers


async def test_closing_the_app_ends_its_streams_also_below_a_mount(site: Any) -> None:
    app = create_app(site.pusher, hosts=None)
    outer = Starlette(routes=[Mount("/bg", app)])
    reader = Reader()
    task = asyncio.create_task(outer(scope(path="/bg/tasks/events"), reader.receive, reader.send))
    await reader.until(Reader.events)
    assert reader.head["x-content-type-options"] == "nosniff"
    app.close()
    async with asyncio.timeout(5):
        await task
    assert reader.over
