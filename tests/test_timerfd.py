"""Told that the wall clock was set. Nobody sets the clock of the machine for it."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskpusher import timerfd
from taskpusher.clock import SystemClock
from taskpusher.testing import eventually
from taskpusher.timerfd import when_set


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")
async def test_nothing_is_told_and_nothing_left_open_while_nobody_sets_the_clock() -> None:
    told: list[int] = []
    before = open_files()
    end = when_set(lambda: told.append(1))
    assert open_files() == before + 1
    await asyncio.sleep(0)
    end()
    assert told == [] and open_files() == before


async def test_a_canceled_timer_tells_and_is_armed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in place of the timer: the kernel's own cancel needs a clock that is set."""
    told, armed = [], []
    ours, theirs = os.pipe()
    read = os.read

    def canceled(fd: int, size: int) -> bytes:
        if fd != ours:
            return read(fd, size)
        read(fd, size)
        raise OSError(errno.ECANCELED, "Operation canceled")

    monkeypatch.setattr(timerfd, "_armed_timer", lambda: ours)
    monkeypatch.setattr(timerfd, "_arm", armed.append)
    monkeypatch.setattr(os, "read", canceled)
    end = when_set(lambda: told.append(1))
    for times in (1, 2):
        os.write(theirs, b"x")
        await eventually(lambda times=times: len(told) == len(armed) == times)
    end()
    os.close(theirs)


async def test_a_wake_up_for_nothing_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    os.write(theirs, b"x")
    read, reads = os.read, []

    def in_vain(fd: int, size: int) -> bytes:
        if fd == ours:
            reads.append(read(fd, size))
            raise BlockingIOError
        return read(fd, size)

    monkeypatch.setattr(timerfd, "_armed_timer", lambda: ours)
    monkeypatch.setattr(os, "read", in_vain)
    end = when_set(lambda: told.append(1))
    await eventually(lambda: reads)
    end()
    os.close(theirs)
    assert told == []


class NoTimers:
    """A libc of another system."""

    def __init__(self, *_: Any) -> None:
        pass


class RefusedTimers(NoTimers):
    """A kernel that has none to give."""

    def timerfd_create(self, *_: Any) -> int:
        return -1


class RefusedSettings(NoTimers):
    """One that can't arm it that way."""

    def timerfd_create(self, *_: Any) -> int:
        return os.dup(2)

    def timerfd_settime(self, *_: Any) -> int:
        return -1


@pytest.mark.parametrize("libc", [NoTimers, RefusedTimers, RefusedSettings])
async def test_where_there_is_no_such_timer_the_clock_is_looked_at_now_and_then(
    libc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timerfd.ctypes, "CDLL", libc)
    monkeypatch.setattr(timerfd, "LOOK", 0.001)
    told: list[int] = []
    end = when_set(lambda: told.append(1))
    await eventually(lambda: len(told) > 2)
    end()


def test_the_clock_jumps_when_it_is_followed_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    by = 0
    machine = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: machine() + by)
    clock = SystemClock()
    assert abs(clock.now() - machine() / 1e6) < 50 and clock.follow() == 0 and clock.era == 0
    by = 86_400 * 10**9
    assert abs(clock.now() - machine() / 1e6) < 50
    assert abs(clock.follow() - 86_400_000) < 50 and clock.follow() == 0
    assert abs(clock.now() - machine() / 1e6 - 86_400_000) < 50
    assert clock.era and abs(clock.era - clock.now()) < 50


def test_no_two_eras_are_the_same_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((0, 10**12, 0, 10**12, 0))
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: 0)
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    clock, eras = SystemClock(), []
    for _ in range(4):
        clock.follow()
        eras.append(clock.era)
    assert len(set(eras)) == 4


def test_small_steps_are_followed_and_told_once_they_make_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    by = 0
    machine = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: machine() + by)
    clock = SystemClock()
    told = []
    for _ in range(4):
        by += 400 * 10**6
        told.append(clock.follow())
        assert abs(clock.now() - time.time_ns() / 1e6) < 50
    assert told[:2] == [0, 0] and abs(told[2] - 1200) < 50 and told[3] == 0
