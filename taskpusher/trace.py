"""W3C Trace Context: which trace a push belongs to, so that the call goes on with it.

https://www.w3.org/TR/trace-context/ says what is valid and what is done with what is not.
"""

import re
from collections.abc import Iterable

import msgspec

LONGEST_STATE = 512  # characters of tracestate that are passed on (3.3.1.5)
LONG_MEMBER = 128  # characters; longer members go first where it is too long
MOST_MEMBERS = 32
PARENT_SIZE = 55  # bytes of a traceparent of version 00

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_VISIBLE = r"[!-+\--<>-~]"  # but for the comma and the equals sign
_MEMBER = re.compile(rf"([a-z0-9][a-z0-9_\-*/@]{{0,255}})=(?:{_VISIBLE}| ){{0,255}}{_VISIBLE}")


class Trace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `traceparent` and its `tracestate`, as they are sent."""

    parent: str
    state: str = ""


def carried(headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
    """The trace of a request with these headers, names in lower case. None: it has none, or no valid one."""
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    parent = _parent(parents[0]) if len(parents) == 1 else None
    return None if parent is None else Trace(parent, _state(b",".join(states)))


def _parent(value: bytes) -> str | None:
    found = _PARENT.fullmatch(value.strip(b" \t"))
    if found is None:
        return None
    version, trace, span, flags = found.groups()
    if version == b"ff" or not trace.strip(b"0") or not span.strip(b"0"):
        return None
    if version == b"00" and len(found[0]) != PARENT_SIZE:
        return None
    # Of a later version only this much is known, and passed on as the version that we know (3.2.3).
    return f"00-{trace.decode()}-{span.decode()}-{flags.decode()}"


def _state(value: bytes) -> str:
    """The members in one line, as many as may be passed on; none of them if one is not valid."""
    members: dict[str, str] = {}
    for part in value.decode("latin-1").split(","):
        member = part.strip(" \t")
        if not member:
            continue
        found = _MEMBER.fullmatch(member)
        if found is None or found[1] in members or len(members) == MOST_MEMBERS:
            return ""
        members[found[1]] = member
    kept = [*members.values()]
    for least in (LONG_MEMBER, 0):  # the long ones first, each time from the end
        for member in kept[::-1]:
            if len(",".join(kept)) > LONGEST_STATE and len(member) > least:
                kept.remove(member)
    return ",".join(kept)
