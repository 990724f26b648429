"""A calm day: no faults, and every job is called exactly once."""

import tempfile
import time
from pathlib import Path

from tests.acceptance.program import Tasker

from . import Proof
from .busy import CountingTarget, Pusher, left

JOBS = {"quick": 10_000, "night": 1_000_000}
BATCH = 500
AHEAD = 5000  # jobs pushed and not called yet


def prove(size: str, seed: int, deadline: float) -> Proof:
    jobs, began = JOBS[size], time.monotonic()
    with tempfile.TemporaryDirectory() as name, CountingTarget() as target:
        options = (f"--store=lmdb:{name}/db", "--address=127.0.0.1:0", "--concurrency=50", "--keep=1m")
        tasker = Tasker(*options, log=Path(name, "log")).ready()
        try:

            def enough(answered: int) -> bool:
                return answered >= jobs or answered - target.total > AHEAD

            with Pusher(lambda: tasker.port, lambda n: {"url": f"{target.url}/{n}"}, BATCH, enough) as pusher:
                while len(pusher.answered) < jobs and time.monotonic() < deadline and not pusher.problems:
                    time.sleep(0.01)
            while left(tasker) and time.monotonic() < deadline + 60:
                time.sleep(0.01)
            tasker.stop()
        finally:
            tasker.kill()
        pushed = len(pusher.answered)
        lost = sum(f"/{number}" not in target.times for number in pusher.answered)
        extra = target.total - len(target.times)
    rate = pushed / (time.monotonic() - began)
    figure = f"{pushed:,} jobs at {rate:,.0f}/s: {lost} lost, {extra} called more than once"
    return Proof(figure, pushed > 0 and not (lost or extra or pusher.problems), pusher.problems[:3])
