"""How things are shown to people, and to scripts: tables, ages and sizes; JSON, one document a line."""

import re
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from ..wording import short

BETWEEN = "  "  # columns
UNLIMITED = 100_000  # columns, where nobody's window ends
COLORS = {"completed": "green", "error": "red", "running": "cyan", "paused": "yellow", "canceled": "dim"}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # also what turns a line around


def emit(document: object) -> None:
    """One JSON document, on a line of its own. Raises BrokenPipeError."""
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


def console(stderr: bool = False) -> Console:
    """Where people read. What is no terminal has no width to cut at, unless COLUMNS says one."""
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a locale without our letters is no reason to fail
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in made._environ:
        made.width = UNLIMITED
    return made


def show(renderable: Any, people: Console | None = None) -> None:
    """Print it. A terminal may get blanks at the ends of lines, scripts and files get none."""
    people = people or console()
    if people.is_terminal:
        people.print(renderable)
        return
    with people.capture() as capture:
        people.print(renderable)
    text = "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
    people.file.write(text)
    people.file.flush()


def clean(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return _CONTROL.sub("·", text)


# ---- tables -------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A text on one line. `keep_end`: where there is no room, its end is shown; URLs differ there."""

    text: str
    style: str = ""
    keep_end: bool = False

    def fitted(self, width: int) -> str:
        """As much of it as there is room for."""
        if len(self.text) * 2 <= width or cell_len(self.text) <= width:
            return self.text
        if width < 2:
            return "…"[:width]
        if self.keep_end:
            return "…" + chop_cells(self.text[::-1], width - 1)[0][::-1]
        return chop_cells(self.text, width - 1)[0] + "…"


class Tables:
    """Tables with the same columns, one below the other: the pages of a list. Only the first has a header,
    and no column gets narrower on the way.

    A column's name that ends in ">" is set to the right; one in `cut` gives way where there is no room.
    """

    def __init__(self, columns: Sequence[str], cut: Container[str] = ()) -> None:
        self._names = [name.rstrip(">") for name in columns]
        self._right = [name.endswith(">") for name in columns]
        self._cut = [name in cut for name in columns]
        self._widths = [0] * len(columns)

    def next(self, rows: Iterable[Sequence[object]]) -> "Rows":
        cells = [[_cell(value) for value in row] for row in rows]
        if not any(self._widths):
            cells.insert(0, [Cell(name, "bold") for name in self._names])
        for number, column in enumerate(zip(*cells, strict=True)):
            self._widths[number] = max(self._widths[number], *(cell_len(cell.text) for cell in column))
        return Rows(cells, list(self._widths), self._right, self._cut)


@dataclass
class Rows:
    """Lines of cells, laid out when it is known how much room there is."""

    cells: list[list[Cell]]
    widths: list[int]
    right: list[bool]
    cut: list[bool]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = self._shared(options.max_width)
        styles = {name: console.get_style(name) for row in self.cells for _, name, _ in row}
        for row in self.cells:
            for number, (cell, width, right) in enumerate(zip(row, widths, self.right, strict=True)):
                text = cell.fitted(width)
                blanks = " " * (width - cell_len(text))
                gap = BETWEEN if number else ""
                yield Segment(gap + blanks if right else gap)
                yield Segment(text, styles[cell.style])
                if not right and number < len(row) - 1:
                    yield Segment(blanks)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        whole = sum(self.widths) + len(BETWEEN) * (len(self.widths) - 1)
        return Measurement(min(whole, options.max_width), min(whole, options.max_width))

    def _shared(self, room: int) -> list[int]:
        """The widths of the columns: those that may be cut share what the others leave, the narrow ones
        first, so that what they do not need goes to the wide ones."""
        widths = list(self.widths)
        room -= len(BETWEEN) * (len(widths) - 1)
        room -= sum(width for width, cut in zip(widths, self.cut, strict=True) if not cut)
        giving = sorted((width, number) for number, width in enumerate(widths) if self.cut[number])
        for done, (width, number) in enumerate(giving):
            widths[number] = max(1, min(width, room // (len(giving) - done)))
            room -= widths[number]
        return widths


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], cut: Container[str] = ()) -> Rows:
    return Tables(columns, cut).next(rows)


def state_cell(state: str) -> Cell:
    return Cell(state, COLORS.get(state, ""))


def url_cell(url: str) -> Cell:
    return Cell(clean(url), keep_end=True)


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell("" if value is None else clean(f"{value:,}" if isinstance(value, int) else str(value)))


# ---- figures ------------------------------------------------------------------------------------------


def since(moment: str | None, now: datetime | None = None) -> float | None:
    """Seconds since that moment (RFC 3339); negative when it is to come."""
    if moment is None:
        return None
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()


def age(moment: str | None, now: datetime | None = None) -> str:
    """`3m ago`, `in 10s`."""
    seconds = since(moment, now)
    if seconds is None:
        return ""
    return f"in {short(-seconds)}" if seconds < 0 else f"{short(seconds)} ago"
