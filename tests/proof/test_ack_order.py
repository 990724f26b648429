"""The order of an answer: the short form of `python -m tests.proof ack-order --size night`."""

import time

import pytest

from tests.proof import ack_order


@pytest.mark.skipif(not ack_order.can_trace(), reason="strace is not installed, or may not trace here")
def test_a_push_is_answered_after_its_commit_was_synced_and_many_share_one() -> None:
    proof = ack_order.prove("quick", 0, time.monotonic() + 60)
    assert proof.ok, [proof.figure, *proof.details]
