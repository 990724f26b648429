"""GET /tasks as JSON, for scripts that ask for it."""

from typing import Any

import httpx
import pytest

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure

JSON = {"Accept": "application/json"}
SECRET = "http://u:pw@app.example/x?token=abc"


async def test_jobs_come_newest_first_with_how_many_there_are(site: Any, client: httpx.AsyncClient) -> None:
    jobs = [await site.pusher.push("http://app.example/", delay="1h", title=str(n)) for n in range(3)]
    await site.pusher.cancel(jobs[0].uid)
    found = (await client.get("/tasks", headers=JSON)).json()
    assert [one["title"] for one in found["data"]] == ["2", "1", "0"]
    states = {"waiting": 2, "running": 0, "paused": 0, "completed": 0, "error": 0, "canceled": 1}
    assert found["meta"] == {"total": 3, "states": states, "next": None, "limit": 100}
    listed = (await client.get("/jobs")).json()["jobs"]
    assert found["data"] == listed


@pytest.mark.parametrize("accept", ["", "*/*", "text/html"])
async def test_who_does_not_name_json_gets_the_page(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/tasks", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/html")


async def test_the_list_goes_on_where_next_says(site: Any, client: httpx.AsyncClient) -> None:
    pushed = [(await site.pusher.push("http://a.example/", queue="mail", delay="1h")).uid for _ in range(5)]
    await site.pusher.push("http://a.example/", delay="1h")
    path, seen = "/tasks?limit=2&queue=mail", []
    while path:
        found = (await client.get(path, headers=JSON)).json()
        assert found["meta"]["limit"] == 2 and found["meta"]["total"] == 5
        seen += [one["uid"] for one in found["data"]]
        path = found["meta"]["next"]
    assert seen == pushed[::-1]


async def test_they_can_be_chosen_by_state_and_filters(
    site: Any, client: httpx.AsyncClient, ended: Any
) -> None:
    site.finish(Failure(ErrorClass.ANSWERED, "answered 500"))
    job = await ended("error", tags=["a"])
    await site.pusher.push("http://app.example/", delay="1h")
    for query in ("state=error", "state=errors", "q=error:answered", "tag=a", "state=error&host=app.example"):
        found = (await client.get(f"/tasks?{query}", headers=JSON)).json()
        assert [one["uid"] for one in found["data"]] == [job.uid], query
    assert (await client.get("/tasks?state=paused", headers=JSON)).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=gone", "state"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=xyz", "cursor"),
        ("cursor=" + "00" * 300, "cursor"),
        ("q=colour:red", "q"),
        ("q=" + "x" * 8193, "q"),
        ("queue=a&q=queue:b", "queue"),
        ("last_uid=1", "last_uid"),
        ("span=hour", "span"),
    ],
)
async def test_a_query_that_can_not_be_taken_is_a_problem(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await client.get(f"/tasks?{query}", headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_secrets_are_masked_for_who_only_looks(site: Any, browse: Any) -> None:
    await site.pusher.push(SECRET, delay="1h", headers={"X-Key": "abc"})
    client = await browse("eye")
    text = (await client.get("/tasks", headers=JSON)).text
    assert "abc" not in text and "pw" not in text
    refused = await client.get("/tasks?url=http://u:pw@app.example/x?token=a", headers=JSON)
    assert refused.status_code == 422
    assert (await (await browse("app")).get("/tasks", headers=JSON)).status_code == 403


async def test_links_carry_the_prefix(site: Any, browse: Any) -> None:
    client = await browse(root_path="/tasker")
    for _ in range(2):
        await site.pusher.push("http://a.example/", delay="1h")
    found = (await client.get("/tasker/tasks?limit=1", headers=JSON)).json()
    assert found["meta"]["next"].startswith("/tasker/tasks?limit=1&cursor=")


async def test_head_has_the_header_alone(client: httpx.AsyncClient) -> None:
    for headers in (JSON, {"Accept": "text/html"}):
        answer = await client.head("/tasks", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(headers["Accept"])
