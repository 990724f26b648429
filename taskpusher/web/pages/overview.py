"""GET /tasks: is it healthy, and if not, why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...errors import InvalidField
from ...filters import term
from ...groups import HostFigures
from ...history import Point, Series, Span
from ...job import State
from ...pusher import TaskPusher
from ...stats import Stats
from ...wording import short
from ..accepts import wants_json
from ..requests import query_of
from . import chart, health
from .frame import Frame
from .lists import TABS
from .samples import Samples
from .scripts import listed
from .system import Commit, commit

SHOWN = 6  # hosts, groups of errors
LAYERS = ("completed", "errors", "canceled")
SPANS: dict[str, tuple[str, str, str]] = {  # title, unit of a point, how a point's start is written
    "hour": ("hour", "minute", "%H:%M"),
    "day": ("day", "quarter of an hour", "%H:%M"),
    "month": ("month", "day", "%d %b"),
}


class Overview:
    """The first page."""

    def __init__(self, pusher: TaskPusher, frame: Frame, samples: Samples) -> None:
        self._pusher, self._frame, self._samples = pusher, frame, samples

    def routes(self) -> list[BaseRoute]:
        return [self._frame.page("/tasks", described=True, GET=self.answer)]

    async def answer(self, request: Request) -> Response:
        """The page, or to a script the jobs."""
        if wants_json(request.headers.get("accept", "")):
            return await listed(request, self._pusher)
        return await self.show(request)

    async def show(self, request: Request) -> Response:
        span = _span(query_of(request, {"span"}).get("span"))
        stats = await self._pusher.stats()
        sample = await self._samples.newest()
        figures = sample.hosts
        commits = commit(stats.store.commits)
        return await self._frame.render(
            request,
            "overview.html",
            "overview",
            verdict=await self._verdict(stats, figures, commits),
            tiles=_tiles(stats),
            span=span,
            spans=[{"name": name, "title": title} for name, (title, *_) in SPANS.items()],
            chart=charted(await self._pusher.history.series(span), span),
            stats=stats,
            store=stats.store,
            commit=commits,
            hosts=sorted(figures, key=lambda one: (-one.errors, -one.p95))[:SHOWN],
            sampled=len(sample.ended),
            groups=sample.groups[:SHOWN],
            term=term,
        )

    async def _verdict(
        self, stats: Stats, figures: Sequence[HostFigures], commits: Commit | None
    ) -> health.Verdict:
        return health.verdict(
            stats,
            await self._pusher.queues(),
            figures,
            now=self._pusher.clock.now(),
            ready=self._pusher.ready,
            blocked=self._pusher.blocked(),
            commit=None if commits is None else commits.p99,
        )


def _span(asked: str | None) -> Span:
    if asked is None:
        return "hour"
    if asked not in SPANS:
        raise InvalidField("span", f"must be one of {', '.join(SPANS)}")
    return cast(Span, asked)


def _tiles(stats: Stats) -> list[dict[str, Any]]:
    counts = dict.fromkeys(State, 0)
    for (state, _), n in stats.counts.items():
        counts[state] += n
    return [
        {"state": tab.state, "path": tab.path, "count": counts[tab.state]}
        for tab in TABS
        if tab.state is not None
    ]


def charted(series: Series, span: Span) -> dict[str, Any]:
    """The series as the template draws it."""
    _, unit, form = SPANS[span]
    points = series.points
    deepest = max(one.waiting for one in points)
    return {
        **_ends(points, span),
        **_durations(points),
        "unit": unit,
        "width": len(points) * chart.WIDTH,
        "slots": [_slot(one, form) for one in points],
        "from": _at(points[0].start, form),
        "middle": _at(points[len(points) // 2].start, form),
        "deepest": deepest,
        "depth": chart.area([one.waiting for one in points], deepest or 1),
        "table": [_row(one, form) for one in reversed(points) if one.pushed or one.attempts or one.canceled],
    }


def _ends(points: Sequence[Point], span: Span) -> dict[str, Any]:
    """What the jobs came to: in bars, in sums, in words."""
    layers = [[getattr(one, name) for one in points] for name in LAYERS]
    most = chart.ceiling(max(map(sum, zip(*layers, strict=True))))
    sums = dict(zip(LAYERS, map(sum, layers), strict=True))
    ended = sums["completed"] + sums["errors"]
    return {
        **sums,
        "top": most,
        "layers": chart.stacked(layers, most),
        "words": f"{sums['completed']:,} completed and {sums['errors']:,} failed in the last {span}",
        "error_share": sums["errors"] / ended if ended else 0.0,
    }


def _durations(points: Sequence[Point]) -> dict[str, Any]:
    p50, p95 = ([getattr(one, name) if one.attempts else None for one in points] for name in ("p50", "p95"))
    slowest = max((value for value in p95 if value is not None), default=0.0)
    return {
        "p50": chart.line(p50, slowest or 1.0),
        "p95": chart.line(p95, slowest or 1.0),
        "p50_now": _last(p50),
        "p95_now": _last(p95),
        "slow_top": slowest,
    }


def _slot(point: Point, form: str) -> str:
    told = f"{_at(point.start, form)} UTC: {point.completed:,} completed, {point.errors:,} failed"
    return told + (f", 95 % within {short(point.p95)}" if point.attempts else "")


def _row(point: Point, form: str) -> dict[str, Any]:
    slow = {name: getattr(point, name) if point.attempts else None for name in ("p50", "p95")}
    counts = {name: getattr(point, name) for name in ("pushed", *LAYERS)}
    return {"start": _at(point.start, form), **counts, **slow}


def _at(start: int, form: str) -> str:
    return datetime.fromtimestamp(start, UTC).strftime(form)


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)
