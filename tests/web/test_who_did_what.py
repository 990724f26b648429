"""Who did what over HTTP."""

import logging
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from taskpusher.audit import Audit
from taskpusher.clock import SystemClock
from taskpusher.errors import StoreFull
from taskpusher.job import State
from taskpusher.runners.base import Success
from taskpusher.web import User, create_app
from taskpusher.web.audit import tell
from taskpusher.web.requests import route

USERS = [User("boss", "pw"), User("app", "pw", "add"), User("eye", "pw", "readonly")]
URL = "http://user:secret@app.example/x?token=abc"


async def push(client: httpx.AsyncClient, **fields: object) -> str:
    answer = await client.post("/add", json={"url": URL, "delay": "1h", **fields})
    assert answer.status_code == 201
    return str(answer.json()["uid"])


async def entries(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Oldest first, without what says nothing."""
    found = (await client.get("/audit")).json()["entries"]
    return [
        {name: value for name, value in one.items() if value not in (None, {})} for one in reversed(found)
    ]


async def test_every_change_is_noted_with_who_and_what_came_of_it(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("boss", "pw")
    uid = await push(client)
    for move in ("pause", "resume", "cancel", "retry"):
        assert (await client.post(f"/job/{uid}/{move}")).status_code == 200
    await client.patch(f"/job/{uid}", json={"priority": 1})
    copy = (await client.post(f"/job/{uid}/duplicate")).json()["uid"]
    await client.delete(f"/job/{uid}")
    await client.put("/queues/a%2Fb", json={"paused": True, "concurrency": 3})
    found = await entries(client)
    assert all((one.pop("user"), one.pop("remote")) == ("boss", "127.0.0.1") for one in found)
    assert all(one.pop("at").endswith("Z") for one in found)
    assert found == [
        {"action": "pause", "job": uid, "outcome": "paused"},
        {"action": "resume", "job": uid, "outcome": "waiting"},
        {"action": "cancel", "job": uid, "outcome": "canceled"},
        {"action": "retry", "job": uid, "outcome": "waiting"},
        {"action": "edit", "job": uid, "outcome": "waiting"},
        {"action": "duplicate", "job": uid, "outcome": copy},
        {"action": "remove", "job": uid, "outcome": "removed"},
        {"action": "set queue", "queue": "a/b", "outcome": "paused, concurrency 3"},
    ]


async def test_a_push_a_look_and_what_was_refused_are_not_noted(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("boss", "pw")
    uid = await push(client)
    await client.get(f"/job/{uid}")
    assert (await client.post(f"/job/{uid}/retry")).status_code == 409
    assert (await client.post("/job/x/cancel")).status_code == 422
    assert (await client.put("/queues/a", json={"x": 1})).status_code == 422
    assert (await client.post("/nowhere")).status_code == 404
    assert (await client.post(f"/job/{uid}/cancel", auth=("eye", "pw"))).status_code == 403
    assert await entries(client) == []


async def test_where_no_users_are_it_was_anybody(client: httpx.AsyncClient) -> None:
    await client.post(f"/job/{await push(client)}/cancel")
    assert [one["user"] for one in await entries(client)] == ["anybody"]


async def test_bulks_are_noted_with_their_filter_and_how_many_they_moved(
    client: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        await push(client, queue="mail")
    assert (await client.post("/jobs/waiting/cancel", json={"queue": "mail", "dry_run": True})).is_success
    answer = await client.post("/jobs/waiting/cancel", params={"queue": "mail", "url": URL})
    assert answer.json() == {"count": 3}
    (one,) = await entries(client)
    shown = "http://***@app.example/x?token=***"
    assert one["filters"] == {"queue": "mail", "url": shown}
    assert (one["action"], one["state"], one["count"]) == ("cancel all", "waiting", 3)
    assert one["outcome"] == "done"
    assert (await client.get(f"/bulk/{one['bulk']}")).json()["count"] == 3


async def test_a_bulk_that_goes_on_is_noted_when_it_begins_and_when_it_is_canceled(
    site: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskpusher.web import bulk

    monkeypatch.setattr(bulk, "PATIENCE", 0.0)
    await push(client)
    answer = await client.post("/jobs/waiting/pause")
    if answer.status_code == 202:
        await client.post(f"{answer.headers['location']}/cancel")
    begun, *canceled = await entries(client)
    assert (begun["action"], begun["outcome"]) == ("pause all", "begun")
    for one in canceled:
        assert (one["action"], one["state"]) == ("cancel bulk pause", "waiting")
        assert one["bulk"] == begun["bulk"]


async def test_the_list_goes_on_where_next_says_and_is_for_who_may_do_everything(site: Any) -> None:
    client = await site.client(users=USERS)
    client.auth = ("boss", "pw")
    uid = await push(client)
    for n in range(5):
        await client.patch(f"/job/{uid}", json={"priority": n})
        await client.post(f"/job/{uid}/{'resume' if n % 2 else 'pause'}")
    path, seen = "/audit?limit=4", []
    while path:
        page = (await client.get(path)).json()
        seen += [one["action"] for one in page["entries"]]
        path = page["next"]
    expected = [what for n in range(5) for what in ("edit", "resume" if n % 2 else "pause")]
    assert seen == list(reversed(expected))
    assert (await client.get("/audit", auth=("eye", "pw"))).status_code == 403
    assert (await client.get("/audit", auth=("app", "pw"))).status_code == 403
    for query in ("limit=0", "limit=101", "before=x", "before=1/../2", "after=1"):
        assert (await client.get(f"/audit?{query}")).status_code == 422, query


async def test_the_links_carry_the_prefix(site: Any) -> None:
    client = await site.client(root_path="/tasker")
    uid = await push(await site.client())
    for move in ("pause", "resume"):
        await client.post(f"/tasker/job/{uid}/{move}")
    assert (
        (await client.get("/tasker/audit?limit=1")).json()["next"].startswith("/tasker/audit?limit=1&before=")
    )


async def test_an_entry_that_can_not_be_kept_disturbs_nobody(
    site: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uid = await push(client)
    write = site.store.write

    def full(*changes: Any) -> Any:
        if any(type(change).__name__ == "Note" for change in changes):
            raise StoreFull("no room")
        return write(*changes)

    monkeypatch.setattr(site.store, "write", full)
    with caplog.at_level(logging.WARNING, "taskpusher"):
        assert (await client.post(f"/job/{uid}/cancel")).status_code == 200
    assert "could not be noted" in caplog.text
    monkeypatch.undo()
    await client.post(f"/job/{uid}/retry")
    assert [one["action"] for one in await entries(client)] == ["retry"]


async def test_a_change_is_noted_when_who_asked_has_gone(site: Any) -> None:
    """The answer reaches nobody, and the job is canceled all the same."""
    app = create_app(site.pusher)
    uid = await push(await site.client())

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        raise OSError("gone")

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": f"/job/{uid}/cancel", "query_string": b""}
    with pytest.raises(OSError, match="gone"):
        await app({**scope, "headers": headers}, receive, send)
    assert (await site.pusher.get(uid)).state is State.CANCELED
    (entry,) = await app.audit.entries()
    assert (entry.action, entry.job, entry.remote) == ("cancel", uid, "")


async def test_a_running_job_that_is_canceled_is_noted_as_it_is_then(site: Any, eventually: Any) -> None:
    client = await site.client()
    uid = await push(client, delay="0")

    async def runs() -> bool:
        return bool((await site.pusher.get(uid)).state is State.RUNNING)

    await eventually(runs)
    await client.post(f"/job/{uid}/cancel")
    site.finish(Success())
    assert [one["outcome"] for one in await entries(client)] == ["canceled"]


async def test_a_new_audit_over_the_same_store_goes_on_and_keeps_the_newest(site: Any) -> None:
    client = await site.client()
    uid = await push(client)
    for move in ("pause", "resume") * 6:
        await client.post(f"/job/{uid}/{move}")
    before = await Audit(site.store, SystemClock()).entries()
    assert len(before) == 12
    again = Audit(site.store, SystemClock(), kept=5)
    await again.write(before[-1])
    left = await again.entries()
    assert [one.id for one in left[1:]] == [one.id for one in before[:4]]
    assert left[0].action == "pause"
    assert left[0].id > before[0].id


async def test_an_endpoint_of_a_page_is_noted_by_its_path_or_by_what_it_tells(site: Any) -> None:
    async def moves(request: Request) -> Response:
        await site.pusher.pause(request.path_params["uid"])
        return Response(status_code=303, headers={"Location": "/tasks"})

    async def tells(request: Request) -> Response:
        tell(request, action="retry", job="x", outcome="waiting")
        return Response(status_code=303)

    async def refuses(request: Request) -> Response:
        return Response(status_code=409)

    app = create_app(site.pusher)
    app._router.routes += [
        route("/of/{uid}/pause", POST=moves),
        route("/of/many", POST=tells, PUT=refuses),
        route("/of/odd", POST=refuses),
    ]
    client = await site.of(app)
    uid = await push(client)
    await client.post(f"/of/{uid}/pause")
    await client.post("/of/many")
    await client.put("/of/many")
    await client.post("/of/odd")
    found = [(one["action"], one["job"], one["outcome"]) for one in await entries(client)]
    assert found == [("pause", uid, "paused"), ("retry", "x", "waiting")]
