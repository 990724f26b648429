"""One job, lists of jobs, queues, figures and health."""

from typing import Any

import httpx
import pytest

from taskpusher.job import ErrorClass, Result, Wish
from taskpusher.runners.base import Failure, Success

URL = "http://user:secret@app.example/work?token=abc"


async def push(client: httpx.AsyncClient, **fields: object) -> str:
    answer = await client.post("/add", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["uid"])


async def waiting(client: httpx.AsyncClient, **fields: object) -> str:
    return await push(client, delay="1h", **fields)


async def get(client: httpx.AsyncClient, uid: str) -> dict[str, Any]:
    answer = await client.get(f"/job/{uid}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def in_state(eventually: Any, client: httpx.AsyncClient, uid: str, state: str) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        job = await get(client, uid)
        return job if job["state"] == state else None

    found: dict[str, Any] = await eventually(reached)
    return found


# ---- one job ------------------------------------------------------------------------------------------


async def test_a_new_job_says_all_there_is_and_null_where_there_is_nothing(client: httpx.AsyncClient) -> None:
    job = await get(client, await waiting(client))
    fixed = {name: job.pop(name) for name in ("uid", "created_at", "due_at")}
    assert all(fixed.values())
    assert fixed["created_at"].endswith("Z")
    assert len(fixed["created_at"]) == len("2027-01-15T08:00:00.000Z")
    assert job == {
        "kind": "http",
        "state": "waiting",
        "url": URL,
        "method": "GET",
        "headers": {},
        "body": None,
        "queue": "default",
        "priority": 5,
        "title": None,
        "tags": [],
        "key": None,
        "expires_at": None,
        "max_attempts": 1,
        "timeout": 3600.0,
        "success": "200",
        "once": False,
        "started_at": None,
        "finished_at": None,
        "duration": None,
        "attempt": 0,
        "failures": 0,
        "run": 1,
        "result": None,
        "error": None,
        "attempts": [],
        "progress": None,
    }


async def test_a_job_that_ran_tells_of_its_attempts_and_its_result(
    site: Any, client: httpx.AsyncClient, eventually: Any
) -> None:
    answer = Result(404, (("Content-Type", "text/plain"), ("A", "1"), ("a", "2")), "nö".encode(), True)
    site.finish(Failure(ErrorClass.ANSWERED, "answered 404", answer))
    job = await in_state(eventually, client, await push(client, max_attempts=5), "error")
    assert job["error"] == {"class": "answered", "message": "answered 404"}
    assert job["result"] == {
        "status": 404,
        "headers": {"Content-Type": "text/plain", "A": ["1", "2"]},
        "body": "nö",
        "encoding": "utf-8",
        "truncated": True,
    }
    (attempt,) = job["attempts"]
    assert (attempt["started_at"], attempt["status"]) == (job["started_at"], 404)
    assert attempt["error"] == job["error"]
    assert attempt["duration"] == job["duration"] >= 0
    assert (job["attempt"], job["failures"], job["max_attempts"]) == (1, 1, 5)
    assert job["finished_at"] >= job["started_at"] >= job["created_at"]


@pytest.mark.parametrize(
    ("body", "truncated", "text", "encoding"),
    [
        (b"", False, "", "utf-8"),
        (b"\xff", False, "/w==", "base64"),
        ("nö".encode()[:-1], False, "bsM=", "base64"),
        ("nö".encode()[:-1], True, "n", "utf-8"),
        (b"\xffn", True, "/24=", "base64"),
    ],
)
async def test_an_answer_is_text_where_it_is_utf_8(
    site: Any,
    client: httpx.AsyncClient,
    eventually: Any,
    body: bytes,
    truncated: bool,
    text: str,
    encoding: str,
) -> None:
    site.finish(Success(Result(200, (), body, truncated)))
    job = await in_state(eventually, client, await push(client), "completed")
    assert (job["result"]["body"], job["result"]["encoding"]) == (text, encoding)
    assert (await client.get(f"/job/{job['uid']}/result")).content == body


async def test_a_result_is_sent_so_that_no_browser_takes_it_for_a_page(
    site: Any, client: httpx.AsyncClient, eventually: Any
) -> None:
    uid = await push(client)
    early = await client.get(f"/job/{uid}/result")
    assert early.status_code == 404
    assert "no answer" in early.json()["detail"]
    site.finish(Success(Result(200, (("Content-Type", "text/html"),), b"<script>alert(1)</script>")))
    await in_state(eventually, client, uid, "completed")
    answer = await client.get(f"/job/{uid}/result")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content == b"<script>alert(1)</script>"


async def test_a_person_moves_a_job(client: httpx.AsyncClient) -> None:
    uid = await waiting(client)
    for move, state in (
        ("pause", "paused"),
        ("resume", "waiting"),
        ("cancel", "canceled"),
        ("retry", "waiting"),
        ("cancel", "canceled"),
    ):
        answer = await client.post(f"/job/{uid}/{move}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert answer.json() == await get(client, uid)


async def test_run_makes_a_job_due_now(site: Any, client: httpx.AsyncClient, eventually: Any) -> None:
    uid = await waiting(client)
    site.finish()
    assert (await client.post(f"/job/{uid}/run")).status_code == 200
    await in_state(eventually, client, uid, "completed")


async def test_a_running_call_is_cut_by_cancel(client: httpx.AsyncClient, eventually: Any) -> None:
    uid = await push(client)
    await in_state(eventually, client, uid, "running")
    refused = await client.post(f"/job/{uid}/pause")
    assert refused.status_code == 409
    assert "cancel it" in refused.json()["detail"]
    answer = await client.post(f"/job/{uid}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")


async def test_a_wish_that_is_stored_is_answered_202(site: Any, client: httpx.AsyncClient) -> None:
    from msgspec.structs import replace

    uid = await waiting(client)

    async def cancel(uid: str) -> Any:
        job = replace(await site.store.get(uid), wish=Wish.CANCEL)
        site.store._rows[uid] = replace(site.store._rows[uid], job=job)
        return job

    site.pusher.cancel = cancel
    cancel.__name__ = "cancel"
    answer = await (await site.client()).post(f"/job/{uid}/cancel")
    assert (answer.status_code, answer.json()["wish"]) == (202, "cancel")


async def test_a_duplicate_is_a_new_job_with_the_same_request(client: httpx.AsyncClient) -> None:
    uid = await waiting(client, body="x", key="k", title="t")
    answer = await client.post(f"/job/{uid}/duplicate")
    assert answer.status_code == 200
    copy = answer.json()
    assert copy["uid"] != uid
    assert answer.headers["location"] == f"/job/{copy['uid']}"
    assert (copy["body"], copy["title"], copy["key"]) == ("x", "t", None)


@pytest.mark.parametrize("how", ["json", "data"])
async def test_a_waiting_job_is_changed(client: httpx.AsyncClient, how: str) -> None:
    uid = await waiting(client, title="t")
    changed = {"priority": "1", "body": "new", "queue": "mail"}
    answer = await client.patch(f"/job/{uid}", **{how: changed})  # type: ignore[arg-type]
    assert answer.status_code == 200
    job = answer.json()
    assert (job["priority"], job["body"], job["queue"], job["title"]) == (1, "new", "mail", "t")
    assert job == await get(client, uid)


async def test_a_change_that_can_not_be_made_changes_nothing(
    client: httpx.AsyncClient, eventually: Any
) -> None:
    uid = await waiting(client)
    before = await get(client, uid)
    for fields, field in (({"priority": 99}, "priority"), ({"key": "k"}, "key"), ({"colour": 1}, "colour")):
        answer = await client.patch(f"/job/{uid}", json={"title": "new"} | fields)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert await get(client, uid) == before
    running = await push(client)
    await in_state(eventually, client, running, "running")
    answer = await client.patch(f"/job/{running}", json={"title": "new"})
    assert answer.status_code == 409
    assert "cancel it first" in answer.json()["detail"]


async def test_a_job_is_forgotten(site: Any, client: httpx.AsyncClient, eventually: Any) -> None:
    uid = await waiting(client)
    answer = await client.delete(f"/job/{uid}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/job/{uid}")).status_code == 404
    running = await push(client)
    await in_state(eventually, client, running, "running")
    assert (await client.delete(f"/job/{running}")).status_code == 409


async def test_head_is_get_without_the_body(client: httpx.AsyncClient) -> None:
    uid = await waiting(client)
    for path in (f"/job/{uid}", "/jobs", "/jobs/waiting", "/queues", "/stats", "/healthz", "/readyz"):
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0


# ---- lists --------------------------------------------------------------------------------------------


async def pages(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found, link = [], path
    while link:
        answer = await client.get(link)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        link = found[-1]["next"]
    return found


def uids(found: list[dict[str, Any]]) -> list[str]:
    return [job["uid"] for page in found for job in page["jobs"]]


async def test_a_list_goes_on_by_its_link_and_by_its_last_uid(client: httpx.AsyncClient) -> None:
    pushed = [await waiting(client, title=str(n)) for n in range(25)]
    found = await pages(client, "/jobs/waiting?limit=10")
    assert [len(page["jobs"]) for page in found] == [10, 10, 5]
    assert uids(found) == pushed
    assert [page["total"] for page in found] == [25, 25, 25]
    assert [page["last_uid"] for page in found] == [pushed[9], pushed[19], None]
    bare = (await client.get(f"/jobs/waiting?limit=10&last_uid={pushed[9]}")).json()
    assert [job["uid"] for job in bare["jobs"]] == pushed[10:20]


async def test_lists_carry_neither_bodies_nor_attempts(client: httpx.AsyncClient) -> None:
    await waiting(client, body="x")
    (job,) = (await client.get("/jobs")).json()["jobs"]
    assert not {"body", "body_base64", "result", "attempts"} & set(job)


async def test_250_completed_jobs_come_in_three_pages_while_more_complete(
    site: Any, client: httpx.AsyncClient, eventually: Any
) -> None:
    site.finish()
    old = (await client.post("/add", json=[{"url": f"http://a.example/{n}"} for n in range(250)])).json()[
        "uids"
    ]

    async def completed(number: int) -> bool:
        return bool((await client.get("/jobs/completed?limit=1")).json()["total"] == number)

    await eventually(lambda: completed(250))
    seen: list[str] = []
    link, more = "/jobs/completed", 250
    for _ in range(3):
        page = (await client.get(link)).json()
        seen += [job["uid"] for job in page["jobs"]]
        link = page["next"]
        await push(client)
        more += 1
        await eventually(lambda: completed(more))  # noqa: B023
    assert link is None
    assert sorted(seen) == sorted(old)


async def test_filters_are_kept_in_the_link(client: httpx.AsyncClient) -> None:
    for n in range(6):
        await waiting(client, queue="a b&c" if n % 2 else "other", tags=["x"])
    found = await pages(client, "/jobs/waiting?queue=a+b%26c&tag=x&limit=2")
    assert [len(page["jobs"]) for page in found] == [2, 1]
    assert {job["queue"] for page in found for job in page["jobs"]} == {"a b&c"}


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("queue=mail", 1),
        ("kind=http", 2),
        ("kind=command", 0),
        ("host=b.example:81", 1),
        ("tag=x", 1),
        ("url=http://b.example", 1),
        ("url=", 2),
        ("host=b.example:81&tag=x", 0),
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/jobs/waiting"])
async def test_a_list_is_filtered(client: httpx.AsyncClient, path: str, query: str, number: int) -> None:
    await waiting(client, queue="mail", tags=["x", "y"])
    await waiting(client, url="http://b.example:81/")
    assert len((await client.get(f"{path}?{query}")).json()["jobs"]) == number


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("waiting", "waiting"),
        ("paused", "paused"),
        ("canceled", "canceled"),
        ("running", "running"),
        ("runing", "running"),
        ("error", "error"),
        ("errors", "error"),
        ("completed", "completed"),
    ],
)
async def test_every_state_has_its_list(
    site: Any, client: httpx.AsyncClient, eventually: Any, word: str, state: str
) -> None:
    uid = await (waiting if state in ("waiting", "paused", "canceled") else push)(client)
    if state in ("paused", "canceled"):
        await client.post(
            f"/job/{uid}/{state.removesuffix('d').removesuffix('e') if state == 'canceled' else 'pause'}"
        )
    if state == "error":
        site.finish(Failure(ErrorClass.NOT_SENT, "refused"))
    if state == "completed":
        site.finish()
    await in_state(eventually, client, uid, state)
    page = (await client.get(f"/jobs/{word}")).json()
    assert [job["uid"] for job in page["jobs"]] == [uid]


