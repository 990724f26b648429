"""`--all STATE` of the moves: one move of all jobs of a state that match a filter, done by the tasker."""

import sys
import time
from typing import Any

import click

from ..client import Client
from ..job import State
from ..options import Option
from .remote import FAILED
from .screen import clean, console, emit

STATES = [*(state.value for state in State), "errors"]
EVERY = 0.5  # seconds between looks at how far it is


def options() -> list[Option]:
    return [
        Option(
            ["--all", "state"], type=click.Choice(STATES), metavar="STATE", help="All jobs of that state."
        ),
        Option(
            ["-q", "--filter", "q"],
            metavar="FILTER",
            help="With --all: those that match, like 'status:5xx age:<1h'.",
        ),
        Option(["--dry-run"], is_flag=True, help="With --all: only count them."),
        Option(["--yes"], is_flag=True, help="With --all: do not ask."),
    ]


def move_all(
    client: Client, action: str, state: str, q: str | None, *, dry_run: bool, yes: bool, as_json: bool
) -> int:
    """Move them, after a look at how many they are where nobody said yes before. 1 if not all were moved."""
    filters: dict[str, Any] = {} if q is None else {"q": q}
    if dry_run or not yes:
        counted = _ended(client, client.move_all(action, state, dry_run=True, **filters))
        if dry_run or not counted["count"] or counted.get("error"):
            return _told(f"to {action}", counted, as_json)
        _confirm(f"{action} {_jobs(counted['count'])} in {state}{f' that match {q}' if q else ''}?")
    return _told(action, _ended(client, client.move_all(action, state, **filters)), as_json)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes, or --dry-run to only count them")
    if not click.confirm(clean(question), err=True):
        raise KeyboardInterrupt


def _ended(client: Client, bulk: dict[str, Any]) -> dict[str, Any]:
    """The answer at its end. Ctrl-C ends the bulk too."""
    if "id" not in bulk:
        return bulk
    with console(stderr=True).status("counting") as status:
        try:
            while not bulk["done"]:
                time.sleep(EVERY)
                bulk = client.bulk(bulk["id"])
                if bulk["total"] is not None:
                    status.update(f"{bulk['count']:,} of {bulk['total']:,}")
        except KeyboardInterrupt:
            bulk = client.cancel_bulk(bulk["id"])
            bulk["error"] = bulk["error"] or "it was canceled"
    return bulk


def _told(what: str, bulk: dict[str, Any], as_json: bool) -> int:
    skipped, failed, error = (bulk.get(name) for name in ("skipped", "failed", "error"))
    if as_json:
        emit(bulk)
    else:
        parts = [f"{what}: {_jobs(bulk['count'])}"]
        parts += [f"{skipped:,} changed meanwhile"] if skipped else []
        parts += [f"{failed:,} refused"] if failed else []
        console().print(", ".join(parts), soft_wrap=True)
    if error:
        console(stderr=True).print(clean(f"tasker: {error}"), soft_wrap=True)
    return FAILED if error or failed else 0


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"
