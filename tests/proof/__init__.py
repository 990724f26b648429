"""Proofs of what the guarantee promises: a row each, by one command (see docs/reliability.md).

    python -m tests.proof power-cuts --size quick --seed 1

Each row is a module of this folder with `prove(size, seed, deadline) -> Proof`; the deadline is a moment of
time.monotonic(). Modules are named from the root: `from tests.acceptance.program import Tasker`.
"""

from dataclasses import dataclass, field
from typing import Literal

Size = Literal["quick", "night"]


@dataclass(frozen=True)
class Proof:
    """What a row came to: its figure in one line, and what it is made of."""

    figure: str
    ok: bool
    details: list[str] = field(default_factory=list)
