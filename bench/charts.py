"""The two charts of the report: the peers, and what grows with the jobs that wait."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .bars import BARS
from .results import Figures, figures, shown
from .svg import Svg

WIDTH = 760


# ---- the peers ----------------------------------------------------------------------------------------

NAMES, BAR, ROW = 150, 440, 27  # where the bars begin, how long the longest is, the height of a row
PEERS_TOP = 62


def peers(results: Figures) -> str:
    """Bars of jobs a second; the faint part is what is gained by one sync a second."""
    found = figures(results, "peers") or {}
    rows = [("TaskPusher", found["tasker"], None, True)] if "tasker" in found else []
    rows += [
        (one["name"], one["rate"], one["everysec"], False) for one in found.get("peers", ()) if one["rate"]
    ]
    rows.sort(key=lambda row: -row[1]["median"])
    most = max((max(_median(rate), _median(faint)) for _, rate, faint, _ in rows), default=1.0)
    legend = any(faint for _, _, faint, _ in rows)
    height = PEERS_TOP + ROW * len(rows) + (32 if legend else 12)
    svg = Svg(WIDTH, height, "Jobs a second: TaskPusher and its peers")
    svg.text(16, 24, "Jobs a second, each move synced to disk", "ink title")
    svg.text(16, 44, f"each job calls nginx on the same machine; {_machine(results)}", "dim")
    for number, (name, rate, faint, ours) in enumerate(rows):
        top = PEERS_TOP + ROW * number
        kind = "ours" if ours else "other"
        ends = max(_median(rate), _median(faint))
        svg.text(NAMES - 10, top + 14, name, "ink strong" if ours else "ink", "end")
        if faint and _median(faint) > _median(rate):
            svg.box(NAMES, top, BAR * _median(faint) / most, 19, f"{kind}-faint")
        svg.box(NAMES, top, BAR * _median(rate) / most, 19, kind)
        words = f"{_median(rate):,.0f}"
        svg.text(NAMES + BAR * ends / most + 8, top + 14, words, "ink strong" if ours else "ink")
    if legend:
        svg.box(NAMES, height - 24, 19, 11, "other-faint")
        svg.text(
            NAMES + 26, height - 14, "Redis syncing once a second: a power cut takes the last one", "dim"
        )
    return svg.done()


def _median(rate: Figures | None) -> float:
    return float(rate["median"]) if rate else 0.0


def _machine(results: Figures) -> str:
    machine = results["machine"]
    return f"{machine['cores']} cores, {machine['file_system']}"


# ---- what grows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    name: str
    field: str
    kind: str


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    curves: tuple[Curve, ...]
    bar: float | None = None


PANEL_WIDTH, PANEL_HEIGHT = 290, 150  # of the plot alone
LEFT, TOP, ACROSS, DOWN = 62, 96, 380, 222


def growth(results: Figures) -> str:
    """Four panels over the number of waiting jobs, which grows tenfold from mark to mark."""
    found = (figures(results, "growth") or {"waiting": {}})["waiting"]
    points = sorted(found.values(), key=lambda one: one["jobs"])
    svg = Svg(WIDTH, TOP + 2 * DOWN - 28, "What many waiting jobs cost")
    svg.text(16, 24, "What many waiting jobs cost", "ink title")
    svg.text(
        16, 44, f"by the number of jobs that wait; 50 in flight, {_machine(results)}; dashed: the bar", "dim"
    )
    if points:
        for number, panel in enumerate(_panels(points)):
            _draw(svg, panel, points, LEFT + number % 2 * ACROSS, TOP + number // 2 * DOWN)
    return svg.done()


def _panels(points: Sequence[Figures]) -> tuple[Panel, ...]:
    share = next(bar.limit for bar in BARS if "drain_share" in bar.path)
    return (
        Panel("Anonymous memory", "MB", (Curve("", "memory_mb", "first"),), _bar("memory_mb")),
        Panel("Drain", "jobs/s", (Curve("", "drain", "first"),), points[0]["drain"]["median"] * share),
        Panel(
            "Start after kill -9", "s",
            (Curve("first call", "first_call_s", "first"), Curve("ready", "ready_s", "second")),
            _bar("first_call_s"),
        ),
        Panel(
            "A page of the list", "ms",
            (Curve("the first", "first_page_ms", "first"), Curve("deep inside", "deep_page_ms", "second")),
        ),
    )  # fmt: skip


def _bar(field: str) -> float:
    return next(bar.limit for bar in BARS if field in bar.path)


def _draw(svg: Svg, panel: Panel, points: Sequence[Figures], left: float, top: float) -> None:
    values = [one[curve.field]["median"] for curve in panel.curves for one in points]
    steps = ticks(max([*values, panel.bar or 0.0]) * 1.05)
    bottom, right = top + PANEL_HEIGHT, left + PANEL_WIDTH

    def at(jobs: float, value: float) -> tuple[float, float]:
        low, high = math.log10(points[0]["jobs"]), math.log10(points[-1]["jobs"])
        share = (math.log10(jobs) - low) / (high - low) if high > low else 0.5
        return left + 12 + share * (PANEL_WIDTH - 24), bottom - value / steps[-1] * PANEL_HEIGHT

    svg.text(left - 46, top - 16, f"{panel.title}, {panel.unit}", "ink head")
    for step in steps:
        _, y = at(points[0]["jobs"], step)
        svg.line(left, y, right, y)
        svg.text(left - 8, y + 4, short(step), "dim", "end")
    for one in points:
        x, _ = at(one["jobs"], 0)
        svg.text(x, bottom + 18, short(one["jobs"]), "dim", "middle")
    if panel.bar is not None:
        _, y = at(points[0]["jobs"], panel.bar)
        svg.line(left, y, right, y, "bar")
    for curve in panel.curves:
        svg.curve([at(one["jobs"], one[curve.field]["median"]) for one in points], curve.kind)
    highest = max(points[-1][curve.field]["median"] for curve in panel.curves)
    x, y = at(points[-1]["jobs"], highest)
    svg.text(x + 4, y - 9, shown(highest), "ink strong", "end")
    _legend(svg, panel, right, top - 16)


def _legend(svg: Svg, panel: Panel, right: float, y: float) -> None:
    for curve in reversed([curve for curve in panel.curves if curve.name]):
        svg.text(right, y, curve.name, f"{curve.kind}-dot", "end")
        right -= 12 + 6.2 * len(curve.name)


def ticks(most: float) -> list[float]:
    """Round steps from 0 to `most` or beyond, three to five of them."""
    size = 10 ** math.floor(math.log10(most))
    step = next(
        step for step in (0.2 * size, 0.25 * size, 0.5 * size, size, 2 * size, 2.5 * size) if most <= 5 * step
    )
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def short(number: float) -> str:
    """1500000 is 1.5 M, 10000 is 10 k."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
