"""One connection: uvicorn's httptools protocol with the limits it has not.

On the size of a request's head, on the number of requests that wait for their turn, and on the time a client
may take for the head, for the body, for the answer and between two requests. Each time limit has one timer
for all connections, armed only while some are under it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from email.utils import formatdate
from typing import NamedTuple

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .answers import SECURITY

log = logging.getLogger("taskpusher.web")

MAX_HEAD = 64 * 1024  # bytes of a request's head; also of what is no body while a body is awaited
MAX_URL = 16 * 1024  # bytes
HEAD_TIME = 10.0  # seconds for a whole head, from the connection or from its first byte
BODY_TIME = 30.0  # seconds without a byte of the body
MOST_PIPELINED = 1000  # requests of one connection that wait for the one before them
IDLE_TIME = 75.0  # seconds between two requests
STALL_TIME = 30.0  # seconds in which nothing of an answer is taken
LINGER_TIME = 2.0  # seconds in which what is still sent to us is dropped, so that our answer is read first


class Refusal(NamedTuple):
    status: int
    title: str
    detail: str


NOT_HTTP = Refusal(400, "Bad request", "the request is not well-formed HTTP/1.1")
URL_TOO_LONG = Refusal(414, "URL too long", f"the request's URL is longer than {MAX_URL} bytes")
HEAD_TOO_LARGE = Refusal(431, "Header too large", f"the request's header is larger than {MAX_HEAD} bytes")
TOO_SLOW = Refusal(408, "Request timeout", "the request did not come to its end in time; send it again")
TOO_MANY = Refusal(400, "Too many requests", f"more than {MOST_PIPELINED} wait for their turn")
NO_UPGRADE = Refusal(400, "No upgrade", "only HTTP/1.1 is spoken here: send the request without Upgrade")


class Deadline:
    """Calls `late` for what stays in it longer than `seconds`: one timer, however many there are."""

    def __init__(self, seconds: float, late: Callable[["Protocol"], None]) -> None:
        self._seconds, self._late = seconds, late
        self._since: dict[Protocol, float] = {}  # the first to come is the first to be late
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: "Protocol") -> None:
        """From now on; anew, if it was in already."""
        loop = connection.loop
        self._since.pop(connection, None)
        self._since[connection] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._sweep, loop)

    def forget(self, connection: "Protocol") -> None:
        self._since.pop(connection, None)

    def close(self) -> None:
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._since:
            connection, since = next(iter(self._since.items()))
            left = since + self._seconds - loop.time()
            if left > 0.001:
                self._timer = loop.call_later(left, self._sweep, loop)
                return
            del self._since[connection]
            self._late(connection)


class State(ServerState):
    """What all connections share."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_until = 0.0
        super().__init__()
        self.heads = Deadline(HEAD_TIME, Protocol.too_slow)
        self.bodies = Deadline(BODY_TIME, Protocol.too_slow)
        self.idle = Deadline(IDLE_TIME, lambda connection: connection.transport.close())
        self.lingering = Deadline(LINGER_TIME, lambda connection: connection.transport.abort())
        self.stalled = Deadline(STALL_TIME, Protocol.still_stalled)
        self.emptied = asyncio.Event()  # there may be no connection left

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The Date header (RFC 9110, 6.6.1)."""
        now = time.time()
        if not self._headers_until - 1 <= now < self._headers_until:
            self._headers_until = now // 1 + 1
            self._headers = [(b"date", formatdate(now, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """uvicorn's own start value."""

    def close(self) -> None:
        for deadline in (self.heads, self.bodies, self.idle, self.lingering, self.stalled):
            deadline.close()


