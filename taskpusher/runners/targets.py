"""Which addresses may be called.

A job's URL comes from whoever may push, and its answer is kept for whoever may look: without rules a tasker
would be a hole into its own network (OWASP API7:2023, server-side request forgery). Private networks and
loopback stay open, since the app that pushes is the main target; what is never an app is refused.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from .call import NotAllowed

IP = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Refused unless an allow rule gives a network around the address. Most telling first.
REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), what)
    for network, what in (
        ("169.254.169.254/32", "a cloud metadata address"),
        ("fd00:ec2::254/128", "a cloud metadata address"),  # AWS
        ("fd20:ce::254/128", "a cloud metadata address"),  # Google
        ("100.100.100.200/32", "a cloud metadata address"),  # Alibaba
        ("192.0.0.192/32", "a cloud metadata address"),  # Oracle
        ("168.63.129.16/32", "a cloud metadata address"),  # Azure's wire server
        ("169.254.0.0/16", "a link-local address"),
        ("fe80::/10", "a link-local address"),
        ("0.0.0.0/8", "an unspecified address"),
        ("::/128", "an unspecified address"),
        ("224.0.0.0/4", "a multicast address"),
        ("ff00::/8", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
    )
)

_ZERO = ip_network("0.0.0.0/8")
_SIXTOFOUR = ip_network("2002::/16")  # RFC 3056
_TEREDO = ip_network("2001::/32")  # RFC 4380
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")  # RFC 8215
_LAST_32_BITS = tuple(
    ip_network(network)
    for network in (
        "::ffff:0:0/96",  # IPv4-mapped, RFC 4291 2.5.5.2
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "::/96",  # IPv4-compatible, RFC 4291 2.5.5.1
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",
    )
)
_LOOPBACK = IPv6Address("::1")

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def forms(address: IP) -> Iterator[IP]:
    """The address itself, and every IPv4 address that it may carry traffic to."""
    yield address
    if isinstance(address, IPv4Address) or address == _LOOPBACK or not int(address):
        return
    value = int(address)
    if any(address in network for network in _LAST_32_BITS):
        yield IPv4Address(value & 0xFFFFFFFF)
    if address in _SIXTOFOUR:
        yield IPv4Address(value >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        yield IPv4Address(value >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~value & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        yield from _other_nat64(value)


def _other_nat64(value: int) -> Iterator[IP]:
    """RFC 6052 2.2: where prefixes of 48, 56 and 64 bits put the address, around the zero bits 64-71."""
    joined = (value >> 64) << 56 | value & (1 << 56) - 1  # without these bits: 120 are left
    for prefix in (48, 56, 64):
        found = IPv4Address(joined >> (120 - prefix - 32) & 0xFFFFFFFF)
        if found not in _ZERO:  # what a longer prefix leaves there is zeros
            yield found


class Rules:
    """The values of one option, parsed. Raises ValueError with what is wrong with one of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.all = False
        self.names: set[str] = set()
        self.suffixes: list[str] = []  # ".example.com" of "*.example.com"
        self.networks: list[Network] = []
        for text in texts:
            self._add(text)

    def _add(self, text: str) -> None:
        rule = text.strip().lower()
        network = _network(rule)
        if rule == "all":
            self.all = True
        elif network is not None:
            self.networks.append(network)
        else:
            wild = rule.startswith("*.")
            name = _name(rule[2:] if wild else rule)
            if wild:
                self.suffixes.append("." + name)
            else:
                self.names.add(name)

    def naming(self, host: str) -> str | None:
        """The rule that matches the name as it stands in the URL."""
        host = host.lower().rstrip(".")
        if host in self.names:
            return host
        for suffix in self.suffixes:
            if host.endswith(suffix):
                return "*" + suffix
        return "all" if self.all else None

    def containing(self, addresses: Iterable[IP]) -> str | None:
        """The rule whose network one of the addresses is in."""
        for address in addresses:
            for network in self.networks:
                if address in network:
                    return str(network)
        return None


def _network(rule: str) -> Network | None:
    bare = rule[1:-1] if rule.startswith("[") and rule.endswith("]") else rule
    try:
        return ip_network(bare)
    except ValueError:
        pass
    try:
        wider = ip_network(bare, strict=False)
    except ValueError:
        return None
    raise ValueError(f"target rule {rule!r}: bits are set past the network's; did you mean {wider}?")


