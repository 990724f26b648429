"""Is it healthy, and if not, why."""

from typing import Any

import pytest
from msgspec.structs import replace

from taskpusher.groups import HostFigures
from taskpusher.stats import Stats
from taskpusher.stores.base import QueueFigures, QueueRule, StoreFigures
from taskpusher.web.pages.health import Verdict, verdict

NOW = 1_800_000_000_000
NONE = {"pushed": 0.0, "completed": 0.0, "errors": 0.0}
STORE = StoreFigures("lmdb", "/var/lib/tasker", 1 << 20, 0, 1 << 40, False)
STATS = Stats({}, {"1m": NONE, "5m": NONE, "60m": NONE}, None, 1000.0, 4, 0, 0.0, STORE)


def queue(name: str = "mail", late: float | None = None, **more: Any) -> QueueFigures:
    rule = QueueRule(name, more.pop("paused", False), more.pop("concurrency", 0))
    oldest = None if late is None else NOW - round(late * 1000)
    fields = {"waiting": 1, "running": 0, "paused": 0, "oldest_due": oldest} | more
    return QueueFigures(rule, **fields)


def host(name: str, ended: int, errors: int) -> HostFigures:
    return HostFigures(host=name, ended=ended, errors=errors, rate=errors / ended, p50=1, p95=1, longest=1)


def judged(stats: Stats = STATS, queues: Any = (), hosts: Any = (), **more: Any) -> Verdict:
    given = {"now": NOW, "ready": True, "blocked": False, "commit": None} | more
    return verdict(stats, queues, hosts, **given)


def rates(completed: float, errors: float, **more: Any) -> Stats:
    return replace(STATS, rates={"5m": {"completed": completed, "errors": errors}}, **more)


def test_all_is_well_where_nothing_is_due() -> None:
    assert judged() == Verdict("good", "Healthy", "Nothing is due.", [])
    assert "4 of 4 workers" in judged(replace(STATS, busy=4)).detail
    assert judged(rates(2.5, 0)).detail.startswith("2.5 jobs a second")


def test_it_says_that_it_stops() -> None:
    assert "stopping" in judged(ready=False).findings[0].text


def test_a_full_store_is_bad_and_a_disk_that_fills_is_told() -> None:
    full = judged(replace(STATS, store=replace(STORE, full=True)))
    assert (full.level, full.title) == ("bad", "One thing to look at")
    assert "/var/lib/tasker" in full.findings[0].text
    nowhere = replace(STORE, full=True, path="")
    assert "the store" in judged(replace(STATS, store=nowhere)).findings[0].text
    little = replace(STORE, disk_free=(1 << 30) - 1)
    assert judged(replace(STATS, store=little)).level == "warn"
    assert judged(replace(STATS, store=replace(STORE, disk_free=1 << 30))).level == "good"
    assert judged(replace(STATS, store=replace(little, kind="memory", size=0, disk_free=0))).level == "good"


def test_a_slow_disk_and_a_blocked_loop() -> None:
    assert judged(commit=0.25).level == "good"
    assert judged(commit=0.251).level == "warn"
    assert judged(blocked=True).level == "bad"


@pytest.mark.parametrize(
    ("completed", "errors", "level"),
    [(1.0, 0.1, "good"), (0.9, 0.1, "warn"), (0.51, 0.49, "warn"), (0.5, 0.5, "bad"), (0.0, 0.01, "good")],
)
def test_jobs_that_fail_often(completed: float, errors: float, level: str) -> None:
    assert judged(rates(completed, errors)).level == level


def test_a_few_failures_after_the_start_tell_nothing_yet() -> None:
    """The rates are then over less than five minutes."""
    assert judged(rates(0.0, 1.0, uptime=1.0)).level == "good"
    assert judged(rates(0.0, 1.0, uptime=4.4)).level == "good"
    assert judged(rates(0.0, 1.0, uptime=5.0)).level == "bad"


@pytest.mark.parametrize(
    ("late", "level"),
    [(None, "good"), (-10, "good"), (59.9, "good"), (60, "warn"), (599, "warn"), (600, "bad")],
)
def test_jobs_that_are_late(late: float | None, level: str) -> None:
    assert judged(queues=[queue(late=late)]).level == level


def test_it_says_why_jobs_are_late() -> None:
    assert "its hosts may be" in judged(queues=[queue(late=90)]).findings[0].text
    assert "--concurrency" in judged(replace(STATS, busy=4), [queue(late=90)]).findings[0].text
    at_its_limit = queue(late=90, concurrency=2, running=2)
    assert "its concurrency of 2" in judged(replace(STATS, busy=4), [at_its_limit]).findings[0].text
    below = queue(late=90, concurrency=2, running=1)
    assert "its hosts may be" in judged(queues=[below]).findings[0].text


def test_of_many_queues_the_worst_are_named() -> None:
    found = judged(queues=[queue(f"q{n}", late=100 + n) for n in range(10)]).findings
    assert [one.text.split()[4] for one in found] == ["q9", "q8", "q7"]


def test_a_paused_queue_is_told_with_what_waits_in_it_and_is_not_late() -> None:
    (found,) = judged(queues=[queue("a", late=900, paused=True, waiting=1)]).findings
    assert found.text == "The queue a is paused; 1 job waits in it."
    (found,) = judged(queues=[queue("a", paused=True, waiting=1200)]).findings
    assert "1,200 jobs wait" in found.text
    assert judged(queues=[queue(paused=True, waiting=0)]).level == "good"


def test_a_host_that_fails_is_named() -> None:
    (found,) = judged(hosts=[host("a", 10, 5), host("b", 11, 5), host("c", 4, 4)]).findings
    assert found.text == "a fails: 5 of its newest 10 jobs ended in error."


def test_what_is_bad_comes_first() -> None:
    found = judged(queues=[queue(late=90)], blocked=True, ready=False)
    assert [one.level for one in found.findings] == ["bad", "warn", "warn"]
    assert (found.level, found.title) == ("bad", "3 things to look at")
