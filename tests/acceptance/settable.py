"""`tasker` on a machine whose wall clock can be set: by the seconds in the file $CLOCK, when SIGUSR1 comes.

Only what the kernel does is played: the time it tells, and that it tells of the setting.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from taskpusher import clock
from taskpusher.cli import main

CLOCK = Path(os.environ["CLOCK"])
set_by = 0  # ns
machine = time.time_ns


def when_set(told: Callable[[], None]) -> Callable[[], None]:
    def look() -> None:
        global set_by
        set_by = int(CLOCK.read_text()) * 10**9
        told()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, look)
    return lambda: bool(loop.remove_signal_handler(signal.SIGUSR1)) and None


time.time_ns = lambda: machine() + set_by
clock.when_set = when_set

if __name__ == "__main__":
    sys.exit(main())
