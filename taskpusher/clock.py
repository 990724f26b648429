"""The time, handed in everywhere, so that tests and simulations can turn it."""

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> int:
        """Wall-clock time in milliseconds since 1970-01-01 UTC; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds that only ever grow: for durations, timeouts and backoffs."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()
