"""Every path with every method, for every kind of user: one table."""

import base64
from typing import Any

import pytest

from taskpusher.web import App, User, create_app

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
USERS = [User("all", "pw"), User("add", "pw", "add"), User("readonly", "pw", "readonly")]
LOOKING, CHANGING = ("GET", "HEAD"), ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GTE")

NOWHERE = ("/", "/tasks/", "/tasks/a/b/c", "/nowhere", "//add", "/add/", "/ADD")
ALL_ALONE = ("/audit", "/tasks/new", f"/tasks/{UID}/edit")  # looked at by nobody but who may do everything
OPEN = ("/healthz", "/readyz")


def paths(app: App) -> list[str]:
    """One for each route, /add, and some where there is nothing."""
    known = []
    for route in app._router.routes:
        path = str(route.path).replace("{name:path}", "x").replace("{state}", "waiting")  # type: ignore[attr-defined]
        known.append(path.replace("{uid}", UID).replace("{id}", UID))
    return sorted({*known, "/add", *NOWHERE})


async def status(app: App, method: str, path: str, name: str | None) -> int:
    """Of the answer to that user; None: to nobody known. A stream is left at once."""
    messages: list[Any] = []

    async def receive() -> Any:
        if messages:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    headers = [(b"host", b"localhost")]
    if name is not None:
        headers.append((b"authorization", b"Basic " + base64.b64encode(f"{name}:pw".encode())))
    asked = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    await app(asked, receive, send)
    return int(messages[0]["status"])


def expected(method: str, path: str, role: str) -> bool:
    """Whether it is for that role; what else becomes of it is not looked at here."""
    if path in OPEN or role == "all":
        return True
    if role == "add":
        return (method, path) == ("POST", "/add")
    return method in LOOKING and path not in ALL_ALONE and not path.endswith("/result")


@pytest.mark.parametrize("role", ["all", "add", "readonly"])
async def test_every_role_may_do_what_it_may_and_nothing_else(site: Any, role: str) -> None:
    app = create_app(site.pusher, users=USERS)
    for path in paths(app):
        for method in (*LOOKING, *CHANGING):
            found = await status(app, method, path, role)
            assert found != 401, (method, path)
            assert (found != 403) is expected(method, path, role), (method, path, found)
            if path in NOWHERE and role == "all":
                assert found < 500


async def test_nobody_known_may_do_nothing(site: Any) -> None:
    app = create_app(site.pusher, users=USERS)
    for path in paths(app):
        for method in (*LOOKING, *CHANGING):
            found = await status(app, method, path, None)
            assert (found == 401) is (path not in OPEN), (method, path, found)


async def test_what_may_not_be_done_is_not_done(site: Any) -> None:
    app = create_app(site.pusher, users=USERS)
    job = await site.pusher.push("http://app.example/", delay="1h")
    for name in ("add", "readonly"):
        for path in paths(app):
            for method in CHANGING:
                await status(app, method, path.replace(UID, job.uid), name)
    assert await site.pusher.get(job.uid) == job
    assert await site.number() == 1
    assert await app.audit.entries() == []


@pytest.mark.parametrize(
    ("role", "rights"),
    [("all", {"push", "look", "change", "see secrets"}), ("add", {"push"}), ("readonly", {"look"})],
)
def test_a_user_says_what_he_may(role: Any, rights: set[str]) -> None:
    user = User("name", "pw", role)
    assert {right for right in ("push", "look", "change", "see secrets") if user.may(right)} == rights  # type: ignore[arg-type]
