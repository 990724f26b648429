"""Walks over the tables of LMDB: what a list of jobs is read from, and in which order."""

from collections.abc import Iterable, Iterator
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


def walk_from(
    cursor: Any, prefix: bytes, after: bytes | None, backwards: bool
) -> Iterable[tuple[bytes, bytes]]:
    """The items with that key prefix, beginning beyond `after`, from the far end if `backwards`."""
    if backwards:
        end = prefix + after if after is not None else prefix + b"\xff" * 32
        found = cursor.set_range(end)
        found = cursor.prev() if found else cursor.last()
        step = cursor.prev
    else:
        found = cursor.set_range(prefix + (after or b""))
        if found and after is not None and cursor.key() == prefix + after:
            found = cursor.next()
        step = cursor.next
    while found and cursor.key().startswith(prefix):
        yield cursor.item()
        found = step()
