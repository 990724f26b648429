"""Many jobs through few live ones: whether the file stays small, and what pruning costs the others.

Finished jobs are kept for a second. The longest pause is that of a prober that asks /healthz every
millisecond.
"""

import http.client
import multiprocessing
import time
from multiprocessing.connection import Connection

from . import target
from .plan import Run
from .results import Figures, percentile
from .target import Target
from .tasker import Tasker, serving

LIVE = 1000  # jobs that wait or run at once, about
IN_FLIGHT = 50
EARLY = 0.1  # of all jobs have to be done when the file has its first size,
STEADY = 5.0  # and so many seconds over, so that there was something to prune
SAMPLE = 0.5  # seconds between two looks at the file
PROBE = 0.001  # seconds between two looks at the health


def measure(run: Run) -> Figures:
    """The file early, late and at most, in MB; the longest pauses in ms; jobs/s all the while."""
    jobs = run.plan.churn_jobs
    with run.place() as place, target.answering(place) as nginx:
        options = ("--keep=1s", "--keep-errors=1s")
        with serving(place / "tasker", IN_FLIGHT, *options) as tasker, Prober(tasker.port) as prober:
            begun = time.perf_counter()
            sizes, lag = _pass_through(tasker, nginx, jobs)
            seconds = time.perf_counter() - begun
            pauses = prober.pauses()
    early = next((size for at, done, size in sizes if done >= jobs * EARLY and at > STEADY), sizes[-1][2])
    late = sizes[-1][2]
    run.say(
        f"{jobs:,} jobs at {jobs / seconds:,.0f}/s: {early:.1f} MB early, {late:.1f} MB late; "
        f"longest pause {max(pauses):.0f} ms"
    )
    return {
        "jobs": jobs,
        "live": LIVE,
        "rate": round(jobs / seconds),
        "early_mb": early,
        "late_mb": late,
        "most_mb": max(size for _, _, size in sizes),
        "late_to_early": round(late / early, 2),
        "sizes": _thinned(sizes),
        "probes": len(pauses),
        "pause_p99_ms": round(percentile(pauses, 99), 2),
        "pause_max_ms": round(max(pauses), 2),
        "lag_max_ms": round(lag * 1000, 2),
    }


def _pass_through(tasker: Tasker, nginx: Target, jobs: int) -> tuple[list[tuple[float, int, float]], float]:
    """Push while fewer than LIVE wait. (seconds, jobs done, MB of the file) as it went, and the worst lag."""
    before, pushed, done, looked, lag = nginx.hits(), 0, 0, 0.0, 0.0
    begun, sizes = time.perf_counter(), []
    while done < jobs:
        done = nginx.hits() - before
        if pushed < jobs and pushed - done < LIVE:
            some = min(LIVE // 2, jobs - pushed)
            tasker.push(some, nginx.url)
            pushed += some
        else:
            time.sleep(0.005)
        if time.perf_counter() - looked > SAMPLE or done >= jobs:
            looked = time.perf_counter()
            sizes.append((looked - begun, done, tasker.disk() / 1e6))
            lag = max(lag, tasker.get("/stats")[1]["lag"])
    return sizes, lag


def _thinned(sizes: list[tuple[float, int, float]], most: int = 50) -> list[tuple[float, int, float]]:
    step = len(sizes) // most + 1
    return [(round(at, 1), done, round(size, 2)) for at, done, size in [*sizes[:-1:step], sizes[-1]]]


class Prober:
    """A process that asks /healthz again and again."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> "Prober":
        self._pipe, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_probe, args=(theirs, self._port), daemon=True)
        self._process.start()
        self._pipe.recv()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()

    def pauses(self) -> list[float]:
        """Milliseconds that each answer took."""
        self._pipe.send("pauses")
        found: list[float] = self._pipe.recv()
        return found


def _probe(pipe: Connection, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    pauses = []
    pipe.send("ready")
    while not pipe.poll(PROBE):
        begun = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        pauses.append((time.perf_counter() - begun) * 1000)
    pipe.recv()
    pipe.send(pauses)
