"""`tasker job UID` and `tasker jobs STATE`: looking."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..client import MOST_LISTED, Client
from ..options import Option
from ..wording import short
from .many import STATES
from .remote import json_option, remote
from .screen import (
    COLORS,
    Rows,
    Tables,
    age,
    clean,
    console,
    emit,
    show,
    since,
    state_cell,
    table,
    url_cell,
)

GIVE_WAY = ("queue", "error", "url")  # columns that are cut where there is no room
WIDE = 100  # terminals from there on show all columns
FILTERS = {
    "queue": "Only those of this queue.",
    "host": "Only those that call this host, with its port if the URL has one.",
    "kind": "Only those of this kind.",
    "tag": "Only those with this tag.",
    "url": "Only those whose URL begins so.",
}


# ---- a list -------------------------------------------------------------------------------------------


@remote(
    click.Argument(["state"], type=click.Choice(STATES), metavar="[STATE]", required=False),
    *(Option([f"--{name}"], metavar=name.upper(), help=help) for name, help in FILTERS.items()),
    Option(
        ["-q", "--filter", "q"],
        metavar="FILTER",
        help="Only those that match, like 'status:5xx age:<1h \"no route\"'.",
    ),
    Option(
        ["--limit"],
        type=click.IntRange(1),
        default=MOST_LISTED,
        metavar="N",
        help=f"The most jobs to list. [{MOST_LISTED}]",
    ),
    Option(["--all", "every"], is_flag=True, help="List them all."),
    json_option(),
)
def jobs(
    client: Client, state: str | None, limit: int, every: bool, as_json: bool, **filters: str | None
) -> None:
    """STATE is waiting, running, paused, completed, error (or errors) or canceled. Waiting jobs come in the
    order they are due, finished ones newest first. With --json each job is a document on a line of its own,
    as the API has it in lists."""
    given = {name: value for name, value in filters.items() if value is not None}
    most = sys.maxsize if every else limit
    pages = _cut(client.pages(state or "", min(most, MOST_LISTED), **given), most)
    if as_json:
        for page in pages:
            for job in page["jobs"]:
                emit(job)
    else:
        _print(pages, state or "", every)


def _cut(pages: Iterator[dict[str, Any]], most: int) -> Iterator[dict[str, Any]]:
    """Those pages, with so many jobs together at most."""
    for page in pages:
        page["jobs"] = page["jobs"][:most]
        most -= len(page["jobs"])
        yield page
        if most <= 0:
            return


def _print(pages: Iterator[dict[str, Any]], state: str, every: bool) -> None:
    people = console()
    columns = _columns(state, people.width)
    tables = Tables([f"{name}>" if name == "failed" else name for name in columns], cut=GIVE_WAY)
    shown = 0
    for page in pages:
        shown += len(page["jobs"])
        if page["jobs"]:
            show(tables.next([_row(job, columns) for job in page["jobs"]]), people)
        more = page["next"] is not None
    notes = console(stderr=True)
    if not shown:
        notes.print("there are none")
    elif more and not every:
        notes.print(f"the first {shown:,}; --all lists them all")


def _columns(state: str, width: int) -> list[str]:
    """What such a list shows where there is so much room."""
    columns = ["uid", "state", "when", "queue", "failed", "error", "url"]
    if state:
        columns.remove("state")
    if not state.startswith("error"):
        columns.remove("error")
    return [name for name in columns if width >= WIDE or name not in ("queue", "failed")]


def _row(job: Mapping[str, Any], columns: Sequence[str]) -> list[object]:
    cells: dict[str, object] = {
        "uid": job["uid"],
        "state": state_cell(job["state"]),
        "when": when(job),
        "queue": job["queue"],
        "failed": f"{job['failures']}/{job['max_attempts']}",
        "error": told(job["error"]),
        "url": url_cell(call(job)),
    }
    return [cells[name] for name in columns]


def when(job: Mapping[str, Any]) -> str:
    """The moment that says most in its state."""
    if job["state"] == "running":
        return f"for {short(since(job['started_at']))}"
    return age(job["finished_at"] or (job["due_at"] if job["state"] == "waiting" else job["created_at"]))


def call(job: Mapping[str, Any]) -> str:
    return str(job["url"]) if job["method"] == "GET" else f"{job['method']} {job['url']}"


def told(error: Mapping[str, str] | None) -> str:
    """An error in a sentence."""
    if not error:
        return ""
    what, message = error["class"], error["message"]
    return message if message.startswith(what) else f"{what}: {message}"


# ---- one job ------------------------------------------------------------------------------------------


@remote(
    click.Argument(["uid"], metavar="UID"),
    Option(["--result"], is_flag=True, help="Print the body that its target answered, and nothing else."),
    json_option(),
)
def job(client: Client, uid: str, result: bool, as_json: bool) -> None:
    """With --result a file or a pipe gets the body's bytes; a terminal gets no control characters."""
    if result and as_json:
        raise click.UsageError("--result is the bare body: with --json it is in the job's result")
    if result:
        _print_body(client.result(uid))
    elif as_json:
        emit(client.job(uid))
    else:
        show(whole(client.job(uid)))


