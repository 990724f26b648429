"""What keeps the pages quick where there are many jobs, many errors and many who look."""

import asyncio
from typing import Any

import pytest

from taskpusher.testing import FakeClock
from taskpusher.web.pages import acts, places, words
from taskpusher.web.pages.samples import GOOD_FOR, Fresh


class Made:
    """Counts how often it was made."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> int:
        await asyncio.sleep(0)
        self.times += 1
        return self.times


async def test_what_many_ask_for_at_once_is_made_once() -> None:
    made, clock = Made(), FakeClock()
    fresh = Fresh(clock, made)
    assert await asyncio.gather(*(fresh.get() for _ in range(5))) == [1] * 5
    clock.advance(GOOD_FOR)
    assert await fresh.get() == 2


async def test_what_was_made_in_no_time_is_made_for_everybody() -> None:
    fresh = Fresh(FakeClock(), Made(), worth=lambda value: value > 2)
    assert [await fresh.get() for _ in range(4)] == [1, 2, 3, 3]


async def test_a_question_about_many_jobs_comes_at_once_and_counts_all_if_asked(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MOST_LOOKED", 2)
    for number in range(5):
        await site.pusher.push("http://h.example/", title=f"job {number}", delay="1h")
    form = {"state": "waiting", "action": "cancel", "q": "job"}
    asked = (await client.post("/tasks/act", data=form | {"scope": "all"})).text
    assert "Cancel 2+ jobs?" in asked and "Only the first 2 jobs" in asked and "Count all" in asked
    counted = (await client.post("/tasks/act", data=form | {"count": "all"})).text
    assert "Cancel 5 jobs?" in counted and "Count all" not in counted
    nothing = (await client.post("/tasks/act", data=form | {"scope": "all", "q": "none"})).text
    assert "Cancel 0+ jobs?" in nothing and "disabled" not in nothing, "there may be some further on"


async def test_queues_that_are_not_shown_are_found_by_their_names(
    site: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SHOWN", 2)
    for name in ("mail", "images", "Mail-at-night"):
        await site.pusher.push("http://h.example/", queue=name, delay="1h")
    assert "1 more queues" in (await client.get("/tasks/queues")).text
    found = (await client.get("/tasks/queues?q=MAIL")).text
    assert "Mail-at-night</a>" in found and "images</a>" not in found
    assert "No queue with jobs has that in its name" in (await client.get("/tasks/queues?q=x")).text


@pytest.mark.parametrize(
    ("said", "once"),
    [
        ("503 answered 503 Service Unavailable", "503 Service Unavailable"),
        ("204 answered 204; success is 200", "204 success is 200"),
        ("599 answered 599", "599"),
        ("200 answered 2001 times", "200 answered 2001 times"),
        ("can't connect to 192.0.2.1:80", "can't connect to 192.0.2.1:80"),
    ],
)
def test_a_status_is_said_once(said: str, once: str) -> None:
    assert words.once(said) == once
