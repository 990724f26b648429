"""Names to addresses, off the event loop, without letting slow names starve anything else."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .call import NotSent

THREADS = 64
KEPT = 10.0  # seconds an answer is used again
MOST_KEPT = 1024  # names

Address = tuple[int, Any]  # socket family, the address as socket.connect takes it
Lookup = Callable[[str, int], Sequence[Address]]


def lookup(host: str, port: int) -> list[Address]:
    """The system's getaddrinfo, in its order (RFC 6724). Blocks."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def literal(host: str, port: int) -> Address | None:
    """The address that `host` itself is, in the standard spelling; None: it's a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return (family, (host, port) if family == socket.AF_INET else (host, port, 0, 0))
    return None


class Resolver:
    """Looks names up in threads of its own: getaddrinfo may hang for tens of seconds (resolv.conf(5)).

    Calls that ask for the same name at once share one lookup, so that one hung name holds one thread.
    """

    def __init__(self, lookup: Lookup = lookup, *, threads: int = THREADS, kept: float = KEPT) -> None:
        self._lookup = lookup
        self._threads = threads
        self._kept = kept
        self._executor: ThreadPoolExecutor | None = None
        self._answers: dict[tuple[str, int], tuple[float, Sequence[Address]]] = {}
        self._pending: dict[tuple[str, int], asyncio.Future[Sequence[Address]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """At least one address. Raises NotSent."""
        if (address := literal(host, port)) is not None:
            return [address]
        now = asyncio.get_running_loop().time()
        answer = self._answers.get((host, port))
        if answer is not None and answer[0] > now:
            return answer[1]
        try:
            found = await asyncio.shield(self._ask(host, port))
        except (OSError, UnicodeError) as error:
            raise NotSent(f"can't resolve host {host}: {_why(error)}") from None
        if not found:
            raise NotSent(f"can't resolve host {host}: it has no addresses")
        return found

    def close(self) -> None:
        """Wait for nobody: a lookup under way ends by itself."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        self._answers.clear()

    def _ask(self, host: str, port: int) -> asyncio.Future[Sequence[Address]]:
        key = (host, port)
        future = self._pending.get(key)
        if future is None:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="dns")
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._executor, self._lookup, host, port)
            self._pending[key] = future
            future.add_done_callback(lambda done: self._asked(key, done))
        return future

    def _asked(self, key: tuple[str, int], future: asyncio.Future[Sequence[Address]]) -> None:
        self._pending.pop(key, None)
        if future.cancelled() or future.exception() is not None or self._executor is None:
            return
        self._answers.pop(key, None)
        if len(self._answers) >= MOST_KEPT:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = (future.get_loop().time() + self._kept, future.result())


def _why(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "it is no valid host name"
    if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
        return "no such host"
    if error.errno == socket.EAI_AGAIN:
        return "the name servers did not answer"
    return (error.strerror or "the lookup failed").lower()
