"""A page of a list and how many match in all, from as few looks at the records as it takes."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ..job import Job
from .base import Page, Query, newest_first

SLICE = 500  # rows looked at in one go, so that no reader is old and no writer waits
TURN = 20 * SLICE  # rows looked at before others that want to read have theirs


class Look(NamedTuple):
    """What rows of a list held."""

    found: list[tuple[bytes, Job]]  # that match and are beyond the cursor, with their places
    number: int  # of all that match
    looked: int  # rows; fewer than asked for: the list ended
    last: bytes | None  # the place of the last row


# Looks at so many rows of the list after that place (None: from its beginning) for so many jobs at most.
Read = Callable[[bytes | None, int, int], Awaitable[Look]]


class _Walk(NamedTuple):
    look: Look
    ended: bool  # at the end of the list


def beyond(query: Query, place: bytes | None, cursor: bytes | None) -> bool:
    """Whether the place comes after the cursor in the query's list."""
    if cursor is None or place is None:
        return cursor is None
    return place < cursor if newest_first(query.state) else place > cursor


class Lister:
    """Reads pages of one query through `read`; `most` as for the store."""

    def __init__(self, read: Read, query: Query, limit: int, most: int) -> None:
        self._read, self._query, self._limit, self._most = read, query, limit, most
        self._step = TURN if query.filtered() else limit + 1

    async def page(self, cursor: bytes | None, total: int | None) -> Page:
        """The page after `cursor`. `total` is counted here where it is not known."""
        if total is not None:
            return self._page(await self._walk(cursor, count=False), total, 0, True)
        walk = whole = await self._walk(None, count=True)
        total = whole.look.number
        if not whole.ended and not beyond(self._query, whole.look.last, cursor):
            walk = await self._walk(cursor, count=False)
            total += len(walk.look.found)  # none of them was counted
        return self._page(walk, total, whole.look.looked, whole.ended)

    def _page(self, walk: _Walk, total: int, looked: int, complete: bool) -> Page:
        found, limit = walk.look.found, self._limit
        cursor = None if walk.ended else walk.look.last
        if len(found) > limit:
            cursor = found[limit - 1][0]
        return Page([job for _, job in found[:limit]], cursor, total, looked, complete)

    async def _walk(self, start: bytes | None, *, count: bool) -> _Walk:
        """From `start` to the end of the list; without `count`, until there is one more than fill a page."""
        so_far = Look([], 0, 0, start)
        while not self._most or so_far.looked < self._most:
            step = min(self._step, self._most - so_far.looked) if self._most else self._step
            look = await self._read(so_far.last, step, self._limit + 1 - len(so_far.found))
            so_far = joined(so_far, look)
            if look.looked < step:
                return _Walk(so_far, True)
            if not count and len(so_far.found) > self._limit:
                return _Walk(so_far, False)
        more = await self._read(so_far.last, 1, 0)
        return _Walk(so_far, not more.looked)


def joined(one: Look, then: Look) -> Look:
    """Both, one after the other."""
    return Look(one.found + then.found, one.number + then.number, one.looked + then.looked, then.last)