async def test_a_page_after_a_job_that_is_gone_is_410(client: httpx.AsyncClient) -> None:
    uid = await waiting(client)
    await client.delete(f"/job/{uid}")
    answer = await client.get(f"/jobs/waiting?last_uid={uid}")
    assert answer.status_code == 410
    assert "`next`" in answer.json()["detail"]
    other = await waiting(client)
    assert (await client.get(f"/jobs/completed?last_uid={other}")).status_code == 410


# ---- queues and figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mail", "a/b", "with space", "🎉", "%", "a?b#c"])
async def test_a_queue_of_any_name_is_paused_and_limited(client: httpx.AsyncClient, name: str) -> None:
    from urllib.parse import quote

    path = f"/queues/{quote(name, safe='')}"
    answer = await client.put(path, json={"paused": True, "concurrency": 3})
    assert answer.status_code == 200
    assert answer.json() == {
        "name": name,
        "paused": True,
        "concurrency": 3,
        "depth": 0,
        "running": 0,
        "paused_jobs": 0,
        "oldest": None,
    }
    uid = await push(client, queue=name)
    (queue,) = (await client.get("/queues")).json()["queues"]
    assert (queue["name"], queue["depth"]) == (name, 1)
    assert queue["oldest"] == (await get(client, uid))["due_at"]
    answer = await client.put(path, data={"concurrency": "0"})
    assert (answer.json()["paused"], answer.json()["concurrency"]) == (True, None)


