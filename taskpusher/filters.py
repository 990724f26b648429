"""The filter bar: `queue:mail status:5xx age:<1h "no route"`, and the Query that it means.

Qualifiers are those of SUGGESTIONS; all else is free text, words that stand anywhere in a job. Double quotes
keep spaces together, in them `\\"` is a quote; a word in quotes is text whatever it looks like. So is a word
with a colon that can't be meant as a qualifier: `https://x`, `12:30`, `api.example.com:80`, `localhost:80`,
`Warning:`. Any other name before a colon is refused: a filter that is not understood must not find more.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from msgspec.structs import replace

from .document import time
from .durations import parse_duration
from .errors import InvalidField
from .fields import Line, moment
from .job import ErrorClass
from .stores.base import Query, phrases

LONGEST = 8192  # characters: no url is longer
MOST_WORDS = 20  # of free text
_NEAR = 0.75  # of a name that is mistyped; localhost is further from host

SUGGESTIONS = {
    "queue": "exactly that queue",
    "host": "calls to that host, with its port if the URL has one",
    "url": "URLs that begin so",
    "status": "HTTP status of the latest answer: 500, 5xx, 500-599, >=400, none",
    "error": "class of the latest error: " + ", ".join(ErrorClass),
    "tag": "jobs that have that tag",
    "key": "exactly that key",
    "kind": "exactly that kind, like http",
    "attempt": "how often it was attempted: 2, >3, <=5, 2-4",
    "age": "how long ago it was pushed: >1h, <7d",
    "created": "when it was pushed: FROM..UNTIL, each like 2026-11-20T09:30:00Z; one may be left out",
    "shape": "errors with messages of that shape, as the groups of errors name it",
}
KNOWN = ", ".join(SUGGESTIONS)

_ANYTHING = Query()
_TOKEN = re.compile(r'([^\s":]*:)?"((?:[^"\\]|\\.)*)"|(\S+)')
_NAME = re.compile(r"([A-Za-z][A-Za-z_-]*):(.*)", re.DOTALL)
_PORT = re.compile(r"[0-9]+(?:[/?#].*)?")
_COMPARED = re.compile(r"(>=|<=|>|<)?([0-9]{1,9})|([0-9]{1,9})-([0-9]{1,9})")
_BARE = re.compile(r'[^\s"]+')
_line = Line(LONGEST)

Range = tuple[int, int]


# ---- reading ------------------------------------------------------------------------------------------


def parse(text: str, now: int) -> Query:
    """What the text means at `now`, in ms; state None. Raises InvalidField("q", …)."""
    try:
        return _parse(_line(text), now)
    except ValueError as error:
        raise error if isinstance(error, InvalidField) else InvalidField("q", str(error)) from None


def _parse(text: str, now: int) -> Query:
    query = _ANYTHING
    words: list[str] = []
    for found in _TOKEN.finditer(text):
        before, quoted, plain = found.groups()
        name, value = _qualifier(before or "", quoted) if plain is None else _split(plain)
        if name:
            query = _narrowed(query, name, value, now)
        elif value:
            words.append(value)
    if len(words) > MOST_WORDS:
        raise ValueError(f"holds {len(words)} words; at most {MOST_WORDS} are looked for")
    return replace(query, text=" ".join(map(_quoted_text, words)))


def _qualifier(before: str, quoted: str) -> tuple[str, str]:
    """The name, "" for free text, and the value of what stood in quotes."""
    value = re.sub(r"\\(.)", r"\1", quoted)
    if not before:
        return "", value
    name, rest = _split(before + "x")
    return (name, value) if rest == "x" else ("", before + value)


def _split(word: str) -> tuple[str, str]:
    """The name, "" for free text, and the value of what stood without quotes."""
    found = _NAME.fullmatch(word)
    name, value = (found[1].lower(), found[2]) if found else ("", word)
    if value.startswith('"'):
        raise ValueError(f'holds a quote that does not end: {value[:40]}; write "…", or \\" in quotes')
    if name in SUGGESTIONS:
        if not value:
            raise ValueError(f"{name}: has no value; write it like {name}:VALUE, without a space")
        return name, value
    if not name or _is_text(name, value):
        return "", word
    if name == "state":
        raise ValueError("state: is chosen by the list that is looked at, like /jobs/errors; leave it out")
    near = get_close_matches(name, SUGGESTIONS, 1, _NEAR)
    hint = f"{near[0]}: is meant?" if near else f'for that text write "{word[:80]}"'
    raise ValueError(f"{name[:40]}: is no filter; known are {KNOWN}; {hint}")


def _is_text(name: str, value: str) -> bool:
    """Whether it can't be meant as a qualifier: the start of a sentence, a URL, a host with its port."""
    if get_close_matches(name, [*SUGGESTIONS, "state"], 1, _NEAR):
        return value.startswith("//")
    return not value or value.startswith("//") or _PORT.fullmatch(value) is not None


