"""The subcommands of `tasker`: their names, what each does, and the file it is in.

A subcommand is a `click.Command` under its own name in that file, which is imported when it is used: serving,
and `tasker --help`, load none of them. One more is one more line here.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click


class Place(NamedTuple):
    file: str
    help: str


COMMANDS = {
    "add": Place("add", "Push jobs: one for each URL."),
    "job": Place("jobs", "Show all that is known of a job."),
    "jobs": Place("jobs", "List the jobs in a state, or all of them."),
    "cancel": Place("moves", "Cancel jobs; a call that runs is cut."),
    "pause": Place("moves", "Let waiting jobs wait until they are resumed."),
    "resume": Place("moves", "Let paused jobs wait for their turn again."),
    "retry": Place("moves", "Send jobs in error, or canceled ones, back to waiting."),
    "run": Place("moves", "Make waiting jobs due now."),
    "duplicate": Place("moves", "Push the requests of jobs again, as new jobs."),
    "queues": Place("queues", "List the queues."),
    "queue": Place("queues", "Show a queue; pause, resume or limit it."),
    "stats": Place("stats", "Show how it goes: counts, rates, the store."),
    "top": Place("top", "Watch how it goes, on a screen that refreshes."),
    "check": Place("care", "Hold every index of a store against its jobs."),
    "backup": Place("care", "Copy a store, also one in use."),
    "compact": Place("care", "Give a store's unused pages back to the disk."),
}


class Commands(click.Group):
    """A group with these subcommands; each is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f".{COMMANDS[cmd_name].file}", __package__), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


def refuse_options_before(subcommand: str, options: Mapping[str, object]) -> None:
    """The options of serving say nothing to a subcommand. Raises UsageError."""
    if given := ", ".join(f"--{name.replace('_', '-')}" for name, value in options.items() if value):
        raise click.UsageError(
            f"{given} before {subcommand} is for serving: options of {subcommand} stand after it"
        )