async def test_a_null_takes_the_limit_off(client: httpx.AsyncClient) -> None:
    await client.put("/queues/mail", json={"concurrency": 3})
    assert (await client.put("/queues/mail", json={"paused": None})).json()["concurrency"] == 3
    assert (await client.put("/queues/mail", json={"concurrency": None})).json()["concurrency"] is None


async def test_stats_count_by_state_and_queue(client: httpx.AsyncClient) -> None:
    uid = await waiting(client, queue="mail")
    await client.post(f"/job/{await waiting(client)}/pause")
    stats = (await client.get("/stats")).json()
    assert stats["states"] == {
        "waiting": 1,
        "running": 0,
        "paused": 1,
        "completed": 0,
        "error": 0,
        "canceled": 0,
    }
    assert stats["queues"] == {"mail": {"waiting": 1}, "default": {"paused": 1}}
    assert stats["oldest_waiting"] == (await get(client, uid))["due_at"]
    assert stats["store"]["kind"] == "memory"
    assert stats["uptime"] >= 0
    assert stats["concurrency"] == 4


async def test_health_is_told_without_a_password(site: Any) -> None:
    from taskpusher.web import User

    client = await site.client(users=[User("a", "b")], host="unknown.example")
    for path in ("/healthz", "/readyz"):
        answer = await client.get(f"{path}?x=1")
        assert (answer.status_code, answer.text) == (200, "ok\n")
    site.pusher.ready = False
    assert (await client.get("/readyz")).status_code == 503
    site.pusher.blocked = lambda: True
    assert (await client.get("/healthz")).status_code == 503


