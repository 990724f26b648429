"""The machine's clock is set by a day while tasker runs: dates are kept, delays end when they would have."""

import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from .program import Tasker, until
from .target import Target

COMMAND = (sys.executable, str(Path(__file__).with_name("settable.py")))
DAY = 86_400
DELAY = 2.0  # seconds
LATE = 1.5  # seconds that a call may come after its time, on a busy machine


@pytest.mark.parametrize("by", [DAY, -DAY])
def test_delays_go_on_and_dates_are_kept(
    by: int, start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    tasker = start(command=COMMAND, env={"CLOCK": str(clock)})
    pushed = time.monotonic()
    tasker.push_many([{"url": f"{target.url}/delayed", "delay": DELAY}] * 50)
    in_an_hour = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    tasker.push(f"{target.url}/dated", due_at=in_an_hour)

    clock.write_text(str(by))
    tasker.tell(signal.SIGUSR1)
    until(lambda: "the wall clock was set" in tasker.said, what=lambda: tasker.said)
    set_at = time.monotonic()
    if by > 0:
        until(lambda: "/dated" in target.paths())
        assert time.monotonic() - set_at < LATE
    tasker.completed(tasker.push(f"{target.url}/plain"))
    assert time.monotonic() - set_at < LATE
    until(lambda: target.paths().count("/delayed") == 50)
    calls = [call.at - pushed for call in target.calls if call.path == "/delayed"]
    assert min(calls) >= DELAY and max(calls) < DELAY + LATE
    assert ("/dated" in target.paths()) is (by > 0)
    assert "traceback" not in tasker.said.lower()
    tasker.stop()
