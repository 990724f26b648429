"""How values are spread, and where a share of them ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskpusher.histogram import Histogram, quantile


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((), 0.5, 0.0),
        ((0, 0, 0), 0.5, 0.0),
        ((10, 0, 0), 0.5, 0.5),  # between 0 and 1
        ((10,), 1.0, 1.0),
        ((0, 10, 0), 0.25, 2.0),  # between 1 and 5
        ((5, 5, 0), 0.5, 1.0),
        ((5, 5, 0), 0.75, 3.0),
        ((1, 0, 9), 0.95, 5.0),  # above all bounds: no end is known
        ((4, 4, 2), 0.0, 0.0),
    ],
)
def test_a_share_of_the_values_ends_inside_of_a_bucket(
    counts: tuple[int, ...], share: float, value: float
) -> None:
    assert quantile((1, 5), counts, share) == pytest.approx(value)


BOUNDS = (0.01, 0.1, 1, 10)
values = st.lists(st.floats(0, 10), min_size=1, max_size=200)


@given(values=values, share=st.floats(0.01, 1))
def test_it_lies_in_the_bucket_that_the_true_value_is_in(values: list[float], share: float) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.note(value)
    rank = share * len(values)
    true = sorted(values)[max(0, -int(-rank // 1) - 1)]
    found = quantile(BOUNDS, histogram.counts, share)
    lower, upper = max([0.0, *(b for b in BOUNDS if b < true)]), min(b for b in BOUNDS if b >= true)
    assert lower <= found <= upper or found == pytest.approx(upper)


@given(values=values, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_greater_share_ends_no_sooner(values: list[float], shares: tuple[float, float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.note(value)
    less, more = sorted(shares)
    assert quantile(BOUNDS, histogram.counts, less) <= quantile(BOUNDS, histogram.counts, more) + 1e-9
