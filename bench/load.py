"""Load clients: wrk where it is installed, else our own on asyncio and httptools.

    python -m bench.load PORT CONNECTIONS SECONDS BODY

prints the figures of our own as JSON; `closed_loop` runs it in a process of its own.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httptools

from .results import Figures, percentile

FORM = "application/x-www-form-urlencoded"

SCRIPT = """
wrk.method = "POST"
wrk.body = "{body}"
wrk.headers["Content-Type"] = "{kind}"
done = function(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local form = '\\n{{"requests": %d, "micros": %d, "p50": %.0f, "p99": %.0f, "failed": %d}}\\n'
  io.write(string.format(form, summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), failed))
end
"""


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.waiter: asyncio.Future[int] | None = None

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(error or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return await self.waiter


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def request(port: int, body: bytes, kind: str) -> bytes:
    head = (
        f"POST /add HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def ask_again(connection: Connection, sent: bytes, seconds: float, pause: float = 0.0) -> list[float]:
    """The same request again and again; seconds that each took. Any answer but 201 raises RuntimeError."""
    took = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        status = await connection.ask(sent)
        took.append(time.perf_counter() - begun)
        if status != 201:
            raise RuntimeError(f"a push was answered {status}")
        if pause:
            await asyncio.sleep(pause)
    return took


def closed_loop(port: int, body: str, connections: int, seconds: float, place: Path) -> Figures:
    """`POST /add` with a form over that many connections: rate, p50 and p99 in ms, which client it was."""
    wrk = shutil.which("wrk")
    if wrk:
        script = place / "add.lua"
        script.write_text(SCRIPT.format(body=body, kind=FORM))
        command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        command.append(f"http://127.0.0.1:{port}/add")
    else:
        command = [sys.executable, "-m", "bench.load", str(port), str(connections), str(seconds), body]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30)
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} pushes failed")
    return {
        "client": "wrk" if wrk else "bench.load",
        "rate": found["requests"] / found["micros"] * 1e6,
        "p50_ms": found["p50"] / 1000,
        "p99_ms": found["p99"] / 1000,
    }


async def _closed_loop(port: int, connections: int, seconds: float, body: str) -> Figures:
    sent = request(port, body.encode(), FORM)
    opened = [await connect(port) for _ in range(connections)]
    begun = time.perf_counter()
    found = await asyncio.gather(*(ask_again(one, sent, seconds) for one in opened))
    took = [one for each in found for one in each]
    micros = {"p50": percentile(took, 50) * 1e6, "p99": percentile(took, 99) * 1e6}
    return {"requests": len(took), "micros": (time.perf_counter() - begun) * 1e6, "failed": 0, **micros}


if __name__ == "__main__":
    import uvloop

    port, connections, seconds, body = sys.argv[1:]
    print(json.dumps(uvloop.run(_closed_loop(int(port), int(connections), float(seconds), body))))
