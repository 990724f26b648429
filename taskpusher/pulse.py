"""Whether the event loop has been blocked: a timer that ticks only while there is something to do."""

import asyncio
from collections.abc import Callable

from .clock import Clock

TICK = 1.0  # seconds
BLOCKED = 5.0  # a tick later than this means that something held the loop
REMEMBERED = 60.0  # seconds for which that is told


class Pulse:
    """Ticks while `busy()` and once after each `touch`; an idle program is not woken."""

    def __init__(self, clock: Clock, busy: Callable[[], bool]) -> None:
        self._clock, self._busy = clock, busy
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self._blocked_at: float | None = None
        self.lag = 0.0  # seconds the latest tick came late

    def touch(self) -> None:
        """There is something to do."""
        if self._timer is None:
            self._expected = self._clock.monotonic() + TICK
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        self.lag = max(0.0, now - self._expected)
        if self.lag >= BLOCKED:
            self._blocked_at = now
        if self._busy():
            self.touch()

    def blocked(self) -> bool:
        """The loop was blocked for 5 s within the last minute."""
        now = self._clock.monotonic()
        if self._timer is not None and now - self._expected >= BLOCKED:
            self._blocked_at = now  # asked before the tick that is as late
        return self._blocked_at is not None and now - self._blocked_at < REMEMBERED

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
