"""The page of a job."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from taskpusher.job import ErrorClass, Progress, Result, State, Wish
from taskpusher.runners.base import Failure, Success
from taskpusher.stores.base import QueueFigures, QueueRule

URL = "http://u:pw@app.example/x?token=abc&b=1"
ANSWER = Result(200, (("Set-Cookie", "s3cret"),), b'{"a":1}')


@pytest.fixture
def as_it_were(site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the page see the job with other values."""

    async def changed(job: Any, **fields: Any) -> None:
        details = await site.pusher.details(job.uid)
        found = replace(details, job=replace(details.job, **fields))

        async def told(uid: str) -> Any:
            return found

        monkeypatch.setattr(site.pusher, "details", told)

    return changed


async def test_it_tells_all_there_is(site: Any, browser: httpx.AsyncClient, ended: Any) -> None:
    site.finish(Success(ANSWER))
    job = await ended(
        url=URL,
        title="a title",
        tags=["t"],
        key="k",
        once=True,
        headers={"X": "y"},
        body="sent",
        expires_at="2100-01-01T00:00:00Z",
    )
    text = (await browser.get(f"/tasks/{job.uid}")).text
    for said in (
        "<h1>a title</h1>",
        "Attempt 1",
        "token=abc",
        "<dt>X</dt><dd>y</dd>",
        ">sent</pre>",
        "s3cret",
    ):
        assert said in text, said
    assert "&#34;a&#34;: 1" in text and "curl -i" in text and "2100-01-01 00:00:00.000 UTC" in text
    assert "not repeated" in text and "Edit</a>" not in text and f'/job/{job.uid}/result" download' in text


async def test_who_only_looks_sees_no_secrets(site: Any, browse: Any, ended: Any) -> None:
    site.finish(Success(ANSWER))
    job = await ended(url=URL, headers={"X": "s3cret"}, body="s3cret")
    text = (await (await browse("eye")).get(f"/tasks/{job.uid}")).text
    for secret in ("s3cret", "u:pw", "abc", "curl", "&#34;a&#34;", "/result"):
        assert secret not in text, secret
    assert text.count("The body is not shown") == 2 and "<dt>X</dt><dd>***</dd>" in text


async def test_a_job_that_failed_says_why(site: Any, browser: httpx.AsyncClient, ended: Any) -> None:
    site.finish(Failure(ErrorClass.ANSWERED, "answered <500>", Result(500, (), b"")))
    job = await ended("error")
    text = (await browser.get(f"/tasks/{job.uid}")).text
    assert "answered &lt;500&gt;" in text and "The body is empty." in text
    assert f'action="/tasks/{job.uid}/retry"' in text


async def test_a_job_that_waits_says_why(site: Any, browser: httpx.AsyncClient, as_it_were: Any) -> None:
    later = await site.pusher.push("http://a.example/", delay="1h")
    text = (await browser.get(f"/tasks/{later.uid}")).text
    assert "It waits until it is due" in text and "No answer is kept yet." in text and "Edit</a>" in text
    await site.pusher.set_queue("held", paused=True)
    held = await site.pusher.push("http://a.example/", queue="held")
    assert "its queue held is paused" in (await browser.get(f"/tasks/{held.uid}")).text
    await as_it_were(later, failures=1, delayed=True, max_attempts=3)
    assert "more for its next attempt: 1 of 3 failed" in (await browser.get(f"/tasks/{later.uid}")).text


@pytest.mark.parametrize(
    ("figures", "job", "said"),
    [
        (None, {}, ""),
        (QueueFigures(QueueRule("q", False, 2), 5, 2, 0, 1), {}, "at its concurrency of 2"),
        (
            QueueFigures(QueueRule("q", False, 2), 5, 1, 0, 1),
            {"blocked_by": "host:a:80"},
            "host a:80 is at its cap",
        ),
        (QueueFigures(QueueRule("q"), 1200, 0, 0, 1), {}, "one of 1,200 that wait"),
        (QueueFigures(QueueRule("q"), 1, 0, 0, 1), {}, "as soon as a worker is free"),
    ],
)
async def test_a_job_that_is_due_says_what_holds_it_back(
    site: Any,
    browser: httpx.AsyncClient,
    as_it_were: Any,
    monkeypatch: pytest.MonkeyPatch,
    figures: Any,
    job: Any,
    said: str,
) -> None:
    pushed = await site.pusher.push("http://a.example/", queue="q", delay="1h")
    await as_it_were(pushed, due_ms=pushed.created_ms, **job)

    async def queues() -> Any:
        return [figures] if figures else []

    monkeypatch.setattr(site.pusher, "queues", queues)
    text = (await browser.get(f"/tasks/{pushed.uid}")).text
    assert said in text
    assert ('class="why"' in text) is bool(said)


async def test_a_job_that_is_due_while_the_tasker_stops(
    site: Any, browser: httpx.AsyncClient, as_it_were: Any
) -> None:
    job = await site.pusher.push("http://a.example/", delay="1h")
    await as_it_were(job, due_ms=job.created_ms)
    site.pusher.ready = False
    assert "runs it after its next start" in (await browser.get(f"/tasks/{job.uid}")).text


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (None, ""),
        (Progress(), "Progress</h2>"),
        (Progress(50.0, 1, 2, "half <way>"), "50 % · step 1 of 2"),
        (Progress(None, 1, 2, ""), "step 1 of 2"),
    ],
)
async def test_progress_and_wishes_are_shown(
    site: Any, browser: httpx.AsyncClient, as_it_were: Any, progress: Any, said: str
) -> None:
    job = await site.pusher.push("http://a.example/", delay="1h")
    await as_it_were(job, state=State.RUNNING, progress=progress, wish=Wish.CANCEL, started_ms=0, crashes=2)
    text = (await browser.get(f"/tasks/{job.uid}")).text
    assert said in text and ("Progress</h2>" in text) is (progress is not None)
    assert "asked to cancel" in text and "<way>" not in text


async def test_a_job_that_was_removed_is_a_page(site: Any, browser: httpx.AsyncClient) -> None:
    job = await site.pusher.push("http://a.example/", delay="1h")
    await site.pusher.remove(job.uid)
    answer = await browser.get(f"/tasks/{job.uid}")
    assert (answer.status_code, "may have been removed or pruned" in answer.text) == (404, True)
