"""`q`, a filter expression, in lists and in moves of many jobs; and who may ask for what."""

from typing import Any

import httpx
import pytest

from taskpusher.job import ErrorClass, JobError, State
from taskpusher.stores.base import Add, Query
from taskpusher.testing import a_job
from taskpusher.web.auth import User

USERS = [User("app", "secret"), User("eye", "secret", "readonly")]
EYE, APP = ("eye", "secret"), ("app", "secret")
TARGET = "http://user:hidden@app.example/a?token=s3cret&id=7"


async def fill(site: Any) -> None:
    error = JobError(ErrorClass.ANSWERED, "answered 503 to call 7 of Mallory")
    job = a_job(target=TARGET, host="app.example", queue="my queue", tags=("t",), title="Übung", key="k-9")
    await site.store.write(
        Add(a_job()),
        Add(job),
        Add(a_job(status=503, attempt=4, error=error, state=State.ERROR, finished_ms=5)),
    )


async def found(client: httpx.AsyncClient, path: str, q: str, auth: Any = None) -> int:
    answer = await client.get(path, params={"q": q, "limit": "1"}, auth=auth)
    assert answer.status_code == 200, answer.text
    jobs, page = 0, answer.json()
    total = page["total"]
    while True:
        jobs += len(page["jobs"])
        if page["next"] is None:
            assert jobs == total
            return jobs
        page = (await client.get(page["next"], auth=auth)).json()


@pytest.mark.parametrize(
    ("path", "q", "number"),
    [
        ("/jobs", "", 3),
        ("/jobs", 'queue:"my queue"', 1),
        ("/jobs", "status:5xx attempt:>3 error:answered", 1),
        ("/jobs/errors", "MALLORY", 1),
        ("/jobs/waiting", "mallory", 0),
        ("/jobs/waiting", "übung", 1),
        ("/jobs/waiting", "queue:default", 1),
        ("/jobs/waiting", "status:none", 2),
        ("/jobs", "age:>1h age:<1s", None),
        ("/jobs", "http", 3),
    ],
)
async def test_a_list_is_filtered_by_an_expression(site: Any, path: str, q: str, number: int | None) -> None:
    client = await site.client()
    await fill(site)
    if number is None:
        assert (await client.get(path, params={"q": q})).json()["field"] == "q"
    else:
        assert await found(client, path, q) == number


@pytest.mark.parametrize(
    ("params", "field", "said"),
    [
        ({"q": "colour:red"}, "q", "known are queue"),
        ({"q": "queue:a", "queue": "a"}, "queue", "given twice, here and in q"),
        ({"q": "url:http://a", "url": "http://b"}, "url", "given twice, here and in q"),
        ({"q": "x" * 9000}, "q", "8192"),
    ],
)
@pytest.mark.parametrize("way", ["list", "move"])
async def test_an_expression_that_can_not_be_taken_is_422(
    client: httpx.AsyncClient, params: dict[str, str], field: str, said: str, way: str
) -> None:
    if way == "list":
        answer = await client.get("/jobs/waiting", params=params)
    else:
        answer = await client.post("/jobs/waiting/delete", json=params)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert said in answer.json()["detail"]


async def test_an_expression_stands_beside_other_filters(site: Any) -> None:
    client = await site.client()
    await fill(site)
    for tag, number in (("t", 1), ("other", 0)):
        page = (await client.get("/jobs", params={"q": "übung", "tag": tag})).json()
        assert len(page["jobs"]) == number


async def test_what_an_expression_finds_is_moved_and_nothing_else(site: Any) -> None:
    client = await site.client()
    await fill(site)
    asked = {"q": 'queue:"my queue" Übung'}
    assert (await client.post("/jobs/waiting/pause?dry_run=1", json=asked)).json() == {"count": 1}
    assert (await client.post("/jobs/waiting/pause", params=asked)).json() == {"count": 1}
    assert await found(client, "/jobs/paused", "") == 1 == await found(client, "/jobs/waiting", "")


@pytest.mark.parametrize("q", ["", " ", '""', "attempt:>=0"])
async def test_an_expression_that_says_nothing_does_not_mean_all_jobs(site: Any, q: str) -> None:
    client = await site.client()
    await fill(site)
    answer = await client.post("/jobs/waiting/delete", json={"q": q})
    assert (answer.status_code, answer.json()["field"]) == (422, "q")
    assert await found(client, "/jobs/waiting", "") == 2


@pytest.mark.parametrize(
    ("q", "number"),
    [
        ("Übung", 1),
        ("my", 1),
        ("APP.example", 1),
        ("answered", 1),
        ("hidden", 0),
        ("s3cret", 0),
        ("token", 0),
        ("k-9", 0),
        ("Mallory", 0),
        ("key:k-9", 1),
        ("url:http://app.example/", 0),
    ],
)
async def test_who_only_looks_can_not_guess_by_text_what_he_is_not_shown(
    site: Any, q: str, number: int
) -> None:
    client = await site.client(users=USERS)
    await fill(site)
    for path in ("/jobs",):
        assert await found(client, path, q, EYE) == number
        if "url:" not in q:
            assert await found(client, path, q, APP) == 1


@pytest.mark.parametrize("url", ["http://user:hid", TARGET, "http://app.ex", "http://a/?token=s"])
async def test_who_only_looks_can_not_guess_by_a_prefix_what_he_is_not_shown(site: Any, url: str) -> None:
    client = await site.client(users=USERS)
    answer = await client.get("/jobs", params={"q": f'url:"{url}"'}, auth=EYE)
    assert (answer.status_code, answer.json()["field"]) == (422, "q")
    assert (await client.get("/jobs", params={"q": f'url:"{url}"'}, auth=APP)).status_code == 200


async def test_a_bulk_tells_its_expression_and_hides_what_may_be_secret(site: Any) -> None:
    client = await site.client(users=USERS)
    query = Query(State.WAITING, queue="mail", url=TARGET, status=(500, 599), text='"s3cret word" x')
    place = f"/bulk/{(await site.pusher.bulk('cancel', query)).uid}"
    assert (await client.get(place, auth=APP)).json()["filters"] == {
        "queue": "mail",
        "url": TARGET,
        "q": 'status:5xx "s3cret word" x',
    }
    assert (await client.get(place, auth=EYE)).json()["filters"] == {
        "queue": "mail",
        "url": "***",
        "q": "status:5xx ***",
    }
