"""POST /add: the ways in, and what is answered."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from taskpusher.runners.base import Success
from taskpusher.testing import FakeClock
from taskpusher.trace import Trace
from taskpusher.web.intake import wants_text

URL = "http://app.example/work?a=1&b=ü"
SENT = "http://app.example/work?a=1&b=%C3%BC"
LATER = {"delay": "1h"}  # so that it waits
UID = "01890a5d-ac96-774b-bcce-b302099a8057"


async def job_of(client: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = (await client.get(f"/job/{answer.json()['uid']}")).json()
    return found


async def test_a_form_with_a_url_is_answered_with_a_uid_and_its_place(client: httpx.AsyncClient) -> None:
    answer = await client.post("/add", data={"url": URL})
    assert answer.status_code == 201
    uid = answer.json()["uid"]
    assert answer.json() == {"uid": uid, "state": "waiting"}
    assert answer.headers["location"] == f"/job/{uid}"
    assert answer.headers["content-type"] == "application/json"
    assert (await client.get(answer.headers["location"])).json()["url"] == SENT


@pytest.mark.parametrize(
    "request_",
    [
        {
            "data": {
                "url": URL,
                "title": "a & b + c",
                "tags[]": ["x", "y"],
                "headers[X-A]": "1",
                "priority": "2",
            }
        },
        {
            "data": {
                "url": URL,
                "title": "a & b + c",
                "tags": ["x", "y"],
                "headers[X-A]": "1",
                "priority": "2",
            }
        },
        {
            "data": {
                "url": URL,
                "title": "a & b + c",
                "tags[0]": "x",
                "tags[1]": "y",
                "headers[X-A][0]": "1",
                "priority": "2",
            }
        },
        {
            "files": [
                ("url", (None, URL)),
                ("title", (None, "a & b + c")),
                ("tags[]", (None, "x")),
                ("tags[]", (None, "y")),
                ("headers[X-A]", (None, "1")),
                ("priority", (None, "2")),
            ]
        },
        {
            "json": {
                "url": URL,
                "title": "a & b + c",
                "tags": ["x", "y"],
                "headers": {"X-A": "1"},
                "priority": 2,
            }
        },
    ],
    ids=["form", "form with repeats", "php form", "multipart", "json"],
)
async def test_every_kind_of_body_brings_the_same_job(client: httpx.AsyncClient, request_: Any) -> None:
    job = await job_of(client, await client.post("/add", **request_))
    assert job["url"] == SENT
    assert job["title"] == "a & b + c"
    assert job["tags"] == ["x", "y"]
    assert job["headers"] == {"X-A": "1"}
    assert job["priority"] == 2


async def test_a_repeated_header_keeps_its_values(client: httpx.AsyncClient) -> None:
    answer = await client.post("/add", data={"url": URL, "headers[X-A]": ["1", "2"]})
    assert (await job_of(client, answer))["headers"] == {"X-A": ["1", "2"]}


@pytest.mark.parametrize("escape", ["%253A", "%3a", "%zz", "%", "%%3A", "%2B+%20", "%C3%BC", "ü", "%2526"])
async def test_escapes_in_a_form_are_undone_once(client: httpx.AsyncClient, escape: str) -> None:
    from urllib.parse import unquote_plus

    body = f"url=http://app.example/&title={escape}".encode()
    answer = await client.post(
        "/add", content=body, headers={"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
    )
    assert (await job_of(client, answer))["title"] == unquote_plus(escape)


async def test_bytes_come_as_a_file_part_or_as_base64(client: httpx.AsyncClient) -> None:
    answer = await client.post("/add", data={"url": URL}, files={"body": ("x.bin", b"\xff\r\n--\x00")})
    job = await job_of(client, answer)
    assert (job["body"], job["body_base64"], job["method"]) == (None, "/w0KLS0A", "POST")
    answer = await client.post("/add", json={"url": URL, "body_base64": "/w0KLS0A"})
    assert (await job_of(client, answer))["body_base64"] == "/w0KLS0A"


async def test_text_comes_back_as_text(client: httpx.AsyncClient) -> None:
    answer = await client.post("/add", json={"url": URL, "body": "grüße"})
    job = await job_of(client, answer)
    assert job["body"] == "grüße"
    assert "body_base64" not in job


@pytest.mark.parametrize("accept", ["text/plain", "text/plain, */*;q=0.5", "text/*"])
async def test_who_asks_for_plain_text_gets_the_bare_uid(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.post("/add", data={"url": URL}, headers={"Accept": accept})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == answer.headers["location"].removeprefix("/job/") + "\n"


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("text/plain", True),
        ("application/json, text/plain, */*", False),
        ("text/plain;q=0.5, application/json", False),
        ("text/plain; q=0.9, application/json; q=0.1", True),
        ("*/*, text/plain", False),
        ("text/plain;q=0", False),
        ("text/plain;q=x", False),
        ("", False),
    ],
)
def test_plain_text_is_for_who_prefers_it(accept: str, text: bool) -> None:
    assert wants_text(accept) is text


# ---- the same uid, the same key -----------------------------------------------------------------------


async def test_the_same_uid_with_the_same_request_is_the_job_as_it_is(
    site: Any, client: httpx.AsyncClient
) -> None:
    first = await client.post("/add", json={"url": URL, "uid": UID.upper(), **LATER})
    assert first.status_code == 201
    assert first.json()["uid"] == UID
    again = await client.post("/add", data={"url": URL, "uid": UID, **LATER})
    assert again.status_code == 200
    assert again.json() == (await client.get(f"/job/{UID}")).json()
    assert await site.number() == 1


async def test_the_same_uid_with_another_request_is_refused(site: Any, client: httpx.AsyncClient) -> None:
    await client.post("/add", json={"url": URL, "uid": UID, **LATER})
    answer = await client.post("/add", json={"url": URL + "x", "uid": UID, **LATER})
    assert answer.status_code == 409
    assert answer.json()["field"] == "uid"
    assert "send a new uid" in answer.json()["detail"]
    assert await site.number() == 1


async def test_a_held_key_is_answered_with_its_holder(site: Any, client: httpx.AsyncClient) -> None:
    first = await client.post("/add", json={"url": URL, "key": "k", **LATER})
    again = await client.post("/add", json={"url": URL + "other", "key": "k"})
    assert again.status_code == 200
    assert again.json() == {"uid": first.json()["uid"], "state": "waiting", "duplicate": True}
    await client.post(f"/job/{first.json()['uid']}/cancel")
    assert (await client.post("/add", json={"url": URL, "key": "k", **LATER})).status_code == 201
    assert await site.number() == 2


def rfc3339(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat()


MINUTE = 60_000  # ms


@pytest.mark.parametrize("known_by", [{"uid": UID}, {"key": "k"}])
@pytest.mark.parametrize("later", [2 * MINUTE, 30 * MINUTE, 120 * MINUTE])
async def test_a_push_that_is_sent_again_near_or_past_its_end_finds_its_job(
    site: Any, client: httpx.AsyncClient, known_by: dict[str, str], later: int
) -> None:
    began = site.pusher.clock.now()
    push = {"url": URL, "delay": "58m", "expires_at": rfc3339(began + 60 * MINUTE), **known_by}
    first = await client.post("/add", json=push)
    assert first.status_code == 201
    site.pusher.clock = FakeClock(began + later)
    again = await client.post("/add", data=push)
    assert (again.status_code, again.json()["uid"]) == (200, first.json()["uid"])
    batch = await client.post("/add", json=[{"url": URL, **LATER}, push])
    assert (batch.status_code, batch.json()["uids"][1]) == (201, first.json()["uid"])


@pytest.mark.parametrize("known_by", [{"uid": UID}, {"key": "k"}])
@pytest.mark.parametrize(("delay", "why"), [(0, "has passed"), (120, "never run")])
async def test_a_push_that_comes_too_late_and_finds_no_job_is_refused(
    site: Any, client: httpx.AsyncClient, known_by: dict[str, str], delay: int, why: str
) -> None:
    site.pusher.clock = FakeClock()
    end = rfc3339(site.pusher.clock.now() + (MINUTE if delay else 0))
    push = {"url": URL, "delay": delay, "expires_at": end, **known_by}
    answer = await client.post("/add", json=push)
    assert (answer.status_code, answer.json()["field"]) == (422, "expires_at")
    assert why in answer.json()["detail"]
    batch = await client.post("/add", json=[{"url": URL, **LATER}, push])
    assert (batch.status_code, batch.json()["field"], batch.json()["index"]) == (422, "expires_at", 1)
    assert await site.number() == 0


async def test_another_push_that_comes_too_late_with_a_known_uid_is_told_of_the_uid(
    site: Any, client: httpx.AsyncClient
) -> None:
    await client.post("/add", json={"url": URL, "uid": UID, **LATER})
    past = rfc3339(site.pusher.clock.now() - MINUTE)
    answer = await client.post("/add", json={"url": URL, "uid": UID, "expires_at": past})
    assert (answer.status_code, answer.json()["field"]) == (409, "uid")


# ---- batches ------------------------------------------------------------------------------------------


def lines(jobs: list[dict[str, object]]) -> bytes:
    return b"\n\n".join(json.dumps(job).encode() for job in jobs) + b"\r\n"


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
async def test_a_batch_is_answered_with_its_uids_in_order(
    site: Any, client: httpx.AsyncClient, kind: str
) -> None:
    jobs: list[dict[str, object]] = [{"url": f"http://app.example/{n}", **LATER} for n in range(450)]
    body = lines(jobs) if kind.endswith("ndjson") else json.dumps(jobs).encode()
    answer = await client.post("/add", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 201
    uids = answer.json()["uids"]
    assert await site.number() == len(uids) == 450
    for n in (0, 199, 200, 449):
        assert (await client.get(f"/job/{uids[n]}")).json()["url"] == f"http://app.example/{n}"
    bare = await client.post("/add", content=body, headers={"Content-Type": kind, "Accept": "text/plain"})
    assert len(bare.text.splitlines()) == 450


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("place", [0, 1, 250, 449])
async def test_one_bad_job_in_a_batch_is_named_and_nothing_is_stored(
    site: Any, client: httpx.AsyncClient, kind: str, place: int
) -> None:
    jobs: list[dict[str, object]] = [{"url": f"http://app.example/{n}"} for n in range(450)]
    jobs[place]["priority"] = 10
    body = lines(jobs) if kind.endswith("ndjson") else json.dumps(jobs).encode()
    answer = await client.post("/add", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert (answer.json()["field"], answer.json()["index"]) == ("priority", place)
    assert await site.number() == 0


async def test_a_line_that_is_no_json_is_named(site: Any, client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/add", content=b'{"url": "http://a/"}\n{"url"\n', headers={"Content-Type": "application/x-ndjson"}
    )
    assert (answer.status_code, answer.json()["index"]) == (400, 1)
    assert await site.number() == 0


async def test_a_uid_twice_in_a_batch_with_other_requests_is_refused_whole(
    site: Any, client: httpx.AsyncClient
) -> None:
    jobs = [{"url": "http://a/", "uid": UID}, {"url": "http://b/", "uid": UID}]
    answer = await client.post("/add", json=jobs)
    assert answer.status_code == 409
    assert await site.number() == 0


async def test_others_are_answered_while_a_large_batch_is_read(client: httpx.AsyncClient) -> None:
    body = lines([{"url": "http://a.example/", **LATER} for _ in range(1_000)])
    done: list[str] = []

    async def push(name: str, **request: Any) -> None:
        assert (await client.post("/add", **request)).status_code == 201
        done.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(push("batch", content=body, headers={"Content-Type": "application/x-ndjson"}))
        group.create_task(push("one", data={"url": URL, **LATER}))
    assert done == ["one", "batch"]


# ---- a body that comes in pieces ----------------------------------------------------------------------


async def test_a_chunked_body_is_put_together(client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for piece in (b'{"url":', b"", b' "http://a', b'.example/"}'):
            yield piece

    answer = await client.post("/add", content=pieces(), headers={"Content-Type": "application/json"})
    assert (await job_of(client, answer))["url"] == "http://a.example/"


async def test_a_chunked_body_over_the_limit_is_not_read_to_its_end(
    site: Any, client: httpx.AsyncClient
) -> None:
    read = 0

    async def pieces() -> Any:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b"x" * 10_000

    answer = await client.post("/add", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert read < 20
    assert await site.number() == 0


async def test_a_client_that_goes_away_half_way_pushes_nothing(site: Any) -> None:
    from taskpusher.web import create_app

    messages = [{"type": "http.request", "body": b"url=", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/add", "query_string": b"", "headers": headers}
    await create_app(site.pusher)(scope, receive, send)
    assert (sent, await site.number()) == ([], 0)


async def test_a_push_is_run(site: Any, client: httpx.AsyncClient, eventually: Any) -> None:
    uid = (await client.post("/add", data={"url": URL, "body": "x"})).json()["uid"]
    site.finish(Success())

    async def completed() -> bool:
        return bool((await client.get(f"/job/{uid}")).json()["state"] == "completed")

    await eventually(completed)
    assert [(held.job.uid, held.body) for held in site.runner.ran] == [(uid, b"x")]


# ---- trace context ------------------------------------------------------------------------------------

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "sent", [{"data": {"url": URL}}, {"json": {"url": URL} | LATER}, {"json": [{"url": URL}, {"url": URL}]}]
)
async def test_the_trace_of_a_push_is_kept_with_each_job(
    client: httpx.AsyncClient, site: Any, sent: dict[str, Any]
) -> None:
    headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    answer = await client.post("/add", headers=headers, **sent)
    assert answer.status_code == 201
    uids = answer.json().get("uids") or [answer.json()["uid"]]
    assert [(await site.pusher.get(uid)).trace for uid in uids] == [Trace(PARENT, "a=1,b=2")] * len(uids)


async def test_an_invalid_trace_is_ignored(client: httpx.AsyncClient, site: Any) -> None:
    twice = [("traceparent", PARENT), ("traceparent", PARENT)]
    for headers in ([("traceparent", "x" * 5000)], twice, [("tracestate", "a=1")]):
        answer = await client.post("/add", headers=headers, data={"url": URL})
        assert answer.status_code == 201
        assert (await site.pusher.get(answer.json()["uid"])).trace is None


async def test_the_same_request_of_another_trace_is_the_same_request(client: httpx.AsyncClient) -> None:
    form = {"url": URL, "uid": UID} | LATER
    assert (await client.post("/add", data=form)).status_code == 201
    assert (await client.post("/add", data=form, headers={"traceparent": PARENT})).status_code == 200
