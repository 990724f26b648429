"""How fast jobs are pushed a thousand a request, and what another client's pushes wait meanwhile."""

import asyncio
import json
import time

import uvloop

from . import add, load
from .plan import Run
from .results import Figures, percentile, spread
from .tasker import CHUNK, serving

CONNECTIONS = 2
PAUSE = 0.01  # seconds between two pushes of the other client


def measure(run: Run) -> Figures:
    """Jobs/s, and p50 and p99 of `POST /add` beside it."""
    found = []
    for number in range(run.plan.rounds):
        with run.place() as place, serving(place, 4) as tasker:
            tasker.pause(True)
            found.append(uvloop.run(_push(tasker.port, run.plan.load_seconds)))
        run.say(
            f"round {number + 1}: {found[-1]['rate']:,.0f} jobs/s, others' p99 {found[-1]['p99_ms']:.1f} ms"
        )
    figures = {name: spread([one[name] for one in found]) for name in ("rate", "p50_ms", "p99_ms")}
    return {"jobs_a_request": CHUNK, "connections": CONNECTIONS, **figures}


async def _push(port: int, seconds: float) -> Figures:
    line = json.dumps({"url": "http://127.0.0.1:9/x"}).encode()
    many = load.request(port, b"\n".join([line] * CHUNK), "application/x-ndjson")
    one = load.request(port, add.BODY.encode(), load.FORM)
    pushing = [load.ask_again(await load.connect(port), many, seconds) for _ in range(CONNECTIONS)]
    other = load.ask_again(await load.connect(port), one, seconds, PAUSE)
    begun = time.perf_counter()
    async with asyncio.timeout(seconds + 30):
        *requests, waits = await asyncio.gather(*pushing, other)
    jobs = sum(map(len, requests)) * CHUNK
    return {
        "rate": jobs / (time.perf_counter() - begun),
        "p50_ms": percentile(waits, 50) * 1000,
        "p99_ms": percentile(waits, 99) * 1000,
    }
