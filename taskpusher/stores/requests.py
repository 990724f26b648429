"""What the writer is asked: changes to be made together, or a worker's turn. Each runs in a transaction."""

import asyncio
import logging
from collections.abc import Iterator, Sequence

import lmdb

from ..errors import TaskPusherError
from ..job import Job
from . import adding, turns
from .base import Add, Change, Claimed, Note, Settle, Then, Written
from .tables import Tables

logger = logging.getLogger("taskpusher")

AT_ONCE = 100  # changes made before others on the event loop get their turn; a request of more is a big one


class Write:
    """Changes to be made together."""

    __slots__ = ("changes", "error", "future", "result")

    def __init__(self, changes: Sequence[Change], future: "asyncio.Future[list[Written]]") -> None:
        self.changes = changes
        self.future = future
        self.result: list[Written] | None = None
        self.error: Exception | None = None

    def run(self, tables: Tables) -> Iterator[None]:
        """Make the changes; comes up for air in between."""
        self.result = self.error = None
        try:
            if len(self.changes) > 1 and adding.only_new(self.changes):
                self.result = yield from adding.add(tables, self.changes, AT_ONCE)
            else:
                self.result = yield from tables.write(self.changes, AT_ONCE)
        except TaskPusherError as error:
            self.error = error
        except lmdb.Error:  # the transaction's fault, not the request's
            raise
        except Exception as error:
            logger.exception("a change could not be written")
            self.error = error

    def weight(self) -> int:
        return len(self.changes)

    def is_big(self) -> bool:
        return len(self.changes) > AT_ONCE

    def made(self) -> int:
        """Changes that it brought."""
        return 0 if self.result is None else len(self.changes)

    def adds(self) -> bool:
        """Whether it is refused, rather than kept waiting, while the disk is full."""
        return any(isinstance(change, (Add, Note)) for change in self.changes)

    def size(self) -> int:
        """Bytes that the jobs may take on the disk, about."""
        return sum(turns.PAGE + len(change.body) for change in self.changes if isinstance(change, Add))


class Claim:
    """Jobs asked for, by workers whose last ones are to be settled."""

    __slots__ = ("due", "error", "future", "limit", "now", "result", "settles", "then")

    def __init__(
        self,
        limit: int,
        now: int,
        due: int,
        settles: Sequence[Settle],
        then: Then | None,
        future: "asyncio.Future[Claimed]",
    ) -> None:
        self.limit, self.now, self.due, self.settles, self.then = limit, now, due, settles, then
        self.future = future
        self.result: Claimed | None = None
        self.error: Exception | None = None

    def run(self, tables: Tables) -> Iterator[None]:
        self.error = None
        settled: list[Job | Exception] = []
        for first in range(0, len(self.settles), AT_ONCE):
            if first:
                yield
            settled += turns.settle(tables, self.settles[first : first + AT_ONCE])
        self.result = yield from turns.claim(tables, self.limit, self.now, self.due, settled, self.then)

    def weight(self) -> int:
        return self.limit + len(self.settles)

    def is_big(self) -> bool:
        return False

    def made(self) -> int:
        """Changes that it brought."""
        claimed = self.result
        return len(self.settles) + (0 if claimed is None else len(claimed.jobs) + len(claimed.expired))

    def adds(self) -> bool:
        return False


Request = Write | Claim
