"""The values that settings take: addresses, stores, sizes, credentials, headers and their kin.

Every parser takes the text as it was written and raises ValueError with a sentence that says what is wrong
and how to write it. What jobs have too is read by the readers of their fields, imported when they are needed:
`tasker --help` needs none.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from .durations import parse_duration


@dataclass(frozen=True)
class Address:
    """Where to listen. host "" is every interface, port 0 any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host.lower() == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:  # another name may mean any machine
            return False

    @property
    def is_every_interface(self) -> bool:
        return self.host in ("", "0.0.0.0", "::")  # noqa: S104 - asked about, not bound


@dataclass(frozen=True)
class Credentials:
    """Who may come in; the password stays out of logs and tracebacks."""

    name: str
    password: str = dataclasses.field(repr=False)


@dataclass(frozen=True)
class StoreAddress:
    """kind `lmdb` with the path of its directory, or `memory`."""

    kind: str
    path: str = ""


def parse_address(text: str) -> Address:
    found = re.fullmatch(r"(\[[^\[\]]+\]|[^\[\]:]*):([0-9]{1,5})", text, re.ASCII)
    if found is None or int(found[2]) > 65535:
        hint = "; an IPv6 address goes in brackets" if text.count(":") > 1 else ""
        raise ValueError(f"{text!r} is no host:port, like localhost:9900 or :9900{hint}")
    host = found[1]
    if host.startswith("["):
        host = host[1:-1]
        if ":" not in host or not _is_literal(host):
            raise ValueError(f"{host!r} is no IPv6 address")
    elif not re.fullmatch(r"[A-Za-z0-9._-]*", host):
        raise ValueError(f"{host!r} is no host name; every interface is written :{found[2]}")
    return Address(host, int(found[2]))


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def parse_store(text: str) -> StoreAddress:
    kind, colon, path = text.partition(":")
    if (kind, path) == ("memory", "") and colon:
        return StoreAddress("memory")
    if kind == "lmdb" and path and "\0" not in path:
        return StoreAddress("lmdb", path)
    raise ValueError(f"{text!r} is no store; write lmdb:PATH, or memory: to keep nothing")


def parse_size(text: str) -> int:
    """Bytes, from `1000`, `64KiB`, `10MB`."""
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    found = re.fullmatch(r"([0-9]{1,15}) ?([a-z]*)", text.strip().lower(), re.ASCII)
    if found is None or found[2] not in units:
        raise ValueError(f"{text!r} is no size; write it like 1000, 64KiB or 10MiB")
    return int(found[1]) * units[found[2]]


def parse_credentials(text: str) -> tuple[Credentials, ...]:
    """One `user:password`, or all those of a file when it is `@FILE`."""
    if not text.startswith("@"):
        return (_one_credential(text, "it"),)
    try:
        lines = Path(text[1:]).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"the file {text[1:]} can't be read: {reason}") from None
    found = tuple(
        _one_credential(line, f"line {number} of {text[1:]}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )
    if not found:
        raise ValueError(f"the file {text[1:]} holds no user:password line")
    return found


def _one_credential(text: str, what: str) -> Credentials:
    """`what` names the text: a password mistyped as a user must not be shown."""
    name, colon, password = text.partition(":")
    if not colon:
        raise ValueError(f"{what} is no user:password: there is no colon")
    if not name or not password:
        raise ValueError(f"{what} has an empty {'password' if name else 'user'}")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"{what} holds a control character")
    return Credentials(name, password)


def parse_header(text: str) -> tuple[tuple[str, str], ...]:
    """One header, as a job might have it, but none that only a job can know."""
    from .fields import headers

    name, colon, value = text.partition(":")
    if not colon:
        raise ValueError("a header is written NAME:VALUE")
    if name.lower() in ("host", "idempotency-key"):
        raise ValueError(f"{name} is another one for every job")
    return headers({name: value})


def parse_success(text: str) -> str:
    from .fields import success

    return success(text)


def parse_timeout(text: str) -> float:
    from .fields import timeout

    return timeout(text)


def parse_root_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError(f"{text!r} is no path like /jobs")
    return path


def parse_host(text: str) -> tuple[str, ...]:
    host = text.strip("[]").lower()
    if not host or not (_is_literal(host) or re.fullmatch(r"[a-z0-9._-]+", host)):
        raise ValueError(f"{text!r} is no host name; write it without scheme and port, like jobs.example.com")
    return (host,)


def parse_target(text: str) -> tuple[str, ...]:
    from .runners.targets import Rules

    Rules([text])
    return (text,)


def parse_proxy(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a proxy is written http://host:port")
    return text


def parse_callback(text: str) -> str:
    from .url import parse_url

    try:
        return parse_url(text)[0]
    except ValueError as error:
        raise ValueError(f"the URL {error}") from None


def parse_flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def positive_duration(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("it must be more than 0")
    return seconds


def whole(least: int, most: int) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text.strip(), re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text.lower()

    return parse
