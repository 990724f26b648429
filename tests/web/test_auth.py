"""Who may come in."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from taskpusher.job import Result
from taskpusher.runners.base import Success
from taskpusher.web import App, User, auth, create_app

ALL, ADD, LOOK = User("boss", "pässword:1"), User("app", "push"), User("eye", "look")
USERS = [ALL, User("app", "push", "add"), User("eye", "look", "readonly")]
URL = "http://user:secret@app.example/?token=abc"
PATHS = [
    "/add",
    "/jobs",
    "/jobs/waiting",
    "/job/x",
    "/queues",
    "/stats",
    "/",
    "/nowhere",
    "//healthz",
    "/healthz/",
]


@pytest.fixture
def unslowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "DELAY", (0.0, 0.0))


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_open_without_a_password(site: Any, path: str) -> None:
    client = await site.client(users=USERS)
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        answer = await client.request(method, f"http://localhost:9900{path}")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="tasker", charset="UTF-8"'


@pytest.mark.parametrize(
    "header",
    [
        basic("boss", "wrong"),
        basic("boss", ""),
        basic("", "pässword:1"),
        basic("app", "pässword:1"),
        basic("BOSS", "pässword:1"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic Ym9zcw=="},
        {"Authorization": "Bearer pässword:1".encode().decode("latin-1")},
        {"Authorization": base64.b64encode("boss:pässword:1".encode()).decode()},
    ],
)
@pytest.mark.usefixtures("unslowed")
async def test_wrong_credentials_are_refused(site: Any, header: dict[str, str]) -> None:
    client = await site.client(users=USERS)
    headers = {name: value.encode("latin-1") for name, value in header.items()}
    for _ in range(2):
        assert (await client.get("/jobs", headers=headers)).status_code == 401


async def test_right_credentials_come_in_and_are_known_from_then_on(site: Any) -> None:
    client = await site.client(users=USERS)
    for _ in range(2):
        assert (await client.get("/jobs", headers=basic("boss", "pässword:1"))).status_code == 200
    low = basic("boss", "pässword:1")["Authorization"].replace("Basic", "basic")
    assert (await client.get("/jobs", headers={"Authorization": low})).status_code == 200


async def test_wrong_passwords_wait_and_right_ones_do_not(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await released.wait()

    client = await site.client(users=USERS)
    monkeypatch.setattr(auth.asyncio, "sleep", sleep)
    wrong = basic("boss", "wrong")
    slow = [asyncio.create_task(client.get("/jobs", headers=wrong)) for _ in range(200)]
    async with asyncio.timeout(5):
        while len(waits) < len(slow):
            await asyncio.wait(slow, timeout=0.001)
        assert (await client.get("/jobs", headers=basic("boss", "pässword:1"))).status_code == 200
    assert not any(task.done() for task in slow)
    assert all(0.5 <= seconds <= 1 for seconds in waits)
    released.set()
    assert {answer.status_code for answer in await asyncio.gather(*slow)} == {401}


async def test_who_may_only_push_may_do_nothing_else(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("app", "push")
    request = {"url": URL, "uid": "01890a5d-ac96-774b-bcce-b302099a8057"}
    uid = (await client.post("/add", json=request)).json()["uid"]
    assert (await client.post("/add", json=request)).json().keys() == {"uid", "state"}
    for method, path in (
        ("GET", "/add"),
        ("GET", f"/job/{uid}"),
        ("POST", f"/job/{uid}/cancel"),
        ("GET", "/jobs"),
        ("GET", "/stats"),
        ("PUT", "/queues/a"),
        ("GET", "/"),
    ):
        answer = await client.request(method, path)
        assert answer.status_code == 403
        assert "POST /add" in answer.json()["detail"]


async def test_who_may_only_look_sees_no_secrets(site: Any, eventually: Any) -> None:
    boss, client = await site.client(), await site.client(users=USERS)
    client.auth = ("eye", "look")
    fields = {"url": URL, "body": "BODY", "headers": {"Authorization": "HEADER"}}
    uid = (await boss.post("/add", json=fields)).json()["uid"]
    site.finish(Success(Result(200, (("Set-Cookie", "COOKIE"),), b"ANSWER")))

    async def completed() -> bool:
        return bool((await client.get(f"/job/{uid}")).json()["state"] == "completed")

    await eventually(completed)
    job = (await client.get(f"/job/{uid}")).json()
    assert (job["body"], job["headers"]) == ("***", {"Authorization": "***"})
    assert (job["result"]["body"], job["result"]["headers"]) == ("***", {"Set-Cookie": "***"})
    for path in (f"/job/{uid}", "/jobs", "/jobs/completed", f"/job/{uid}/result", "/stats", "/queues"):
        text = (await client.get(path)).text
        assert not [
            secret for secret in ("secret", "abc", "BODY", "HEADER", "COOKIE", "ANSWER") if secret in text
        ]
    assert (await client.get(f"/job/{uid}/result")).status_code == 403


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s",
        "http://user:secret@app.example/",
        "http://u",
        "h",
        "http://a@b/",
        "http://app.example/?token=s",
        "http://app.example/?a=1&%74oken=s",
        "http://app.example/#access_token=s",
    ],
)
async def test_who_may_only_look_can_not_feel_for_a_password_with_the_filter(site: Any, url: str) -> None:
    client = await site.client(users=USERS)
    client.auth = ("eye", "look")
    answer = await client.get("/jobs", params={"url": url})
    assert (answer.status_code, answer.json()["field"]) == (422, "url")
    assert (await client.get("/jobs", params={"url": "http://app.example/"})).status_code == 200


async def test_who_may_only_look_can_not_change_anything(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("eye", "look")
    for method, path in (
        ("POST", "/add"),
        ("POST", "/job/x/cancel"),
        ("PATCH", "/job/x"),
        ("PUT", "/queues/a"),
    ):
        answer = await client.request(method, path)
        assert answer.status_code == 403
        assert "only look" in answer.json()["detail"]


async def test_a_method_in_a_header_does_not_count(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("eye", "look")
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert (await client.post("/jobs", headers={name: "GET"})).status_code == 403
        assert (await client.get("/jobs?limit=1", headers={name: "DELETE"})).status_code == 200


# ---- hosts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("localhost:9900", {}, 200),
        ("LOCALHOST", {}, 200),
        ("127.0.0.1:1", {}, 200),
        ("[::1]:9900", {}, 200),
        ("localhost.", {}, 200),
        ("evil.example", {}, 421),
        ("evil.example:9900", {}, 421),
        ("localhost.evil.example", {}, 421),
        ("10.0.0.1", {}, 421),
        ("10.0.0.1", {"any_host_literal": True}, 200),
        ("[fd00::1]:80", {"any_host_literal": True}, 200),
        ("evil.example", {"any_host_literal": True}, 421),
        ("jobs.example:80", {"hosts": ["Jobs.Example"]}, 200),
        ("localhost", {"hosts": ["jobs.example"]}, 200),
        ("evil.example", {"hosts": None}, 200),
        ("localhost:x", {}, 400),
        ("", {}, 400),
        ("localhost@evil.example", {}, 421),
    ],
)
async def test_only_hosts_that_are_ours_are_answered(
    site: Any, host: str, settings: dict[str, Any], status: int
) -> None:
    client = await site.client(**settings)
    answer = await client.get("/jobs", headers={"Host": host})
    assert answer.status_code == status
    if status == 421:
        assert "--host" in answer.json()["detail"]


async def sent(app: App, headers: list[tuple[bytes, bytes]], method: str = "GET") -> int:
    messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": method, "path": "/jobs", "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    return int(messages[0]["status"])


async def test_no_host_or_two_are_refused(site: Any) -> None:
    app = create_app(site.pusher)
    host = (b"host", b"localhost")
    assert await sent(app, []) == 400
    assert await sent(app, [host, host]) == 400
    assert await sent(app, [host]) == 200
    assert await sent(app, [host, (b"accept", b"a"), (b"accept", b"b")]) == 200
    assert await sent(app, [host, (b"authorization", b"a"), (b"authorization", b"b")]) == 400


# ---- other people's pages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:9900"}, 403),
        ({"Origin": "http://localhost:9900"}, 201),
        ({"Origin": "https://LOCALHOST:9900"}, 201),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost:9901"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_browsers_on_other_peoples_pages_change_nothing(
    site: Any, client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/add", data={"url": URL, "delay": "1h"}, headers=headers)
    assert answer.status_code == status
    assert await site.number() == (status == 201)
    assert (await client.get("/jobs", headers=headers)).status_code == 200
    for method in ("PUT", "PATCH", "DELETE"):
        other = await client.request(method, "/nowhere", headers=headers)
        assert (other.status_code == 403) is (status == 403)
