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


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    """The value that `share` (0 to 1) of all do not exceed, as if each bucket were filled evenly.

    0.0 where there are none; the last bucket has no end, so its lower bound stands for it. Zeros at the end
    of `counts` may be left out.
    """
    rank = share * sum(counts)
    for number, count in enumerate(counts):
        if count and count >= rank:
            lower = bounds[number - 1] if number else 0.0
            if number == len(bounds):
                return lower
            return lower + (bounds[number] - lower) * max(0.0, rank) / count
        rank -= count
    return 0.0
