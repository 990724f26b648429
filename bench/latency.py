"""How long it takes from sending a push to the call that it causes, at a steady rate.

The push's moment travels in the job's URL; the target, a process of its own, takes it from there. Both read
the same monotonic clock.
"""

import asyncio
import multiprocessing
import socket
import time
from multiprocessing.connection import Connection
from typing import Any

import httptools
import uvloop

from . import load
from .plan import Run
from .results import Figures, percentile, spread
from .tasker import serving

RATE = 500  # pushes a second
CONNECTIONS = 8  # in turn: a slow answer does not hold up the next push
IN_FLIGHT = 50
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def measure(run: Run) -> Figures:
    """p50, p99 and the longest wait in ms."""
    found = []
    for number in range(run.plan.rounds):
        pushes = round(RATE * run.plan.load_seconds)
        with run.place() as place, serving(place, IN_FLIGHT) as tasker, Target() as target:
            send(tasker.port, target.port, pushes)
            waits = [wait * 1000 for wait in target.waits(pushes)]
        found.append({"p50_ms": percentile(waits, 50), "p99_ms": percentile(waits, 99), "max_ms": max(waits)})
        run.say(f"round {number + 1}: p50 {found[-1]['p50_ms']:.2f} ms, p99 {found[-1]['p99_ms']:.2f} ms")
    figures = {name: spread([one[name] for one in found]) for name in found[0]}
    return {"rate": RATE, "pushes": pushes, **figures}


def send(port: int, target: int, pushes: int) -> None:
    """Push at the rate, whether answers come or not."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    begun = time.perf_counter()
    for number in range(pushes):
        time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
        one = sockets[number % CONNECTIONS]
        _drop_answers(one)
        body = f"url=http%3A%2F%2F127.0.0.1%3A{target}%2F{time.monotonic_ns()}"
        one.sendall(load.request(port, body.encode(), load.FORM))
    for one in sockets:
        one.settimeout(1.0)
        try:
            one.recv(1 << 16)
        except TimeoutError:
            pass
        one.close()


def _drop_answers(one: socket.socket) -> None:
    try:
        one.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass


class Target:
    """A process that notes when it was called."""

    def __enter__(self) -> "Target":
        self._pipe, theirs = multiprocessing.Pipe()
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self.port = int(self._pipe.recv())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()

    def waits(self, calls: int, within: float = 10.0) -> list[float]:
        """Seconds of each call, once so many have come. Raises RuntimeError when they don't."""
        deadline = time.monotonic() + within
        while True:
            self._pipe.send("waits")
            found: list[float] = self._pipe.recv()
            if len(found) >= calls:
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} of {calls} pushes were called")
            time.sleep(0.05)


def _serve(pipe: Connection) -> None:
    waits: list[float] = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.parser = transport, httptools.HttpRequestParser(self)

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_url(self, url: bytes) -> None:
            waits.append((time.monotonic_ns() - int(url[1:])) / 1e9)

        def on_message_complete(self) -> None:
            self.transport.write(ANSWER)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        loop.add_reader(pipe.fileno(), lambda: (pipe.recv(), pipe.send(waits)))
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())
