"""SIGTERM and SIGINT under load, with hung targets and half-sent requests: in time, nothing lost or twice."""

import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.acceptance.program import PATIENCE, Tasker, until
from tests.acceptance.target import Target
from tests.acceptance.test_stopping import half_sent

from . import Proof
from .busy import Pusher

STOPS = {"quick": 2, "night": 200}
SECOND_SIGNALS = {"quick": 1, "night": 40}
GRACE = 0.5  # seconds
HUNG = 5
CALL = 0.02  # seconds that the target takes
SLOWEST = 100  # calls a second, when what is left runs


def prove(size: str, seed: int, deadline: float) -> Proof:
    with tempfile.TemporaryDirectory() as name, Target() as target:
        run = _Run(Path(name), target, random.Random(seed))
        stops = [run.stop() for _ in range(STOPS[size]) if time.monotonic() < deadline]
        lost, doubled = run.finish()
    with tempfile.TemporaryDirectory() as name, Target() as target:
        run = _Run(Path(name), target, random.Random(seed + 1))
        hurried = [run.stop(twice=True) for _ in range(SECOND_SIGNALS[size]) if time.monotonic() < deadline]
        gone, _ = run.finish()
    figure = (
        f"{len(stops)} stops of {GRACE} s grace, the longest {max(stops):.2f} s; {len(hurried)} second "
        f"signals, the longest {max(hurried):.2f} s; {len(lost | gone)} lost, "
        f"{len(doubled)} that had ended called again"
    )
    in_time = size == "quick" or (max(stops) <= GRACE + 1 and max(hurried) <= 1)
    ok = in_time and not (lost or gone or doubled)
    return Proof(
        figure, ok, [f"lost: {sorted(lost)[:5]}", f"doubled: {sorted(doubled)[:5]}"] if not ok else []
    )


class _Run:
    """One store, its tasker stopped and started again and again."""

    def __init__(self, directory: Path, target: Target, chance: random.Random) -> None:
        self._directory, self._target, self._chance = directory, target, chance
        self._starts = 0
        self._answered: set[str] = set()
        tasker = self._start()
        tasker.push_many([{"url": f"{target.url}/hang/{n}", "max_attempts": 1000} for n in range(HUNG)])
        tasker.stop()

    def _start(self) -> Tasker:
        self._starts += 1
        options = (f"--store=lmdb:{self._directory / 'db'}", "--address=127.0.0.1:0", "--concurrency=20")
        return Tasker(*options, f"--grace={GRACE}", log=self._directory / f"{self._starts}.log").ready()

    def _path(self, number: int) -> str:
        return f"/delay/{CALL}/{self._starts}-{number}"

    def stop(self, twice: bool = False) -> float:
        """Seconds from the last signal to the end."""
        tasker, chance = self._start(), self._chance
        called = len(self._target.calls)
        try:
            with (
                half_sent(tasker),
                Pusher(
                    lambda: tasker.port,
                    lambda number: {"url": self._target.url + self._path(number)},
                    5,
                    lambda answered: answered + called > len(self._target.calls) + 200,
                ) as pusher,
            ):
                until(lambda: len(pusher.answered) > 20)
                time.sleep(chance.uniform(0, 0.3))
                sent = tasker.tell_and_see(chance.choice([signal.SIGTERM, signal.SIGINT]))
                if twice:
                    time.sleep(chance.uniform(0, 0.2))
                    sent = time.monotonic()
                    tasker.tell()
                assert tasker.end(PATIENCE) == 0, tasker.said
                took = time.monotonic() - sent
        finally:
            tasker.kill()
        assert "Traceback" not in tasker.said, tasker.said
        assert not pusher.problems, pusher.problems[:3]
        self._answered |= {self._path(number) for number in pusher.answered}
        return took

    def finish(self) -> tuple[set[str], set[str]]:
        """Run what is left; the paths that were never called, and those that were answered twice."""
        tasker = self._start()
        try:
            left = tasker.number("waiting")
            until(lambda: tasker.number("waiting") == 0, 60 + left / SLOWEST, lambda: f"of {left}")
            until(lambda: tasker.number("running") == HUNG, 60)
        finally:
            tasker.kill()
        times = Counter(self._target.paths())
        answered = self._target.answered
        return {path for path in self._answered if not times[path]}, {
            path for path, n in answered.items() if n > 1
        }
