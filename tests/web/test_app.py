"""The app as a whole: prefixes, mounting, the headers of every answer, what goes wrong inside."""

import logging
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

from taskpusher.errors import KeyTaken, StaleEdit, StoreBroken, StoreFull
from taskpusher.web import User, create_app
from taskpusher.web.answers import Html
from taskpusher.web.requests import route

URL = "http://app.example/"
LATER = {"url": URL, "delay": "1h"}


@pytest.mark.parametrize("path", ["/jobs", "/stats", "/healthz", "/nowhere", "/add", "/job/x"])
async def test_every_answer_carries_the_headers_of_safety(client: httpx.AsyncClient, path: str) -> None:
    answers = [await client.get(path), await client.post(path, data=LATER)]
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert answer.headers.get_list("referrer-policy") == ["no-referrer"]


@pytest.mark.parametrize("root", ["/tasker", "tasker/", "/jobs", "/a b/ü"])
@pytest.mark.parametrize("stripped", [True, False])
async def test_below_a_prefix_links_carry_it(site: Any, root: str, stripped: bool) -> None:
    from urllib.parse import quote

    client = await site.client(root_path=root, users=[User("a", "b")])
    client.auth = ("a", "b")
    prefix = quote("/" + root.strip("/"))
    front = "" if stripped else prefix
    for _ in range(3):
        answer = await client.post(f"{front}/add", data=LATER)
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{prefix}/job/{answer.json()['uid']}"
    link = (await client.get(f"{front}/jobs/waiting?limit=1")).json()["next"]
    assert link.startswith(f"{prefix}/jobs/waiting?")
    assert (await client.get(link if not stripped else link.removeprefix(prefix))).status_code == 200
    copied = await client.post(f"{front}/job/{answer.json()['uid']}/duplicate")
    assert copied.headers["location"] == f"{prefix}/job/{copied.json()['uid']}"
    client.auth = None
    assert (await client.get(f"{front}/healthz")).status_code == 200
    assert (await client.get(f"{front}/jobs")).status_code == 401


@pytest.mark.parametrize(
    ("mount", "root_path", "asked", "prefix"),
    [
        ("", "", "/page", ""),
        ("", "/tasker", "/tasker/page", "/tasker"),
        ("", "/tasker", "/page", "/tasker"),
        ("", "/tasks", "/tasks/tasks/static/a.css", "/tasks"),
        ("", "/ü b", "/%C3%BC%20b/page", "/%C3%BC%20b"),
        ("/bg", "", "/bg/page", "/bg"),
        ("/bg", "/front/bg", "/bg/page", "/front/bg"),
        ("/front/bg", "/bg", "/front/bg/page", "/front/bg"),
    ],
)
async def test_pages_find_the_prefix_that_their_links_need_in_the_scope(
    site: Any, mount: str, root_path: str, asked: str, prefix: str
) -> None:
    async def page(request: Request) -> Response:
        return Html(request.scope["prefix"])

    inner = create_app(site.pusher, hosts=None, root_path=root_path)
    inner._router.routes[:0] = [route("/page", GET=page), route("/tasks/static/{name:path}", GET=page)]
    app = Starlette(routes=[Mount(mount, inner)]) if mount else inner
    answer = await (await site.of(app)).get(asked)
    assert (answer.status_code, answer.text) == (200, prefix)


async def test_below_a_strangers_mount_paths_errors_and_links_are_ours(site: Any) -> None:
    async def theirs(request: Any, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("theirs", 418)

    inner = create_app(site.pusher, hosts=None)
    outer = Starlette(routes=[Mount("/bg", inner)], exception_handlers={404: theirs, 405: theirs})
    client = await site.of(outer, "stranger.example")
    answer = await client.post("/bg/add", data=LATER)
    assert answer.headers["location"] == f"/bg/job/{answer.json()['uid']}"
    assert (await client.get(answer.headers["location"])).json()["uid"] == answer.json()["uid"]
    assert (await client.get("/bg/nowhere")).headers["content-type"] == "application/problem+json"
    assert (await client.get("/bg/add")).json()["status"] == 405
    assert (await client.delete("/bg/jobs")).json()["status"] == 405
    assert (await client.get("/nowhere")).text == "theirs"
    await client.post("/bg/add", data=LATER)
    link = (await client.get("/bg/jobs/waiting?limit=1")).json()["next"]
    assert link.startswith("/bg/jobs/waiting?")
    assert len((await client.get(link)).json()["jobs"]) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreFull("no room"), 507), (StoreFull(), 507), (KeyTaken("k", "u"), 409), (StaleEdit("u"), 409)],
)
async def test_what_the_store_refuses_is_a_problem(site: Any, error: Exception, status: int) -> None:
    async def add(*adds: Any) -> Any:
        raise error

    site.pusher.add = add
    answer = await (await site.client()).post("/add", data=LATER)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["detail"]


async def test_when_the_disk_has_failed_nothing_is_answered(site: Any) -> None:
    async def add(*adds: Any) -> Any:
        raise StoreBroken("EIO")

    site.pusher.add = add
    client = await site.client()
    with pytest.raises(StoreBroken):
        await client.post("/add", data=LATER)


@pytest.mark.parametrize(("method", "path", "name"), [("POST", "/add", "add"), ("GET", "/stats", "stats")])
async def test_an_error_nobody_foresaw_is_logged_once_and_tells_nothing(
    site: Any, caplog: pytest.LogCaptureFixture, method: str, path: str, name: str
) -> None:
    async def fail(*given: Any) -> Any:
        raise RuntimeError("inside")

    setattr(site.pusher, name, fail)
    client = await site.client()
    with caplog.at_level(logging.DEBUG, "taskpusher"):
        answer = await client.request(method, path, data=LATER if method == "POST" else None)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "inside" not in answer.text
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.exc_info[0] for record in records if record.exc_info] == [RuntimeError]


async def test_the_app_stands_being_started_and_stopped_by_any_server(site: Any) -> None:
    app = create_app(site.pusher)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
