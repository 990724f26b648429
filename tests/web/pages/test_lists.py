"""The lists of jobs."""

import re
from typing import Any

import httpx
import pytest

from taskpusher.job import Action, ErrorClass, State
from taskpusher.runners.base import Failure
from taskpusher.testing import a_job
from taskpusher.web.pages import lists
from taskpusher.web.pages.lists import ROWS, TABS, deeds, tab_of, when_of

URL = "http://u:pw@app.example/x?token=abc"


def uids(answer: httpx.Response) -> list[str]:
    return re.findall(r'<tr data-uid="([^"]+)"', answer.text)


def counts(answer: httpx.Response) -> dict[str, str]:
    return dict(re.findall(r'data-count="(\w+)" data-value="(\d+)"', answer.text))


async def test_every_state_has_its_list_and_says_how_many_there_are(
    site: Any, browser: httpx.AsyncClient
) -> None:
    waiting, paused = [await site.pusher.push("http://a.example/", delay="1h") for _ in range(2)]
    await site.pusher.pause(paused.uid)
    every = await browser.get("/tasks/jobs")
    assert uids(every) == [paused.uid, waiting.uid]
    assert counts(every) | {"waiting": "1", "paused": "1", "all": "2", "error": "0"} == counts(every)
    assert uids(await browser.get("/tasks/jobs/waiting")) == [waiting.uid]
    assert uids(await browser.get("/tasks/jobs/paused")) == [paused.uid]
    assert "No job has failed for good." in (await browser.get("/tasks/jobs/errors")).text


async def test_what_a_job_came_to_is_on_its_line(site: Any, browser: httpx.AsyncClient, ended: Any) -> None:
    site.finish(Failure(ErrorClass.NOT_SENT, "refused <by> it"))
    await ended("error", title="a title", tags=["1", "2", "3", "4"], max_attempts=1)
    text = (await browser.get("/tasks/jobs/errors")).text
    assert "refused &lt;by&gt; it" in text and "not_sent" in text and "a title" in text
    assert '<span class="chip">3</span>' in text and '<span class="chip">4</span>' not in text


async def test_a_list_goes_on_with_its_filter(site: Any, browser: httpx.AsyncClient) -> None:
    for _ in range(ROWS + 1):
        await site.pusher.push("http://a.example/", delay="1h", queue="a b")
    first = await browser.get("/tasks/jobs/waiting", params={"q": 'queue:"a b"'})
    (link,) = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = await browser.get(link.replace("&amp;", "&"))
    assert (len(uids(first)), len(uids(second))) == (ROWS, 1)
    assert "First page" in second.text and "First page" not in first.text
    assert 'rel="next"' not in second.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("q=colour:red", "colour: is no filter"),
        ("q=" + "x" * 8193, "8193 characters long"),
        ("q=url:%22", "does not end"),
        ("cursor=nonsense", "cursor is none of ours"),
        ("all=perhaps", "all must be true or false"),
    ],
)
async def test_what_can_not_be_looked_for_is_said_on_the_page(
    browser: httpx.AsyncClient, query: str, said: str
) -> None:
    answer = await browser.get(f"/tasks/jobs/waiting?{query}")
    assert answer.status_code == 422
    assert said in answer.text
    assert 'aria-current="page"' in answer.text


async def test_a_list_that_is_not_there_is_a_page(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/tasks/jobs/gone")
    assert (answer.status_code, "there is no such list" in answer.text) == (404, True)
    assert (await browser.get("/tasks/jobs/runing")).status_code == 200


async def test_a_filter_that_few_match_looks_so_far_and_says_it(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED", 5)
    first = await site.pusher.push("http://a.example/", delay="1h", title="needle")
    for _ in range(20):
        await site.pusher.push("http://a.example/", delay="1h")
    text = (await browser.get("/tasks/jobs?q=needle")).text
    assert "looked at" in text and "count all" in text and first.uid not in text
    assert uids(await browser.get("/tasks/jobs?q=needle&all=1")) == [first.uid]
    assert "No kept job matches." in (await browser.get("/tasks/jobs?q=nothing&all=yes")).text


async def test_who_only_looks_sees_no_secret_and_can_not_guess_one(site: Any, browse: Any) -> None:
    job = await site.pusher.push(URL, delay="1h")
    client = await browse("eye")
    answer = await client.get("/tasks/jobs/waiting")
    assert uids(answer) == [job.uid]
    assert "abc" not in answer.text and "u:pw" not in answer.text
    assert uids(await client.get("/tasks/jobs?q=token%3Dabc")) == []
    assert (await client.get("/tasks/jobs?q=url:http://u:pw@app.example/x?token=a")).status_code == 422


async def test_the_filter_suggests_queues_there_are(site: Any, browser: httpx.AsyncClient) -> None:
    await site.pusher.push("http://a.example/", delay="1h", queue="a b")
    text = (await browser.get("/tasks/jobs")).text
    (terms,) = re.findall(r'data-terms="([^"]+)"', text)
    assert (
        "queue:\\&#34;a b\\&#34;" in terms.replace("\\u0022", '\\"').replace("&quot;", "&#34;")
        or "a b" in terms
    )


def test_what_can_be_done_to_many_is_what_the_table_of_moves_says() -> None:
    assert [deed.name for deed in deeds(State.WAITING)] == ["run", "pause", "cancel", "delete"]
    assert [deed.name for deed in deeds(State.RUNNING)] == ["cancel"]
    assert [deed.name for deed in deeds(State.ERROR)] == ["retry", "delete"]
    assert Action.RETRY in [deed.name for deed in tab_of(State.CANCELED).actions]
    assert tab_of(None).actions == []


def test_each_list_shows_the_moment_that_tells_most() -> None:
    job = {"created_ms": 1, "due_ms": 2, "started_ms": 3, "finished_ms": 4}
    found = {tab.state: when_of(a_job(**job, state=tab.state or State.ERROR), tab) for tab in TABS}
    assert found == {
        None: 1,
        State.WAITING: 2,
        State.RUNNING: 3,
        State.PAUSED: 4,
        State.COMPLETED: 4,
        State.ERROR: 4,
        State.CANCELED: 4,
    }
    assert when_of(a_job(state=State.PAUSED, created_ms=1), tab_of(State.PAUSED)) == 1
