"""`tasker job`, `jobs` and the moves: what is shown of jobs, and what is asked for."""

import json
from typing import Any

import httpx
import pytest

from .conftest import Run, nothing

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
JOB: dict[str, Any] = {
    "uid": UID,
    "kind": "http",
    "state": "error",
    "url": "http://a/x\u202ey",
    "method": "POST",
    "headers": {"X-A": ["1", "2"], "X-B": "3"},
    "queue": "mail",
    "priority": 5,
    "title": "\x1b[31mred",
    "tags": ["a", "b"],
    "key": None,
    "created_at": "2020-01-01T00:00:00.000Z",
    "due_at": "2020-01-01T00:00:01.000Z",
    "expires_at": None,
    "started_at": "2020-01-01T00:00:05.000Z",
    "finished_at": "2020-01-01T00:00:06.000Z",
    "duration": 0.25,
    "attempt": 2,
    "failures": 2,
    "max_attempts": 2,
    "run": 1,
    "timeout": 3600.0,
    "success": "200",
    "once": False,
    "error": {"class": "unknown", "message": "no answer\nin time"},
    "progress": {"percent": 40.0, "step": None, "steps": None, "message": "half"},
    "body": "line one\nline \x07two",
    "result": {"status": 500, "headers": {}, "body": "", "encoding": "utf-8", "truncated": True},
    "attempts": [
        {"started_at": "2020-01-01T00:00:01.000Z", "duration": 0.1, "status": 500,
         "error": {"class": "answered", "message": "answered 500"}},
        {"started_at": "2020-01-01T00:00:05.000Z", "duration": 0.25, "status": None,
         "error": {"class": "unknown", "message": "no answer"}},
    ],
    "later": "a field that a newer tasker has",
}  # fmt: skip


def answering(document: object, status: int = 200) -> Any:
    return lambda request: httpx.Response(status, json=document)


def test_all_that_is_known_of_a_job_is_shown_and_nothing_a_terminal_obeys(run: Run) -> None:
    done = run(answering(JOB), "job", UID)
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    for line in (
        f"{UID} error", "POST http://a/x·y", "title ·[31mred", "tags a, b", "timeout 1h", "once no",
        "error unknown: no answer·in time", "progress percent 40.0, message half", "X-A: 1", "X-A: 2",
        "line one", "line ·two", "2020-01-01T00:00:00.000Z pushed", "later a field that a newer tasker has",
        "2020-01-01T00:00:01.000Z attempt 500 100ms answered 500",
        "2020-01-01T00:00:05.000Z attempt 250ms unknown: no answer", "2020-01-01T00:00:06.000Z error",
        "answer, cut: 500",
    ):  # fmt: skip
        assert line in lines, line
    assert "key" not in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("state", "last"),
    [
        ("running", "running"),
        ("waiting", "due"),
        ("paused", ""),
        ("completed", "completed"),
        ("canceled", "canceled"),
    ],
)
def test_the_timeline_ends_with_where_it_is_now(state: str, last: str, run: Run) -> None:
    finished = JOB["finished_at"] if state in ("completed", "canceled") else None
    done = run(answering({**JOB, "state": state, "finished_at": finished, "attempts": []}), "job", UID)
    timeline = done.out.partition("timeline\n")[2].partition("\n\n")[0].splitlines()
    assert timeline[1].split()[1] == "pushed"
    assert [line.split()[1] for line in timeline[2:]] == ([last] if last else [])


def test_the_json_of_a_job_is_that_of_the_api(run: Run) -> None:
    done = run(answering(JOB), "job", UID, "--json")
    assert (json.loads(done.out), done.out.count("\n")) == (JOB, 1)


def test_the_result_is_its_bytes(run: Run) -> None:
    done = run(lambda request: httpx.Response(200, content=b"a\x1b[1m\n"), "job", UID, "--result")
    assert done == (0, "a\x1b[1m\n", "")
    assert run(nothing, "job", UID, "--result", "--json").code == 2


# ---- lists --------------------------------------------------------------------------------------------


def pages(request: httpx.Request) -> httpx.Response:
    """250 jobs."""
    at, limit = int(request.url.params.get("cursor", "0")), int(request.url.params["limit"])
    jobs = [{**JOB, "uid": f"uid-{number:032}"} for number in range(at, min(250, at + limit))]
    link = f"/jobs?limit={limit}&cursor={at + limit}" if at + limit < 250 else None
    return httpx.Response(200, json={"jobs": jobs, "next": link, "total": 250})


@pytest.mark.parametrize(
    ("words", "number", "note"),
    [
        ([], 100, "the first 100; --all lists them all\n"),
        (["--limit", "7"], 7, "the first 7; --all lists them all\n"),
        (["--limit", "120"], 120, "the first 120; --all lists them all\n"),
        (["--limit", "250"], 250, ""),
        (["--all"], 250, ""),
    ],
)
def test_as_many_are_listed_as_were_asked_for(words: list[str], number: int, note: str, run: Run) -> None:
    done = run(pages, "jobs", *words)
    assert (done.code, done.err) == (0, note)
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "uid",
        *(f"uid-{number:032}" for number in range(number)),
    ]
    done = run(pages, "jobs", "--json", *words)
    assert [json.loads(line)["uid"] for line in done.out.splitlines()][-1] == f"uid-{number - 1:032}"
    assert done.err == ""


def test_filters_are_asked_for(run: Run) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"jobs": [], "next": None, "total": 0})

    words = ["--queue", "a b", "--host=h:1", "--kind=http", "--tag=t", "--url=http://a/?b&c"]
    assert run(handle, "jobs", "errors", *words) == (0, "", "there are none\n")
    assert asked == [
        "http://localhost:9900/jobs/errors?limit=100&queue=a+b&host=h%3A1&kind=http&tag=t"
        "&url=http%3A%2F%2Fa%2F%3Fb%26c"
    ]


@pytest.mark.parametrize(
    ("state", "width", "columns"),
    [
        ("waiting", "80", "uid when url"),
        ("waiting", "120", "uid when queue failed url"),
        ("errors", "80", "uid when error url"),
        (None, "100", "uid state when queue failed url"),
    ],
)
def test_lists_fit_the_terminal(
    state: str | None, width: str, columns: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    long = {**JOB, "url": "http://localhost/" + "x" * 500, "queue": "q" * 200}
    done = run(answering({"jobs": [long], "next": None}), "jobs", *([state] if state else []))
    header, line = done.out.splitlines()
    assert " ".join(header.split()) == columns
    assert line.startswith(UID)
    assert len(line) <= int(width)


@pytest.mark.parametrize("words", [["nix"], ["--limit", "0"], ["--limit", "x"], ["a", "b"]])
def test_a_list_that_there_is_not_is_wrong_usage(words: list[str], run: Run) -> None:
    assert run(nothing, "jobs", *words).code == 2


# ---- moves --------------------------------------------------------------------------------------------


def test_a_move_that_comes_true_later_is_told_so(run: Run) -> None:
    job = {**JOB, "state": "running", "wish": "cancel"}
    assert run(answering(job, 202), "cancel", UID) == (0, f"{UID} running, cancel noted\n", "")


def test_a_wrong_password_ends_the_moves_at_the_first(run: Run) -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(401)

    done = run(handle, "cancel", UID, UID)
    assert (done.code, done.out, len(asked)) == (1, "", 1)
    assert done.err.count("\n") == 1
