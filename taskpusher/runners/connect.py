"""New connections: resolve, check, connect to that very address, TLS. Whatever fails here is NotSent."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from .call import Call, NotSent
from .connection import Connection
from .resolver import Address, Resolver
from .targets import Targets

_NEVER = 86400.0  # seconds; asyncio's own handshake limit, put out of the way of ours


class Connector:
    """Makes connections for one transport."""

    def __init__(self, targets: Targets, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        self._targets = targets
        self._resolver = resolver
        self._tls = tls

    async def connect(self, call: Call, deadline: float, make: Callable[[], Connection]) -> Connection:
        """A connection to the call's origin, before `deadline` in loop time. Raises NotSent, NotAllowed."""
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + call.connect_timeout)
        within = f"within {min(call.timeout, call.connect_timeout):g} s"
        doing = f"can't resolve host {call.host}"
        try:
            async with asyncio.timeout_at(until):
                addresses = await self._addresses(call)
                doing = f"can't connect to {_spell(addresses[0][1])}"
                sock, peer = await self._reach(call, addresses, until)
                if call.scheme == "https":
                    doing = f"TLS: no handshake with {peer}"
                return await self._wrap(call, sock, peer, make)
        except TimeoutError:
            raise NotSent(f"{doing} {within}") from None

    async def _addresses(self, call: Call) -> Sequence[Address]:
        """Where the call may go, all of it checked; the resolver's order."""
        self._targets.check_name(call.host)
        allowed = []
        refusal: NotSent | None = None
        for family, address in await self._resolver.resolve(call.host, call.port):
            try:
                self._targets.check(call.host, address[0], call.port)
            except NotSent as error:
                refusal = error
            else:
                allowed.append((family, address))
        if not allowed and refusal is not None:
            raise refusal
        return allowed

    async def _reach(
        self, call: Call, addresses: Sequence[Address], until: float
    ) -> tuple[socket.socket, str]:
        """A socket to the first address that answers; each is given an equal share of the time left."""
        loop = asyncio.get_running_loop()
        failures: list[str] = []
        for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            peer = _spell(address)
            now = loop.time()
            share = until if left == 1 else now + (until - now) / left
            try:
                return await self._open(call, family, address, share), peer
            except NotSent:
                raise
            except OSError as error:  # TimeoutError is one
                if left == 1 and isinstance(error, TimeoutError) and error.errno is None and not failures:
                    raise  # the whole time is up: said by `connect`
                failures.append(_words(error, peer))
        raise NotSent("; ".join(dict.fromkeys(failures)))

    async def _open(self, call: Call, family: int, address: Any, until: float) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout_at(until):
                await asyncio.get_running_loop().sock_connect(sock, address)
            self._targets.check_connected(sock.getsockname()[0], sock.getpeername()[0], call.port)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _wrap(
        self, call: Call, sock: socket.socket, peer: str, make: Callable[[], Connection]
    ) -> Connection:
        """The protocol on top of the socket, behind TLS for https.

        Plain first, then start_tls: cancelled in between, the plain transport is ours to abort, while
        create_connection(ssl=…) may leave a handshake behind that nobody ends.
        """
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(make, sock=sock)
        if call.scheme != "https":
            return connection
        try:
            secure = await loop.start_tls(
                transport,
                connection,
                self._context(),
                server_hostname=call.host,
                ssl_handshake_timeout=_NEVER,
            )
            if secure is None:  # the server closed right after the handshake
                raise ConnectionResetError
        except ssl.SSLCertVerificationError as error:
            transport.abort()
            raise NotSent(f"TLS: certificate verify failed: {error.verify_message}") from None
        except ssl.SSLError as error:
            transport.abort()
            reason = (error.reason or "handshake failed").replace("_", " ").lower()
            raise NotSent(f"TLS: {reason}; does {peer} speak TLS?") from None
        except OSError as error:
            transport.abort()
            if isinstance(error, TimeoutError):
                raise
            raise NotSent(f"TLS: the connection was closed by {peer} during the handshake") from None
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(secure)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # made late: it reads the certificates of the system, some 20 ms
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _spell(address: Any) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _words(error: OSError, peer: str) -> str:
    """What the system said, for people."""
    match error.errno:
        case errno.ECONNREFUSED:
            return f"connection refused by {peer}"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            return f"no route to {peer}"
        case errno.ECONNRESET | errno.ECONNABORTED | errno.EPIPE:
            return f"connection reset by {peer} before the request was sent"
        case errno.EMFILE | errno.ENFILE:
            return "too many files are open here: raise the limit (ulimit -n, LimitNOFILE=)"
        case errno.EADDRNOTAVAIL:
            return f"can't connect to {peer}: no address or port of ours is free for it"
        case None:
            return f"no connection to {peer} in its share of the time"
        case number:
            return f"can't connect to {peer}: {os.strerror(number).lower()}"
