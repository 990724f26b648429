"""These tests run the real program: they start it, kill it and start it again."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .program import Tasker
from .target import Target


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Tasker]]:
    """Starts a tasker on the store of this test and any free port; `ready=False` does not wait for it.

    Nothing of it outlives the test.
    """
    started: list[Tasker] = []
    numbers = itertools.count()

    def begin(*options: object, ready: bool = True, **more: Any) -> Tasker:
        defaults = (f"--store=lmdb:{tmp_path / 'db'}", "--address=127.0.0.1:0")
        tasker = Tasker(*defaults, *options, log=tmp_path / f"tasker-{next(numbers)}.log", **more)
        started.append(tasker)
        return tasker.ready() if ready else tasker

    yield begin
    for tasker in started:
        tasker.kill()


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as target:
        yield target


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(where)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)
