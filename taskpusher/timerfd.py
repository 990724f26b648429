"""Be told when the wall clock is set, without looking at it all the time.

Linux tells it by a timer that is canceled then (TFD_TIMER_CANCEL_ON_SET in timerfd_create(2)), also when the
machine has slept. Elsewhere there is a look every ten minutes.
"""

import asyncio
import ctypes
import errno
import os
import time
from collections.abc import Callable

LOOK = 600.0  # seconds

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK  # TFD_CLOEXEC, TFD_NONBLOCK
_ABSTIME_CANCEL_ON_SET = 3
_NEVER = (1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1  # seconds since 1970


class _Itimerspec(ctypes.Structure):
    """interval and value, each of seconds and nanoseconds."""

    _fields_ = (("times", ctypes.c_long * 4),)


def when_set(told: Callable[[], None]) -> Callable[[], None]:
    """Call `told` on the running loop when the clock may have been set; the way to end that."""
    fd = _armed_timer()
    if fd is None:
        return _look_now_and_then(told)
    loop = asyncio.get_running_loop()

    def canceled() -> None:
        try:
            os.read(fd, 8)
        except OSError as error:
            if error.errno != errno.ECANCELED:
                return
        _arm(fd)
        told()

    def end() -> None:
        loop.remove_reader(fd)
        os.close(fd)

    loop.add_reader(fd, canceled)
    return end


def _look_now_and_then(told: Callable[[], None]) -> Callable[[], None]:
    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK)
            told()

    looking = asyncio.get_running_loop().create_task(look(), name="looking at the clock")

    def end() -> None:
        looking.cancel()

    return end


def _armed_timer() -> int | None:
    """A timer that only a set clock ends; None where there is none."""
    try:
        fd = int(ctypes.CDLL(None).timerfd_create(time.CLOCK_REALTIME, _FLAGS))
    except (AttributeError, OSError):
        return None
    if fd < 0:
        return None
    if not _arm(fd):
        os.close(fd)
        return None
    return fd


def _arm(fd: int) -> bool:
    never = _Itimerspec((0, 0, _NEVER, 0))
    code = ctypes.CDLL(None).timerfd_settime(fd, _ABSTIME_CANCEL_ON_SET, ctypes.byref(never), None)
    return bool(code == 0)
