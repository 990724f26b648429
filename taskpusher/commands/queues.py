"""`tasker queues` and `tasker queue NAME`."""

from collections.abc import Sequence
from typing import Any

import click

from ..client import Client
from ..errors import Refused
from ..options import Option
from .remote import json_option, remote
from .screen import Rows, age, emit, show, table

COLUMNS = ("queue", "waiting>", "running>", "paused>", "limit>", "oldest", "")


def listed(queues: Sequence[dict[str, Any]]) -> Rows:
    """The queues as a table: how many wait, run and are paused; what limits them; when the first was due."""
    rows = [
        (
            queue["name"],
            queue["depth"],
            queue["running"],
            queue["paused_jobs"],
            queue["concurrency"],
            age(queue["oldest"]),
            "paused" if queue["paused"] else "",
        )
        for queue in queues
    ]
    return table(COLUMNS, rows, cut=["queue"])


@remote(json_option())
def queues(client: Client, as_json: bool) -> None:
    answer = client.queues()
    if as_json:
        emit(answer)
    else:
        show(listed(answer["queues"]))


@remote(
    click.Argument(["name"], metavar="NAME"),
    Option(["--pause/--resume"], default=None, help="Run nothing of it, or go on."),
    Option(
        ["--concurrency"],
        type=click.IntRange(0, 100_000),
        metavar="N",
        help="The most jobs of it that run at once. 0: no limit of its own.",
    ),
    json_option(),
)
def queue(client: Client, name: str, pause: bool | None, concurrency: int | None, as_json: bool) -> None:
    """The rule is kept by the tasker, whether the queue has jobs or not."""
    rule: dict[str, object] = {"paused": pause, "concurrency": concurrency}
    rule = {field: value for field, value in rule.items() if value is not None}
    found = client.set_queue(name, **rule) if rule else _found(client, name)
    if as_json:
        emit(found)
    else:
        show(listed([found]))


def _found(client: Client, name: str) -> dict[str, Any]:
    for one in client.queues()["queues"]:
        if one["name"] == name:
            return dict(one)
    raise Refused(404, f"the queue {name} has no live jobs and no rule; tasker queues lists those that do")
