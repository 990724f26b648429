"""I/O errors: the short form of `python -m tests.proof io-errors --size night`."""

import errno
import time
from pathlib import Path

import pytest

from tests.acceptance.target import Target
from tests.proof import io_errors, recorder


@pytest.mark.skipif(recorder.library() is None, reason="no C compiler")
def test_a_disk_that_fails_or_is_full_at_any_write_or_sync_loses_nothing_that_was_answered() -> None:
    proof = io_errors.prove("quick", 20150901, time.monotonic() + 120)
    assert proof.ok, [proof.figure, *proof.details]


@pytest.mark.skipif(recorder.library() is None, reason="no C compiler")
def test_a_meta_page_that_finds_no_room_is_written_when_there_is_room(tmp_path: Path) -> None:
    with Target() as target:
        trials = io_errors.Trials(tmp_path, target, 20150901)
        for at in range(21, 60):
            trial = trials.try_one(errno.ENOSPC, at)
            assert not trial.wrong, trial
            if trial.kind() == "meta write":
                return
    raise AssertionError("no fault met the meta page")
