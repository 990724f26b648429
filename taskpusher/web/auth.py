"""Who may come in: users and their roles, the hosts we answer for, browsers on other people's pages."""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address
from random import SystemRandom
from typing import Literal

from starlette.types import Scope

from .problems import Problem

Role = Literal["all", "add", "readonly"]
Right = Literal["push", "look", "change", "see secrets"]

OPEN_PATHS = ("/healthz", "/readyz")  # for probes, which know neither a password nor our name
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
LOOKING = ("GET", "HEAD")
RIGHTS: dict[str, tuple[Right, ...]] = {
    "all": ("push", "look", "change", "see secrets"),
    "add": ("push",),
    "readonly": ("look",),
}
DELAY = (0.5, 1.0)  # seconds that a wrong password waits for its answer


@dataclass(frozen=True)
class User:
    """`role` all; add: may only push; readonly: may only look, with bodies and header values masked."""

    name: str
    password: str = field(repr=False)
    role: Role = "all"

    def may(self, right: Right) -> bool:
        """push jobs; look at them; move, change and push them from a page; see bodies and header values."""
        return right in RIGHTS[self.role]


ANYBODY = User("", "")  # comes in where no users are named


class Guard:
    """Lets a request in, or raises the Problem it gets."""

    def __init__(self, users: Sequence[User], hosts: Collection[str] | None, any_host_literal: bool) -> None:
        self._users = [(_digest(user.name), _digest(user.password), user) for user in users]
        self._hosts = None if hosts is None else {*LOOPBACK, *(host.lower() for host in hosts)}
        self._any_literal = any_host_literal
        self._known: dict[bytes, User] = {}  # right Authorization headers, by digest
        self._random = SystemRandom()

    async def admit(self, scope: Scope, path: str) -> User:
        """The user who asks for `path`, which is below any prefix."""
        if path in OPEN_PATHS:
            return ANYBODY
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]):
            _refuse_doubles(scope)
        self._check_host(headers.get(b"host"))
        user = await self._user(headers.get(b"authorization")) if self._users else ANYBODY
        method = scope["method"]
        if method not in LOOKING:
            _refuse_cross_site(headers)
        if user.role == "add" and (method, path) != ("POST", "/add"):
            raise _forbidden(f"the user {user.name} may only push jobs: POST /add")
        if user.role == "readonly" and method not in LOOKING:
            raise _forbidden(f"the user {user.name} may only look: GET and HEAD")
        return user

    def _check_host(self, header: bytes | None) -> None:
        """A page whose name was pointed at our address (DNS rebinding) comes with its own name as Host."""
        if self._hosts is None:
            return
        if not header:
            raise Problem(400, "No host", "a request names its host; send a Host header", field="Host")
        name, port = _split(header.decode("latin-1").lower())
        if port and not (port.isascii() and port.isdigit()):
            raise Problem(400, "No host", "the Host header is no host[:port]", field="Host")
        if name not in self._hosts and not (self._any_literal and _is_literal(name)):
            detail = f"this is no host the tasker answers for; start it with --host {name[:100]} if it should"
            raise Problem(421, "Another host", detail, field="Host")

    async def _user(self, header: bytes | None) -> User:
        if header is None:
            raise _unauthorized("a user and password are asked for: curl -u user:password …")
        user = self._known.get(sha256(header).digest()) or self._matching(header)
        if user is None:
            # All of them wait, or a flood would be a way to guess at full speed; each holds a connection.
            await asyncio.sleep(self._random.uniform(*DELAY))
            raise _unauthorized("the user or the password is wrong, or they are no Basic credentials")
        return user

    def _matching(self, header: bytes) -> User | None:
        """Looks at every user, in the same time whether one is right or not."""
        name, password = _credentials(header)
        name_digest, password_digest = sha256(name).digest(), sha256(password).digest()
        found = None
        for right_name, right_password, user in self._users:
            same_name = hmac.compare_digest(right_name, name_digest)
            if same_name & hmac.compare_digest(right_password, password_digest):
                found = user
        if found is not None and len(self._known) < 1000:
            self._known[sha256(header).digest()] = found
        return found


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _credentials(header: bytes) -> tuple[bytes, bytes]:
    """User and password of a Basic header (RFC 7617); empty ones when it is none."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return b"", b""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return name, password


def _refuse_doubles(scope: Scope) -> None:
    """Two of these headers, and one of us and a proxy in front might believe another one."""
    names = [name for name, _ in scope["headers"]]
    for name in (b"host", b"authorization", b"origin", b"sec-fetch-site", b"content-type", b"content-length"):
        if names.count(name) > 1:
            shown = name.decode().title()
            raise Problem(400, "A header twice", f"there are two {shown} headers; send one", field=shown)


def _refuse_cross_site(headers: Mapping[bytes, bytes]) -> None:
    """Browsers send our password along with what other people's pages ask for; they also say so."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        if site not in (b"same-origin", b"none"):
            raise _forbidden("a browser asks for this from another site's page; it is not done")
        return
    origin = headers.get(b"origin")
    if origin is not None and origin.lower().partition(b"://")[2] != headers.get(b"host", b"").lower():
        raise _forbidden("the Origin is another site than the Host; it is not done")


def _split(host: str) -> tuple[str, str]:
    """Name (an IPv6 address in its brackets) and port."""
    if host.startswith("["):
        name, bracket, rest = host.partition("]")
        return name + bracket, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name.removesuffix("."), port


def _is_literal(name: str) -> bool:
    try:
        ip_address(name[1:-1] if name.startswith("[") else name)
    except ValueError:
        return False
    return True


def _unauthorized(detail: str) -> Problem:
    challenge = {"WWW-Authenticate": 'Basic realm="tasker", charset="UTF-8"'}
    return Problem(401, "Who are you?", detail, headers=challenge)


def _forbidden(detail: str) -> Problem:
    return Problem(403, "Not allowed", detail)
