"""How often a tasker with nothing to do is woken."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import target
from .plan import Run
from .results import Figures
from .tasker import Tasker, serving

QUIET = 11.0  # seconds without a wake-up: the last timer of what was begun, the 10 s to connect, has gone off


def measure(run: Run) -> Figures:
    """Wake-ups of all threads; the system calls of another such while, where strace may look."""
    seconds = run.plan.idle_seconds
    with run.place() as place, target.answering(place) as nginx, serving(place / "tasker", 50) as tasker:
        tasker.push(1000, nginx.url)
        nginx.until(1000, 0, time.perf_counter(), within=10)
        tasker.hang_up()
        _fall_asleep(tasker)
        before, used = tasker.wake_ups(), tasker.cpu()
        time.sleep(seconds)
        woken, used = tasker.wake_ups() - before, tasker.cpu() - used
        calls = _system_calls(tasker.pid, seconds, place / "strace")
    said = "" if calls is None else f", {calls} system calls under strace"
    run.say(f"{woken} wake-ups in {seconds:.0f} s{said}")
    return {"seconds": seconds, "wake_ups": woken, "cpu_seconds": round(used, 3), "system_calls": calls}


def _fall_asleep(tasker: Tasker) -> None:
    time.sleep(60 - time.time() % 60)  # the history writes what moved when its minute ends
    deadline = time.monotonic() + 40
    last, since = -1, 0.0
    while time.monotonic() < deadline:
        found, now = tasker.wake_ups(), time.monotonic()
        if found != last:
            last, since = found, now
        elif now - since > QUIET:
            return
        time.sleep(0.1)


def _system_calls(pid: int, seconds: float, out: Path) -> int | None:
    """None: there is no strace, or it may not look. Those that its own coming interrupted are left out."""
    if shutil.which("strace") is None:
        return None
    command = ["strace", "-f", "-c", "-o", str(out), "-p", str(pid)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        tracer.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(5)
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", out.read_text(), re.MULTILINE)
    return sum(int(calls) for calls, name in rows if name not in ("total", "restart_syscall"))
