"""One owner: a second tasker is told who has the store, a child keeps nothing, kill -9 frees the lock."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.program import Tasker, failing
from tests.acceptance.test_owner import time_to_start

from . import Proof

TRIES = {"quick": 1, "night": 100}
TOLD_WITHIN = 1.0  # seconds, beyond what it takes to start

# Opens the store, has a child that outlives it, and is killed: the child must not hold the store.
WITH_CHILD = """
import asyncio, os, signal, subprocess, sys
from taskpusher import LmdbStore
async def main():
    await LmdbStore(sys.argv[1]).open("node", lambda job: ())
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=quiet, stderr=quiet)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def prove(size: str, seed: int, deadline: float) -> Proof:
    usual = time_to_start()
    slowest, refused, taken_over = 0.0, 0, 0
    for _ in range(TRIES[size]):
        if time.monotonic() > deadline:
            break
        with tempfile.TemporaryDirectory() as name:
            options = (f"--store=lmdb:{name}/db", "--address=127.0.0.1:0")
            first = Tasker(*options, log=Path(name, "first.log")).ready()
            second: Tasker | None = None
            try:
                code, told, took = failing(*options)
                refused += code == 3 and f"in use by process {first.pid}" in told
                slowest = max(slowest, took - usual)
                first.kill()
                second = Tasker(*options, log=Path(name, "second.log")).ready()
                taken_over += 1
                second.stop()
                taken_over += _after_a_parent_with_a_child(Path(name), options)
            finally:
                first.kill()
                if second is not None:
                    second.kill()
    figure = (
        f"{refused} of {TRIES[size]} refused with the pid, {slowest:.2f} s beyond the start at most; "
        f"{taken_over} of {2 * TRIES[size]} took over at once after kill -9"
    )
    return Proof(
        figure,
        refused == TRIES[size] and taken_over == 2 * refused and (size == "quick" or slowest < TOLD_WITHIN),
    )


def _after_a_parent_with_a_child(directory: Path, options: tuple[str, ...]) -> bool:
    line = [sys.executable, "-c", WITH_CHILD, str(directory / "db")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    child = int(done.stdout)
    third = Tasker(*options, log=directory / "third.log")
    try:
        third.ready()
        third.stop()
        return True
    except AssertionError:
        return False
    finally:
        third.kill()
        subprocess.run(["kill", str(child)], check=True)
