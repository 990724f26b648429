"""The quick form of the rows that have no tests of their own elsewhere."""

import random
import time
from importlib import import_module

import pytest

from . import Proof


@pytest.mark.parametrize("row", ["signals", "owner", "calm", "cancellations", "poison", "growth"])
def test_the_row_holds(row: str) -> None:
    proof: Proof = import_module(f".{row}", __package__).prove(
        "quick", random.randrange(1 << 32), time.monotonic() + 60
    )
    assert proof.ok, "\n".join([proof.figure, *proof.details])
