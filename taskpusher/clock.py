"""The time, handed in everywhere, so that tests and simulations can turn it."""

import time
from collections.abc import Callable
from typing import Protocol

from .timerfd import when_set

LEAST = 1000  # ms: who sets the clock by less than that moves nothing

# Of Linux: goes on while the machine sleeps, as the delay of a job does.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """`era` names the time since the wall clock was last set: 0 from the start, then what no other has."""

    era: int

    def now(self) -> int:
        """Wall-clock time in milliseconds since 1970-01-01 UTC; jumps in `follow`, and nowhere else."""

    def monotonic(self) -> float:
        """Seconds that only ever grow: for durations and timeouts."""

    def follow(self) -> int:
        """Take the machine's wall clock as it is now; by how many ms it has been set. 0: it has not."""

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` when there may be something to follow or the machine has slept; the way to end that."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self.era = 0
        self._ahead = _ahead()
        self._untold = 0  # ns of steps too small to tell of

    def now(self) -> int:
        return (time.clock_gettime_ns(_ELAPSED) + self._ahead) // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def follow(self) -> int:
        ahead = _ahead()
        self._untold += ahead - self._ahead
        self._ahead = ahead
        by = round(self._untold / 1_000_000)
        if abs(by) < LEAST:
            return 0
        self._untold = 0
        self.era = max(self.era + 1, self.now())
        return by

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        return when_set(told)


def _ahead() -> int:
    """How far wall-clock time is ahead of elapsed time, in ns: the same until somebody sets the clock."""
    return time.time_ns() - time.clock_gettime_ns(_ELAPSED)
