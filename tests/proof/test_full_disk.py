"""A full disk and a full map: the short form of `python -m tests.proof full-disk --size night`."""

import time

import pytest

from tests.proof import full_disk


def test_a_full_disk_is_drained_and_a_full_map_grows_while_it_works() -> None:
    try:
        proof = full_disk.prove("quick", 20150901, time.monotonic() + 60)
    except full_disk.NoMount as reason:
        pytest.skip(str(reason))
    assert proof.ok, [proof.figure, *proof.details]
