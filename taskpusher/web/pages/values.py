"""A job as a form has it, and a form as a push has it. All pure.

A browser sends every line of a form with CR and LF, whatever it was before, and no zero; so a body with such
bytes, or one that is no text, is not put into a form at all.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any

from ...document import time
from ...durations import parse_duration, written_duration
from ...errors import InvalidField
from ...stores.base import Details

FIELDS = (
    "url", "method", "queue", "priority", "headers", "body", "title", "tags", "key", "delay", "due_at",
    "expires_at", "max_attempts", "timeout", "success", "once",
)  # fmt: skip
OF_ITS_OWN = ("key", "delay", "due_at", "expires_at")  # what a copy does not get

_LINE = re.compile(r"\r\n|\n|\r")


def values_of(details: Details) -> dict[str, str]:
    """A job as the form has it; without the body, where a form can't hold it."""
    job = details.job
    values = {
        "url": job.target,
        "method": job.method,
        "queue": job.queue,
        "priority": str(job.priority),
        "headers": "\n".join(f"{name}: {value}" for name, value in job.headers),
        "body": text_of(details.body) or "",
        "title": job.title,
        "tags": _joined(job.tags),
        "key": job.key,
        "due_at": time(job.due_ms) or "",
        "expires_at": time(job.expires_ms) or "",
        "max_attempts": str(job.max_attempts),
        "timeout": _duration(job.timeout),
        "success": job.success,
        "once": "yes" if job.once else "",
    }
    return {name: value for name, value in values.items() if value}


def text_of(body: bytes) -> str | None:
    """The body as text that comes back from a form as it was; None where it would not."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\r" in text or "\0" in text else text


def pushed(form: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a push: what was left empty was not given. Raises InvalidField."""
    return _parted({name: _lines(form[name]) for name in FIELDS if form.get(name)})


def changed(form: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Any]:
    """The fields that are not as they were: None where one was emptied. A form without the body leaves it.

    Raises InvalidField.
    """
    given = {name: _lines(form.get(name, "")) for name in FIELDS if name in form or name == "once"}
    touched = {name: value for name, value in given.items() if value != before.get(name, "")}
    return _parted({name: value or None for name, value in touched.items() if name != "key"})


def _lines(text: str) -> str:
    return _LINE.sub("\n", text)


def _parted(fields: dict[str, Any]) -> dict[str, Any]:
    """Tags and headers as they are pushed: a list, an object."""
    if fields.get("tags"):
        fields["tags"] = _split(fields["tags"])
    if fields.get("headers"):
        fields["headers"] = _headers(fields["headers"])
    return fields


def _joined(tags: Iterable[str]) -> str:
    """With commas between; a tag that has one is in quotes."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(tags)
    return line.getvalue().replace(",", ", ") if all("," not in tag for tag in tags) else line.getvalue()


def _split(text: str) -> list[str]:
    (row,) = csv.reader([text.replace("\n", " ")], skipinitialspace=True)
    return [tag.strip() for tag in row if tag.strip()]


def _headers(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidField("headers", f"have a line without a colon: {line.strip()[:60]}")
        found.setdefault(name.strip(), []).append(value.strip(" \t"))
    return found


def _duration(seconds: float) -> str:
    """As people write it; to the last digit, where that is not the same."""
    written = written_duration(seconds)
    return written if parse_duration(written) == seconds else repr(seconds)
