"""The app whose URLs are called: counts and records every call, and behaves as the path says.

/anything            200 "ok"
/hold/...            200 "ok" once the target is told to `release`
/delay/SECONDS/...   200 "ok" after that time
/fail/STATUS/...     that status
/hang/...            never an answer
/say/NAME            the bytes that `says` has for the NAME, whatever they are
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import httptools


class Call(NamedTuple):
    path: str
    uid: str
    attempt: int
    body: bytes
    at: float  # monotonic


class Target:
    """Serves in a thread of its own until it is closed; use it as a context manager."""

    def __init__(self) -> None:
        self.calls: list[Call] = []  # appended to by the thread, read by anybody
        self.answered: Counter[str] = Counter()  # by path
        self.in_flight = 0
        self.most_in_flight = 0
        self.held = True
        self.says: dict[str, bytes] = {}  # by name
        self._waiting: list[Callable[[], None]] = []
        self._connections: set[asyncio.Transport] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="target")

    def __enter__(self) -> "Target":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def release(self) -> None:
        """Answer what is held, and hold nothing from now on."""
        self._loop.call_soon_threadsafe(self._release)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]

    # ---- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for _ in range(5):  # one that was just accepted is made a turn or two later
            for connection in list(self._connections):
                connection.abort()
            await asyncio.sleep(0.01)

    def _release(self) -> None:
        self.held = False
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer()

    def _came(self, call: Call, connection: "_Connection") -> None:
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        _, how, *rest = call.path.split("/")
        if how == "hold" and self.held:
            self._waiting.append(lambda: connection.answer(call, 200))
        elif how == "delay":
            self._loop.call_later(float(rest[0]), connection.answer, call, 200)
        elif how == "fail":
            connection.answer(call, int(rest[0]))
        elif how == "say":
            connection.say(call, self.says[rest[0].partition("?")[0]])
        elif how != "hang":
            connection.answer(call, 200)


class _Connection(asyncio.Protocol):
    """One request at a time, as the tasker sends them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._under_way = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._target._connections.add(transport)
        self._parser = httptools.HttpRequestParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._target._connections.discard(self._transport)
        if self._under_way:
            self._under_way = False
            self._target.in_flight -= 1

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path, self._body, self._headers = b"", b"", dict[bytes, bytes]()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._under_way = True
        uid = self._headers.get(b"tasker-uid", b"").decode()
        attempt = int(self._headers.get(b"tasker-attempt", b"0"))
        self._target._came(Call(self._path.decode(), uid, attempt, self._body, time.monotonic()), self)

    def answer(self, call: Call, status: int) -> None:
        self.say(call, b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nok" % status)

    def say(self, call: Call, answer: bytes) -> None:
        if not self._under_way:
            return  # the tasker went meanwhile
        self._under_way = False
        self._target.in_flight -= 1
        self._target.answered[call.path] += 1
        self._transport.write(answer)
