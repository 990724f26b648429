"""The URL of a job: what may be called, in the form in which it is kept and sent (RFC 3986)."""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote

LONGEST = 8192  # bytes, as sent

# Nearly every URL is one of these and needs nothing done. What does not match is looked at step by step.
_PLAIN = re.compile(
    r"https?://([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,30}(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?)"
    r"(?:[/?][A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]]*)?"
)
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(?:([^@]*)@)?(\[[^\]@]*\]|[^:@\[\]]*)(:[^@]*)?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")
_PATH_SAFE = "-._~!$&'()*+,;=:@/?%[]"
_USERINFO_SAFE = "-._~!$&'()*+,;=:%"


def parse_url(text: object) -> tuple[str, str]:
    """The URL as it is sent, without its fragment, and its `host[:port]` in lower case.

    Raises ValueError, with the way out.
    """
    if not isinstance(text, str):
        raise ValueError("must be a string, like https://app.example/work")
    if (plain := _PLAIN.fullmatch(text)) and len(text) <= LONGEST and len(plain[1]) <= 253:
        return text, plain[1]
    return _parsed(text)


def _parsed(text: str) -> tuple[str, str]:
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} bytes; send what is long in the body")
    if unsafe := _UNSAFE.search(text):
        char = unsafe[0]
        raise ValueError(f"holds {char!r} at place {unsafe.start()}; percent-encode it as %{ord(char):02X}")
    parts = _PARTS.fullmatch(text)
    if not parts or parts[1].lower() not in ("http", "https"):
        raise ValueError("must be absolute and begin with http:// or https://, like https://app.example/work")
    userinfo, host = _authority(parts[2])
    url = f"{parts[1].lower()}://{userinfo}{host}{_encoded(parts[3], _PATH_SAFE)}"
    if len(url) > LONGEST:
        raise ValueError(
            f"is longer than {LONGEST} bytes when percent-encoded; send what is long in the body"
        )
    return url, host


def _authority(text: str) -> tuple[str, str]:
    """`user:password@` or nothing, and `host[:port]`."""
    found = _AUTHORITY.fullmatch(text)
    if not found or "\\" in text:
        raise ValueError("has no valid host; percent-encode @, :, [ and \\ in a user name or password")
    if not found[2]:
        raise ValueError("has no host; it must look like https://app.example/work")
    userinfo = _encoded(found[1], _USERINFO_SAFE) + "@" if found[1] is not None else ""
    return userinfo, _host(found[2]) + _port(found[3])


def _port(text: str | None) -> str:
    if text is None:
        return ""
    digits = text[1:]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 8 and 1 <= int(digits) <= 65535):
        raise ValueError("has a port that is no number from 1 to 65535")
    return f":{int(digits)}"


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:-1])}]" if "%" not in text else _refuse_zone()
        except AddressValueError as error:
            raise ValueError(f"has no valid IPv6 address as host: {str(error)[:100]}") from None
    host = text.lower() if text.isascii() else _idna(text)
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"has no valid host: {text[:80]!r} is neither a name nor an address")
    return host


def _refuse_zone() -> str:
    raise ValueError("has a zone in its IPv6 address, which can't be sent; leave it out")


def _idna(host: str) -> str:
    import httpx  # here only: it takes long to import, and hardly any URL needs it

    try:
        return httpx.URL(scheme="http", host=host).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        raise ValueError(f"has no valid host: {host[:80]!r} is no international domain name") from None


def _encoded(text: str, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no character; percent-encode it") from None
