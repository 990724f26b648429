"""I/O errors: the short form of `python -m tests.proof io-errors --size night`."""

import time

import pytest

from tests.proof import io_errors, recorder


@pytest.mark.skipif(recorder.library() is None, reason="no C compiler")
def test_a_disk_that_fails_or_is_full_at_any_write_or_sync_loses_nothing_that_was_answered() -> None:
    proof = io_errors.prove("quick", 20150901, time.monotonic() + 120)
    assert proof.ok, [proof.figure, *proof.details]
