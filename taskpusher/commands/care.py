"""The commands that work on the store's directory itself: check, backup, compact.

Exit codes: 0 fine, 1 something is wrong, 2 usage, 3 the store is locked or unreadable.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import config
from ..errors import InvalidField
from ..options import Option, help_option
from . import COMMANDS

if TYPE_CHECKING:
    from ..stores.copies import Copied
    from ..stores.findings import Finding, Report

WRONG = 1
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


# ---- the commands -------------------------------------------------------------------------------------


@click.pass_context
def _check(ctx: click.Context, /, rebuild: bool, set_aside: bool, json: bool, **options: object) -> int:
    if set_aside and not rebuild:
        raise InvalidField("--set-aside", "it goes with --rebuild")
    path = _path(ctx, options)
    from ..stores.check import check
    from ..stores.copies import rebuilt

    began = time.monotonic()
    with _interruptible(), _progress("check") as told:
        report = rebuilt(path, set_aside, told) if rebuild else check(path, told)
    _print(report, json, lambda: _lines_of(report, rebuild, time.monotonic() - began))
    return WRONG if report.wrong else 0


@click.pass_context
def _backup(ctx: click.Context, /, directory: str, json: bool, **options: object) -> int:
    path = _path(ctx, options)
    from ..stores.copies import backup

    with _interruptible(), _progress("backup") as told:
        copied = backup(path, Path(directory), told)
    size = f"{copied.jobs} jobs, {_bytes(copied.bytes)}"
    _print(copied, json, lambda: _copied(copied, f"copied {copied.store} to {copied.copy}: {size}"))
    return WRONG if copied.report.wrong else 0


@click.pass_context
def _compact(ctx: click.Context, /, json: bool, **options: object) -> int:
    path = _path(ctx, options)
    from ..stores.copies import compact

    with _interruptible(), _progress("compact") as told:
        copied = compact(path, told)
    size = f"{_bytes(copied.before)} before, {_bytes(copied.bytes)} now"
    _print(copied, json, lambda: _copied(copied, f"compacted {copied.store}: {copied.jobs} jobs, {size}"))
    return 0


def _command(name: str, run: Callable[..., Any], help: str, *more: click.Parameter) -> click.Command:
    store = next(row for row in config.SETTINGS if row.name == "store")
    shared: list[click.Parameter] = [
        Option(["--store"], metavar=store.metavar, help=f"The store. [{store.default}]"),
        Option(["--config"], metavar="FILE", help="A TOML file that may name it."),
        Option(["--json"], is_flag=True, help="Answer as JSON."),
        help_option(),
    ]
    help = f"{COMMANDS[name].help} {help}"
    return click.Command(name, callback=run, params=[*more, *shared], help=help, add_help_option=False)


check = _command(
    "check",
    _check,
    "A tasker may run, but for --rebuild.",
    Option(["--rebuild"], is_flag=True, help="Make every index anew from the jobs."),
    Option(["--set-aside"], is_flag=True, help="Move what can't be read to files in lost/."),
)
backup = _command(
    "backup",
    _backup,
    "It is copied as it is now to the new directory DIR, and the copy is checked. A tasker may run.",
    click.Argument(["directory"], metavar="DIR"),
)
compact = _command("compact", _compact, "No tasker may run.")


# ---- what they are told -------------------------------------------------------------------------------


def _path(ctx: click.Context, options: dict[str, object]) -> Path:
    """The store's directory, by the same option, variable and key as for serving."""
    store = config.load_one("store", options)
    if store.kind != "lmdb":
        raise InvalidField(
            "--store", f"a store in memory has no directory to {ctx.info_name}; name lmdb:PATH"
        )
    return Path(store.path)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, with what it was making removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("tasker: interrupted; nothing was changed", err=True)
        raise click.exceptions.Exit(WRONG) from None
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- what they say ------------------------------------------------------------------------------------


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal for each part of the work."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with ExitStack() as shown:

        def begun() -> Any:
            bar = click.progressbar(length=1000, label=label, show_eta=False, file=sys.stderr)
            return shown.enter_context(bar)

        bar = begun()

        def tell(done: int, total: int) -> None:
            nonlocal bar
            at = min(1000, done * 1000 // max(1, total))
            if at < bar.pos:  # the next part of the work
                shown.close()
                bar = begun()
            if at > bar.pos:
                bar.update(at - bar.pos)

        yield tell


def _print(value: Any, json: bool, lines: Callable[[], Iterator[str]]) -> None:
    if json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
        return
    for line in lines():
        click.echo(line)


def _lines_of(report: "Report", rebuilt: bool, seconds: float) -> Iterator[str]:
    yield from _found(report.mended, lambda found: "mended")
    yield from _found(report.findings, lambda found: found.remedy)
    done = "made every index anew; " if rebuilt else ""
    size = f"{_bytes(report.bytes)}, {_bytes(report.free)} of it free"
    yield f"{done}{report.store}: {report.jobs} jobs, {size}, pages {report.pages}, {seconds:.1f} s"
    yield f"{report.wrong} wrong" if report.wrong else "nothing is wrong"


def _found(findings: "Sequence[Finding]", then: "Callable[[Finding], str]") -> Iterator[str]:
    for found in findings:
        yield f"{found.table}: {found.count} {found.fault}; {then(found)}"
        yield from (f"    {one.at}  {one.what}" for one in found.examples)
        if found.count > len(found.examples):
            yield f"    and {found.count - len(found.examples)} more"


def _copied(copied: "Copied", told: str) -> Iterator[str]:
    yield f"{told}, {copied.seconds:.1f} s"
    if copied.report.wrong:
        yield f"the copy is whole, but {copied.report.wrong} wrong in the store: see tasker check"


def _bytes(size: int) -> str:
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
