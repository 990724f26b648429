"""Durations as people write them: `30`, `30s`, `10m`, `1h`, `7d`, `500ms`; seconds inside."""

import re

LONGEST = 36500 * 86400.0  # seconds; a hundred years, so that a sum with the date still fits everywhere

_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|)", re.ASCII)


def parse_duration(written: str | int | float) -> float:
    """Seconds, from a number of seconds or a number with ms, s, m, h or d.

    Raises ValueError, with a sentence, for what is neither, is negative or is more than a hundred years.
    """
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError("a duration is a number of seconds, or written like 30s, 10m, 1h, 7d or 500ms")
    if isinstance(written, str):
        found = _WRITTEN.fullmatch(written.strip())
        if found is None:
            raise ValueError(f"{written[:40]!r} is no duration; write it like 30s, 10m, 1h, 7d or 500ms")
        seconds = float(found[1]) * _UNITS[found[2]]
    else:
        seconds = min(written, LONGEST + 1) * 1.0  # an int may be too big for a float
    if not 0 <= seconds <= LONGEST:  # nan is in no range
        raise ValueError("a duration is at least 0 and at most 36500d")
    return seconds


def written_duration(seconds: float) -> str:
    """The shortest way to write it: 5400.0 -> `90m`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"
