"""How things are shown to people, and to scripts: tables, ages and sizes; JSON, one document a line."""

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

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


def state_text(state: str) -> Text:
    return Text(state, COLORS.get(state, ""), no_wrap=True)


# ---- tables -------------------------------------------------------------------------------------------


class Ending:
    """A text of which the end is kept where there is no room for all of it: URLs differ there."""

    def __init__(self, text: str) -> None:
        self.text = clean(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text, room = self.text, options.max_width
        if cell_len(text) > room:
            kept = chop_cells(text[::-1], max(1, room - 1))[0][::-1]
            text = f"…{kept}"
        yield Text(text, no_wrap=True, overflow="crop")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        length = cell_len(self.text)
        return Measurement(min(8, length), length)


class Tables:
    """Tables with the same columns, one below the other: the pages of a list. Only the first has a header,
    and no column gets narrower on the way.

    A column's name that ends in ">" is set to the right; one in `cut` gives way where there is no room.
    """

    def __init__(self, columns: Sequence[str], cut: Iterable[str] = ()) -> None:
        self._columns = [(name.rstrip(">"), name.endswith(">"), name in cut) for name in columns]
        self._widths = [0] * len(columns)
        self._begun = False

    def next(self, rows: Sequence[Sequence[Any]]) -> Table:
        table = Table(box=None, pad_edge=False, show_header=not self._begun, header_style="bold")
        self._begun = True
        for number, (name, right, cut) in enumerate(self._columns):
            lengths = [_length(row[number]) for row in rows]
            self._widths[number] = max(self._widths[number], len(name), *lengths, 0)
            table.add_column(
                name,
                justify="right" if right else "left",
                no_wrap=not cut,
                overflow="ellipsis",
                min_width=None if cut else self._widths[number],
            )
        for row in rows:
            table.add_row(*(_cell(cell) for cell in row))
        return table


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], cut: Iterable[str] = ()) -> Table:
    return Tables(columns, cut).next(rows)


def _cell(cell: object) -> Any:
    if isinstance(cell, Text | Ending):
        return cell
    text = "" if cell is None else clean(f"{cell:,}" if isinstance(cell, int) else str(cell))
    return Text(text, no_wrap=True, overflow="ellipsis")


def _length(cell: object) -> int:
    return 0 if isinstance(cell, Ending) else int(_cell(cell).cell_len)


# ---- figures ------------------------------------------------------------------------------------------


def since(moment: str | None, now: datetime | None = None) -> float | None:
    """Seconds since that moment (RFC 3339); negative when it is to come."""
    if moment is None:
        return None
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()


def short(seconds: float | None) -> str:
    """A span in its biggest unit or two: 12ms, 2.5s, 45s, 3m, 2h5m, 4d3h."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.3g}ms"
    if seconds < 120:
        return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.2g}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes}m"
    whole, rest = (f"{hours}h", f"{minutes % 60}m") if hours < 24 else (f"{days:,}d", f"{hours % 24}h")
    return whole if rest.startswith("0") else whole + rest


def age(moment: str | None, now: datetime | None = None) -> str:
    """`3m ago`, `in 10s`."""
    seconds = since(moment, now)
    if seconds is None:
        return ""
    return f"in {short(-seconds)}" if seconds < 0 else f"{short(seconds)} ago"


def size(number: int) -> str:
    """Bytes: 512 B, 1.5 MiB."""
    amount, unit = float(number), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
