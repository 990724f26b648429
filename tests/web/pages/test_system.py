"""GET /tasks/system."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from taskpusher.config import Shown
from taskpusher.logs import Recent
from taskpusher.stores.base import Commits
from taskpusher.web.pages import system

SETTINGS = [
    Shown("--timeout", "1h", "environment", "limit of an attempt"),
    Shown("--root-path", "", "default", "not set"),
    Shown("--concurrency", "4", "default", "jobs at once"),
]


@pytest.fixture
def recent() -> Any:
    found = Recent().listen()
    yield found
    found.close()


def log(text: str, level: int = logging.WARNING, **facts: Any) -> None:
    logging.getLogger("taskpusher").log(level, text, extra=facts)


async def test_the_log_is_shown_newest_first(browse: Any, recent: Recent) -> None:
    for n in range(300):
        log(f"<b>line {n}</b>", note=n)
    log("oh", logging.ERROR)
    text = (await (await browse(recent=recent)).get("/tasks/system")).text
    assert "&lt;b&gt;line 299&lt;/b&gt; note=299" in text
    assert text.index("line 299") < text.index("line 298")
    assert "line 101" in text and "line 100" not in text
    assert '<span class="bad">error</span> oh' in text


async def test_what_was_set_is_shown_with_where(browse: Any) -> None:
    text = (await (await browse(settings=SETTINGS)).get("/tasks/system")).text
    assert "--timeout" in text and '<span class="chip">environment</span>' in text
    assert "--root-path" not in text
    assert '<span class="chip">default</span>' not in text


async def test_who_only_looks_sees_neither_log_nor_settings_nor_audit(
    site: Any, browse: Any, recent: Recent
) -> None:
    log("secret-of-the-log")
    job = await site.pusher.push("http://a.example/", delay="1h")
    for name, shown in (("boss", True), ("eye", False)):
        client = await browse(name, settings=SETTINGS, recent=recent)
        if shown:
            await client.post(f"/tasks/{job.uid}/pause")
        text = (await client.get("/tasks/system")).text
        for secret in ("secret-of-the-log", "--timeout", "Who did what", job.uid):
            assert (secret in text) is shown, (name, secret)
        assert ("not shown to users who only look" in text) is not shown


async def test_without_a_log_and_settings_it_says_so(browser: httpx.AsyncClient) -> None:
    text = (await browser.get("/tasks/system")).text
    assert "Nothing was logged" in text and "Nobody has changed anything" in text
    assert "Settings</h2>" not in text


def test_commits_are_told_by_quantiles() -> None:
    assert system.commit(None) is None
    commits = Commits()
    assert system.commit(commits) is None
    for _ in range(99):
        commits.seconds.note(0.0004)
        commits.changes.note(10)
    commits.seconds.note(2.0)
    commits.changes.note(10)
    found = system.commit(commits)
    assert found is not None
    assert (found.number, found.changes) == (100, 10.0)
    assert found.p50 <= 0.0005 and found.p99 <= 0.0005


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert system._memory() > 1 << 20 or not Path("/proc/self/statm").exists()
    monkeypatch.setattr(system.Path, "read_text", lambda *_: "nonsense")
    assert system._memory() == 0
