"""`tasker stats`: how it goes."""

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..client import Client
from ..wording import short, size
from .remote import json_option, remote
from .screen import Rows, age, emit, show, state_cell, table

SPANS = {"1m": "1 min", "5m": "5 min", "60m": "60 min"}


def states(found: dict[str, Any]) -> Rows:
    return table(
        ("state", "jobs>"), [(state_cell(state), number) for state, number in found["states"].items()]
    )


def rates(found: dict[str, Any]) -> Rows:
    """Jobs a second, by what became of them."""
    rows = [
        (what, *(f"{found['rates'][span][what]:,.3g}" for span in SPANS))
        for what in ("pushed", "completed", "errors")
    ]
    return table(("a second", *(f"{shown}>" for shown in SPANS.values())), rows)


def health(found: dict[str, Any]) -> Text:
    """Two lines: the process and its workers; the store."""
    store = found["store"]
    oldest = age(found["oldest_waiting"])
    lines = Text(no_wrap=True, overflow="ellipsis")
    lines.append(
        f"up {short(found['uptime'])} · workers busy {found['busy']} of {found['concurrency']}"
        f" · lag {found['lag'] * 1000:.1f} ms"
        + (f" · oldest waiting due {oldest}" if oldest else "")
        + f"\nstore {store['kind']} {size(store['size'])}"
    )
    if store["disk_free"]:
        lines.append(f" · disk free {size(store['disk_free'])}")
    if store["full"]:
        lines.append(" · FULL: new jobs are refused", "bold red")
    return lines


def side_by_side(found: dict[str, Any]) -> Table:
    grid = Table.grid(padding=(0, 6))
    grid.add_row(states(found), rates(found))
    return grid


@remote(json_option())
def stats(client: Client, as_json: bool) -> None:
    """The rates are jobs a second over the last minute, five minutes and hour."""
    found = client.stats()
    if as_json:
        emit(found)
        return
    store = found["store"]["path"]
    path = [Text(f"in {store}", no_wrap=True, overflow="ellipsis")] if store else []
    show(Group(health(found), *path, Text(), side_by_side(found)))
