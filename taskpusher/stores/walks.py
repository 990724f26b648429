"""Walks over the tables of LMDB: what a list of jobs is read from, and in which order."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from ..job import State
from .layout import STATE_CODES


def prefixed(cursor: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The items with that key prefix, in order."""
    found = cursor.set_range(prefix)
    while found and cursor.key().startswith(prefix):
        yield cursor.item()
        found = cursor.next()


def list_of(state: State | None) -> tuple[str, bytes]:
    """The table that lists a state, and the prefix of its keys."""
    match state:
        case None:
            return "jobs", b""
        case State.WAITING:
            return "due", b""
        case State.RUNNING:
            return "running", b""
        case State.PAUSED:
            return "paused", b""
    return "finished", bytes([STATE_CODES[state]])


def rows_from(
    cursor: Any, prefix: bytes, after: bytes | None, backwards: bool, size: int
) -> list[tuple[bytes, bytes]]:
    """Up to `size` items with that key prefix, beginning beyond `after`, from the far end if `backwards`."""
    if backwards:
        found = cursor.set_range(prefix + (b"\xff" * 32 if after is None else after))
        found = cursor.prev() if found else cursor.last()
        rows = cursor.iterprev()
    else:
        found = cursor.set_range(prefix + (after or b""))
        if found and after is not None and cursor.key() == prefix + after:
            found = cursor.next()
        rows = cursor.iternext()
    part = list(islice(rows, size)) if found else []
    if part and not part[-1][0].startswith(prefix):
        return [row for row in part if row[0].startswith(prefix)]
    return part


def names_from(
    cursor: Any, prefix: bytes, beyond: bytes | None, backwards: bool
) -> Iterable[tuple[bytes, bytes]]:
    """The items with that key prefix, beyond the key `beyond`, from the far end if `backwards`.

    Keys may be of any length, the prefix is text in UTF-8.
    """
    if not backwards:
        found = cursor.set_range(prefix if beyond is None else max(prefix, beyond))
        if found and cursor.key() == beyond:
            found = cursor.next()
    else:
        end = _after_all(prefix) if beyond is None else min(beyond, _after_all(prefix))
        found = cursor.prev() if cursor.set_range(end) else cursor.last()
    step = cursor.prev if backwards else cursor.next
    while found and cursor.key().startswith(prefix):
        yield cursor.item()
        found = step()


def _after_all(prefix: bytes) -> bytes:
    """The least key beyond all with that prefix, which does not end with 255: UTF-8 never does."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
