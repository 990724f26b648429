"""Figures as paths of SVG."""

import pytest

from taskpusher.web.pages import chart


@pytest.mark.parametrize(
    ("most", "top"),
    [
        (0, 1),
        (-3, 1),
        (1, 1),
        (1.5, 2),
        (2, 2),
        (3, 5),
        (5, 5),
        (6, 10),
        (10, 10),
        (11, 20),
        (0.3, 0.5),
        (999, 1000),
    ],
)
def test_a_scale_ends_at_a_round_figure(most: float, top: float) -> None:
    assert chart.ceiling(most) == pytest.approx(top)


def test_layers_stand_on_each_other() -> None:
    first, second, third = chart.stacked(([1, 0], [1, 2], [0, 0]), 2)
    assert first == "M1 100V50h8V100z"
    assert second == "M1 50V0h8V50zM11 100V0h8V100z"
    assert third == ""
    assert chart.stacked((), 1) == []


def test_an_area_is_closed_at_the_ground_and_none_where_all_is_nothing() -> None:
    assert chart.area([1, 2], 2) == "M5 100 L5 50 L15 0 L15 100Z"
    assert chart.area([0, 0], 1) == ""


def test_a_line_is_broken_where_there_is_no_value() -> None:
    assert chart.line([None, None], 1) == ""
    assert chart.line([1, None, 1, 0.5], 1) == "M2 0h6" + "M25 0L35 50"
    assert chart.line([1, 1, None, 1], 2) == "M5 50L15 50" + "M32 50h6"


def test_values_above_the_top_do_not_leave_the_chart() -> None:
    assert chart.line([4], 2) == "M2 0h6"


def test_in_a_sparkline_the_highest_bar_fills_it_and_the_least_can_be_seen() -> None:
    assert chart.spark([0, 1, 1000]) == "M4 20v-1h3V20z" + "M8 20v-20h3V20z"
    assert chart.spark([]) == chart.spark([0]) == ""
