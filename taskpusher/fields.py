"""The fields of a push: for each a reader, which takes the value as it came and gives it as it is kept.

There is one reader whatever the way in: numbers and truth values may come as text, as forms bring them.
A reader raises ValueError, with a sentence on what is wrong and what to send instead.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .durations import parse_duration
from .runners.http import OURS, parse_success
from .uid import parse_uid
from .url import parse_url

LONGEST_DELAY = 3650 * 86400.0  # seconds; further off it is a mistake, like milliseconds for seconds
LONGEST_TIMEOUT = 7 * 86400.0
LONGEST_METHOD = 40  # characters
LONGEST_SUCCESS = 200  # characters
MOST_TAGS = 20
HEADER_BLOCK = 32 * 1024  # bytes

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters and halves of characters
_NOT_IN_A_HEADER = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # RFC 9110, 5.5: a tab may be
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)  # RFC 3339 ends there

_TRUTH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


# ---- kinds of values ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """Reads up to `longest` characters on one line."""

    longest: int
    empty: bool = True

    def __call__(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a string")
        if len(value) > self.longest:
            raise ValueError(f"is {len(value)} characters long; at most {self.longest} are kept")
        if odd := _UNPRINTABLE.search(value):
            raise ValueError(f"holds the control character {odd[0]!r}; leave it out")
        if not value and not self.empty:
            raise ValueError("is empty; leave it out or give it a value")
        return value


@dataclass(frozen=True)
class Whole:
    """Reads a whole number from `least` to `most`, or its decimal digits."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
            value = int(value)
        if type(value) is int and self.least <= value <= self.most:
            return value
        raise ValueError(f"must be a whole number from {self.least} to {self.most}")


def truth(value: object) -> bool:
    """Reads true or false, or a word for it."""
    if isinstance(value, int) and value in (0, 1):  # True and False are two of them
        return bool(value)
    if isinstance(value, str) and (found := _TRUTH.get(value[:6].lower())) is not None:
        return found
    raise ValueError("must be true or false; in a form 1, 0, true, false, yes, no, on or off")


def moment(value: object) -> int:
    """Reads a moment in milliseconds since 1970: RFC 3339 with a zone, or a datetime that has one."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("has no zone; use datetime.now(UTC) or give a tzinfo")
        return _tellable((value - _EPOCH) // timedelta(milliseconds=1))
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be an RFC 3339 time with its zone, like 2026-11-20T09:30:00Z")
    if found[4] is None:
        raise ValueError("has no zone; write Z for UTC or the offset, like 2026-11-20T09:30:00+01:00")
    zone = "+00:00" if found[4] in "zZ" else found[4]
    try:
        whole_second = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
        since = whole_second - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ValueError(f"is no time there ever was: {error}") from None
    return _tellable(since // timedelta(milliseconds=1) + int((found[3] or ".0")[1:4].ljust(3, "0")))


def _tellable(ms: int) -> int:
    if ms > _LAST:
        raise ValueError("is past the year 9999, the last that can be written")
    return max(0, ms)


# ---- one field each -----------------------------------------------------------------------------------


def method(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_METHOD or not _TOKEN.fullmatch(value):
        raise ValueError("must be an HTTP method, like GET or POST")
    name = value.upper()
    if name in ("CONNECT", "TRACE"):
        raise ValueError(f"can't be {name}; GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS can")
    return name


def headers(value: object) -> tuple[tuple[str, str], ...]:
    """Reads an object of names, each with a string or a list of strings."""
    if value == []:  # how PHP writes an empty object
        return ()
    if not isinstance(value, Mapping):
        raise ValueError('must be an object, like {"X-Name": "value"}; in a form headers[X-Name]=value')
    pairs: list[tuple[str, str]] = []
    room = HEADER_BLOCK
    for name, given in value.items():
        for pair in _header(name, given):
            room -= len(pair[0]) + len(pair[1].encode()) + 4
            if room < 0:  # at once: there may be a million more of them
                raise ValueError(f"take more than {HEADER_BLOCK // 1024} KiB; send what is long in the body")
            pairs.append(pair)
    if sum(name.lower() == "host" for name, _ in pairs) > 1:
        raise ValueError("hold more than one Host; a request has one")
    return tuple(pairs)


def _header(name: object, given: object) -> Iterator[tuple[str, str]]:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"hold the name {str(name)[:80]!r}, which is no header name (RFC 9110)")
    low, shown = name.lower(), name[:80]
    if low in OURS or low.startswith(("proxy-", "tasker-")):
        raise ValueError(f"may not hold {shown}: the tasker sets it itself; leave it out")
    for line in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(line, str):
            raise ValueError(f"{shown} must be a string or a list of strings")
        if odd := _NOT_IN_A_HEADER.search(line):
            raise ValueError(f"{shown} holds {odd[0]!r}; a header is one line without control characters")
        yield name, line.strip(" \t")


def body(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a surrogate pair, which is no character; use body_base64") from None
    if isinstance(value, dict | list):
        raise ValueError(
            "must be a string; send JSON as a string, with the header content-type: application/json"
        )
    raise ValueError("must be a string; use body_base64 for bytes")


def body_base64(value: object) -> bytes:
    if not isinstance(value, str | bytes):
        raise ValueError("must be a string of base64")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise ValueError(
            f"is no base64 with the letters + and /, padded with =, in one line (RFC 4648, 4): {error}"
        ) from None


def tags(value: object) -> tuple[str, ...]:
    """Reads a list of strings, or one string; the same one twice counts once."""
    given = value if isinstance(value, list | tuple) else [value] if value != "" else []
    found: dict[str, None] = {}
    for tag in given:
        found[TAG(tag)] = None
        if len(found) > MOST_TAGS:
            raise ValueError(f"are too many; a job has at most {MOST_TAGS}")
    return tuple(found)


def delay(value: object) -> float:
    seconds = _duration(value)
    if seconds > LONGEST_DELAY:
        raise ValueError("is more than ten years; it is in seconds, or written like 10m, 1h, 7d")
    return seconds


def timeout(value: object) -> float:
    seconds = _duration(value)
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise ValueError("must be more than 0 and at most 7d; it is in seconds, or written like 10m")
    return seconds


def _duration(value: object) -> float:
    if isinstance(value, timedelta):
        return parse_duration(value.total_seconds())
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number of seconds, or written like 30s, 10m, 1h, 7d")
    return parse_duration(value)


def success(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must name the answers that count, like 200, 200-299, 2xx or 200,204")
    spec = str(value)
    if len(spec) > LONGEST_SUCCESS:
        raise ValueError(f"is longer than {LONGEST_SUCCESS} characters; write ranges, like 200-299 or 2xx")
    parse_success(spec)
    return spec


def uid(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string that holds a UUID")
    return parse_uid(value)


TAG = Line(200, empty=False)

READERS: dict[str, Callable[[Any], Any]] = {
    "url": parse_url,
    "method": method,
    "headers": headers,
    "body": body,
    "body_base64": body_base64,
    "queue": Line(200, empty=False),
    "priority": Whole(0, 9),
    "title": Line(500),
    "tags": tags,
    "key": Line(200),
    "delay": delay,
    "due_at": moment,
    "expires_at": moment,
    "max_attempts": Whole(1, 1000),
    "timeout": timeout,
    "success": success,
    "once": truth,
    "uid": uid,
}
