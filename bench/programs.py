"""Other programs: found, started on free ports, ended when the block ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

VERSION_OPTIONS = {
    "nginx": "-v",
    "wrk": "-v",
    "redis-server": "--version",
    "beanstalkd": "-v",
    "node": "--version",
    "npm": "--version",
    "strace": "--version",
}
PATIENCE = 20.0  # seconds until a program that was started has to listen


class Missing(Exception):
    """What the machine lacks for a figure; the reason stands in its row."""


def need(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            raise Missing(f"{name} is not installed")


def version(name: str) -> str | None:
    """The first number with a dot that the program says of itself; None: it is not there."""
    if shutil.which(name) is None:
        return None
    line = [name, VERSION_OPTIONS[name]]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(
    command: Sequence[object],
    log: Path,
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, which is ended as a whole. What it says goes to `log`."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> None:
    """SIGTERM to the program; after `grace` seconds SIGKILL to whatever of its group is left."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until it takes connections."""

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    alive_until(process, answers, log)


def alive_until(
    process: subprocess.Popen[bytes], true: Callable[[], bool], log: Path, step: float = 0.01
) -> None:
    """Poll `true` every `step` seconds; the program must not end before."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{process.args[0]} did not start: {said}")  # type: ignore[index]
        time.sleep(step)
