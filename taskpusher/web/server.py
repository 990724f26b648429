"""Serves an ASGI app over uvicorn's HTTP protocol, without uvicorn.Server.

That one takes the signals, wakes ten times a second and waits for open event streams when it stops. This one
has no task and no timer of its own: an idle server sleeps.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvicorn

from ..errors import StoreBroken
from ..values import Address
from .connection import Protocol, State

BACKLOG = 2048

App = Callable[[Any, Any, Any], Awaitable[None]]


class Server:
    """Serves an ASGI app on sockets that listen."""

    def __init__(self, app: App, stopping: Callable[[], None] = lambda: None) -> None:
        """`stopping` is called when it stops: it ends answers that would go on for ever."""
        self._stopping = stopping
        self._config = uvicorn.Config(
            _silent_when_broken(app),
            http=Protocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            workers=1,
        )
        self._servers: list[asyncio.Server] = []
        self._patience: asyncio.Timeout | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Answer from now on. The sockets are the server's to close."""
        self._config.load()
        self.state = State()
        loop = asyncio.get_running_loop()
        for listener in sockets:
            create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
            server = await create(
                lambda: Protocol(self._config, self.state, loop), sock=listener, backlog=BACKLOG
            )
            self._servers.append(server)

    async def stop(self, timeout: float = 2.0) -> None:
        """Listen no more, let requests under way end for `timeout` seconds, then cut them off."""
        for server in self._servers:
            server.close()
        for connection in list(self.state.connections):
            connection.shutdown()
        self._stopping()
        try:
            async with asyncio.timeout(timeout) as self._patience:
                while self.state.connections:
                    self.state.emptied.clear()
                    await self.state.emptied.wait()
                while self.state.tasks:
                    await asyncio.wait(self.state.tasks)
        except TimeoutError:
            await self._cut_off()
        self.state.close()

    def hurry(self) -> None:
        """End a `stop` that is under way at once."""
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _cut_off(self) -> None:
        for connection in list(self.state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # an app that listens for the disconnect ends by itself
        tasks = set(self.state.tasks)
        for task in tasks:
            task.cancel()
        uvicorns = logging.getLogger("uvicorn.error")
        uvicorns.addFilter(_not_canceled)
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        uvicorns.removeFilter(_not_canceled)


def _silent_when_broken(app: App) -> App:
    """The app, but a request that met a failing disk gets no answer: "500" would say that nothing is kept."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except StoreBroken:
            await asyncio.Event().wait()  # until the process goes, or the connection is cut off

    return answer


def _not_canceled(record: logging.LogRecord) -> bool:
    """uvicorn takes the end of a request that we cut off for an error of the app."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


# ---- sockets ------------------------------------------------------------------------------------------

_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV)  # this machine has no IPv6, or no IPv4


def bind(address: Address) -> list[socket.socket]:
    """Sockets that listen on every form of the address: localhost is 127.0.0.1 and ::1, whichever there is.

    With port 0 all of them get the same free one. Raises OSError (socket.gaierror for an unknown host).
    """
    for left in range(20, 0, -1):
        try:
            return _bind_once(address)
        except OSError as error:
            # The port found for the first form was taken for the second: find another.
            if address.port or error.errno != errno.EADDRINUSE or left == 1:
                raise
    raise AssertionError("the last turn returns or raises")


def _bind_once(address: Address) -> list[socket.socket]:
    port, found, absent = address.port, [], None
    try:
        for family, host in _forms(address):
            try:
                listener = _listen(family, host, port)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                found.append(listener)
                port = listener.getsockname()[1]
        if not found:
            raise absent or OSError(errno.EADDRNOTAVAIL, "no address to listen on")
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _forms(address: Address) -> list[tuple[int, str]]:
    if not address.host:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - as asked for
    if address.host.lower() == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(info[0]), str(info[4][0])) for info in infos))


def _listen(family: int, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def spoken_address(listener: socket.socket) -> str:
    """Where the socket listens, for people: 127.0.0.1:9900, [::1]:9900, or the path of a Unix socket."""
    name = listener.getsockname()
    return str(Address(str(name[0]), int(name[1]))) if isinstance(name, tuple) else str(name)
