"""A long run at a steady load: memory, open files and threads stay as they are, the loop is never late."""

import tempfile
import threading
import time
from pathlib import Path

from tests.acceptance.program import Tasker

from . import Proof
from .busy import CountingTarget, Pusher

RATE = 2000  # jobs a second
WARM = {"quick": 1.0, "night": 60.0}  # seconds until the first look
SAMPLE = {"quick": 0.5, "night": 5.0}
LONGEST = {"quick": 5.0, "night": 24 * 3600.0}
MOST_GROWTH = 1.0  # MiB an hour
MOST_MORE = 10  # files or threads, over what there was in the first half


def prove(size: str, seed: int, deadline: float) -> Proof:
    deadline = min(deadline, time.monotonic() + LONGEST[size])
    with tempfile.TemporaryDirectory() as name, CountingTarget() as target:
        options = (f"--store=lmdb:{name}/db", "--address=127.0.0.1:0", "--concurrency=50", "--keep=10s")
        tasker = Tasker(*options, log=Path(name, "log")).ready()
        begun = time.monotonic()
        try:
            with Pusher(
                lambda: tasker.port,
                lambda n: {"url": f"{target.url}/x"},
                20,
                lambda answered: answered > RATE * (time.monotonic() - begun),
            ):
                time.sleep(WARM[size])
                samples = []
                while time.monotonic() < deadline:
                    samples.append(_Sample(tasker, time.monotonic() - begun))
                    threading.Event().wait(SAMPLE[size])
            tasker.stop()
        finally:
            tasker.kill()
    return _judge(samples, target.total, size)


class _Sample:
    def __init__(self, tasker: Tasker, at: float) -> None:
        status = Path(f"/proc/{tasker.pid}/status").read_text()
        lines = dict(line.split(":", 1) for line in status.splitlines())
        self.at = at
        self.memory = int(lines["RssAnon"].split()[0]) / 1024  # MiB
        self.threads = int(lines["Threads"])
        self.files = len(list(Path(f"/proc/{tasker.pid}/fd").iterdir()))
        self.lag = tasker.get("/stats")[1]["lag"]


def _judge(samples: list[_Sample], jobs: int, size: str) -> Proof:
    begun, half = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    slope = _slope([(one.at / 3600, one.memory) for one in half])
    files = max(one.files for one in half) - max(one.files for one in begun)
    threads = max(one.threads for one in half) - max(one.threads for one in begun)
    lag = sorted(one.lag for one in samples)[int(0.99 * (len(samples) - 1))]
    figure = (
        f"{jobs:,} jobs in {samples[-1].at / 60:.1f} min: {samples[0].memory:.1f} MiB at first, "
        f"{samples[-1].memory:.1f} MiB at last ({slope:+.2f} MiB/h over the second half), "
        f"{files:+d} files, {threads:+d} threads, lag p99 {lag * 1000:.1f} ms"
    )
    flat = jobs > 0 and files <= MOST_MORE and threads <= MOST_MORE
    # a quick run is too short for a slope: a page more or less would be megabytes an hour
    return Proof(figure, flat and (size == "quick" or slope < MOST_GROWTH))


def _slope(points: list[tuple[float, float]]) -> float:
    """The least-squares line's."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    square = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
