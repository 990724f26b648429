"""kill -9 at random moments under adds and 50 calls at once: nothing lost or invented, ready at once."""

import tempfile
import time
from pathlib import Path

from tests.acceptance.kills import extra, killed, ready_again
from tests.acceptance.target import Target

from . import Proof

KILLS = {"quick": 50, "night": 1000}
A_STORE = 50  # kills
LONGEST = 2.0  # seconds from a start to its kill
WAITING = 100_000
READY = 2.0  # seconds


def prove(size: str, seed: int, deadline: float) -> Proof:
    kills = answered = again = in_flight = 0
    details = []
    while kills < KILLS[size] and time.monotonic() < deadline:
        with tempfile.TemporaryDirectory() as name, Target() as target:
            run = killed(Path(name), target, min(A_STORE, KILLS[size] - kills), seed + kills, LONGEST)
        kills += run.kills
        answered += len(run.answered)
        again += extra(run)
        in_flight += run.in_flight
        details.append(f"{run.kills} kills, {len(run.answered):,} jobs answered, {extra(run)} calls again")
    with tempfile.TemporaryDirectory() as name, Target() as target:
        ready, added, called = ready_again(Path(name), target, WAITING)
    back = f"with {WAITING:,} waiting ready in {ready:.2f} s, first call in {called:.2f} s"
    figure = (
        f"{kills:,} kills, {answered:,} jobs answered: 0 lost, 0 invented, {again:,} calls again "
        f"of {in_flight:,} in flight at the kills; {back}"
    )
    return Proof(figure, max(ready, added, called) < READY, details)
