"""How pages write figures, moments and targets: the filters of the templates."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from ...document import time
from ...job import Job
from ...masking import masked_url
from ...wording import short, size
from . import chart

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Target(NamedTuple):
    """A URL in two parts, the one that tells hosts apart and the rest."""

    host: str
    path: str


def target(job: Job, may: bool) -> Target:
    """Where a job goes. Credentials are masked for everybody, as in the log; `may`: the query is not."""
    whole = job.target if may else masked_url(job.target)
    try:
        parts = urlsplit(whole)
    except ValueError:
        return Target("", masked_url(whole))
    if not parts.netloc:
        return Target("", whole)
    return Target(parts.netloc.rpartition("@")[2], whole.split(parts.netloc, 1)[1])


def moment(ms: int) -> str:
    """RFC 3339, for machines."""
    return time(ms) or ""


def clock(ms: int) -> str:
    """A moment in UTC, for people: 2026-11-21 14:03:11.123 UTC."""
    if not ms:
        return "–"
    found = _EPOCH + timedelta(milliseconds=ms)
    return f"{found:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d} UTC"


def ago(ms: int, now: int) -> str:
    """3m ago, in 10s, now."""
    seconds = (now - ms) / 1000
    if abs(seconds) < 1:
        return "now"
    return f"{short(seconds)} ago" if seconds > 0 else f"in {short(-seconds)}"


def number(count: float) -> str:
    """12,345; rates below ten with a decimal."""
    if isinstance(count, float) and 0 < count < 10:
        return f"{count:.2g}"
    return f"{count:,.0f}"


def span(seconds: float | None) -> str:
    return short(seconds) if seconds is not None else "–"


def rate(per_second: float) -> str:
    """12/s, 3.4/min, 0."""
    if per_second >= 1:
        return f"{per_second:.3g}/s" if per_second < 100 else f"{per_second:,.0f}/s"
    return f"{per_second * 60:.2g}/min" if per_second else "0"


_TWICE = re.compile(r"(\d{3}) answered \1\b[ ;]*")


def once(said: str) -> str:
    """What an attempt came to, its status once: `503 answered 503 Service Unavailable` says it twice."""
    return _TWICE.sub(r"\1 ", said, count=1).rstrip()


FILTERS: dict[str, Callable[..., str | Target]] = {
    "ago": ago,
    "bars": chart.spark,
    "clock": clock,
    "moment": moment,
    "number": number,
    "once": once,
    "rate": rate,
    "size": size,
    "span": span,
    "target": target,
}
