"""A clock that is set: the short form of `python -m tests.proof clock --size night`."""

import time

import pytest

from taskpusher.feed import Feed
from taskpusher.timeshift import TimeShift
from tests.proof import clock


def test_delays_end_and_dates_come_however_the_clock_is_set() -> None:
    proof = clock.prove("quick", 20150901, time.monotonic() + 60)
    assert proof.ok, [proof.figure, *proof.details]


def test_a_tasker_that_does_not_move_its_jobs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeShift, "_moved", lambda shift, job: None)
    proof = clock.prove("quick", 20150901, time.monotonic() + 60)
    assert not proof.ok


def test_a_tasker_that_claims_while_it_moves_them_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Feed, "behind", property(lambda feed: 0, lambda feed, value: None), raising=False)
    proof = clock.prove("quick", 20150901, time.monotonic() + 60)
    assert not proof.ok
