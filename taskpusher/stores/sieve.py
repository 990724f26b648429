"""A look at the bytes of a record, before it is decoded: most that do not match are told by it at once."""

import re
from collections.abc import Callable

import msgspec

from .base import Query, words

Sieve = Callable[[bytes], bool]

# Lowered in the record's bytes as in its text: ASCII, but for what a letter beyond ASCII may be lowered to
# (the Kelvin sign to k, the dotted capital I to i), and for a line break, which stands between fields.
_PLAIN = re.compile(r"[ -hjl-~]+")


def sieve_of(query: Query) -> Sieve | None:
    """Says False only of records whose job does not match; None where no bytes tell.

    MessagePack has strings as they are in UTF-8, and each number in its one shortest form.
    """
    whole = [_bytes(value) for value in _values(query) if value]
    lowest, highest = query.status
    if lowest == highest > 127:  # a smaller one is a single byte, which is in every record
        whole.append(msgspec.msgpack.encode(lowest))
    pieces = [max(_PLAIN.findall(word), key=len, default="") for word in words(query.text)]
    lowered = [_bytes(piece) for piece in pieces if piece]
    if not lowered:
        return _holding(whole)
    return lambda record: all(needle in record for needle in whole) and _holds_all(record.lower(), lowered)


def _values(query: Query) -> tuple[str, ...]:
    """What a matching job has as it is, or begins with."""
    return query.queue, query.kind, query.host, query.tag, query.url, query.key, query.error


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogatepass")  # half a character is in no record


def _holding(needles: list[bytes]) -> Sieve | None:
    match needles:
        case []:
            return None
        case [needle]:
            return lambda record: needle in record
    return lambda record: _holds_all(record, needles)


def _holds_all(record: bytes, needles: list[bytes]) -> bool:
    return all(needle in record for needle in needles)
