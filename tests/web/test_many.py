"""Many jobs moved by one request."""

import asyncio
from typing import Any

import httpx
import pytest

from taskpusher.bulk import CHUNK, PAGE, Bulk
from taskpusher.job import State
from taskpusher.stores.base import Query
from taskpusher.web import User
from taskpusher.web import bulk as web_bulk

URL = "http://app.example/work?token=abc"


class Gate:
    """Lets a bulk read so many pages; the next one waits until it is opened, and nobody waits for that."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages = 0
        self.opened = asyncio.Event()
        self._page = store.page
        monkeypatch.setattr(store, "page", self._wait)
        monkeypatch.setattr(web_bulk, "PATIENCE", 0.0)

    async def _wait(self, query: Query, cursor: bytes | None, limit: int, most: int = 0) -> Any:
        if limit == PAGE:
            self.pages -= 1
            if self.pages < 0:
                await self.opened.wait()
        return await self._page(query, cursor, limit, most)


@pytest.fixture
def gate(site: Any, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(site.store, monkeypatch)


async def push(client: httpx.AsyncClient, number: int, **fields: object) -> list[str]:
    jobs = [{"url": URL, "delay": "1h"} | fields for _ in range(number)]
    answer = await client.post("/add", json=jobs)
    assert answer.status_code == 201, answer.text
    found: list[str] = answer.json()["uids"]
    return found


async def total(client: httpx.AsyncClient, path: str) -> int:
    return int((await client.get(path)).json()["total"])


def auth(name: str) -> dict[str, Any]:
    return {"auth": (name, "secret")}


async def test_all_jobs_of_a_state_are_moved(client: httpx.AsyncClient) -> None:
    await push(client, 3)
    for state, action, after in (
        ("waiting", "pause", "paused"),
        ("paused", "resume", "waiting"),
        ("waiting", "cancel", "canceled"),
        ("canceled", "delete", None),
    ):
        answer = await client.post(f"/jobs/{state}/{action}")
        assert (answer.status_code, answer.json()) == (200, {"count": 3})
        if after is not None:
            assert await total(client, f"/jobs/{after}") == 3
    assert await total(client, "/jobs") == 0


@pytest.mark.parametrize("alias", ["errors", "error"])
async def test_the_states_have_the_names_they_have_in_lists(client: httpx.AsyncClient, alias: str) -> None:
    assert (await client.post(f"/jobs/{alias}/retry")).json() == {"count": 0}
    assert (await client.post("/jobs/runing/cancel")).json() == {"count": 0}


async def test_filters_come_in_the_query_or_in_the_body(client: httpx.AsyncClient) -> None:
    for queue in ("a", "b", "c", "d"):
        await push(client, 2, queue=queue, tags=[queue], key="")
    answer = await client.post("/jobs/waiting/cancel?queue=a&tag=a&kind=http&host=app.example")
    assert answer.json() == {"count": 2}
    assert (await client.post("/jobs/waiting/cancel", data={"queue": "b"})).json() == {"count": 2}
    body = {"queue": "c", "tag": None}
    assert (await client.post("/jobs/waiting/cancel", json=body)).json() == {"count": 2}
    both = await client.post("/jobs/waiting/cancel?queue=d", json={"url": "http://app.example/"})
    assert both.json() == {"count": 2}
    assert await total(client, "/jobs/waiting") == 0


async def test_a_dry_run_only_counts(client: httpx.AsyncClient) -> None:
    await push(client, 2, queue="a")
    await push(client, 1)
    for dry in ("?dry_run=1", "?dry_run=true&queue=a", "?dry_run=1&tag=x"):
        answer = await client.post(f"/jobs/waiting/delete{dry}")
        assert answer.status_code == 200
    assert (await client.post("/jobs/waiting/delete?dry_run=1&queue=a")).json() == {"count": 2}
    assert (await client.post("/jobs/waiting/delete", json={"dry_run": True})).json() == {"count": 3}
    assert await total(client, "/jobs/waiting") == 3
    assert (await client.post("/jobs/waiting/delete?dry_run=0")).json() == {"count": 3}
    assert await total(client, "/jobs/waiting") == 0


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("?queue=", None, "queue"),  # a variable that was not set must not mean all of them
        ("?quee=a", None, "quee"),
        ("?limit=5", None, "limit"),
        ("?queue=a&queue=b", None, "queue"),
        ("?queue=a", {"queue": "a"}, "queue"),
        ("", {"queue": 5}, "queue"),
        ("", {"queue": ["a"]}, "queue"),
        ("", {"colour": "a"}, "colour"),
        ("?dry_run=maybe", None, "dry_run"),
        ("?url=" + "x" * 9000, None, "url"),
    ],
)
async def test_a_filter_that_can_not_be_taken_moves_nothing(
    client: httpx.AsyncClient, query: str, body: Any, field: str
) -> None:
    await push(client, 2)
    answer = await client.post(f"/jobs/waiting/delete{query}", **({} if body is None else {"json": body}))
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert await total(client, "/jobs/waiting") == 2


async def test_what_can_not_be_done_to_a_state_is_told_with_the_way_out(client: httpx.AsyncClient) -> None:
    for path, instead in (
        ("completed/retry", "duplicate it"),
        ("running/delete", "cancel it first"),
        ("running/pause", "pause its queue"),
        ("waiting/retry", "use run"),
        ("paused/run", "resume it first"),
    ):
        answer = await client.post(f"/jobs/{path}")
        assert answer.status_code == 409
        assert instead in answer.json()["detail"]


async def test_there_is_nothing_at_other_states_and_actions(client: httpx.AsyncClient) -> None:
    answer = await client.post("/jobs/sleeping/cancel")
    assert (answer.status_code, answer.json()["field"]) == (404, "state")
    assert (await client.post("/jobs/waiting/burn")).status_code == 404
    assert (await client.get("/jobs/waiting/cancel")).status_code == 405


async def test_what_could_not_be_moved_is_told_beside_the_count(client: httpx.AsyncClient) -> None:
    (uid,) = await push(client, 1, key="k")
    await client.post(f"/job/{uid}/cancel")
    await push(client, 1, key="k")
    told = (await client.post("/jobs/canceled/retry")).json()
    assert (told["count"], told["failed"]) == (0, 1)
    assert "is held by job" in told["error"]


# ---- longer than a second -----------------------------------------------------------------------------


async def test_a_long_one_is_answered_202_and_can_be_looked_at(
    client: httpx.AsyncClient, eventually: Any, gate: Gate
) -> None:
    await push(client, 3 * CHUNK, queue="a")
    answer = await client.post("/jobs/waiting/cancel?queue=a")
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert place == f"/bulk/{answer.json()['id']}"
    told = (await client.get(place)).json()
    assert (told["count"], told["total"], told["done"], told["finished_at"]) == (0, 3 * CHUNK, False, None)
    gate.opened.set()

    async def done() -> Any:
        told = (await client.get(place)).json()
        return told if told["done"] else None

    told = await eventually(done)
    started, finished = told.pop("started_at"), told.pop("finished_at")
    assert started <= finished
    assert told == {
        "id": answer.json()["id"],
        "action": "cancel",
        "state": "waiting",
        "filters": {"queue": "a"},
        "dry_run": False,
        "count": 3 * CHUNK,
        "total": 3 * CHUNK,
        "skipped": 0,
        "failed": 0,
        "done": True,
        "error": None,
    }


async def test_a_long_one_is_canceled_half_way(
    site: Any, client: httpx.AsyncClient, eventually: Any, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    await push(client, PAGE + 1)
    gate.pages = 1
    place = (await client.post("/jobs/waiting/pause")).headers["location"]

    async def half_way() -> bool:
        return bool((await client.get(place)).json()["count"] == PAGE and gate.pages < 0)

    await eventually(half_way)
    assert (await client.post(f"{place}/cancel")).status_code == 202  # it is still at its page
    monkeypatch.setattr(web_bulk, "PATIENCE", 5.0)
    monkeypatch.setattr(Bulk, "cancel", lambda bulk: gate.opened.set())  # once it is asked again it goes on
    answer = await client.post(f"{place}/cancel")
    assert answer.status_code == 200
    told = answer.json()
    assert told["done"]
    assert (told["count"], told["total"]) == (PAGE, PAGE + 1)
    assert "canceled" in told["error"]
    assert await total(client, "/jobs/paused") == PAGE
    again = await client.post(f"{place}/cancel")
    assert (again.status_code, again.json()["title"]) == (409, "It has ended")


async def test_an_unknown_bulk_is_404(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel")):
        answer = await client.request(method, f"/bulk/01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4{path}")
        assert (answer.status_code, answer.json()["field"]) == (404, "id")
        answer = await client.request(method, f"/bulk/x{path}")
        assert (answer.status_code, answer.json()["field"]) == (422, "id")


async def test_none_begins_while_the_tasker_stops_and_one_that_was_cut_short_is_no_200(
    site: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(client, 3)
    wait = Bulk.wait

    async def stop_first(bulk: Bulk, timeout: float | None = None) -> bool:
        await site.pusher.stop(grace=0)
        return await wait(bulk, timeout)

    monkeypatch.setattr(Bulk, "wait", stop_first)
    answer = await client.post("/jobs/waiting/cancel")
    assert (answer.status_code, answer.json()["done"]) == (202, True)
    assert "send it again" in answer.json()["error"]
    answer = await client.post("/jobs/waiting/cancel")
    assert (answer.status_code, answer.json()["title"]) == (503, "The tasker stops")


# ---- who may ------------------------------------------------------------------------------------------


async def test_who_only_looks_moves_nothing_and_is_not_shown_secrets(site: Any) -> None:
    users = [User("app", "secret"), User("eye", "secret", "readonly"), User("push", "secret", "add")]
    client = await site.client(users=users)
    assert (await client.post("/jobs/waiting/cancel", auth=("eye", "secret"))).status_code == 403
    assert (await client.post("/jobs/waiting/cancel", auth=("push", "secret"))).status_code == 403
    assert (await client.post("/jobs/waiting/cancel")).status_code == 401
    for url, shown in (
        (URL, "***"),
        ("http://user:sec", "***"),
        ("http://app.example/", "http://app.example/"),
    ):
        bulk = await site.pusher.bulk("cancel", Query(State.WAITING, url=url))
        place = f"/bulk/{bulk.uid}"
        assert (await client.get(place, **auth("app"))).json()["filters"] == {"url": url}
        assert (await client.get(place, **auth("eye"))).json()["filters"] == {"url": shown}
        assert (await client.get(place, **auth("push"))).status_code == 403
        assert (await client.post(f"{place}/cancel", **auth("eye"))).status_code == 403


async def test_links_carry_what_a_proxy_puts_before_them(site: Any, gate: Gate) -> None:
    client = await site.client(root_path="/tasker")
    await push(client, 1)
    answer = await client.post("/tasker/jobs/waiting/cancel")
    assert answer.headers["location"].startswith("/tasker/bulk/")
    gate.opened.set()
