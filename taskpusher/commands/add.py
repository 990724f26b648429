"""`tasker add URL…`: pushing. Its options are the fields of a push, out of the one table of fields."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from ..client import Client
from ..errors import InvalidField, Refused, Unreachable
from ..fields import READERS
from ..masking import masked_url
from ..options import Option
from ..wording import short
from .jobs import told
from .remote import FAILED, json_option, remote
from .screen import clean, console, emit

MOST = 1000  # jobs a request
ROOM = 8 << 20  # bytes a request, below the tasker's own --max-body
LONGEST_URL = 8 << 10  # bytes
FIRST_LOOK, LAST_LOOK = 0.05, 2.0  # seconds between two looks at a job, at first and later
PATIENCE = 60.0  # seconds that a tasker may be away while its jobs are waited for
FINISHED = ("completed", "error", "canceled")

# What the fields are called here, where that is not their own name with dashes; the URLs are arguments.
AS = {"headers": "--header", "tags": "--tag"}
NOT_HERE = {"url", "body", "body_base64"}
SAID = {
    "method": ("METHOD", "GET; POST with a body."),
    "headers": ("NAME:VALUE", "A header of the request. May be repeated."),
    "queue": ("NAME", "The queue it waits in."),
    "priority": ("0…9", "0 runs first."),
    "title": ("TEXT", "What it is, for people."),
    "tags": ("TAG", "A word to find it by. May be repeated."),
    "key": ("KEY", "While a live job has this key, nothing is pushed: that job is told."),
    "delay": ("DURATION", "How long to wait first, like 30s, 10m, 1h."),
    "due_at": ("TIME", "When to run, like 2027-01-15T09:00:00+01:00."),
    "expires_at": ("TIME", "When to give it up if it still waits."),
    "max_attempts": ("N", "How many attempts may fail, the first included."),
    "timeout": ("DURATION", "The limit of one attempt."),
    "success": ("STATUSES", "The answers that count as success: 200, 200-299, 2xx."),
    "once": ("", "Never repeat a call that may have gone out."),
    "uid": ("UUID", "Its uid, made by you: then the push can be sent again safely."),
}


def _field_options() -> Iterator[Option]:
    for name in READERS:
        if name in NOT_HERE:
            continue
        metavar, help = SAID.get(name, ("TEXT", f"The field {name}."))
        spelled = AS.get(name, f"--{name.replace('_', '-')}")
        kind: dict[str, Any] = {"metavar": metavar, "multiple": name in AS}
        if name == "once":
            kind = {"is_flag": True}
        yield Option([spelled, name], help=help, **kind)


@remote(
    click.Argument(["urls"], metavar="URL…", nargs=-1, required=True),
    Option(["--body"], metavar="TEXT|@FILE|-", help="What to send; - reads it from stdin."),
    Option(["--json-body"], metavar="JSON|@FILE|-", help="The same, with Content-Type: application/json."),
    *_field_options(),
    Option(["--wait"], is_flag=True, help="Wait until they are finished: exit 0 if all were completed."),
    json_option(),
)
def add(client: Client, urls: Sequence[str], wait: bool, as_json: bool, **given: Any) -> int:
    """Prints their uids, one a line. A URL - reads more of them from stdin, one a line, and pushes 1,000 at a
    time: all or none of these."""
    fields = _fields(urls, given)
    uids: list[str] = []
    if len(urls) == 1 and urls != ("-",):
        pushed = _pushed_one(client, urls[0], fields)
    else:
        pushed = _pushed_many(client, _all(urls), fields)
    for answer in pushed:
        given_uids = answer.get("uids") or [answer["uid"]]
        if not as_json:
            sys.stdout.write("".join(f"{uid}\n" for uid in given_uids))
            sys.stdout.flush()
        elif not wait:  # a script that waits is told what became of them instead
            emit(answer)
        uids += given_uids if wait else []
    return _wait(client, uids, as_json) if wait else 0


# ---- what is pushed -----------------------------------------------------------------------------------


def _fields(urls: Sequence[str], given: Mapping[str, Any]) -> dict[str, object]:
    """The fields as they are sent: as they were written, read here once so that a slip ends before the
    first of many is pushed. Raises InvalidField, UsageError."""
    _refuse_contradictions(urls, given)
    for url in urls:
        if url != "-":
            _check("url", url, "URL")
    fields = {name: value for name, value in given.items() if name in READERS and value}
    fields |= {name: given[name] for name in READERS if given.get(name) == ""}  # told that it is empty
    fields.pop("body", None)
    if headers := fields.pop("headers", None):
        fields["headers"] = _headers(headers)
    if "tags" in fields:
        fields["tags"] = list(fields["tags"])
    fields |= _body(given)
    for name, value in fields.items():
        _check(name, value, AS.get(name, f"--{name.replace('_', '-')}"))
    return fields


def _refuse_contradictions(urls: Sequence[str], given: Mapping[str, Any]) -> None:
    if len(urls) > 1 or "-" in urls:
        for name in ("uid", "key"):
            if given[name] is not None:
                raise click.UsageError(f"--{name} belongs to one job: give one URL with it")
    if given["body"] is not None and given["json_body"] is not None:
        raise click.UsageError("--body and --json-body are two bodies: give one of them")
    if ("-" in (given["body"], given["json_body"]) and "-" in urls) or urls.count("-") > 1:
        raise click.UsageError("stdin can be read once: give the other one as an argument or a file")


def _check(field: str, value: object, where: str) -> None:
    try:
        READERS[field](value)
    except ValueError as error:
        raise InvalidField(where, str(error)) from None


def _headers(written: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in written:
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidField("--header", "is written NAME:VALUE")
        found.setdefault(name, []).append(value)
    return found


def _body(given: Mapping[str, Any]) -> dict[str, object]:
    if (written := given["json_body"]) is not None:
        body = _read_body(written, "--json-body")
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidField("--json-body", f"is no JSON: {error}") from None
        headers = _headers(given["headers"])
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = ["application/json"]
        return {"body": body.decode(), "headers": headers}
    if (written := given["body"]) is None:
        return {}
    body = _read_body(written, "--body")
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": msgspec.to_builtins(body)}


def _read_body(written: str, where: str) -> bytes:
    """The text, or what is in @FILE or on stdin."""
    if written == "-":
        return sys.stdin.buffer.read()
    if not written.startswith("@"):
        return written.encode(errors="surrogateescape")
    try:
        return Path(written[1:]).read_bytes()
    except OSError as error:
        raise InvalidField(where, f"the file {written[1:]} can't be read: {error.strerror}") from None


def _all(urls: Sequence[str]) -> Iterator[str]:
    for url in urls:
        if url != "-":
            yield url
            continue
        for line in sys.stdin.buffer:
            if stripped := line.strip():
                yield stripped.decode(errors="surrogateescape")


# ---- pushing them -------------------------------------------------------------------------------------


def _pushed_one(client: Client, url: str, fields: dict[str, object]) -> Iterator[dict[str, Any]]:
    answer = client.push(url, **fields)
    if answer.get("duplicate"):
        console(stderr=True).print(f"a job that is {answer['state']} has this key: nothing was pushed")
    yield answer


def _pushed_many(
    client: Client, urls: Iterator[str], fields: dict[str, object]
) -> Iterator[dict[str, list[str]]]:
    """Push them a thousand at a time: the answer to each thousand."""
    most = max(1, min(MOST, ROOM // (len(msgspec.json.encode(fields)) + LONGEST_URL // 2)))
    done = 0
    with _progress() as bar:
        while chunk := list(islice(urls, most)):
            try:
                _refuse_unreadable(chunk)
                uids = client.push_many([{**fields, "url": url} for url in chunk])
            except Refused as error:
                raise Refused(error.status, _where(error, chunk, done), error.field) from None
            except Unreachable as error:
                raise Unreachable(f"{error}; {done:,} were pushed before", error.sent) from None
            done += len(uids)
            yield {"uids": uids}
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)


def _refuse_unreadable(urls: Iterable[str]) -> None:
    for index, url in enumerate(urls):
        try:
            url.encode()
        except UnicodeEncodeError:
            raise Refused(422, "url is no UTF-8; percent-encode it", "url", index) from None


def _where(error: Refused, chunk: Sequence[str], done: int) -> str:
    """The refusal, with the URL at fault and what has been pushed all the same."""
    before = f"; the {done:,} URLs before it were pushed" if done else "; nothing was pushed"
    if error.index is None or not 0 <= error.index < len(chunk):
        return f"{error}{before}"
    number = done + error.index + 1
    rest = f", {done + 1:,} to {done + len(chunk):,} were not" if done else ""
    return f"URL number {number:,}, {masked_url(clean(chunk[error.index]))[:200]!r}: {error}{before}{rest}"


def _progress() -> AbstractContextManager[Progress | None]:
    """How many have been pushed, for who looks at a terminal; not where the uids run over it anyway."""
    people = console(stderr=True)
    if not people.is_terminal or sys.stdout.isatty():
        return nullcontext()
    bar = Progress(
        TextColumn("pushed"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        console=people,
        transient=True,
        redirect_stdout=False,  # the uids are for whoever reads stdout
        redirect_stderr=False,
    )
    bar.add_task("pushed", total=None)
    return bar


# ---- waiting for them ---------------------------------------------------------------------------------


def _wait(client: Client, uids: Iterable[str], as_json: bool) -> int:
    """Look at them until they are finished, and tell what became of each; 1 unless all were completed."""
    code = 0
    for uid in uids:
        job = _finished(client, uid)
        if as_json:
            emit(job)
        else:
            console(stderr=True).print(clean(summary(job)), soft_wrap=True)
        if job["state"] != "completed":
            code = FAILED
    return code


def _finished(client: Client, uid: str) -> dict[str, Any]:
    """The job, once it is finished. A tasker that is started anew meanwhile is waited for."""
    pause, seen = FIRST_LOOK, time.monotonic()
    while True:
        try:
            job = client.job(uid)
        except Unreachable:
            if time.monotonic() - seen > PATIENCE:
                raise
        else:
            seen = time.monotonic()
            if job["state"] in FINISHED:
                return job
        time.sleep(pause)
        pause = min(pause * 1.5, LAST_LOOK)


def summary(job: Mapping[str, Any]) -> str:
    """What became of a job, in a line."""
    said = [f"{job['uid']} {job['state']}"]
    if (result := job["result"]) and not job["error"]:
        said.append(f"answered {result['status']}")
    if job["duration"] is not None:
        said.append(f"in {short(job['duration'])}")
    if job["attempt"] > 1:
        said.append(f"after {job['attempt']} attempts")
    if error := job["error"]:
        said.append(f"({told(error)})")
    return " ".join(said)
