"""GET /tasks/errors: jobs that failed for good, grouped by what went wrong."""

import asyncio
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...fields import truth
from ...groups import Group, group
from ...job import State
from ...pusher import TaskPusher
from ...stores.base import Query
from ..requests import checked, query_of
from .frame import Frame
from .samples import FEW, Fresh

NEWEST = 5_000  # jobs looked at, unless all are asked for
MOST = 50_000  # jobs looked at even then: all of them are in memory for that
SHOWN = 200  # groups


class Failed(NamedTuple):
    """The groups of the jobs looked at; `total` that failed, `complete`: all of them were looked at."""

    groups: list[Group]
    looked: int
    total: int
    complete: bool


class Failures:
    """The groups of errors."""

    def __init__(self, pusher: TaskPusher, frame: Frame) -> None:
        self._pusher, self._frame = pusher, frame
        self._newest = Fresh(pusher.clock, lambda: self._grouped(NEWEST), _many)
        self._all = Fresh(pusher.clock, lambda: self._grouped(MOST), _many)

    def routes(self) -> list[BaseRoute]:
        return [self._frame.page("/tasks/errors", GET=self.show)]

    async def show(self, request: Request) -> Response:
        asked = query_of(request, {"all"})
        whole = "all" in asked and checked("all", truth, asked["all"])
        failed = await (self._all if whole else self._newest).get()
        return await self._frame.render(
            request,
            "errors.html",
            "errors",
            groups=failed.groups,
            looked=failed.looked,
            total=failed.total,
            whole=whole,
            most=MOST,
            complete=failed.complete,
        )

    async def _grouped(self, most: int) -> Failed:
        page = await self._pusher.page(Query(State.ERROR), None, most)
        groups = await asyncio.to_thread(group, page.jobs)
        return Failed(groups[:SHOWN], len(page.jobs), page.total, page.cursor is None)


def _many(failed: Failed) -> bool:
    """Whether they took long enough to group that others shall not have it done again at once."""
    return failed.looked >= FEW
