"""Error messages of one kind, told by what they have in common: their shape.

`GET https://a.example/7 was reset after 0.3 s` and the same of another URL are one message with other values
in it; with placeholders for those, they are the same text.
"""

import re
from functools import lru_cache
from hashlib import blake2s

LONGEST = 300  # characters of a wording; what differs after them is the same shape

_VALUES = re.compile(
    r"""
    (?P<url>[a-z][a-z0-9+.-]{1,15}://[^\s'"<>]*[^\s'"<>.,:;!?)\]}])
    | (?P<uuid>(?<![0-9a-z])[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?![0-9a-z]))
    | (?P<text>(?<!\w)"[^"]*"(?!\w) | (?<!\w)'[^']*'(?!\w))
    | (?P<hex>(?<!\w)(?:0x[0-9a-f]+ | (?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{7,})(?!\w))
    | (?P<n>(?<!\w)[0-9]+(?:[.,:][0-9]+)*)
    """,
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(1024)
def wording(message: str) -> str:
    """The message with <url>, <uuid>, <text>, <hex> and <n> where it holds such; at most 300 characters."""
    found = _VALUES.sub(lambda value: f"<{value.lastgroup}>", message[: LONGEST * 8])
    return " ".join(found.split())[:LONGEST]


@lru_cache(1024)
def shape(message: str) -> str:
    """Eight hex digits, the same for messages of one wording, now and in any other process."""
    return blake2s(wording(message).encode(errors="surrogatepass"), digest_size=4).hexdigest()
