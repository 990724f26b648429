"""The two small values that pass between the http runner and a transport, and how a call can fail."""

from typing import Protocol

import msgspec

from ..job import ErrorClass


class Call(msgspec.Struct, frozen=True, gc=False):
    """One HTTP request, ready to go out. Times are seconds, sizes bytes."""

    method: str
    scheme: str  # http or https
    host: str  # a name or an address, without brackets
    port: int
    target: str  # path?query, as it stands in the request line
    headers: bytes  # lines "Name: value\r\n", without the empty one after them
    body: bytes = b""
    timeout: float = 3600.0  # of the whole call, connecting included
    connect_timeout: float = 10.0
    max_response: int = 65536  # of the answer's body; no more of it is read
    repeatable: bool = False  # idempotent, and may go out again if the server closed an idle connection on it

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The headers, for transports that want them apart."""
        lines = self.headers.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What came back: headers as sent, in their order, decoded as latin-1; trailers left out."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    truncated: bool = False  # there was more than max_response


class CallFailed(Exception):
    """No whole answer came. The message is a sentence for people: no userinfo, no header values."""

    error_class: ErrorClass
    final = False  # whether another attempt would fail the same way


class NotSent(CallFailed):
    """Not a byte of the request went out."""

    error_class = ErrorClass.NOT_SENT


class NotAllowed(NotSent):
    """The target rules forbid the call."""

    final = True


class BadTarget(NotSent):
    """The stored URL, method or headers can't be put into a request."""

    final = True


class Unknown(CallFailed):
    """The request, or part of it, may have gone out: the work may have been done."""

    error_class = ErrorClass.UNKNOWN


class Transport(Protocol):
    """Brings a Call to its target and its Answer back."""

    async def call(self, call: Call) -> Answer:
        """Raises NotSent or Unknown, whatever the target does. Being cancelled cuts the connection."""

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
