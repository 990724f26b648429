"""What many waiting jobs cost: memory, disk, a page, a start after kill -9, the drain.

A store is filled, and a tasker started on it whose calls hang: so all jobs wait while it is looked at. It is
killed with its workers busy; nginx takes the target's port, and the next tasker has to recover and to drain.
"""

import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import fill, programs, target
from .plan import Run
from .results import Figures, spread
from .target import Target
from .tasker import Tasker

IN_FLIGHT = 50
PAGES = 9  # of which the median counts
PATIENCE = 1800.0  # seconds; the part's own limit ends it sooner


@dataclass
class Candidate:
    """A store with jobs that wait, and what its rounds found."""

    jobs: int
    queues: int
    home: Path
    port: int = 0  # of the target that its jobs call
    left: int = 0  # jobs that still wait
    deep: str = ""  # the uid of the job that nine tenths of them stand before
    found: list[Figures] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.jobs:,} jobs" + ("" if self.queues == 1 else f" in {self.queues:,} queues")


def measure(run: Run) -> Figures:
    """By the number of waiting jobs, and for many queues. The rounds go through them in turn."""
    plan = run.plan
    with run.place() as place:
        candidates = [Candidate(jobs, 1, place / str(jobs)) for jobs in plan.waiting]
        candidates.append(Candidate(fill.lanes(plan.lanes), plan.lanes, place / "lanes"))
        for number in range(plan.rounds):
            for candidate in candidates:
                found = _round(candidate, plan.grown_drain)
                candidate.found.append(found)
                run.say(
                    f"round {number + 1}, {candidate.name}: {found['memory_mb']:.0f} MB, ready in "
                    f"{found['ready_s']:.2f} s, drain {found['drain']:,.0f}/s"
                )
    first = candidates[0]
    *waiting, lanes = (_figures(one, first) for one in candidates)
    return {
        "waiting": {str(one["jobs"]): one for one in waiting},
        "lanes": lanes,
        "drained": plan.grown_drain,
    }


def _round(candidate: Candidate, drained: int) -> Figures:
    if candidate.left < 0.9 * candidate.jobs:
        _fill(candidate)
    with target.silent(candidate.port):
        found = _look(candidate)
    with target.answering(candidate.home, candidate.port) as nginx:
        again = _restart(candidate, nginx, drained)
    memory = max(found["memory_mb"], again["memory_mb"])
    return {**found, **again, "memory_mb": memory}


def _fill(candidate: Candidate) -> None:
    shutil.rmtree(candidate.home, ignore_errors=True)
    candidate.home.mkdir()
    candidate.port = programs.free_port()
    url = f"http://127.0.0.1:{candidate.port}/x"
    filled = fill.fill(candidate.home / "tasker.db", candidate.jobs, candidate.queues, url, PATIENCE)
    assert filled["jobs"] == candidate.jobs, filled
    candidate.deep = filled["deep"]


def _look(candidate: Candidate) -> Figures:
    """Memory, disk and pages while all but a few wait; ends with kill -9."""
    tasker = Tasker(candidate.home, IN_FLIGHT)
    try:
        tasker.ready()
        waiting = tasker.counts()["waiting"]
        assert waiting > 0.8 * candidate.jobs, f"{waiting} jobs wait"
        candidate.left = waiting
        return {
            "first_page_ms": _page_time(tasker, "/jobs/waiting?limit=100"),
            "deep_page_ms": _page_time(tasker, f"/jobs/waiting?limit=100&last_uid={candidate.deep}"),
            "memory_mb": tasker.memory(),
            "bytes_a_job": tasker.disk() / waiting,
        }
    finally:
        tasker.kill()


def _page_time(tasker: Tasker, path: str) -> float:
    """Milliseconds; the median of some."""
    took = []
    for _ in range(PAGES):
        begun = time.perf_counter()
        status, page = tasker.get(path)
        took.append(time.perf_counter() - begun)
        assert status == 200, page
        assert len(page["jobs"]) == 100, page
    return statistics.median(took) * 1000


def _restart(candidate: Candidate, nginx: Target, drained: int) -> Figures:
    """From starting the process to ready and to the first call, then the drain; ends with kill -9."""
    before = nginx.hits()
    tasker = Tasker(candidate.home, IN_FLIGHT)
    try:
        ready = first = 0.0
        while not (ready and first):
            now = time.perf_counter() - tasker.begun
            if not ready and tasker.is_ready():
                ready = time.perf_counter() - tasker.begun
            if not first and nginx.hits() > before:
                first = time.perf_counter() - tasker.begun
            if tasker.process.poll() is not None or now > PATIENCE:
                raise RuntimeError(f"the tasker did not start again: {tasker.log.read_text()[-1000:]}")
            time.sleep(0.001)
        hits = min(drained, candidate.left)
        gone = nginx.hits()
        seen = nginx.until(hits - (gone - before), gone, time.perf_counter(), PATIENCE)
        candidate.left = tasker.counts()["waiting"]
        return {"ready_s": ready, "first_call_s": first, "drain": seen.rate, "memory_mb": tasker.memory()}
    finally:
        tasker.kill()


def _figures(candidate: Candidate, first: Candidate) -> Figures:
    """The medians of the rounds; the drain also as a share of that of the fewest jobs in the same round."""
    shares = [mine["drain"] / its["drain"] for mine, its in zip(candidate.found, first.found, strict=True)]
    names = candidate.found[0]
    return {
        "jobs": candidate.jobs,
        "queues": candidate.queues,
        **{name: spread([one[name] for one in candidate.found]) for name in names},
        "drain_share": spread(shares),
    }