def _print_body(body: bytes) -> None:
    people = console()
    if people.is_terminal:
        for line in body.decode(errors="replace").splitlines() or [""]:
            people.print(Text(clean(line.expandtabs())))
        return
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


SHOWN_APART = {"uid", "state", "url", "method", "headers", "body", "body_base64", "result", "attempts"}
MOMENTS = ("created_at", "due_at", "expires_at", "started_at", "finished_at")
SPANS = ("duration", "timeout")


def whole(job: Mapping[str, Any]) -> Group:
    """All that is known of a job: what is called, its fields, what was sent, its past, the answer."""
    head = Text(f"{job['uid']}  ").append(job["state"], COLORS.get(job["state"], ""))
    parts: list[Any] = [head, Text(clean(f"{job['method']} {job['url']}"), overflow="fold"), _fields(job)]
    sent = job.get("body") or job.get("body_base64")
    if job["headers"] or sent:
        parts += _part("request", _message(job["headers"], sent))
    parts += _part("timeline", _timeline(job))
    if result := job["result"]:
        note = "answer, cut" if result["truncated"] else "answer"
        parts += _part(f"{note}: {result['status']}", _message(result["headers"], result["body"]))
    return Group(*parts)


def _part(name: str, content: Any) -> list[Any]:
    return [Text(f"\n{name}", "bold"), Padding(content, (0, 0, 0, 2))]


def _fields(job: Mapping[str, Any]) -> Table:
    rows = [
        (name, _field(name, value))
        for name, value in job.items()
        if name not in SHOWN_APART and value not in (None, [], {})
    ]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, "dim", no_wrap=True), Text(clean(value), overflow="fold"))
    return grid


def _field(name: str, value: Any) -> str:
    if name in MOMENTS:
        return f"{value} ({age(value)})"
    if name in SPANS:
        return short(value)
    if name == "error":
        return told(value)
    if isinstance(value, dict):
        return ", ".join(f"{part} {inner}" for part, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _message(headers: Mapping[str, Any], body: str | None) -> Text:
    """Headers and body, as they are kept."""
    lines = [
        clean(f"{name}: {value}")
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    lines += ["", *map(clean, body.splitlines())] if body else []
    return Text("\n".join(lines).removeprefix("\n"), overflow="fold")


def _timeline(job: Mapping[str, Any]) -> Rows:
    """What happened, in order: pushed, the newest attempts, and where it is now."""
    rows: list[tuple[object, ...]] = [(job["created_at"], "pushed", "", "", "")]
    for attempt in job["attempts"]:
        error = attempt["error"]
        rows.append(
            (
                attempt["started_at"],
                "attempt",
                attempt["status"],
                short(attempt["duration"]),
                told(error) or "success",
            )
        )
    if (now := _now(job)) is not None:
        rows.append(now)
    return table(("at", "", "status>", "took>", ""), rows)


def _now(job: Mapping[str, Any]) -> tuple[object, ...] | None:
    if job["state"] == "running":
        return job["started_at"], "running", "", short(since(job["started_at"])), ""
    if job["state"] == "waiting":
        return job["due_at"], "due", "", "", age(job["due_at"])
    return (job["finished_at"], job["state"], "", "", "") if job["finished_at"] else None
