"""The tasker as it is, but for what a proof needs to be otherwise.

    python -m tests.proof.program metasync=False map_size=65536 -- --store=lmdb:tasker.db

Options of LMDB: a small map grows under way; without `sync` or `metasync` jobs must be found lost. With
`directories=False` no directory is synced, which must be found out too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb

from taskpusher.cli import main
from taskpusher.stores import directory

ROOT = Path(__file__).parents[2]


def command(**options: object) -> tuple[str, ...]:
    """To be run in ROOT."""
    return (sys.executable, "-m", "tests.proof.program", *(f"{k}={v}" for k, v in options.items()), "--")


def open_with(told: Sequence[str]) -> None:
    options = {
        name: int(value) if value.isdigit() else value == "True"
        for name, value in (t.split("=") for t in told)
    }
    if not options.pop("directories", True):
        directory.sync_directory = lambda path: None
    really = lmdb.open

    def opened(path: str, **more: Any) -> Any:
        return really(path, **more | options)

    lmdb.open = opened


if __name__ == "__main__":
    end = sys.argv.index("--")
    open_with(sys.argv[1:end])
    del sys.argv[1 : end + 1]
    main()
