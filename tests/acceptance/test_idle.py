"""A tasker that has nothing to do does nothing."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .program import Tasker, until
from .target import Target

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc here")

WINDOW = 3.0  # seconds
MOST = 2


def wake_ups(tasker: Tasker) -> int:
    """How often its threads have gone to sleep so far."""
    tasks = Path(f"/proc/{tasker.pid}/task").glob("*/status")
    found = [
        re.search(r"^voluntary_ctxt_switches:\s*(\d+)", task.read_text(), re.MULTILINE) for task in tasks
    ]
    return sum(int(one[1]) for one in found if one)


def quiet(tasker: Tasker) -> None:
    """Until what was begun has ended: it slept for longer than any timer that may be left from it."""
    last, since = -1, 0.0

    def rests() -> bool:
        nonlocal last, since
        if (now := wake_ups(tasker)) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    until(rests, within=15, what=lambda: f"{wake_ups(tasker)} wake-ups")


def in_the_window(tasker: Tasker) -> int:
    # the history writes what moved when its minute ends: before the window or after it
    until(lambda: 60 - time.time() % 60 > 8, within=15)
    quiet(tasker)
    before = wake_ups(tasker)
    time.sleep(WINDOW)  # this is what is measured
    return wake_ups(tasker) - before


def test_nothing_wakes_while_nothing_waits(start: Callable[..., Tasker]) -> None:
    assert in_the_window(start()) <= MOST


def test_nothing_wakes_while_all_jobs_are_due_in_an_hour(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start()
    tasker.push_many([{"url": target.url, "delay": "1h", "expires_at": "2099-01-01T00:00:00Z"}] * 1000)
    tasker.completed(tasker.push(target.url))
    assert tasker.ask("PUT", "/queues/held", {"paused": True})[0] == 200
    tasker.push(target.url, queue="held")
    assert in_the_window(tasker) <= MOST
    assert len(target.calls) == 1
