"""How values are spread: plain counts by bucket, so that noting a value costs next to nothing."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """`counts[i]`: values up to `bounds[i]` and above the bound before; the last: above all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
