"""One connection to one server, speaking HTTP/1.1 (RFC 9112) one call at a time."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from .call import Answer, Call, CallFailed, Unknown

HEADER_LIMIT = 65536  # bytes of one answer's header block; as many of chunk framing and trailers
INTERIM_LIMIT = 32  # 1xx answers before the final one
ONE_WRITE = 65536  # a body up to here goes out in one write with its headers
STALE_WITHIN = 1.0  # seconds: how soon a server's close crosses a request sent on an idle connection

Key = tuple[str, str, int]  # scheme, host, port

_NO_CALL = Call("", "", "", 0, "", b"")


class Stale(Unknown):
    """The server closed a reused connection, without an answer: most likely it never read the call."""


class _Stop(Exception):
    """Raised inside a parser callback to stop parsing; the call has failed by then."""


def _how(exc: Exception | None) -> str:
    if exc is None:
        return "was closed"
    return "was reset" if isinstance(exc, ConnectionError) else "broke"


def keep_alive(value: str) -> float:
    """Seconds that a Keep-Alive header promises (RFC 2068, 19.7.1.1: `timeout=5, max=100`); else infinity."""
    for part in value.split(","):
        name, _, number = part.strip().partition("=")
        if name.strip().lower() == "timeout" and number.strip().isdigit():
            return float(number)
    return inf


class Connection(asyncio.Protocol):
    """Carries calls one after another; `send` begins one, and the future it returns ends it.

    The future's result is an Answer, or the CallFailed to raise: as a result and not as an exception, so
    that nothing is logged when the caller was cancelled in the same moment.
    """

    __slots__ = (
        "_body",
        "_call",
        "_got",
        "_head",
        "_headers",
        "_headers_of",
        "_in_body",
        "_interim",
        "_interims",
        "_loop",
        "_on_lost",
        "_parser",
        "_paused",
        "_renew",
        "_rest",
        "_sent_at",
        "_status",
        "_transport",
        "_waiter",
        "closed",
        "idle_until",
        "keep",
        "keep_alive",
        "key",
        "reused",
        "ticket",
    )

    def __init__(
        self, key: Key, loop: asyncio.AbstractEventLoop, on_lost: Callable[["Connection"], None]
    ) -> None:
        self.key = key
        self.ticket = 0  # of the call under way; 0: none
        self.closed = False
        self.keep = False  # whether another call may follow the one that ended
        self.reused = False
        self.keep_alive = inf  # seconds that the server keeps it, as far as it said
        self.idle_until = 0.0  # loop time
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._parser = HttpResponseParser(self)
        self._headers_of = b""  # what the decoded headers are of: most answers bring the same again
        self._headers: tuple[tuple[str, str], ...] = ()
        self._call = _NO_CALL
        self._waiter: asyncio.Future[Answer | CallFailed] | None = None
        self._rest: memoryview | None = None  # of the request body, still to be written
        self._paused = False
        self._renew = False

    # ---- one call ----

    def send(self, call: Call, ticket: int) -> asyncio.Future[Answer | CallFailed]:
        """Write the request. From here on a failure is Unknown."""
        self.ticket = ticket
        self._call = call
        self._sent_at = self._loop.time()
        self._status = self._got = self._interims = 0
        self._head: list[bytes] = []  # name, value, name, value, …
        self._body: bytes | bytearray = b""
        self._in_body = self._interim = False
        self._waiter = waiter = self._loop.create_future()
        head = f"{call.method} {call.target} HTTP/1.1\r\n".encode() + call.headers
        body = call.body
        if len(body) <= ONE_WRITE:
            self._transport.write(b"%b\r\n%b" % (head, body))
        else:
            self._rest = memoryview(body)
            self._transport.write(head + b"\r\n")
            self._pump()
        return waiter

    def expire(self) -> None:
        """The call's time is up."""
        within = f"within {self._call.timeout:g} s"
        if self._in_body:
            came = f"{len(self._body)} bytes of its body came"
            self._fail(Unknown(f"the answer was not complete {within}; {came}"))
        else:
            self._fail(Unknown(f"no answer {within}"))

    def abort(self) -> None:
        """Close at once; no lingering for what is still to be written or for TLS's farewell."""
        if not self.closed:
            self.closed = True
            self._transport.abort()

    def usable(self, now: float) -> bool:
        return now < self.idle_until and not self.closed and not self._transport.is_closing()

    def cut(self, why: str) -> None:
        """Close from our side, whatever is under way."""
        if self._waiter is not None:
            self._fail(Unknown(why))
        self.abort()

    def _end(self, outcome: Answer | CallFailed) -> None:
        self.ticket = 0
        self._call, self._body, self._rest = _NO_CALL, b"", None  # an idle connection holds no bodies
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():  # done: its caller was cancelled
            waiter.set_result(outcome)

    def _fail(self, failure: CallFailed) -> None:
        self.keep = False
        self._end(failure)
        self.abort()

    def _answered(self, keep: bool, truncated: bool = False) -> None:
        self.keep = keep and not self._unsent()
        self._end(Answer(self._status, self._decoded(), bytes(self._body), truncated))
        if not self.keep:
            self.abort()

    def _decoded(self) -> tuple[tuple[str, str], ...]:
        """The answer's headers as text, and `keep_alive` from them."""
        joined = b"\n".join(self._head)  # neither names nor values have one
        if joined != self._headers_of:
            texts = iter(joined.decode("latin-1").split("\n") if joined else ())
            self._headers_of, self._headers = joined, tuple(zip(texts, texts, strict=True))
            self.keep_alive = keep_alive(self._header("keep-alive") or "")
        return self._headers

    def _unsent(self) -> bool:
        """Whether the answer overtook the request's body."""
        return bool(self._rest or (self._call.body and self._transport.get_write_buffer_size()))

    def _pump(self) -> None:
        while self._rest and not self._paused and not self.closed:
            part, self._rest = self._rest[:ONE_WRITE], self._rest[ONE_WRITE:] or None
            self._transport.write(part)

    # ---- asyncio.Protocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is none by class

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:  # nobody asked: whatever it is, it would answer the wrong call
            self.abort()
            return
        self._got += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(Unknown("answered 101 Switching Protocols, which was not asked for"))
        except HttpParserError as error:
            if isinstance(error, HttpParserCallbackError) and not isinstance(error.__context__, _Stop):
                self._fail(Unknown("a fault of the tasker's own while it read the answer; its log has more"))
                raise  # for the loop's exception handler
            if self._waiter is None:  # the answer was whole; what followed it is not ours
                self.keep = False
                self.abort()
            else:
                self._fail(Unknown(f"the answer is not HTTP: {error}"))
        if self._waiter is not None:
            self._check_size()
        elif self._renew:
            self._renew = False
            self._parser = HttpResponseParser(self)
            self.keep = self.keep and data.endswith(b"\r\n\r\n")

    def eof_received(self) -> None:
        # A server that closed its side answers no more: don't wait until our side is flushed.
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._rest = None
        if self._waiter is not None:
            self._lost(exc)
        self._on_lost(self)
        if hasattr(self, "_parser"):  # it holds our methods: a cycle, which only the collector would free
            del self._parser

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def _check_size(self) -> None:
        """The answer goes on: bound what is not body, headers before it or framing within it."""
        if not self._in_body:
            if self._got > HEADER_LIMIT:
                self._fail(Unknown(f"the answer's headers are larger than {HEADER_LIMIT} bytes"))
        elif self._got - len(self._body) > 2 * HEADER_LIMIT + 16 * len(self._body):
            self._fail(Unknown("the answer's chunk framing or trailers have no end"))

    def _lost(self, exc: Exception | None) -> None:
        """The connection ended before the answer did, or with it (RFC 9112, 6.3: close-delimited)."""
        reset = _how(exc)
        if self._in_body:
            length = self._header("content-length")
            if exc is None and length is None and self._header("transfer-encoding") != "chunked":
                self._answered(keep=False)
                return
            of = f" of {length}" if length and length.isdigit() else ""
            came = f"{len(self._body)}{of} bytes"
            self._fail(Unknown(f"the answer was cut short: the connection {reset} after {came}"))
        elif self._got:
            self._fail(Unknown(f"the connection {reset} in the middle of the answer's headers"))
        elif self.reused and self._loop.time() - self._sent_at < STALE_WITHIN:
            self._fail(Stale(f"the idle connection {reset} as the request was sent"))
        else:
            self._fail(Unknown(f"the connection {reset} after the request was sent, without an answer"))

    def _header(self, name: str) -> str | None:
        """The last value of a header, in lower case."""
        for key, value in reversed(self._decoded()):
            if key.lower() == name:
                return value.lower().strip()
        return None

    # ---- httptools' callbacks ----

    def on_message_begin(self) -> None:
        if self._waiter is None:  # bytes after the answer
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers come here too
            self._head += (name, value)

    def on_headers_complete(self) -> None:
        if self._waiter is None:
            return
        status = self._parser.get_status_code()
        if self._got > HEADER_LIMIT and self._head_size() > HEADER_LIMIT:
            self._stop(f"the answer's headers are larger than {HEADER_LIMIT} bytes")
        if status < 200:
            self._on_interim(status)
            return
        self._status = status
        self._in_body = True
        self._got = 0  # from here on: what came after this read
        if self._call.method == "HEAD":
            # The parser would take what follows for a body: it is done with, and whatever it still
            # reports goes into `keep` only (no waiter any more).
            self._renew = True
            self._answered(self._parser.should_keep_alive())

    def on_body(self, part: bytes) -> None:
        if self._waiter is None:
            self.keep = False
            return
        room = self._call.max_response - len(self._body)
        if len(part) > room:
            self._body += part[:room]
            self._answered(keep=False, truncated=True)
            raise _Stop
        if not self._body:
            self._body = part
        else:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += part

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._waiter is None:
            self.keep = self.keep and not self._renew
        else:
            self._answered(self._parser.should_keep_alive())

    def _on_interim(self, status: int) -> None:
        """1xx answers (RFC 9110, 15.2) may come in any number before the final one; we bound it."""
        if status == 101:
            self._stop("answered 101 Switching Protocols, which was not asked for")
        if status < 100:
            self._stop(f"the answer is not HTTP: its status is {status}")
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            self._stop(f"more than {INTERIM_LIMIT} interim answers (1xx) and no final one")
        self._interim = True
        self._head = []

    def _head_size(self) -> int:
        return sum(len(part) + 2 for part in self._head)

    def _stop(self, why: str) -> None:
        self._fail(Unknown(why))
        raise _Stop
