"""The first page."""

import re
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from taskpusher.history import Point, Series
from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Commits
from taskpusher.web.pages.overview import charted

POINT = dict.fromkeys(("pushed", "completed", "errors", "canceled", "attempts", "waiting"), 0)
TIMES = dict.fromkeys(("p50", "p95", "p99", "lateness_p95", "error_rate"), 0.0)


def point(start: int, **more: Any) -> Point:
    names = Point.__struct_fields__
    given = {
        name: value for name, value in {**POINT, **TIMES, "start": start, **more}.items() if name in names
    }
    return Point(**given)


async def test_it_says_first_whether_all_is_well(site: Any, browser: httpx.AsyncClient, ended: Any) -> None:
    text = (await browser.get("/tasks")).text
    assert "<h1>Healthy</h1>" in text and "Nothing is due." in text
    assert "No call has ended yet." in text
    site.finish(Failure(ErrorClass.ANSWERED, "answered 500"))
    for _ in range(5):
        await ended("error")
    found = await (await site.client()).get("/tasks", headers={"Accept": "text/html"})
    assert "app.example fails: 5 of its newest 5 jobs" in found.text
    assert 'data-count="error" data-value="5"' in found.text
    assert "/tasks/jobs/errors?q=" in found.text and "100 %" in found.text


@pytest.mark.parametrize("span", ["hour", "day", "month"])
async def test_a_chart_goes_back_an_hour_a_day_or_a_month(browser: httpx.AsyncClient, span: str) -> None:
    text = (await browser.get(f"/tasks?span={span}")).text
    assert re.search(rf'span={span}" aria-current="true"', text)
    wrong = await browser.get("/tasks?span=year")
    assert (wrong.status_code, "span must be one of hour, day, month" in wrong.text) == (422, True)


def test_a_series_is_drawn_and_told() -> None:
    points = [
        point(0, completed=3, errors=1, attempts=4, p50=0.1, p95=0.4, waiting=2, pushed=5),
        point(60),
        point(120, completed=1, canceled=1, attempts=1, p50=0.2, p95=0.2, waiting=4),
    ]
    found = charted(Series("hour", 60, points), "hour")
    assert (found["completed"], found["errors"], found["canceled"], found["top"]) == (4, 1, 1, 5)
    assert found["error_share"] == 0.2
    assert (found["p50_now"], found["p95_now"], found["slow_top"], found["deepest"]) == (0.2, 0.2, 0.4, 4)
    assert found["slots"][0] == "00:00 UTC: 3 completed, 1 failed, 95 % within 400ms"
    assert found["slots"][1] == "00:01 UTC: 0 completed, 0 failed"
    assert [row["start"] for row in found["table"]] == ["00:02", "00:00"]
    assert found["words"] == "4 completed and 1 failed in the last hour"


def test_a_series_in_which_nothing_happened_can_be_drawn() -> None:
    found = charted(Series("hour", 60, [point(0)]), "hour")
    assert (found["error_share"], found["p50_now"], found["table"], found["depth"]) == (0.0, None, [], "")


async def test_a_store_that_commits_is_told_with_how_fast(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = Commits()
    commits.seconds.note(0.3)
    commits.changes.note(1)
    figures = replace(
        await site.store.figures(), path="/var/lib/tasker", commits=commits, disk_free=1 << 40, size=1 << 20
    )

    async def told() -> Any:
        return figures

    monkeypatch.setattr(site.store, "figures", told)
    text = (await browser.get("/tasks")).text
    assert "The disk is slow" in text and "/var/lib/tasker" in text and "half within" in text
    assert "changes in one" in (await browser.get("/tasks/system")).text
