"""What people read: nothing that a terminal obeys, spans and sizes in a word, tables of one width."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from taskpusher.commands.screen import Cell, Tables, age, clean, table, url_cell
from taskpusher.wording import short, size


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, ""), (0, "0ms"), (-1, "0ms"), (0.0123, "12.3ms"), (2.5, "2.5s"), (45, "45s"), (119, "119s"),
        (180, "3m"), (3600, "1h"), (7500, "2h5m"), (4 * 86400 + 10800, "4d3h"), (2000 * 86400, "2,000d"),
    ],
)  # fmt: skip
def test_a_span_is_told_in_a_word(seconds: float | None, written: str) -> None:
    assert short(seconds) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 60, "1048576.0 TiB")],
)
def test_a_size_is_told_in_its_unit(number: int, written: str) -> None:
    assert size(number) == written


def test_a_moment_is_told_by_how_far_off_it_is() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert age("2026-11-20T11:57:00.000Z", now) == "3m ago"
    assert age("2026-11-20T13:00:00.000Z", now) == "in 1h"
    assert age(None, now) == ""


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert clean("a\x1b[31mb\nc\u202ed\x9be") == "a·[31mb·c·d·e"


def rendered(renderable: object, width: int) -> list[str]:
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_of_a_url_without_room_the_end_is_shown() -> None:
    assert url_cell("http://localhost/work/7").fitted(10) == "…st/work/7"
    assert url_cell("http://a/漢字漢字").fitted(8) == "…字漢字"
    assert url_cell("http://a/\x1b[1m").fitted(20) == "http://a/·[1m"
    assert Cell("a long one").fitted(6) == "a lon…"
    assert [Cell("abc").fitted(width) for width in (0, 1, 2, 3)] == ["", "…", "a…", "abc"]


def test_columns_that_are_cut_share_the_room() -> None:
    rows = [("x" * 30, "short", "y" * 30)]
    assert rendered(table(("a", "b", "c"), rows, cut="abc"), 30) == [
        "a           b      c",
        f"{'x' * 9}…  short  {'y' * 10}…",
    ]


def test_a_table_is_cut_where_it_may_be_and_its_markup_is_text() -> None:
    rows = [("a" * 10, 1234567, "[red]x", url_cell("http://localhost/" + "p" * 50))]
    told = rendered(table(("name", "n>", "", "url"), rows, cut=["url"]), 50)
    assert told[0] == "name                n          url"
    assert told[1].startswith("aaaaaaaaaa  1,234,567  [red]x  …")
    assert len(told[1]) == 50
    assert len(told) == 2


def test_tables_below_each_other_keep_their_columns_and_have_one_header() -> None:
    tables = Tables(("a", "b"))
    first = rendered(tables.next([("longer", "x")]), 80)
    second = rendered(tables.next([("s", "y"), ("", "z")]), 80)
    assert first == ["a       b", "longer  x"]
    assert second == ["s       y", "        z"]
