"""Many jobs through a thousand live ones, while lists are looked at: the file does not grow on."""

import tempfile
import threading
import time
from pathlib import Path

from tests.acceptance.program import Tasker

from . import Proof
from .busy import CountingTarget, Pusher

JOBS = {"quick": 20_000, "night": 5_000_000}
EARLY = {"quick": 8_000, "night": 100_000}  # jobs done when the file has its first size
LIVE = 1000
LATE_TO_EARLY = 3.0


def prove(size: str, seed: int, deadline: float) -> Proof:
    jobs, early = JOBS[size], 0
    with tempfile.TemporaryDirectory() as name, CountingTarget() as target:
        path = Path(name, "db")
        options = (f"--store=lmdb:{path}", "--address=127.0.0.1:0", "--concurrency=50", "--keep=1s")
        tasker = Tasker(*options, log=Path(name, "log")).ready()
        try:
            with (
                Pusher(
                    lambda: tasker.port,
                    lambda n: {"url": f"{target.url}/x"},
                    250,
                    lambda answered: answered - target.total > LIVE,
                ),
                _Looker(tasker),
            ):
                while target.total < jobs and time.monotonic() < deadline:
                    time.sleep(0.05)
                    if not early and target.total >= EARLY[size]:
                        early = _size(path)
            late, done = _size(path), target.total
            tasker.stop()
        finally:
            tasker.kill()
    ratio = late / early if early else 0.0
    figure = (
        f"{done:,} jobs through {LIVE:,} live ones: {early / 1e6:.1f} MB early, {late / 1e6:.1f} MB late, "
        f"{ratio:.2f} times"
    )
    return Proof(figure, bool(early) and ratio <= LATE_TO_EARLY)


def _size(path: Path) -> int:
    return (path / "data.mdb").stat().st_blocks * 512


class _Looker:
    """Asks for lists and figures, as a page does that is left open; use it as a context manager."""

    def __init__(self, tasker: Tasker) -> None:
        self._tasker = tasker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="looker")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        with self._tasker.connection() as connection:
            while not self._over.wait(0.2):
                for path in ("/jobs/completed", "/jobs/waiting?limit=100", "/stats"):
                    connection.ask("GET", path)