def _narrowed(query: Query, name: str, value: str, now: int) -> Query:
    """The query with one more filter."""
    field, read = _READERS[name]
    given = read(value, now)
    before, anything = getattr(query, field), getattr(_ANYTHING, field)
    if before == anything:
        return replace(query, **{field: given})
    if field not in _COMMON:
        raise ValueError(f"{name}: is given twice; a job has to match both, so give it once")
    if (both := _COMMON[field](before, given)) is None:
        raise ValueError(f"{name}: is given twice, and no job can match both")
    return replace(query, **{field: both})


# ---- one qualifier each -------------------------------------------------------------------------------


def _word(value: str, now: int) -> str:
    if not value:
        raise ValueError("an empty value finds nothing; leave it out")
    return value


def _lowered(value: str, now: int) -> str:
    return _word(value, now).lower()


def _error(value: str, now: int) -> str:
    if value.lower() not in list(ErrorClass):
        raise ValueError(f"error:{value[:40]} is no class of errors; those are {', '.join(ErrorClass)}")
    return value.lower()


def _shape(value: str, now: int) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{8}", value):
        raise ValueError(f"shape:{value[:40]} is no shape; it has eight hex digits")
    return value.lower()


def _status(value: str, now: int) -> Range:
    if value.lower() in ("none", "0"):
        return -1, 0
    if re.fullmatch(r"[1-9][xX]{2}", value):
        return int(value[0]) * 100, int(value[0]) * 100 + 99
    least, most = _range("status", value, "500, 5xx, 500-599, >=400 or none")
    least, most = max(least, 1), 999 if most is None else most
    if least > most:
        raise ValueError(f"status:{value[:40]} is no status; they are at least 1")
    return least, most


def _attempts(value: str, now: int) -> Range:
    least, most = _range("attempt", value, "2, >3, <=5 or 2-4")
    if most is None:
        return least, 0
    if most < least:
        raise ValueError(f"attempt:{value[:40]} leaves nothing; no job has fewer than 0")
    return least, most or -1


def _range(name: str, value: str, like: str) -> tuple[int, int | None]:
    """Least and most; None: no end."""
    found = _COMPARED.fullmatch(value)
    if found is None:
        raise ValueError(f"{name}:{value[:40]} can't be read; write it like {like}")
    sign, number, least, most = found.groups()
    if sign is None and least is not None:
        if int(least) > int(most):
            raise ValueError(f"{name}:{value} ends before it begins")
        return int(least), int(most)
    n = int(number)
    return {None: (n, n), ">": (n + 1, None), ">=": (n, None), "<": (0, n - 1), "<=": (0, n)}[sign]


def _age(value: str, now: int) -> Range:
    """>: pushed before that; <: pushed then or later."""
    found = re.fullmatch(r"([<>])=?(.+)", value)
    if found is None:
        raise ValueError(f"age:{value[:40]} can't be read; write it like >1h or <7d")
    then = max(1, now - round(parse_duration(found[2]) * 1000))
    return (0, then) if found[1] == ">" else (then, 0)


