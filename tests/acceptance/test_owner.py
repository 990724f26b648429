"""A store has one owner at a time."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .program import Tasker, failing, until

ANYWHERE = "--address=127.0.0.1:0"


def time_to_start() -> float:
    """What it takes this machine to come to the point of being refused or not."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import taskpusher.stores.lmdb, taskpusher.web, uvloop"], check=True
    )
    return time.monotonic() - began


def test_a_second_tasker_is_refused_within_a_second_with_the_pid(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    first = start()
    (tmp_path / "link").symlink_to(tmp_path / "db")
    usual = time_to_start()
    for store in ("db/", "link"):
        code, told, took = failing(f"--store=lmdb:{store}", ANYWHERE, cwd=tmp_path)
        assert code == 3
        assert f"in use by process {first.pid}" in told
        assert took < usual + 1.0
    assert first.get("/readyz")[0] == 200


def test_the_lock_is_free_at_once_after_kill_9_of_the_holder(start: Callable[..., Tasker]) -> None:
    killed = start()
    killed.kill()
    holder = start()
    code, told, _ = failing(f"--store=lmdb:{holder.store}", ANYWHERE)
    assert code == 3
    assert f"in use by process {holder.pid}" in told
    assert holder.pid != killed.pid


def test_of_several_that_start_at_once_on_nothing_one_wins(tmp_path: Path) -> None:
    log = [tmp_path / f"{n}.log" for n in range(4)]
    taskers = [Tasker(f"--store=lmdb:{tmp_path / 'new' / 'db'}", ANYWHERE, log=one) for one in log]
    try:
        until(lambda: sum(one.process.poll() is not None for one in taskers) == 3)
        (winner,) = [one for one in taskers if one.process.poll() is None]
        winner.ready()
        for loser in taskers:
            if loser is not winner:
                assert loser.process.returncode == 3, loser.said
                assert "is in use by" in loser.said
                assert "Traceback" not in loser.said
    finally:
        for one in taskers:
            one.kill()
