"""Simulated weeks: the short form of `python -m tests.proof simulation --size night`."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from taskpusher import attempt, pusher, timeshift
from taskpusher.stores import lanes
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


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "its queue is paused": (lanes._Queue, "may_run", lambda queue: True),
    "its host is full": (lanes.Lanes, "full_key", lambda lanes, caps: ""),
    "its delay is not over": (timeshift.TimeShift, "_moved", lambda shift, job: None),
    "all workers are busy": (pusher, "recover", _recover_nothing),
    "goes out again": (attempt, "worth_another", lambda job, error_class, status: True),
    "the call of a canceled job goes on": (Workers, "cut", lambda workers, claim: None),
}


@pytest.mark.parametrize("promise", FAULTS)
def test_a_tasker_that_breaks_a_promise_is_found_out(promise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without it a simulation that looks at nothing would pass."""
    monkeypatch.setattr(*FAULTS[promise])
    with pytest.raises(Broken, match=promise):  # noqa: PT012
        for seed in range(20):
            lived(seed)
