"""Errors, by what went wrong."""

import re
from html import unescape
from typing import Any

import httpx
import pytest

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure
from taskpusher.web.pages import failures


async def test_errors_that_are_alike_are_one_line_that_leads_to_them(
    site: Any, browser: httpx.AsyncClient, ended: Any
) -> None:
    assert "No job has failed for good" in (await browser.get("/tasks/errors")).text
    for n in (1, 2):
        site.finish(Failure(ErrorClass.UNKNOWN, f"reset after {n} bytes <b>"))
        await ended("error")
    site.finish(Failure(ErrorClass.NOT_SENT, "refused"))
    await ended("error")
    text = (await browser.get("/tasks/errors")).text
    assert "All 3 jobs" in text and "<b>" not in text.split("<tbody>")[1]
    assert len(re.findall(r"<tr data-row>", text)) == 2
    link = unescape(re.findall(r'href="(/tasks/jobs/errors\?q=[^"]+)"', text)[0])
    assert (await browser.get(link)).text.count("<tr data-uid=") == 2
    (q,) = {unescape(one) for one in re.findall(r'name="q" value="([^"]+)"', text) if "unknown" in one}
    sure = await browser.post(
        "/tasks/act", data={"state": "error", "q": q, "action": "retry", "scope": "all"}
    )
    assert "Retry 2 jobs?" in sure.text


async def test_the_newest_are_looked_at_unless_more_are_asked_for(
    site: Any, browser: httpx.AsyncClient, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "NEWEST", 1)
    monkeypatch.setattr(failures, "MOST", 2)
    site.finish(Failure(ErrorClass.NOT_SENT, "refused"))
    for _ in range(3):
        await ended("error")
    first = (await browser.get("/tasks/errors")).text
    assert "The newest 1 of 3 jobs" in first and "Look at the newest 2" in first
    more = (await browser.get("/tasks/errors?all=1")).text
    assert "The newest 2 of 3 jobs" in more and "Look at" not in more
    assert (await browser.get("/tasks/errors?all=perhaps")).status_code == 422
    monkeypatch.setattr(failures, "MOST", 9)
    assert "Look at all" in (await browser.get("/tasks/errors")).text
