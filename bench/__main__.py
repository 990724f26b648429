"""The one command: `python -m bench`, from the repository's root."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from . import add, bulk, churn, contest, drain, growth, idle, latency, machine, pages, report, results
from .plan import LIMITS, PLANS, Run
from .programs import Missing

PARTS: dict[str, Callable[[Run], results.Figures]] = {
    "drain": drain.measure,
    "add": add.measure,
    "bulk": bulk.measure,
    "latency": latency.measure,
    "growth": growth.measure,
    "churn": churn.measure,
    "idle": idle.measure,
    "pages": pages.measure,
    "peers": contest.measure,
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskpusher-bench"


class OutOfTime(Exception):
    """A part took longer than it may."""


@click.group(invoke_without_command=True)
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure this part; repeatable.")
@click.option("--size", type=click.Choice(list(PLANS)), default="normal", show_default=True)
@click.option("--peers", multiple=True, help="Measure these peers, by a part of their names; repeatable.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Where the stores are: on a disk.")
@click.option(
    "--cache", type=click.Path(path_type=Path), default=CACHE, help="Where the peers are installed."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), help="Where the report goes.")
@click.pass_context
def main(
    context: click.Context,
    only: tuple[str, ...],
    size: str,
    peers: tuple[str, ...],
    directory: Path | None,
    cache: Path,
    out: Path,
) -> None:
    """Measure a tasker and its peers on this machine, and write the report."""
    context.obj = out
    if context.invoked_subcommand:
        return
    signal.signal(signal.SIGTERM, _terminated)
    directory = (directory or cache).resolve()
    for made in (cache, out, directory):
        made.mkdir(parents=True, exist_ok=True)
    try:
        facts = machine.facts(directory)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with tempfile.TemporaryDirectory(dir=directory, prefix="run-") as home:
        run = Run(PLANS[size], Path(home), cache.resolve(), peers, lambda line: click.echo(f"  {line}"))
        failed = _measure(run, only or tuple(PARTS), facts, out / report.RESULTS)
    report.write(out, results.read(out / report.RESULTS))
    click.echo(f"{out / report.PAGE} is written")
    context.exit(1 if failed else 0)


@main.command("report")
@click.pass_obj
def make_report(out: Path) -> None:
    """Make the report again from what was measured before."""
    found = results.read(out / report.RESULTS)
    if not found:
        raise click.ClickException(f"{out / report.RESULTS} is not there; measure first: python -m bench")
    report.write(out, found)


def _measure(run: Run, names: tuple[str, ...], facts: results.Figures, path: Path) -> bool:
    """Each part for itself, kept as soon as it is measured; whether one failed."""
    kept = results.read(path)
    same = {**kept.get("machine", {}), "sync_ms": 0} == {**facts, "sync_ms": 0}
    parts: results.Figures = (
        kept["parts"] if same else {}
    )  # those of another machine don't stand beside these
    failed = False
    for name in names:
        parts[name] = _part(run, name)
        failed = failed or "error" in parts[name]
        results.write(path, {"machine": facts, "versions": machine.versions(), "parts": parts})
    return failed


def _part(run: Run, name: str) -> results.Figures:
    click.echo(f"{name} …")
    part: results.Figures = {
        "size": run.plan.name,
        "taken": datetime.now(UTC).date().isoformat(),
        "load": machine.load(),
        "others": machine.others(),
    }
    begun = time.monotonic()
    try:
        with _limit(LIMITS[name][run.plan.name]):
            part["figures"] = PARTS[name](run)
    except Missing as error:
        part["left_out"] = str(error)
        click.echo(f"  left out: {error}", err=True)
    except (OutOfTime, RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
        part["error"] = str(error) or type(error).__name__
        click.echo(f"  failed: {part['error']}", err=True)
    part["seconds"] = round(time.monotonic() - begun, 1)
    return part


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Raises OutOfTime in the block when it takes longer; what it started is ended by its own blocks."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _terminated(number: int, frame: FrameType | None) -> None:
    """End by an exception, so that everything that was started is ended too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
