"""A target that misbehaves as asked: a TCP or TLS server on loopback, scripted per connection.

A script is a coroutine function of a Peer. What it does not close is closed when the target stops.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

from taskpusher.job import Held, Job


class Peer:
    """One accepted connection."""

    def __init__(self, target: "Target", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.target = target
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """One whole request, kept in `target.requests`. Raises IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self.reader.readexactly(int(line[15:]))
        self.target.requests.append(head + body)
        return head + body

    async def head(self) -> bytes:
        """The header block alone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.target.requests.append(head)
        return head

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> None:
        await self.send(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()

    async def hold(self) -> None:
        """Keep the connection until the other side or the target ends it."""
        await self.reader.read()


Script = Callable[[Peer], Awaitable[None]]


async def well(peer: Peer) -> None:
    """A good server: "ok" to everything, connections kept."""
    while True:
        await peer.request()
        await peer.answer()


class Target:
    def __init__(
        self, script: Script = well, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.script = script
        self.tls = tls
        self.host = host
        self.port = 0
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def __aenter__(self) -> "Target":
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open += 1
        try:
            await self.script(Peer(self, reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went, or the test did
        finally:
            self._tasks.discard(task)
            self.open -= 1
            writer.transport.abort()


def says(data: bytes, *, close: bool = True) -> Script:
    """Read a request, send these very bytes, and close or hold."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        if close:
            peer.close()
            await peer.writer.wait_closed()
        await peer.hold()

    return script


def held(url: str, body: bytes = b"", **fields: object) -> Held:
    """A claimed job, in its first attempt."""
    fields = {"uid": "0199c0de000070008000000000000001", "attempt": 1, "timeout": 5.0, **fields}
    return Held(Job(target=url, **fields), body)  # type: ignore[arg-type]


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until it is; fail after so many seconds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)
