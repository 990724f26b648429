"""The peers and the tasker: the same jobs, the same target, each peer right after a tasker.

Counted from the first hit to the last, so that nobody's start is held against him.
"""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import target
from .drain import drain
from .peers import IN_FLIGHT, PEERS, Peer
from .peers.installed import Installed
from .peers.stores import kept
from .plan import LIMITS, Plan, Run
from .programs import Missing, running
from .results import Figures, spread
from .target import Seen

FILLING = 120.0  # seconds that a peer may take to be filled
BUDGET = 0.8  # of the part's time; after it no other peer is begun


@dataclass
class Row:
    peer: Peer
    jobs: int
    version: str = ""
    ours: list[float] = field(default_factory=list)  # the tasker's, right before
    rates: list[float] = field(default_factory=list)
    everysec: list[float] = field(default_factory=list)
    skipped: str = ""

    def times(self) -> Figures:
        """How many times as fast the tasker was, round by round."""
        return spread([mine / its for mine, its in zip(self.ours, self.rates, strict=True)])


def measure(run: Run) -> Figures:
    """Jobs/s of each peer, and how many times as fast a tasker was right before it."""
    plan = run.plan
    chosen = [peer for peer in PEERS if not run.peers or _meant(peer, run.peers)]
    rows = [Row(peer, max(500, round(plan.peer_jobs * peer.share))) for peer in chosen]
    installed = Installed(run.cache)
    end = time.monotonic() + BUDGET * LIMITS["peers"][plan.name]
    for row in rows * plan.peer_rounds:
        if time.monotonic() < end:
            _measure(run, row, installed)
        elif not row.rates:
            row.skipped = row.skipped or "no time was left"
    ours = [rate for row in rows for rate in row.ours] or [_tasker(run)]
    times = [row.times()["median"] for row in rows if row.rates]
    return {
        "jobs": plan.peer_jobs,
        "in_flight": IN_FLIGHT,
        "tasker": spread(ours),
        "peers": [_figures(row) for row in rows],
        "to_best": min(times, default=None),
    }


def _meant(peer: Peer, names: tuple[str, ...]) -> bool:
    return any(name.lower() in peer.name.lower() for name in names)


def _tasker(run: Run) -> float:
    with run.place() as place, target.answering(place) as nginx:
        seen, _ = drain(place / "tasker", nginx, run.plan.peer_jobs, IN_FLIGHT)
    return seen.rate_from_first


def _measure(run: Run, row: Row, installed: Installed) -> None:
    """One round of a peer: durable, then with Redis's default. A peer that fails once is left out."""
    if row.skipped:
        return
    peer, plan = row.peer, run.plan
    try:
        row.version = installed.version(peer.package)
        ours = _tasker(run)
        row.rates.append(_drain(run, row, installed, "always"))
        row.ours.append(ours)
        if plan.everysec and peer.store == "redis":
            row.everysec.append(_drain(run, row, installed, "everysec"))
    except (Missing, RuntimeError, subprocess.SubprocessError) as error:
        row.skipped = str(error)
        run.say(f"{peer.name}: left out: {error}")
        return
    more = f", {row.everysec[-1]:,.0f}/s with a sync a second" if row.everysec else ""
    run.say(f"{peer.name}: {row.rates[-1]:,.0f} jobs/s{more}; tasker {row.ours[-1]:,.0f}/s")


def _drain(run: Run, row: Row, installed: Installed, sync: str) -> float:
    peer = row.peer
    with (
        run.place() as home,
        target.answering(home) as nginx,
        kept(peer.store, home, sync) as where,
    ):
        environment = installed.environment() | where | {"BENCH_URL": nginx.url}
        cwd = installed.place(peer.work[0])
        _fill(installed.command(peer.fill), row.jobs, cwd, environment)
        log = home / "worker.log"
        begun = time.perf_counter()
        with running(installed.command(peer.work), log, cwd=cwd, env=environment):
            seen = nginx.until(row.jobs, 0, begun, run.plan.peer_seconds)
        return _judged(seen, row.jobs, run.plan, log)


def _fill(command: list[str], jobs: int, cwd: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*command, str(jobs)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=FILLING,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"could not be filled: {done.stderr.strip()[-300:]}")


def _judged(seen: Seen, jobs: int, plan: Plan, log: Path) -> float:
    """A slow one counts with what it did; one that did nearly nothing has failed."""
    if not seen.enough and seen.hits < jobs / 20:
        said = log.read_text(errors="replace").strip()[-300:]
        raise RuntimeError(f"{seen.hits} of {jobs} jobs in {plan.peer_seconds:.0f} s: {said}")
    return seen.rate_from_first


def _figures(row: Row) -> Figures:
    peer = row.peer
    return {
        "name": peer.name,
        "package": peer.package,
        "version": row.version,
        "store": peer.store,
        "setting": peer.setting,
        "in_flight": peer.in_flight,
        "jobs": row.jobs,
        "rate": spread(row.rates) if row.rates else None,
        "times": row.times() if row.rates else None,
        "everysec": spread(row.everysec) if row.everysec else None,
        "skipped": row.skipped or None,
    }
