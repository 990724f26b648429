"""People who look at the pages: one request after the other, and browser tabs that keep up.

    python -m bench.looks PORT TABS SECONDS

opens so many tabs and prints as JSON how often they looked; `Tabs` runs it in a process of its own.
"""

import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from typing import NamedTuple

from .results import Figures, percentile

HTML = {"Accept": "text/html"}
EVERY = 2.0  # seconds between two looks of a tab at its page, as in static/tasker.js
WORTH = 20  # times that a page took: a tab waits so long until its next look at least
ROOMS = ("/tasks", "/tasks/jobs/waiting", "/tasks/jobs", "/tasks/errors", "/tasks/queues")


class Look(NamedTuple):
    """A page: milliseconds to its last byte, and its bytes."""

    took: float
    text: str
    size: int


class Reader:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def look(self, path: str, form: str = "") -> Look:
        """GET, or POST of a form. Raises RuntimeError for another answer than a page."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        begun = time.perf_counter()
        self._connection.request("POST" if form else "GET", path, form or None, {**HTML, **kind})
        answer = self._connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - begun) * 1000
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}")
        return Look(took, body.decode(), len(body))

    def tenth(self, path: str) -> str:
        """The path of the tenth page of a list; of the last one where there are fewer."""
        for _ in range(9):
            found = re.search(r'rel="next" href="([^"]*)"', self.look(path).text)
            if found is None:
                break
            path = found[1].replace("&amp;", "&")
        return path

    def close(self) -> None:
        self._connection.close()


def looked(reader: Reader, path: str, form: str, times: int) -> Figures:
    """Median and longest of so many looks, in ms, and the bytes of the page."""
    found = [reader.look(path, form) for _ in range(times)]
    took = [one.took for one in found]
    return {"median_ms": percentile(took, 50), "max_ms": max(took), "bytes": max(one.size for one in found)}


# ---- tabs ---------------------------------------------------------------------------------------------


class Tabs:
    """So many tabs, open for as long as the block lasts."""

    def __init__(self, port: int, tabs: int, seconds: float) -> None:
        command = [sys.executable, "-m", "bench.looks", str(port), str(tabs), str(seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._most = seconds + 20

    def __enter__(self) -> "Tabs":
        return self

    def looks(self) -> int:
        """How often they looked at their pages, once they are closed."""
        said, _ = self._process.communicate(timeout=self._most)
        if self._process.returncode:
            raise RuntimeError("the tabs failed")
        return int(json.loads(said))

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


async def _tabs(port: int, tabs: int, seconds: float) -> int:
    found = await asyncio.gather(*(_tab(port, ROOMS[n % len(ROOMS)], seconds) for n in range(tabs)))
    return sum(found)


async def _tab(port: int, path: str, seconds: float) -> int:
    """A tab: its page, then the stream, and a look at the page after a tick, as static/tasker.js does it."""
    took, looks, last = await _page(port, path), 0, time.monotonic()
    reader, writer = await _get(port, "/tasks/events?every=2", "text/event-stream")
    try:
        async with asyncio.timeout(seconds):
            await reader.readuntil(b"event: tick\n")  # how it is, which the page has told
            while await reader.readuntil(b"event: tick\n"):
                await asyncio.sleep(max(0.0, last + max(EVERY, WORTH * took) - time.monotonic()))
                last = time.monotonic()
                took = await _page(port, path)
                looks += 1
    except TimeoutError:
        writer.close()
    return looks


async def _page(port: int, path: str) -> float:
    """Seconds that it took."""
    begun = time.monotonic()
    reader, writer = await _get(port, path, "text/html", "Connection: close\r\n")
    await reader.read()
    writer.close()
    return time.monotonic() - begun


async def _get(
    port: int, path: str, accept: str, more: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\n{more}\r\n".encode())
    return reader, writer


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_tabs(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))))