IDLE, HEAD, BODY = range(3)  # what is awaited: a request, the rest of its head, the rest of its body


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: uvicorn.Config, state: State, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config, state, {}, loop)
        self.state = state
        self.phase = IDLE
        self.ended = False  # nothing more is read: the connection goes with the answers under way
        self._watched: Deadline | None = None
        self._head_bytes = 0  # of a head that is not whole yet
        self._barren = 0  # bytes since the last byte of the body: chunk extensions, trailers
        self._chunk = 0  # bytes being parsed
        self._unsent = 0  # bytes of answers, when that was looked at last
        self._refusal: Refusal | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        self._watch(self.state.heads)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(None)
        self.state.stalled.forget(self)
        super().connection_lost(exc)
        if not self.connections:
            self.state.emptied.set()

    # ---- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.ended:
            return
        phase, cycle = self.phase, self.cycle
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if the client had not asked for it (RFC 9110, 7.8)
        except httptools.HttpParserError as error:
            self.refuse(self._refusal or NOT_HTTP, error)
            return
        if self.phase == IDLE:
            self._request_came()
        elif self.phase == HEAD:
            self._head_goes_on(all_of_it=phase != BODY and self.cycle is cycle)
        else:
            self._body_goes_on()

    def _request_came(self) -> None:
        if self.cycle is None:
            return  # empty lines before the first request
        if not self.cycle.response_complete:
            self._watch(None)
        elif self._watched is not self.state.idle:
            self._watch(self.state.idle)

    def _head_goes_on(self, all_of_it: bool) -> None:
        """`all_of_it`: the bytes just read belong to the head alone, not to requests before it."""
        if all_of_it:
            self._head_bytes += self._chunk
        if len(self.url) > MAX_URL:
            self.refuse(URL_TOO_LONG)
        elif self._head_bytes > MAX_HEAD:
            self.refuse(HEAD_TOO_LARGE)
        elif self._watched is not self.state.heads:
            self._watch(self.state.heads)

    def _body_goes_on(self) -> None:
        self._barren += self._chunk
        if self._barren > MAX_HEAD:
            self.refuse(HEAD_TOO_LARGE)
        elif not self.cycle.response_complete:
            self._watch(self.state.bodies)

    def on_message_begin(self) -> None:
        self.phase = HEAD
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.url) > MAX_URL:
            self._raise(URL_TOO_LONG)
        if self._head_bytes + self._chunk > MAX_HEAD:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > MAX_HEAD:
                self._raise(HEAD_TOO_LARGE)
        if len(self.pipeline) >= MOST_PIPELINED:
            self._raise(TOO_MANY)  # never sent: the ones before are answered, then the connection goes
        upgrade = self.parser.should_upgrade()
        if upgrade and any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self._raise(NO_UPGRADE)  # the parser would leave out the body
        super().on_headers_complete()
        Answering(self, self.cycle)
        self.phase = BODY
        self.headers = []  # for the trailers, which are no part of the request's headers
        if upgrade:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._barren = -self._chunk
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.phase = IDLE
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """No reason to warn anybody."""

    # ---- what goes out ----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self.state.stalled.watch(self)

    def resume_writing(self) -> None:
        self.state.stalled.forget(self)
        super().resume_writing()

    def still_stalled(self) -> None:
        """Whether the client takes nothing at all, or is only slow."""
        unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if self._unsent < unsent:
            self.state.stalled.watch(self)
        else:
            self.transport.abort()

    # ---- how it ends ------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        following = self.pipeline.pop() if self.pipeline else None
        self.flow.resume_reading()
        if following:
            self._start_asgi_task(*following)
        elif self.ended:
            if self._watched is not self.state.lingering:
                self.transport.close()
        elif self.phase == IDLE:
            self._watch(self.state.idle)
        elif self.phase == BODY:  # answered before the body was whole: it has a little time to end
            self._watch(self.state.lingering)

    def too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self.phase != IDLE and self.flow.read_paused:
            self._watch(self._watched)  # it is we who do not read
        elif self.phase == IDLE or (self.phase == HEAD and not self._head_bytes):
            self.transport.close()
        else:
            self.refuse(TOO_SLOW)

    def refuse(self, refusal: Refusal, error: Exception | None = None) -> None:
        """Answer `refusal` and close; but let answers to earlier requests go out first."""
        log.debug(
            "refused a request", extra={"status": refusal.status, "client": self.client, "error": error}
        )
        if self._earlier_under_way():
            self._end(None)
            self.cycle.keep_alive = False
            return
        if self.phase == BODY:  # its app waits for the rest, or has begun to answer
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        self.transport.write(self._answer(refusal))
        self.half_close()

    def _earlier_under_way(self) -> bool:
        """Whether requests before the one at fault, which leaves the line, are still to be answered."""
        if self.phase != BODY:
            return self.cycle is not None and not self.cycle.response_complete
        if self.pipeline:
            self.pipeline.popleft()
            return True
        return False

    def half_close(self) -> None:
        """Say that nothing more comes, and drop what the client still sends: closing at once would reset the
        connection, and the answer could be lost on its way."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._end(self.state.lingering)

    def _end(self, deadline: Deadline | None) -> None:
        self.ended = True
        self._watch(deadline)

    def _raise(self, refusal: Refusal) -> None:
        """Leave the parser, which only knows errors."""
        self._refusal = refusal
        raise ValueError(refusal.title)

    def _watch(self, deadline: Deadline | None) -> None:
        """Be in this deadline and in no other."""
        if self._watched is not None and self._watched is not deadline:
            self._watched.forget(self)
        self._watched = deadline
        if deadline is not None:
            deadline.watch(self)

    def _answer(self, refusal: Refusal) -> bytes:
        """As application/problem+json (RFC 9457)."""
        body = msgspec.json.encode(refusal._asdict())
        lines = [STATUS_LINE[refusal.status]]
        lines += [name + b": " + value + b"\r\n" for name, value in self.state.default_headers]
        lines += [name + b": " + value + b"\r\n" for name, value in SECURITY]
        lines += [b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body)]
        return b"".join([*lines, b"connection: close\r\n\r\n", body])


class Flow(FlowControl):
    """Reads on only when no request waits behind the one that is being answered.

    uvicorn's reads on with every answer and every `receive`: requests would come in faster than they are
    answered, until the memory is full.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Collection[object]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class Answering:
    """The transport as an answer sees it.

    The head of the answer is kept until the body begins, and goes out in one write with it; ASGI asks for
    that too. An answer that is complete before its request is closes gently.
    """

    __slots__ = ("_connection", "_cycle", "_head", "_head_is_out", "_transport", "is_closing")

    def __init__(self, connection: Protocol, cycle: RequestResponseCycle) -> None:
        self._connection, self._cycle = connection, cycle
        self._transport = connection.transport
        self.is_closing = self._transport.is_closing
        self._head = b""
        self._head_is_out = False
        cycle.transport = self  # type: ignore[assignment]
        cycle.on_response = self.complete

    def write(self, data: bytes) -> None:
        if self._head_is_out:
            self._transport.write(data)
        elif self._head:
            self._transport.write(self._head + data)
            self._head_is_out = True
        elif self._cycle.response_started:
            self._head = data
        else:  # 100 Continue
            self._transport.write(data)

    def complete(self) -> None:
        self._flush()
        self._cycle.transport = self._transport  # or each keeps the other until garbage is looked for
        self._connection.on_response_complete()

    def _flush(self) -> None:
        """The answer may have no body."""
        if self._head and not self._head_is_out:
            self.write(b"")

    def close(self) -> None:
        self._flush()
        if self._connection.phase == BODY and self._connection.cycle is self._cycle:
            self._connection.half_close()
        else:
            self._transport.close()
