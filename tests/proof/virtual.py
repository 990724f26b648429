"""Virtual time: an event loop that never waits, and a clock that goes with it.

Nothing but timers and what they call runs on it: no sockets, no threads. When nothing is ready, the time
jumps to the next timer. So a week takes as long as what happens in it, and happens the same way each time.
"""

import asyncio
from collections.abc import Callable
from typing import Any

START = 1_800_000_000_000  # ms: a moment in 2027


class NothingToCome(Exception):
    """Everything waits for what will never happen."""


class _Jump:
    """In the place of a selector."""

    def __init__(self) -> None:
        self.time = 0.0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise NothingToCome
        self.time += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._selector = _Jump()
        self._clock_resolution = 1e-6  # what is due within that is due: floats are not exact

    def time(self) -> float:
        return self._selector.time

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        raise AssertionError("a thread came in: what it does would not be the same each time")


class VirtualClock:
    """A Clock over a VirtualLoop, whose wall clock may be set, of a machine that may sleep."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.era = 0
        self._loop = loop
        self._slept = 0.0
        self._set_by = self._followed = 0  # ms
        self._eras = {0: 0}  # what the clock was set by in each
        self._told: list[Callable[[], None]] = []

    def now(self) -> int:
        return START + round(self.elapsed() * 1000) + self._followed

    def wall(self) -> int:
        """What the wall says, followed or not."""
        return START + round(self.elapsed() * 1000) + self._set_by

    def monotonic(self) -> float:
        return self._loop.time()

    def elapsed(self) -> float:
        """Seconds since the start of it all, the machine's sleep included."""
        return self._loop.time() + self._slept

    def follow(self) -> int:
        by, self._followed = self._set_by - self._followed, self._set_by
        self.era = max(self.era + 1, self.now()) if by else self.era
        self._eras[self.era] = self._followed
        return by

    def until(self, moment: int, era: int) -> float:
        """Seconds to a moment in ms that is meant by the time of that era."""
        return (moment - START - self._eras[era]) / 1000 - self.elapsed()

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        self._told.append(told)
        return lambda: self._told.remove(told)

    def forget_watchers(self) -> None:
        """They were killed."""
        self._told.clear()

    def jump(self, seconds: float) -> None:
        """The wall clock is set."""
        self._set_by += round(seconds * 1000)
        self._tell()

    def sleep(self, seconds: float) -> None:
        """The machine sleeps and wakes."""
        self._slept += seconds
        self._tell()

    def _tell(self) -> None:
        for told in list(self._told):
            told()
