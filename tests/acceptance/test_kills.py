"""kill -9 under load: the short form of `python -m tests.proof kills`."""

from pathlib import Path

from .kills import killed, ready_again
from .target import Target


def test_no_answered_job_is_lost_or_invented_by_kill_9(tmp_path: Path, target: Target) -> None:
    run = killed(tmp_path, target, kills=8, seed=20150901, longest=1.2)
    assert run.kills == 8
    assert run.in_flight, "no kill met a call under way"


def test_it_is_ready_again_at_once_after_kill_9_with_many_waiting(tmp_path: Path, target: Target) -> None:
    """The bar is 2 s with 100,000 waiting: `python -m tests.proof kills`. Here others run beside it."""
    ready, added, called = ready_again(tmp_path, target, 20_000)
    assert max(ready, added, called) < 6
