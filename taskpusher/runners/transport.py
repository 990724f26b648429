"""Our own HTTP/1.1 client on asyncio and httptools: connections kept by origin, two timers for all."""

import asyncio
import ssl
from heapq import heapify, heappop, heappush

from .call import Answer as Answer
from .call import BadTarget as BadTarget
from .call import Call as Call
from .call import CallFailed as CallFailed
from .call import NotAllowed as NotAllowed
from .call import NotSent as NotSent
from .call import Transport as Transport
from .call import Unknown as Unknown
from .connect import Connector
from .connection import Connection, Key, Stale
from .resolver import Resolver
from .targets import Targets

IDLE = 2.0  # seconds; most servers close after 5 or more, and a close must not cross a request
MOST_IDLE = 256  # connections kept idle; one more closes the oldest


class Deadlines:
    """Expires calls, with one timer at the earliest deadline instead of one per call.

    A call that ended stays in the heap until it comes up or the heap has doubled; it is told by its ticket.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Connection]] = []
        self._purge_at = 64
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, deadline: float, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        heap = self._heap
        heappush(heap, (deadline, connection.ticket, connection))
        if self._timer is None or deadline < self._timer_at:
            self._arm(loop)
        if len(heap) > self._purge_at:
            self._heap = [entry for entry in heap if entry[1] == entry[2].ticket]
            heapify(self._heap)
            self._purge_at = 64 + 2 * len(self._heap)

    def close(self) -> None:
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0][0]
        self._timer = loop.call_at(self._timer_at, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        heap = self._heap
        now = loop.time()
        while heap:
            deadline, ticket, connection = heap[0]
            if connection.ticket == ticket:
                if deadline > now:
                    self._arm(loop)
                    return
                connection.expire()
            heappop(heap)


class IdleConnections:
    """Connections without a call, the last used first; one timer, armed only while there are some."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stacks: dict[Key, list[Connection]] = {}
        self._order: dict[Connection, None] = {}  # the longest idle first
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._order)

    def take(self, key: Key, now: float) -> Connection | None:
        stack = self._stacks.get(key)
        while stack:
            connection = stack.pop()
            del self._order[connection]
            if connection.usable(now):
                return connection
            connection.abort()
        return None

    def put(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        stack = self._stacks.get(connection.key)
        if stack is None:
            stack = self._stacks[connection.key] = []
        stack.append(connection)
        self._order[connection] = None
        if self._timer is None or connection.idle_until < self._timer_at:
            self._arm(connection.idle_until, loop)
        if len(self._order) > self._most:
            self._drop(next(iter(self._order)))

    def lost(self, connection: Connection) -> None:
        """The server closed it."""
        if connection in self._order:
            self._drop(connection)

    def close(self) -> None:
        for connection in list(self._order):
            self._drop(connection)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, connection: Connection) -> None:
        del self._order[connection]
        self._stacks[connection.key].remove(connection)
        connection.abort()

    def _arm(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = loop.call_at(when, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle too long, and forget origins that have none."""
        self._timer = None
        now = loop.time()
        for connection in [each for each in self._order if each.idle_until <= now]:
            self._drop(connection)
        for key in [key for key, stack in self._stacks.items() if not stack]:
            del self._stacks[key]
        if self._order:
            self._arm(min(each.idle_until for each in self._order), loop)


class Http11Transport:
    """A Transport for http and https URLs, directly to the target, in HTTP/1.1.

    `tls` is the context for https (default: the system's certificates). To be used on one event loop.
    """

    def __init__(
        self,
        targets: Targets | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        idle: float = IDLE,
        most_idle: int = MOST_IDLE,
    ) -> None:
        self._resolver = resolver or Resolver()
        self._connector = Connector(targets or Targets(), self._resolver, tls)
        self._longest_idle = idle
        self._idle = IdleConnections(most_idle)
        self._deadlines = Deadlines()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[Connection] = set()
        self._ticket = 0
        self._closed = False
        self._gone: asyncio.Future[None] | None = None  # while closing: all connections are

    async def call(self, call: Call) -> Answer:
        """Raises NotSent or Unknown; see Transport."""
        loop = self._loop
        if loop is None:  # asked for once: it costs a system call
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + call.timeout
        connection = self._idle.take((call.scheme, call.host, call.port), now)
        while True:
            if connection is None:
                connection = await self._connect(call, deadline, loop)
            self._ticket = ticket = self._ticket + 1
            try:
                waiter = connection.send(call, ticket)
                self._deadlines.add(deadline, connection, loop)
                outcome = await waiter
            except BaseException:  # cancelled: the answer, if one comes, belongs to nobody
                connection.cut("canceled")
                raise
            if isinstance(outcome, Answer):
                self._keep(connection, loop)
                return outcome
            if not (isinstance(outcome, Stale) and call.repeatable):
                raise outcome
            connection = None  # once more, on a new one: that is never stale

    async def close(self) -> None:
        self._closed = True
        self._resolver.close()
        self._deadlines.close()
        self._idle.close()
        for connection in list(self._open):
            connection.cut("the tasker closed the connection after the request was sent")
        if self._open:
            self._gone = asyncio.get_running_loop().create_future()
            await self._gone

    def _keep(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Keep the connection for another call, or close it."""
        idle = min(self._longest_idle, connection.keep_alive)
        if not connection.keep or connection.closed or idle <= 0 or self._closed:
            connection.abort()
            return
        connection.reused = True
        connection.idle_until = loop.time() + idle
        self._idle.put(connection, loop)

    async def _connect(self, call: Call, deadline: float, loop: asyncio.AbstractEventLoop) -> Connection:
        if self._closed:
            raise NotSent("the tasker is stopping")

        def make() -> Connection:
            return Connection((call.scheme, call.host, call.port), loop, self._lost)

        connection = await self._connector.connect(call, deadline, make)
        if self._closed:
            connection.abort()
            raise NotSent("the tasker is stopping")
        if connection.closed:
            raise NotSent(f"{call.host} closed the connection before the request was sent")
        self._open.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.lost(connection)
        if self._gone is not None and not self._open and not self._gone.done():
            self._gone.set_result(None)
