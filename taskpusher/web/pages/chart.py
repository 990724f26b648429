"""Figures as paths of SVG: bars and lines in a box of 10 units a point across and 100 down."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

WIDTH, HEIGHT = 10, 100  # units: a point, the whole chart
GAP = 2  # units between two bars
SPARK_WIDTH, SPARK_HEIGHT = 4, 20


def ceiling(most: float) -> float:
    """The round figure at the top of the scale: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= most:
        power *= 10
    while power > most:
        power /= 10
    return next(power * times for times in (1, 2, 5, 10) if power * times >= most)


def stacked(layers: Sequence[Sequence[float]], top: float) -> list[str]:
    """For each layer the path of its bars; the first stands on the ground, the next on it."""
    grounds = [0.0] * len(layers[0]) if layers else []
    paths = []
    for layer in layers:
        parts = []
        for place, value in enumerate(layer):
            if value > 0:
                low, high = grounds[place] / top, (grounds[place] + value) / top
                parts.append(_bar(place * WIDTH + GAP / 2, WIDTH - GAP, low, high))
                grounds[place] += value
        paths.append("".join(parts))
    return paths


def area(values: Sequence[float], top: float) -> str:
    """The path of what lies below the values."""
    if not any(values):
        return ""
    points = " ".join(f"L{place * WIDTH + WIDTH / 2:g} {_down(v / top)}" for place, v in enumerate(values))
    last = (len(values) - 1) * WIDTH + WIDTH / 2
    return f"M{WIDTH / 2:g} {HEIGHT} {points} L{last:g} {HEIGHT}Z"


def line(values: Sequence[float | None], top: float) -> str:
    """The path through the values; where there is none, it is broken. One alone is a short stroke."""
    parts = []
    for run in _runs(values):
        if len(run) == 1:
            place, value = run[0]
            parts.append(f"M{place * WIDTH + GAP:g} {_down(value / top)}h{WIDTH - 2 * GAP}")
            continue
        points = [f"{place * WIDTH + WIDTH / 2:g} {_down(value / top)}" for place, value in run]
        parts.append("M" + "L".join(points))
    return "".join(parts)


def spark(counts: Sequence[float]) -> str:
    """The path of a sparkline's bars, four units each, 20 high; the highest fills it."""
    top = max(counts, default=0) or 1
    return "".join(
        f"M{place * SPARK_WIDTH} {SPARK_HEIGHT}v{-max(1.0, SPARK_HEIGHT * count / top):.0f}h3V{SPARK_HEIGHT}z"
        for place, count in enumerate(counts)
        if count > 0
    )


def _bar(left: float, width: float, low: float, high: float) -> str:
    return f"M{left:g} {_down(low)}V{_down(high)}h{width:g}V{_down(low)}z"


def _down(part: float) -> str:
    """How far down a part of the height is."""
    return f"{HEIGHT * (1 - min(1.0, part)):.2f}".rstrip("0").rstrip(".")


def _runs(values: Sequence[float | None]) -> Iterator[list[tuple[int, float]]]:
    """The stretches without a gap, as (place, value)."""
    there = [(place, value) for place, value in enumerate(values) if value is not None]
    run = there[:1]
    for before, after in pairwise(there):
        if after[0] - before[0] > 1:
            yield run
            run = []
        run.append(after)
    if run:
        yield run
