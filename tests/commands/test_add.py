"""`tasker add`: what is sent, a thousand at a time, and what is said when a part of it is refused."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from taskpusher import cli
from taskpusher.commands import add as adding
from taskpusher.fields import READERS

from .conftest import Handler, Run, nothing

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"


def taken(bodies: list[Any]) -> Handler:
    """A tasker that takes all it is sent."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.headers["Content-Type"] == "application/x-ndjson":
            jobs = [json.loads(line) for line in request.content.splitlines()]
            bodies.append(jobs)
            return httpx.Response(201, json={"uids": [f"uid of {job['url']}" for job in jobs]})
        bodies.append(json.loads(request.content))
        return httpx.Response(201, json={"uid": UID, "state": "waiting"})

    return handle


def from_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_every_field_of_a_push_is_an_option() -> None:
    command = cli.tasker.get_command(click.Context(cli.tasker), "add")
    assert command is not None
    names = {option.name for option in command.params}
    assert READERS.keys() - adding.NOT_HERE <= names
    assert adding.SAID.keys() == READERS.keys() - adding.NOT_HERE, "each is said what it is"


@pytest.mark.parametrize(
    ("words", "field", "sent"),
    [
        (["--method", "put"], "method", "put"),
        (["--header", "X-A: 1", "--header=X-B:2:3"], "headers", {"X-A": [" 1"], "X-B": ["2:3"]}),
        (["--header", "A:1", "--header", "A:2"], "headers", {"A": ["1", "2"]}),
        (["--queue", "mail"], "queue", "mail"),
        (["-priority=0"], "priority", "0"),
        (["--title", ""], "title", ""),
        (["--tag", "a", "--tag", "b"], "tags", ["a", "b"]),
        (["--key", "k"], "key", "k"),
        (["--delay", "10m"], "delay", "10m"),
        (["--due-at", "2027-01-15T09:00:00Z"], "due_at", "2027-01-15T09:00:00Z"),
        (["--max-attempts", "5"], "max_attempts", "5"),
        (["--once"], "once", True),
        (["--uid", UID], "uid", UID),
        (["--body", "hé"], "body", "hé"),
        (["--body", ""], "body", ""),
    ],
)
def test_fields_are_sent_as_they_are_written(words: list[str], field: str, sent: object, run: Run) -> None:
    bodies: list[Any] = []
    done = run(taken(bodies), "add", "http://a/", *words)
    assert done == (0, f"{UID}\n", "")
    assert bodies == [{"url": "http://a/", field: sent}]


def test_a_body_comes_from_a_file_or_stdin_as_text_or_bytes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = []
    (tmp_path / "text").write_text("hällo", "utf-8")
    (tmp_path / "bytes").write_bytes(b"\xff\0")
    for name in ("text", "bytes"):
        assert run(taken(bodies), "add", "http://a/", "--body", f"@{tmp_path / name}").code == 0
    from_stdin(monkeypatch, b"piped")
    assert run(taken(bodies), "add", "http://a/", "--body", "-").code == 0
    assert [{**sent, "url": ""} for sent in bodies] == [
        {"url": "", "body": "hällo"},
        {"url": "", "body_base64": "/wA="},
        {"url": "", "body": "piped"},
    ]


def test_json_is_sent_with_its_content_type_unless_another_is_given(run: Run) -> None:
    bodies: list[Any] = []
    assert run(taken(bodies), "add", "http://a/", "--json-body", '{"a": 1}').code == 0
    other = ["--header", "content-type:application/ld+json"]
    assert run(taken(bodies), "add", "http://a/", "--json-body=[]", *other).code == 0
    assert bodies[0]["headers"] == {"Content-Type": ["application/json"]}
    assert bodies[0]["body"] == '{"a": 1}'
    assert bodies[1]["headers"] == {"content-type": ["application/ld+json"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nix"], "URL: must be absolute"),
        (["http://a/", "nix"], "URL: must be absolute"),
        (["http://a/", "--priority", "12"], "--priority: must be a whole number from 0 to 9"),
        (["http://a/", "--max-attempts", "x"], "--max-attempts: must be a whole number"),
        (["http://a/", "--tag", ""], "--tag: is empty"),
        (["http://a/", "--header", "x"], "--header: is written NAME:VALUE"),
        (["http://a/", "--header", "Tasker-Uid:x"], "--header: may not hold Tasker-Uid"),
        (["http://a/", "--body", "@/nowhere"], "--body: the file /nowhere can't be read"),
        (["http://a/", "--json-body", "{"], "--json-body: is no JSON"),
        (["http://a/", "--body", "a", "--json-body", "1"], "two bodies"),
        (["http://a/", "http://b/", "--key", "k"], "--key belongs to one job"),
        (["-", "--uid", UID], "--uid belongs to one job"),
        (["-", "--body", "-"], "stdin can be read once"),
        ([], "Missing argument 'URL…'"),
    ],
)
def test_a_slip_is_told_before_anything_is_sent(words: list[str], said: str, run: Run) -> None:
    done = run(nothing, "add", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err


def test_many_are_pushed_a_thousand_at_a_time_in_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = []
    urls = [f"http://a/{number}" for number in range(2500)]
    from_stdin(monkeypatch, "\n\n".join(urls[1:]).encode() + b"\r\n")
    done = run(taken(bodies), "add", urls[0], "-", "--queue", "q")
    assert done.code == 0
    assert done.out.splitlines() == [f"uid of {url}" for url in urls]
    assert [len(jobs) for jobs in bodies] == [1000, 1000, 500]
    assert bodies[0][0] == {"url": urls[0], "queue": "q"}


def test_big_bodies_are_pushed_fewer_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Any] = []
    from_stdin(monkeypatch, b"http://a/\n" * 10)
    done = run(taken(bodies), "add", "-", "--body", "x" * (2 << 20))
    assert done.code == 0
    assert [len(jobs) for jobs in bodies] == [3, 3, 3, 1]


