"""How fast jobs are pushed one by one, beside a bare Starlette handler that stores nothing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import load, programs
from .plan import Run
from .results import Figures, spread
from .tasker import serving

CONNECTIONS = 32
BODY = "url=http%3A%2F%2F127.0.0.1%3A9%2Fx"  # nobody listens there; the queue is paused


def measure(run: Run) -> Figures:
    """Rate, p50 and p99 of both; every push of the tasker's is synced before it is answered."""
    seconds, ours, bare = run.plan.load_seconds, [], []
    for number in range(run.plan.rounds):
        with run.place() as place, starlette(place) as port:
            bare.append(load.closed_loop(port, BODY, CONNECTIONS, seconds, place))
        with run.place() as place, serving(place, 4) as tasker:
            tasker.pause(True)
            ours.append(load.closed_loop(tasker.port, BODY, CONNECTIONS, seconds, place))
        run.say(
            f"round {number + 1}: {ours[-1]['rate']:,.0f} pushes/s, p99 {ours[-1]['p99_ms']:.1f} ms; "
            f"bare handler {bare[-1]['rate']:,.0f}/s"
        )
    ratios = [mine["rate"] / theirs["rate"] for mine, theirs in zip(ours, bare, strict=True)]
    return {
        "connections": CONNECTIONS,
        "client": ours[0]["client"],
        "tasker": _figures(ours),
        "bare": _figures(bare),
        "ratio": spread(ratios),
    }


@contextmanager
def starlette(place: Path) -> Iterator[int]:
    """The port of the bare handler."""
    port, log = programs.free_port(), place / "bare.log"
    command = [sys.executable, "-m", "uvicorn", "bench.bare:app", "--port", port, "--no-access-log"]
    with programs.running([*command, "--log-level", "warning"], log) as process:
        programs.listening(process, port, log)
        yield port


def _figures(found: list[Figures]) -> Figures:
    return {name: spread([one[name] for one in found]) for name in ("rate", "p50_ms", "p99_ms")}
