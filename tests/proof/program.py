"""The tasker as it is, but for options of LMDB that it does not offer.

    python -m tests.proof.program metasync=False map_size=65536 -- --store=lmdb:tasker.db

The map may be small, to grow under way; the others are what a proof must find to lose jobs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb

from taskpusher.cli import main

ROOT = Path(__file__).parents[2]


def command(**options: object) -> tuple[str, ...]:
    """To be run in ROOT."""
    return (sys.executable, "-m", "tests.proof.program", *(f"{k}={v}" for k, v in options.items()), "--")


def open_with(told: Sequence[str]) -> None:
    options = {
        name: int(value) if value.isdigit() else value == "True"
        for name, value in (t.split("=") for t in told)
    }
    really = lmdb.open

    def opened(path: str, **more: Any) -> Any:
        return really(path, **more | options)

    lmdb.open = opened


if __name__ == "__main__":
    end = sys.argv.index("--")
    open_with(sys.argv[1:end])
    del sys.argv[1 : end + 1]
    main()