def _name(rule: str) -> str:
    """A host name, checked. Raises ValueError."""
    name = rule.rstrip(".")
    if "://" in name or "@" in name:
        raise ValueError(f"target rule {rule!r} is a URL: give its host alone")
    if not name.isascii():
        raise ValueError(f"target rule {rule!r}: write international names in their xn-- form")
    if re.fullmatch(r"(\[.*\]|[^:]*):\d+", name):
        raise ValueError(f"target rule {rule!r}: rules take no port")
    labels = name.split(".")
    if "/" in name or re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        raise ValueError(f"target rule {rule!r} is neither an address nor a network, such as 10.0.0.0/8")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"target rule {rule!r} is none: give a host name, *.example.com, an address, a network, or all"
        )
    return name


class Targets:
    """The rules. Allow wins over deny; what is always refused needs an allow rule with a network.

    `own` are the addresses where this tasker listens, as (address, port); 0.0.0.0 and :: stand for every one.
    """

    def __init__(
        self, allow: Rules | None = None, deny: Rules | None = None, own: Sequence[tuple[str, int]] = ()
    ) -> None:
        self._allow = allow or Rules(())
        self._deny = deny or Rules(())
        self._own: list[tuple[IP, int]] = []
        self.listening(own)

    @classmethod
    def parse(
        cls, allow: Iterable[str] = (), deny: Iterable[str] = (), own: Sequence[tuple[str, int]] = ()
    ) -> "Targets":
        """From the values of --target-allow and --target-deny. Raises ValueError with a sentence."""
        return cls(Rules(allow), Rules(deny), own)

    def listening(self, own: Sequence[tuple[str, int]]) -> None:
        """Where this tasker listens, once that is known."""
        self._own = [(_ip(address), port) for address, port in own]

    def check_name(self, host: str) -> None:
        """Refuse before anything is looked up, where no address could change it. Raises NotAllowed."""
        denied = self._deny.naming(host)
        if denied and not self._allow.naming(host) and not self._allow.networks:
            raise _denied(host, denied)

    def check_url(self, host: str, port: int) -> None:
        """What the URL alone can tell, where somebody else resolves the name. Raises NotAllowed."""
        self.check_name(host)
        try:
            _ip(host)
        except ValueError:
            return
        self.check(host, host, port)

    def check(self, host: str, address: str, port: int) -> None:
        """Whether `host` may be called at this very address. Raises NotAllowed."""
        found = list(forms(_ip(address)))
        if self._allows(found):
            return
        who = address if host == address else f"{host} is {address}:"
        for form in found:
            for network, what in REFUSED:
                if form in network:
                    raise NotAllowed(
                        f"target not allowed: {who} {'is ' if host == address else ''}{what}; "
                        f"--target-allow {form} would allow it"
                    )
        if self._is_own(found, port):
            raise _own(address, port)
        denied = self._deny.containing(found) or self._deny.naming(host)
        if denied and not self._allow.naming(host):
            raise _denied(host, denied)

    def check_connected(self, local: str, peer: str, port: int) -> None:
        """Whether a connection ended at ourselves, where we listen on every address. Raises NotAllowed."""
        if local != peer or not any(port == own and ip.is_unspecified for ip, own in self._own):
            return
        if not self._allows(list(forms(_ip(peer)))):
            raise _own(peer, port)

    def _allows(self, found: list[IP]) -> bool:
        """Whether an allow rule is about the address itself, or about all that it may carry traffic to."""
        address, *carried = found
        if self._allow.containing([address]):
            return True
        return bool(carried) and all(self._allow.containing([one]) for one in carried)

    def _is_own(self, found: list[IP], port: int) -> bool:
        for own, own_port in self._own:
            if port != own_port:
                continue
            if any(ip.is_loopback for ip in found) if own.is_unspecified else own in found:
                return True
        return False


def _ip(address: str) -> IP:
    return ip_address(address.partition("%")[0])  # %: the zone of a link-local one


def _own(address: str, port: int) -> NotAllowed:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return NotAllowed(
        f"target not allowed: {where} is this tasker itself; --target-allow {address} would allow it"
    )


def _denied(host: str, rule: str) -> NotAllowed:
    return NotAllowed(
        f"target not allowed: {host} is denied by --target-deny {rule}; --target-allow {host} would allow it"
    )
