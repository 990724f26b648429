"""Queues and hosts."""

from typing import Any

import httpx
import pytest

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure
from taskpusher.web.pages import places

JSON = {"Accept": "application/json"}


async def test_queues_are_listed_the_fullest_first(site: Any, browser: httpx.AsyncClient) -> None:
    assert "No queue has jobs" in (await browser.get("/tasks/queues")).text
    long = "x" * 200
    for queue in (long, "mail", "mail"):
        await site.pusher.push("http://a.example/", queue=queue, delay="1h")
    await site.pusher.set_queue("mail", paused=True, concurrency=3)
    text = (await browser.get("/tasks/queues")).text
    assert text.index(">mail</a>") < text.index(f">{long}</a>")
    assert '<span class="state is-paused">paused</span>' in text and "of 3" in text


async def test_of_very_many_queues_the_first_are_shown(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SHOWN", 2)
    for n in range(5):
        await site.pusher.push("http://a.example/", queue=f"q{n}", delay="1h")
    assert "3 more queues, with fewer jobs, are not shown" in (await browser.get("/tasks/queues")).text


async def test_a_queue_is_paused_and_limited_and_both_are_noted(
    site: Any, browser: httpx.AsyncClient
) -> None:
    for form, said, outcome in (
        ({"paused": "yes"}, "The queue a/b is paused", "paused, no limit"),
        ({"concurrency": " 3 "}, "The queue a/b runs at most 3 at once", "paused, concurrency 3"),
        ({"paused": "no"}, "The queue a/b goes on", "open, concurrency 3"),
        ({"concurrency": ""}, "The queue a/b runs without a limit of its own", "open, no limit"),
    ):
        answer = await browser.post("/tasks/queues", data={"queue": "a/b"} | form, headers=JSON)
        assert answer.json() == {"said": said, "to": None, "undo": None}
        (entry,) = (await browser.get("/audit?limit=1")).json()["entries"]
        assert (entry["action"], entry["queue"], entry["outcome"]) == ("set queue", "a/b", outcome)
    answer = await browser.post("/tasks/queues", data={"queue": "a/b", "paused": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/tasks/queues")
    assert "paused, no limit" in (await browser.get("/tasks/system")).text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"queue": "mail"}, "paused or concurrency is missing"),
        ({"queue": "", "paused": "yes"}, "queue is empty"),
        ({"paused": "yes"}, "queue must be a string"),
        ({"queue": "x" * 201, "paused": "yes"}, "queue is 201 characters long"),
        ({"queue": "mail", "paused": "perhaps"}, "paused must be true or false"),
        ({"queue": "mail", "concurrency": "-1"}, "concurrency must be a whole number"),
        ({"queue": "mail", "concurrency": "100001"}, "concurrency must be a whole number"),
    ],
)
async def test_what_is_no_rule_is_refused(
    browser: httpx.AsyncClient, form: dict[str, str], said: str
) -> None:
    answer = await browser.post("/tasks/queues", data=form)
    assert (answer.status_code, said in answer.text) == (422, True)
    assert (await browser.get("/queues")).json() == {"queues": []}


async def test_hosts_are_listed_those_that_fail_first(
    site: Any, browser: httpx.AsyncClient, ended: Any, eventually: Any
) -> None:
    assert "No call has ended" in (await browser.get("/tasks/hosts")).text
    site.finish()
    await ended(url="http://[::1]:81/x")
    site.finish(Failure(ErrorClass.NOT_SENT, "refused"))
    await ended("error", url="http://bad.example/")
    site.outcome = None
    site.changed.clear()
    await site.pusher.push("http://slow.example/")

    async def runs() -> bool:
        return (await site.pusher.stats()).busy == 1

    await eventually(runs)
    client = await site.client()
    text = (await client.get("/tasks/hosts")).text
    assert text.index("bad.example") < text.index("slow.example") < text.index(">[::1]:81<")
    assert "host%3A%5B%3A%3A1%5D%3A81" in text and "100 %" in text
