"""GET /tasks/system: the store, the process, its settings and its log, and who did what."""

import os
import platform
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...audit import Audit
from ...config import Shown
from ...histogram import quantile
from ...logs import LogLine, Recent
from ...pusher import TaskPusher
from ...stores.base import Commits
from ..requests import query_of
from .frame import Frame, may

LINES = 200  # of the log
ENTRIES = 50  # of the audit


class Commit(NamedTuple):
    """How commits went since the start: how many, seconds within which a part was done, changes in one."""

    number: int
    p50: float
    p99: float
    changes: float


def commit(commits: Commits | None) -> Commit | None:
    """None where there were none."""
    number = 0 if commits is None else sum(commits.seconds.counts)
    if commits is None or not number:
        return None
    half, most = (quantile(commits.seconds.bounds, commits.seconds.counts, share) for share in (0.5, 0.99))
    return Commit(number, half, most, commits.changes.sum / number)


class Line(NamedTuple):
    """A line of the log; `at` in ms."""

    at: int
    level: str
    text: str


class System:
    """The page of the process itself."""

    def __init__(
        self,
        pusher: TaskPusher,
        frame: Frame,
        settings: Sequence[Shown],
        recent: Recent | None,
        audit: Audit,
    ) -> None:
        self._pusher, self._frame = pusher, frame
        self._settings, self._recent, self._audit = settings, recent, audit

    def routes(self) -> list[BaseRoute]:
        return [self._frame.page("/tasks/system", GET=self.show)]

    async def show(self, request: Request) -> Response:
        query_of(request, set())
        stats = await self._pusher.stats()
        all_of_it = may(request)  # who only looks gets no log: not all that libraries say there is masked
        lines = self._recent.lines()[-LINES:] if self._recent is not None and all_of_it else []
        return await self._frame.render(
            request,
            "system.html",
            "system",
            stats=stats,
            store=stats.store,
            commit=commit(stats.store.commits),
            process=_process(),
            lines=[_line(line) for line in reversed(lines)],
            entries=await self._audit.entries(ENTRIES) if all_of_it else [],
            settings=self._settings if all_of_it else (),
        )


def _line(line: LogLine) -> Line:
    facts = " ".join(f"{name}={value}" for name, value in line.facts.items())
    return Line(line.time, line.level, f"{line.message} {facts}".strip())


def _process() -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "python": platform.python_version(),
        "pid": os.getpid(),
        "memory": _memory(),
        "cpu": used.ru_utime + used.ru_stime,
    }


def _memory() -> int:
    """Bytes of the process that are in memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
