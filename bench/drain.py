"""How fast waiting jobs are run, beside the bare pipeline at the same in-flight in the same round."""

import time
from pathlib import Path

from . import pipeline, target
from .plan import Run
from .results import Figures, spread
from .target import Seen, Target
from .tasker import serving


def measure(run: Run) -> Figures:
    """By in-flight: jobs/s of both, their ratio, and microseconds of CPU a job."""
    plan = run.plan
    rounds: dict[int, list[tuple[float, float, float]]] = {number: [] for number in plan.in_flight}
    with run.place() as place, target.answering(place) as nginx:
        for number in range(plan.rounds):
            for in_flight in plan.in_flight:
                bare = pipeline.run(nginx.url, plan.drain_jobs, in_flight, place)
                with run.place() as home:
                    seen, micros = drain(home, nginx, plan.drain_jobs, in_flight)
                rounds[in_flight].append((seen.rate, bare, micros))
                run.say(
                    f"round {number + 1}, {in_flight} in flight: {seen.rate:,.0f} jobs/s, bare "
                    f"{bare:,.0f}/s, {seen.rate / bare:.2f}"
                )
    return {"jobs": plan.drain_jobs, "in_flight": {str(n): _figures(found) for n, found in rounds.items()}}


def drain(home: Path, nginx: Target, jobs: int, in_flight: int) -> tuple[Seen, float]:
    """Jobs that wait behind a paused queue, from its resuming to the last hit; CPU microseconds a job.

    Raises RuntimeError unless all of them were completed.
    """
    with serving(home, in_flight) as tasker:
        tasker.pause(True)
        tasker.push(jobs, nginx.url)
        before, used = nginx.hits(), tasker.cpu()
        begun = time.perf_counter()
        tasker.pause(False)
        seen = nginx.until(jobs, before, begun, within=60)
        used = tasker.cpu() - used
        deadline = time.monotonic() + 10
        while (completed := tasker.counts()["completed"]) < jobs:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{completed} of {jobs} jobs were completed")
            time.sleep(0.01)
    return seen, used / jobs * 1e6


def _figures(found: list[tuple[float, float, float]]) -> Figures:
    return {
        "tasker": spread([ours for ours, _, _ in found]),
        "pipeline": spread([bare for _, bare, _ in found]),
        "ratio": spread([ours / bare for ours, bare, _ in found]),
        "cpu_us": spread([micros for _, _, micros in found]),
    }
