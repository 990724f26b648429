"""Simulated weeks: the short form of `python -m tests.proof simulation --size night`."""

import os
import subprocess
import sys
import time
from heapq import heappop
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from taskpusher import attempt, pusher, timeshift
from taskpusher.stores import lanes
from taskpusher.stores.base import Settle, Written
from taskpusher.stores.lanes import Lanes, Taken
from taskpusher.stores.memory import MemoryStore
from taskpusher.worker import Workers
from tests.proof import simulation
from tests.proof.simulation import Broken, lived


def test_weeks_of_faults_break_no_promise_and_the_same_seed_is_the_same_life() -> None:
    proof = simulation.prove("quick", 20150901, time.monotonic() + 120)
    assert proof.ok, [proof.figure, *proof.details]


def test_another_process_lives_the_same_life() -> None:
    script = "from tests.proof.simulation import lived; print(lived(0).trace, lived(1).trace)"
    told = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    ]
    assert told[0] == told[1] != ""


async def _recover_nothing(*parts: object) -> None:
    pass


def _settled_under_any_claim(store: MemoryStore, change: Settle, staged: Any) -> Written:
    row = store._row(change.job.uid, staged)
    return _settle(store, change if row is None else replace(change, claim=row.job.claim), staged)


def _whatever_the_clock_says_now(lanes: Lanes, queue: Any) -> Taken | None:
    while queue.ready:
        priority, head, _, row = heappop(queue.ready)
        if lanes._surfaced(row, head):
            return row.lane, priority, head
    return None


_settle, _take, _next_due = MemoryStore._settle, Lanes.take, Lanes.next_due
FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    "runs what is paused": (lanes._Queue, "may_run", lambda queue: True, "its queue is (paused|full)"),
    "overruns a host": (Lanes, "full_key", lambda lanes, caps: "", "its host is full"),
    "moves no delay with the clock": (
        timeshift.TimeShift, "_moved", lambda shift, job: None, "its delay is not over",
    ),
    "has a clock in its lanes that never goes back": (
        Lanes, "take", lambda lanes, now: _take(lanes, max(now, lanes._now)), "its delay is not over",
    ),
    "runs what was due before the clock was set back": (
        Lanes, "_first_of", _whatever_the_clock_says_now, "its delay is not over",
    ),
    "wakes too late": (
        Lanes, "next_due", lambda lanes: (_next_due(lanes) or 0) + 600_000, "it waits though it may run",
    ),
    "recovers nothing": (pusher, "recover", _recover_nothing, "all workers are busy"),
    "repeats what may have gone out": (
        attempt, "worth_another", lambda job, error_class, status: True, "goes out again",
    ),
    "lets a canceled call go on": (
        Workers, "cut", lambda workers, claim: None, "the call of a canceled job goes on",
    ),
    "settles under an old claim": (
        MemoryStore, "_settle", _settled_under_any_claim, "attempts do not grow one by one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("that", FAULTS)
def test_a_tasker_that_breaks_a_promise_is_found_out(that: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without it a simulation that looks at nothing would pass."""
    owner, name, fault, promise = FAULTS[that]
    monkeypatch.setattr(owner, name, fault)
    with pytest.raises(Broken, match=promise):  # noqa: PT012
        for seed in range(20):
            lived(seed)


@pytest.mark.parametrize("seed", [20261549, 20261648, 20261749])
def test_a_job_that_is_taken_back_late_at_a_start_runs_at_once(seed: int) -> None:
    """In these lives the store answers only when the first claims have found nothing."""
    simulation.lived(seed)
