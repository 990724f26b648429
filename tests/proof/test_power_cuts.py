"""Power cuts: the short form of `python -m tests.proof power-cuts --size night`."""

import time

import pytest

from tests.proof import power_cuts, recorder


@pytest.mark.skipif(recorder.library() is None, reason="no C compiler")
def test_nothing_that_was_answered_is_lost_by_a_power_cut_and_flags_that_lose_it_are_found_out() -> None:
    proof = power_cuts.prove("short", 20150901, time.monotonic() + 120)
    assert proof.ok, [proof.figure, *proof.details]
