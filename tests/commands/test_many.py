"""`tasker retry --all STATE` and its kin."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from taskpusher.commands import many

from .conftest import Run, nothing

ID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
Tasker = Callable[[httpx.Request], httpx.Response]


class Asked:
    """A tasker that moves `number` jobs, at once or after so many looks."""

    def __init__(self, number: int, looks: int = 0, **more: Any) -> None:
        self.number, self.looks, self.more = number, looks, more
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, body))
        if request.url.path.endswith("/cancel"):
            return httpx.Response(200, json=self._bulk(done=True))
        if body and body["dry_run"]:
            return httpx.Response(200, json={"count": self.number})
        if request.method == "POST" and not self.looks:
            return httpx.Response(200, json={"count": self.number, **self.more})
        if request.method == "POST":
            return httpx.Response(202, json=self._bulk(done=False))
        self.looks -= 1
        return httpx.Response(200, json=self._bulk(done=not self.looks))

    def _bulk(self, done: bool) -> dict[str, Any]:
        bulk = {"id": ID, "count": self.number if done else 1, "total": self.number, "done": done}
        return {**bulk, "skipped": 0, "failed": 0, "error": None, **(self.more if done else {})}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "EVERY", 0.0)


def test_all_that_match_are_moved_by_the_tasker(run: Run) -> None:
    tasker = Asked(1204)
    done = run(tasker, "retry", "--all", "errors", "-q", "status:5xx", "--yes")
    assert done == (0, "retry: 1,204 jobs\n", "")
    assert tasker.asked == [("POST", "/jobs/errors/retry", {"q": "status:5xx", "dry_run": False})]


def test_a_dry_run_only_counts(run: Run) -> None:
    tasker = Asked(1)
    assert run(tasker, "cancel", "--all", "waiting", "--dry-run") == (0, "to cancel: 1 job\n", "")
    assert tasker.asked == [("POST", "/jobs/waiting/cancel", {"dry_run": True})]


@pytest.mark.parametrize(("said", "moved"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(said: str, moved: bool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    tasker = Asked(3)
    done = run(tasker, "pause", "--all", "waiting", "-q", "queue:mail")
    assert "pause 3 jobs in waiting that match queue:mail? [y/N]" in done.err
    assert (done.code, done.out) == ((0, "pause: 3 jobs\n") if moved else (1, ""))
    assert [body["dry_run"] for _, _, body in tasker.asked] == ([True, False] if moved else [True])


def test_where_nobody_can_be_asked_nothing_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = run(tasker := Asked(3), "pause", "--all", "waiting")
    assert done.code == 2 and "--yes" in done.err and len(tasker.asked) == 1


def test_where_there_are_none_nobody_is_asked(run: Run) -> None:
    assert run(Asked(0), "run", "--all", "waiting") == (0, "to run: 0 jobs\n", "")


def test_a_long_one_is_followed_to_its_end(run: Run) -> None:
    tasker = Asked(5000, looks=3, failed=2, error="its key is held")
    done = run(tasker, "retry", "--all", "error", "--yes")
    assert (done.code, done.out) == (1, "retry: 5,000 jobs, 2 refused\n")
    assert "tasker: its key is held" in done.err
    assert [path for _, path, _ in tasker.asked] == ["/jobs/error/retry", *[f"/bulk/{ID}"] * 3]


def test_ctrl_c_ends_the_bulk_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(many.time, "sleep", interrupt)
    tasker = Asked(9, looks=3)
    done = run(tasker, "retry", "--all", "error", "--yes")
    assert (done.code, done.out) == (1, "retry: 9 jobs\n") and "canceled" in done.err
    assert tasker.asked[-1][1] == f"/bulk/{ID}/cancel"


def test_scripts_get_the_document(run: Run) -> None:
    done = run(Asked(7, looks=1), "retry", "--all", "error", "--yes", "--json")
    assert json.loads(done.out)["count"] == 7


@pytest.mark.parametrize(
    "words",
    [
        ["retry"],
        ["retry", ID, "--all", "errors"],
        ["retry", ID, "-q", "status:5xx"],
        ["retry", ID, "--dry-run"],
        ["retry", "--all", "everything"],
        ["duplicate", "--all", "errors"],
        ["duplicate"],
    ],
)
def test_what_can_not_be_meant_is_wrong_usage(words: list[str], run: Run) -> None:
    assert run(nothing, *words).code == 2
