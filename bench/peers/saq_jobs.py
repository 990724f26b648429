"""SAQ: `python saq_jobs.py N` fills; `saq saq_jobs.settings` works."""

import asyncio
import os
import sys
from typing import Any

import aiohttp
from saq import Queue

CHUNK = 100  # pushes under way at once
CONCURRENCY = int(os.environ.get("BENCH_IN_FLIGHT", "50"))

queue = Queue.from_url(f"redis://127.0.0.1:{os.environ['BENCH_REDIS_PORT']}", name="bench")


async def call(context: dict[str, Any]) -> str:
    async with context["session"].get(os.environ["BENCH_URL"]) as answer:
        answer.raise_for_status()
        return str(await answer.text())


async def startup(context: dict[str, Any]) -> None:
    context["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))


async def shutdown(context: dict[str, Any]) -> None:
    await context["session"].close()


settings = {
    "queue": queue,
    "functions": [call],
    "concurrency": CONCURRENCY,
    "startup": startup,
    "shutdown": shutdown,
}


async def fill(jobs: int) -> None:
    await queue.connect()
    for made in range(0, jobs, CHUNK):
        await asyncio.gather(*(queue.enqueue("call") for _ in range(min(CHUNK, jobs - made))))
    await queue.disconnect()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
