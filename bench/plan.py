"""How much is measured: quick to see that it works, normal for figures, full for millions of jobs."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """`seconds` bounds a part; jobs are per round; a round measures every candidate once, in turn."""

    name: str
    rounds: int
    drain_jobs: int
    in_flight: tuple[int, ...]
    load_seconds: float  # of one run of a load client
    waiting: tuple[int, ...]  # jobs that wait
    lanes: int  # queues, with 10 to 100 jobs in each
    grown_drain: int  # jobs drained of those that wait
    churn_jobs: int
    idle_seconds: float
    site_jobs: int  # behind the pages
    tab_seconds: float  # that open tabs are watched
    peer_jobs: int
    peer_rounds: int
    everysec: bool  # Redis with its default of one sync a second too
    peer_seconds: float  # the most that one peer may drain


PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            name="quick", rounds=1, drain_jobs=5_000, in_flight=(4, 50), load_seconds=2.0,
            waiting=(10_000, 50_000), lanes=1_000, grown_drain=5_000, churn_jobs=100_000, idle_seconds=3.0,
            site_jobs=20_000, tab_seconds=4.0,
            peer_jobs=1_000, peer_rounds=1, everysec=False, peer_seconds=15.0,
        ),
        Plan(
            name="normal", rounds=3, drain_jobs=20_000, in_flight=(4, 16, 50, 200), load_seconds=5.0,
            waiting=(10_000, 100_000, 1_000_000), lanes=10_000, grown_drain=20_000, churn_jobs=200_000,
            idle_seconds=10.0, site_jobs=1_000_000, tab_seconds=15.0,
            peer_jobs=20_000, peer_rounds=2, everysec=True, peer_seconds=30.0,
        ),
        Plan(
            name="full", rounds=5, drain_jobs=20_000, in_flight=(4, 16, 50, 200), load_seconds=10.0,
            waiting=(10_000, 100_000, 1_000_000, 10_000_000), lanes=10_000, grown_drain=20_000,
            churn_jobs=5_000_000, idle_seconds=10.0, site_jobs=1_000_000, tab_seconds=30.0,
            peer_jobs=20_000, peer_rounds=3, everysec=True, peer_seconds=120.0,
        ),
    )
}  # fmt: skip

# Seconds after which a part is given up, by plan. The sum of a column bounds a whole run.
LIMITS = {
    "drain": {"quick": 30, "normal": 180, "full": 900},
    "add": {"quick": 20, "normal": 60, "full": 300},
    "bulk": {"quick": 15, "normal": 40, "full": 300},
    "latency": {"quick": 15, "normal": 40, "full": 300},
    "growth": {"quick": 40, "normal": 200, "full": 3600},
    "churn": {"quick": 40, "normal": 100, "full": 3600},
    "idle": {"quick": 60, "normal": 80, "full": 120},
    "pages": {"quick": 120, "normal": 400, "full": 800},
    "peers": {"quick": 120, "normal": 900, "full": 7200},
}


@dataclass(frozen=True)
class Run:
    """One run of the bench: how much, where, and whom to tell how it goes."""

    plan: Plan
    directory: Path  # on a disk; what is below it goes at the end
    cache: Path  # what the peers have installed
    peers: tuple[str, ...]  # by a part of their names; none: all
    say: Callable[[str], None]

    @contextmanager
    def place(self) -> Iterator[Path]:
        """A new directory, for as long as the block lasts."""
        made = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