def test_nothing_on_stdin_is_nothing_pushed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from_stdin(monkeypatch, b"\n")
    assert run(nothing, "add", "-") == (0, "", "")


def test_of_a_refused_thousand_the_url_at_fault_is_named_and_what_was_pushed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = []
    take = taken(bodies)

    def refuse_the_second(request: httpx.Request) -> httpx.Response:
        if not bodies:
            return take(request)
        problem = {"status": 422, "detail": "url is bad", "field": "url", "index": 1}
        return httpx.Response(422, headers={"Content-Type": "application/problem+json"}, json=problem)

    urls = [f"http://me:secret@a/{number}" for number in range(1100)]
    from_stdin(monkeypatch, "\n".join(urls).encode())
    done = run(refuse_the_second, "add", "-")
    assert done.code == 1
    assert len(done.out.splitlines()) == 1000
    assert done.err == (
        "tasker: URL number 1,002, 'http://***@a/1001': url is bad; "
        "the 1,000 URLs before it were pushed, 1,001 to 1,100 were not\n"
    )


def test_a_line_that_is_no_utf8_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from_stdin(monkeypatch, b"http://a/1\nhttp://a/\xff\n")
    done = run(nothing, "add", "-")
    assert (done.code, done.out) == (1, "")
    assert "URL number 2, " in done.err
    assert "url is no UTF-8; percent-encode it; nothing was pushed" in done.err


def test_a_connection_that_breaks_says_how_many_were_pushed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = []
    take = taken(bodies)

    def break_the_second(request: httpx.Request) -> httpx.Response:
        if not bodies:
            return take(request)
        raise httpx.ReadError("cut")

    from_stdin(monkeypatch, b"http://a/\n" * 1001)
    done = run(break_the_second, "add", "-")
    assert done.code == 1
    assert "whether it was done is not known: look before you repeat it; 1,000 were pushed before" in done.err


# ---- waiting ------------------------------------------------------------------------------------------


def finished(state: str, **fields: object) -> dict[str, object]:
    return {
        "uid": UID,
        "state": state,
        "result": None,
        "duration": 0.5,
        "attempt": 1,
        "error": None,
        **fields,
    }


def test_waiting_looks_until_it_is_finished_also_while_the_tasker_is_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(adding.time, "sleep", slept.append)
    answers = [finished("waiting"), None, finished("running"), *[finished("running")] * 20]
    answers.append(finished("completed", result={"status": 200}))

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return taken([])(request)
        if (answer := answers.pop(0)) is None:
            raise httpx.ConnectError("away")
        return httpx.Response(200, json=answer)

    done = run(handle, "add", "http://a/", "--wait")
    assert done == (0, f"{UID}\n", f"{UID} completed answered 200 in 500ms\n")
    assert slept == sorted(slept)
    assert (slept[0], slept[-1]) == (adding.FIRST_LOOK, adding.LAST_LOOK)


def test_a_tasker_that_stays_away_is_waited_for_a_minute(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(adding.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(adding.time, "monotonic", lambda: now[0])

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return taken([])(request)
        raise httpx.ConnectError("away")

    done = run(handle, "add", "http://a/", "--wait")
    assert (done.code, done.out) == (1, f"{UID}\n")
    assert "no tasker answers" in done.err
    assert 60 < now[0] < 65


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (finished("error", attempt=3, error={"class": "answered", "message": "answered 500"}),
         "error in 500ms after 3 attempts (answered 500)"),
        (finished("error", duration=None, error={"class": "not_sent", "message": "refused"}),
         "error (not_sent: refused)"),
        (finished("canceled", duration=None), "canceled"),
    ],
)  # fmt: skip
def test_what_did_not_complete_is_exit_1(job: dict[str, object], said: str, run: Run) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return taken([])(request) if request.method == "POST" else httpx.Response(200, json=job)

    assert run(handle, "add", "http://a/", "--wait") == (1, f"{UID}\n", f"{UID} {said}\n")
    done = run(handle, "add", "http://a/", "--wait", "--json")
    assert (done.code, json.loads(done.out), done.err) == (1, job, "")


def test_a_double_is_told(run: Run) -> None:
    answer = {"uid": UID, "state": "paused", "duplicate": True}
    done = run(lambda request: httpx.Response(200, json=answer), "add", "http://a/", "--key", "k")
    assert done == (0, f"{UID}\n", "a job that is paused has this key: nothing was pushed\n")
