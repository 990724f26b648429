"""What was sent and what came back, as the page of a job has it. All pure."""

import codecs
import json
import re
import shlex
from typing import NamedTuple

from ...job import Job, Result
from ...masking import MASK
from ...stores.base import Details

MOST_SHOWN = 16 * 1024  # characters of a body on the page, which is read again as the job moves
MOST_SET_OUT = 4 * MOST_SHOWN
MOST_SENT = 4 * 1024  # bytes of a body in a command for a shell; a longer one is taken from a file
IN_HEX = 1024  # bytes of one that is no text
DEEPEST = 50  # levels of JSON that are set out
INDENT = 2  # spaces

_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_GLOBBED = re.compile(r"[\[\]{}]")  # curl makes several URLs of those


class Shown(NamedTuple):
    """A request or an answer as the page has it."""

    headers: list[tuple[str, str]]
    text: str
    note: str = ""  # what is not shown, and where it is
    hidden: bool = False
    size: int = 0
    status: int = 0
    truncated: bool = False


def request_of(details: Details, hidden: bool) -> Shown:
    """`hidden`: for users who only look."""
    job = details.job
    if hidden:
        return Shown(_headers(job.headers, hidden), "", hidden=job.body_size > 0, size=job.body_size)
    rest = f"GET /job/{job.uid} has all of it"
    return Shown(_headers(job.headers, hidden), *readable(details.body, rest), size=job.body_size)


def answer_of(result: Result, hidden: bool) -> Shown:
    text, note = ("", "") if hidden else readable(result.body, "download it for the rest", result.truncated)
    return Shown(
        _headers(result.headers, hidden),
        text,
        note,
        hidden and bool(result.body),
        len(result.body),
        result.status,
        result.truncated,
    )


def _headers(pairs: tuple[tuple[str, str], ...], hidden: bool) -> list[tuple[str, str]]:
    return [(name, MASK if hidden else value) for name, value in pairs]


def readable(body: bytes, rest: str, truncated: bool = False) -> tuple[str, str]:
    """The body as text for people, JSON set out in lines; and what the page leaves out of it, with `rest`:
    where that is. One that was cut inside of a character is text all the same."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(body, not truncated)
    except UnicodeDecodeError:
        cut = body[:IN_HEX]
        lines = (f"{at:06x}  {cut[at : at + 16].hex(' ')}" for at in range(0, len(cut), 16))
        return "\n".join(lines), f"{len(body):,} bytes that are no text; the first {len(cut):,} in hex."
    if len(text) > MOST_SHOWN:
        return text[:MOST_SHOWN], f"The first {MOST_SHOWN:,} characters of {len(text):,}; {rest}."
    return set_out(text), ""


def set_out(text: str) -> str:
    """JSON in lines, its numbers and strings as they are written; other text, and JSON too deep, as it is."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    lines, depth, before = [], 0, ""
    for part in _JSON_PART.findall(text):
        closes = part in ("}", "]")
        depth -= closes
        if (before in ("{", "[", ",") and not closes) or (closes and before not in ("{", "[")):
            lines.append("\n" + " " * INDENT * depth)
        lines.append(": " if part == ":" else part)
        depth += part in ("{", "[")
        if depth > DEEPEST:
            return text
        before = part
    found = "".join(lines)
    return found if len(found) <= MOST_SET_OUT else text


def curl(job: Job, body: bytes) -> str:
    """The request as a command for a shell. A body that no shell can pass on is in the file `body`."""
    parts = ["curl", "-i"]
    if job.method == "HEAD":
        parts.append("--head")
    elif job.method != ("POST" if body else "GET"):
        parts += ["-X", job.method]
    if _GLOBBED.search(job.target):
        parts.append("--globoff")
    for name, value in job.headers:
        parts += ["-H", f"{name}: {value}" if value else f"{name};"]
    if body:
        if all(name.lower() != "content-type" for name, _ in job.headers):
            parts += ["-H", "Content-Type:"]  # or curl says that it is a form
        text = _for_a_shell(body)
        parts += ["--data-binary", "@body"] if text is None else ["--data-raw", text]
    return shlex.join([*parts, job.target])


def _for_a_shell(body: bytes) -> str | None:
    if len(body) > MOST_SENT or b"\0" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
