"""How many calls a second the http runner makes, and what one costs: `python bench/transport.py [calls]`.

The target is a minimal asyncio + httptools server in another process on loopback, 50 calls in flight. Beside
it httpx.AsyncClient, for the ratio (fewer calls: it is slower). CPU is this process's own.
"""

import asyncio
import cProfile
import multiprocessing
import pstats
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import httptools
import httpx
import uvloop

from taskpusher.job import Held, Job
from taskpusher.runners.base import Success
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.transport import Http11Transport

IN_FLIGHT = 50
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
)


class Target(asyncio.Protocol):
    """Answers "ok" to everything."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(ANSWER)


def serve(ready: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def drive(calls: int, one: Callable[[int], Awaitable[None]]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU for that many calls, IN_FLIGHT at a time."""
    left = iter(range(calls))

    async def worker() -> None:
        for number in left:
            await one(number)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - wall, time.process_time() - cpu


def report(what: str, calls: int, wall: float, cpu: float) -> None:
    print(f"{what:32} {calls / wall:9,.0f} calls/s {cpu / calls * 1e6:8.1f} us CPU a call")


async def runner(calls: int, port: int, what: str) -> None:
    ours = HttpRunner(Http11Transport())

    async def one(number: int) -> None:
        job = Job(uid=f"{number:032x}", target=f"http://127.0.0.1:{port}/job?id={number}", attempt=1)
        outcome = await ours.run(Held(job))
        assert isinstance(outcome, Success), outcome

    await drive(1000, one)  # connections and caches
    report(what, calls, *await drive(calls, one))
    await ours.close()


async def client(calls: int, port: int) -> None:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=IN_FLIGHT), timeout=60) as theirs:

        async def one(number: int) -> None:
            answer = await theirs.get(f"http://127.0.0.1:{port}/job?id={number}")
            assert answer.status_code == 200

        await drive(100, one)
        report("httpx.AsyncClient, uvloop", calls, *await drive(calls, one))


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 30_000
    ours, theirs = multiprocessing.Pipe()
    target = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    target.start()
    port = ours.recv()
    socket.create_connection(("127.0.0.1", port)).close()
    try:
        if "--profile" in sys.argv:
            profile = cProfile.Profile()
            profile.runcall(uvloop.run, runner(calls, port, "profiled"))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
            return
        uvloop.run(runner(calls, port, "HttpRunner, uvloop"))
        uvloop.run(runner(calls, port, "HttpRunner, uvloop"))
        asyncio.run(runner(calls, port, "HttpRunner, asyncio"))
        uvloop.run(client(max(200, calls // 20), port))
    finally:
        target.terminate()
        target.join()


if __name__ == "__main__":
    main()
