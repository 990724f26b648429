"""Kills what replaces a store's file at every step of it, one step later each time. It forks, and so is a
process of its own.

`python -m stores.crashes compact|rebuild SOUND WHERE` says how many steps were tried.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskpusher.stores.check import check
from taskpusher.stores.copies import compact, rebuilt

from .damage import contents

STEPS = (
    "open",
    "write",
    "fsync",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "close",
    "pipe",
    "ftruncate",
    "pwrite",
)
KILLED, DONE = 9, 0


def die_at(step: int) -> None:
    """The end of this process comes with that call."""
    left = step

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(KILLED)
            return call(*args, **more)

        return counting

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def killed_at(step: int, work: Callable[[Path], Any], store: Path) -> bool:
    child = os.fork()
    if child == 0:
        die_at(step)
        work(store)
        os._exit(DONE)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (KILLED, DONE), code
    return code == KILLED


def main(what: str, sound: Path, where: Path) -> None:
    work: Callable[[Path], Any] = {"compact": compact, "rebuild": rebuilt}[what]
    expected = contents(sound)
    step, killed = 0, True
    while killed:
        store = where / f"{step}"
        shutil.copytree(sound, store)
        killed = killed_at(step, work, store)
        assert contents(store) == expected, step
        assert check(store).findings == [], step
        work(store)
        assert contents(store) == expected, step
        assert not list(store.glob("new-*")), step
        step += 1
    print(step)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
