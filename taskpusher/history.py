"""What happened in the last hour, minute by minute: the rates of /stats."""

from collections import deque
from collections.abc import Sequence

import msgspec

from .clock import Clock
from .job import Job, State

MINUTES = 61  # an hour, and the minute that is not over


class Minute(msgspec.Struct):
    """Counts of one minute."""

    minute: int  # since 1970
    pushed: int = 0
    completed: int = 0
    errors: int = 0


class History:
    """Counts moves by the minute they were written in; keeps an hour, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._start = clock.monotonic()

    def _current(self) -> Minute:
        minute = int(self._clock.monotonic() - self._start) // 60
        if not self._minutes or self._minutes[-1].minute != minute:
            self._minutes.append(Minute(minute))
        return self._minutes[-1]

    def moved(self, jobs: Sequence[Job]) -> None:
        """A listener of Events."""
        current = self._current()
        for job in jobs:
            state = job.state
            if state is State.COMPLETED:
                current.completed += 1
            elif state is State.ERROR:
                current.errors += 1
            elif job.revision == 0:
                current.pushed += 1

    def rates(self) -> dict[str, dict[str, float]]:
        """Jobs a second over the last minute, five minutes and hour, by what happened to them."""
        elapsed = self._clock.monotonic() - self._start
        return {name: self._rate(span, elapsed) for name, span in (("1m", 1), ("5m", 5), ("60m", 60))}

    def _rate(self, span: int, elapsed: float) -> dict[str, float]:
        now = int(elapsed) // 60
        # the present minute is not over: count it and the `span` before it
        window = [m for m in self._minutes if m.minute >= now - span]
        seconds = max(1.0, min(elapsed, span * 60 + elapsed % 60))
        sums = {name: sum(getattr(m, name) for m in window) for name in ("pushed", "completed", "errors")}
        return {name: round(n / seconds, 3) for name, n in sums.items()}