def _created(value: str, now: int) -> Range:
    since, dots, until = value.partition("..")
    if not dots or not (since or until):
        raise ValueError(f"created:{value[:60]} can't be read; write FROM..UNTIL, or one of them and ..")
    try:
        times = [max(1, moment(one)) if one else 0 for one in (since, until)]
    except ValueError as error:
        raise ValueError(f"created: {error}") from None
    if times[1] and times[0] >= times[1]:
        raise ValueError("created: ends before it begins")
    return times[0], times[1]


# Which field of a Query, and how its value is read.
_READERS: dict[str, tuple[str, Callable[[str, int], Any]]] = {
    "queue": ("queue", _word),
    "host": ("host", _lowered),
    "url": ("url", _word),
    "status": ("status", _status),
    "error": ("error", _error),
    "tag": ("tag", _word),
    "key": ("key", _word),
    "kind": ("kind", _word),
    "attempt": ("attempts", _attempts),
    "age": ("created", _age),
    "created": ("created", _created),
    "shape": ("shape", _shape),
}


def _both_status(one: Range, other: Range) -> Range | None:
    least, most = max(one[0], other[0]), min(one[1], other[1])
    return (least, most) if least <= most else None


def _both_attempts(one: Range, other: Range) -> Range | None:
    least = max(one[0], other[0])
    ends = [max(most, 0) for _, most in (one, other) if most]
    if not ends:
        return least, 0
    return (least, min(ends) or -1) if least <= min(ends) else None


def _both_created(one: Range, other: Range) -> Range | None:
    since = max(one[0], other[0])
    until = min((until for _, until in (one, other) if until), default=0)
    return (since, until) if not until or since < until else None


_COMMON: dict[str, Callable[[Range, Range], Range | None]] = {
    "status": _both_status,
    "attempts": _both_attempts,
    "created": _both_created,
}


# ---- writing ------------------------------------------------------------------------------------------


def term(name: str, value: str) -> str:
    """`name:value` as a filter has it, in quotes where it needs them; of the name "", free text."""
    if not name:
        return value if value and _is_free(value) else _quoted(value)
    return f"{name}:{value if _BARE.fullmatch(value) else _quoted(value)}"


def unparse(query: Query, now: int = 0) -> str:
    """The filter that means the query, but for its state; with `now`, its moments as ages then."""
    parts = [term(name, getattr(query, name)) for name in _WORDS if getattr(query, name)]
    if query.status != (0, 0):
        parts.append(term("status", _written_status(*query.status)))
    if query.attempts != (0, 0):
        parts += [term("attempt", value) for value in _written_attempts(*query.attempts)]
    if query.created != (0, 0):
        parts += _written_created(*query.created, now)
    return " ".join([*parts, *(term("", word) for word in phrases(query.text))])


_WORDS = ("queue", "host", "url", "tag", "key", "kind", "error", "shape")


def _written_status(lowest: int, highest: int) -> str:
    if highest == 0:
        return "none"
    if lowest == highest:
        return str(lowest)
    return f"{lowest // 100}xx" if lowest % 100 == 0 and highest == lowest + 99 else f"{lowest}-{highest}"


def _written_attempts(least: int, most: int) -> list[str]:
    if most == 0:
        return [f">={least}"]
    end = max(most, 0)
    return [str(end)] if least == end else [f"{least}-{end}"]


def _written_created(since: int, until: int, now: int) -> list[str]:
    if now > max(since, until):
        older = [term("age", f">{now - until}ms")] if until else []
        return older + ([term("age", f"<{now - since}ms")] if since else [])
    return [term("created", f"{time(since) or ''}..{time(until) or ''}")]


def _is_free(word: str) -> bool:
    """Whether it is read as free text without quotes."""
    if not re.fullmatch(r'[^\s"]\S*', word) or re.match(r'[^\s":]*:"', word):
        return False
    try:
        return _split(word) == ("", word)
    except ValueError:
        return False


def _quoted_text(word: str) -> str:
    """A word of Query.text."""
    return word if re.fullmatch(r'[^\s"]\S*', word) else _quoted(word)


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
