"""`tasker cancel`, `pause`, `resume`, `retry`, `run` and `duplicate`: what a person does to jobs."""

from collections.abc import Callable, Sequence

import click

from ..client import Client
from ..errors import Refused
from .many import move_all, options
from .remote import FAILED, json_option, remote
from .screen import clean, console, emit


def _move(name: str) -> click.Command:
    uids = click.Argument(["uids"], metavar="UID…", nargs=-1)

    def move(
        client: Client,
        uids: Sequence[str],
        as_json: bool,
        state: str | None,
        q: str | None,
        dry_run: bool,
        yes: bool,
    ) -> int:
        """Each UID is a move of its own: what is refused is told, and the others are done. With --all in the
        place of uids the tasker moves all jobs of a state, or those that match a filter, while it goes on."""
        if bool(uids) == bool(state):
            raise click.UsageError("give the UIDs of jobs, or else --all STATE")
        if state:
            return move_all(client, name, state, q, dry_run=dry_run, yes=yes, as_json=as_json)
        if q is not None or dry_run:
            raise click.UsageError("--filter and --dry-run are for --all: give --all STATE")
        return moved(client, name, uids, emit if as_json else None)

    move.__name__ = name
    return remote(uids, *options(), json_option())(move)


def _duplicate() -> click.Command:
    def duplicate(client: Client, uids: Sequence[str], as_json: bool) -> int:
        """Each UID is a push of its own: what is refused is told, and the others are done."""
        return moved(client, "duplicate", uids, emit if as_json else None)

    uids = click.Argument(["uids"], metavar="UID…", nargs=-1, required=True)
    return remote(uids, json_option())(duplicate)


def moved(
    client: Client, action: str, uids: Sequence[str], tell: Callable[[object], None] | None = None
) -> int:
    """Move them one after the other; 1 when one was refused. A wrong password or the like ends it."""
    people, errors = console(), console(stderr=True)
    code = 0
    for uid in uids:
        try:
            job = client.move(uid, action)
        except Refused as error:
            if error.status not in (404, 409, 422):
                raise
            errors.print(clean(f"tasker: {uid}: {error}"), soft_wrap=True)
            code = FAILED
            continue
        if tell is not None:
            tell(job)
        elif wish := job.get("wish"):
            people.print(f"{job['uid']} {job['state']}, {wish} noted", soft_wrap=True)
        else:
            people.print(f"{job['uid']} {job['state']}", soft_wrap=True)
    return code


cancel = _move("cancel")
pause = _move("pause")
resume = _move("resume")
retry = _move("retry")
run = _move("run")
duplicate = _duplicate()