async def test_who_needs_few_fields_takes_no_long_body(client: httpx.AsyncClient) -> None:
    uid = await push(client)
    body = '{"paused": true' + " " * 20_000 + "}"
    for method, path in (("PUT", "/queues/a"), ("POST", f"/job/{uid}/cancel")):
        answer = await client.request(
            method, path, content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("span", "step", "count"), [("hour", 60, 60), ("day", 900, 96), ("month", 86400, 30)]
)
async def test_the_history_is_points_of_a_chart(
    client: httpx.AsyncClient, span: str, step: int, count: int
) -> None:
    await push(client)
    found = (await client.get("/stats/history", params={"span": span})).json()
    assert (found["span"], found["step"], len(found["points"])) == (span, step, count)
    last = found["points"][-1]
    assert last["start"].endswith("00.000Z")
    assert last["duration"].keys() == {"p50", "p95", "p99"} and last["lateness"].keys() == {"p95"}
    assert sum(one["pushed"] for one in found["points"]) == 1


async def test_the_history_is_of_an_hour_unless_another_span_is_asked_for(client: httpx.AsyncClient) -> None:
    assert (await client.get("/stats/history")).json()["span"] == "hour"
    for query in ("span=year", "span=", "spam=hour", "span=day&span=day"):
        answer = await client.get(f"/stats/history?{query}")
        assert answer.status_code == 422 and answer.json()["field"] in ("span", "spam"), answer.text
