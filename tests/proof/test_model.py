"""Walks against the model: the short form of `python -m tests.proof model --size night`."""

from typing import Any

import pytest
from hypothesis import Phase

from taskpusher import attempt, moves, timeshift, upkeep
from taskpusher.errors import MoveRefused
from taskpusher.job import due_now, edited
from taskpusher.stores import lanes
from tests.proof import model
from tests.proof.model import EXAMPLES, STEPS, STORES, walked


@pytest.mark.parametrize("store", STORES)
def test_every_job_is_where_the_moves_take_it(store: str) -> None:
    walked(store, EXAMPLES["quick"][store] // 3, STEPS["quick"])


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "a paused queue runs": (lanes._Queue, "may_run", lambda queue: True),
    "a host has more than its share": (lanes.Lanes, "full_key", lambda lanes, caps: ""),
    "a once-job is repeated": (attempt, "worth_another", lambda job, error_class, status: True),
    "a retry is no retry": (moves, "retried", due_now),
    "delays end early": (timeshift.TimeShift, "_moved", lambda shift, job: None),
    "nothing expires": (upkeep, "expired", lambda job, now: edited(job)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tasker_with_a_fault_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without it a machine that looks at nothing would pass."""
    monkeypatch.setattr(*FAULTS[fault])
    monkeypatch.setattr(model, "PHASES", (Phase.generate,))  # the first divergence will do
    with pytest.raises((AssertionError, MoveRefused)):
        walked("memory", 100, 50)
