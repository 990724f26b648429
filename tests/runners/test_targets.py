"""Which addresses may be called: the rules alone, then that no connection is ever made past them."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure, Success
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.resolver import Address, Resolver
from taskpusher.runners.targets import Rules, Targets
from taskpusher.runners.transport import Http11Transport, NotAllowed

from .target import Target, held


def embedded(address: str) -> list[str]:
    """The IPv6 addresses that carry traffic to an IPv4 one."""
    a, b, c, d = (int(part) for part in address.split("."))
    high, low = f"{a:02x}{b:02x}", f"{c:02x}{d:02x}"
    return [
        f"::ffff:{address}",
        f"::ffff:{high}:{low}",
        f"0:0:0:0:0:ffff:{high}:{low}",
        f"::{high}:{low}",
        f"::ffff:0:{high}:{low}",
        f"64:ff9b::{high}:{low}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{high}:{low}",
        f"64:ff9b:1:{high}:{c:02x}:{d:02x}00::",  # RFC 6052 2.2, prefix of 48 bits
        f"2002:{high}:{low}::",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}::",
        f"2001:0:4136:e378:8000:63bf:{0xFFFF ^ int(high, 16):x}:{0xFFFF ^ int(low, 16):x}",
    ]


def decimal(address: str) -> list[str]:
    """Spellings that only the resolver understands (inet_aton(3))."""
    a, b, c, d = (int(part) for part in address.split("."))
    whole = int.from_bytes(bytes((a, b, c, d)), "big")
    return [
        str(whole),
        hex(whole),
        f"0{whole:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.0x{b:x}.{c}.0{d:o}",
    ]


REFUSED_V4 = [
    "169.254.169.254",
    "169.254.0.1",
    "169.254.170.2",
    "100.100.100.200",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
]
REFUSED = [
    *REFUSED_V4,
    *(
        form
        for address in ("169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255")
        for form in embedded(address)
    ),
    *(form for address in REFUSED_V4[:4] for form in decimal(address)),
    "0",
    "::",
    "0:0:0:0:0:0:0:0",
    "::ffff:0.0.0.0",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "febf::1",
    "fd00:ec2::254",
    "fd00:0ec2:0::0254",
    "fd20:ce::254",
    "ff02::1",
    "ff0e::1",
]
ALLOWED = [
    "127.0.0.1",
    "::1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "fd00::1",
    "93.184.215.14",
    "::ffff:10.0.0.1",
]


def test_there_are_many_spellings() -> None:
    assert len(set(REFUSED)) >= 80


@pytest.mark.parametrize("address", [each for each in REFUSED if ":" in each or each in REFUSED_V4])
def test_an_address_that_is_no_app_is_refused(address: str) -> None:
    with pytest.raises(
        NotAllowed, match=r"^target not allowed: .* --target-allow [0-9a-f.:]+ would allow it$"
    ):
        Targets().check(address, address, 80)


@pytest.mark.parametrize("address", ALLOWED)
def test_apps_own_networks_are_allowed(address: str) -> None:
    Targets().check(address, address, 80)


class NoConnections:
    """Stands in for loop.sock_connect: notes where a connection would go."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def __call__(self, _: socket.socket, address: Any) -> None:
        self.made.append(address)
        raise ConnectionRefusedError(111, "refused")


@pytest.fixture
async def connections(monkeypatch: pytest.MonkeyPatch) -> NoConnections:
    connections = NoConnections()
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connections, raising=False)
    return connections


@pytest.mark.parametrize("host", REFUSED)
async def test_no_spelling_of_a_refused_address_is_connected_to(
    host: str, runner: HttpRunner, connections: NoConnections
) -> None:
    url = f"http://[{host}]/latest/meta-data" if ":" in host else f"http://{host}/latest/meta-data"
    outcome = await runner.run(held(url))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.NOT_SENT
    assert outcome.final or outcome.message.startswith("can't resolve"), outcome.message
    assert connections.made == []


class Names:
    """A resolver's lookup that gives what the test says, call by call."""

    def __init__(self, *turns: Sequence[str]) -> None:
        self.turns = turns
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[Address]:
        addresses = self.turns[self.asked % len(self.turns)]
        self.asked += 1
        return [
            (socket.AF_INET6, (each, port, 0, 0)) if ":" in each else (socket.AF_INET, (each, port))
            for each in addresses
        ]


async def test_rebinding_never_reaches_a_refused_address(connections: NoConnections) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "fd00:ec2::254"], ["::ffff:a9fe:a9fe"])
    runner = HttpRunner(Http11Transport(resolver=Resolver(names, kept=0.0)))
    for _ in range(1000):
        outcome = await runner.run(held("http://rebind.example/"))
        assert isinstance(outcome, Failure)
    assert names.asked == 1000
    assert {address[0] for address in connections.made} == {"127.0.0.1"}
    assert len(connections.made) == 500
    await runner.close()


async def test_a_redirect_to_a_refused_address_is_not_followed(runner: HttpRunner, target: Target) -> None:
    async def script(peer: Any) -> None:
        await peer.request()
        await peer.answer(b"", "302 Found", "Location: http://169.254.169.254/\r\n")

    target.script = script
    outcome = await runner.run(held(target.url))
    assert isinstance(outcome, Failure)
    assert (
        outcome.message == "answered 302 to http://169.254.169.254/; redirects are not followed: use that URL"
    )


async def test_a_refusal_is_final_and_says_what_would_allow_it(runner: HttpRunner) -> None:
    assert await runner.run(held("http://169.254.169.254/")) == Failure(
        ErrorClass.NOT_SENT,
        "target not allowed: 169.254.169.254 is a cloud metadata address; "
        "--target-allow 169.254.169.254 would allow it",
        final=True,
    )


# ---- allow and deny -------------------------------------------------------------------------------------

M = "169.254.169.254"
TABLE = [
    # allow, deny, host, address, allowed
    ([], [], "app.example", "93.184.215.14", True),
    ([], ["app.example"], "app.example", "93.184.215.14", False),
    ([], ["app.example"], "APP.example.", "93.184.215.14", False),
    ([], ["app.example"], "www.app.example", "93.184.215.14", True),
    ([], ["*.example"], "www.app.example", "93.184.215.14", False),
    ([], ["*.app.example"], "app.example", "93.184.215.14", True),
    ([], ["*.app.example"], "evilapp.example", "93.184.215.14", True),
    ([], ["10.0.0.0/8"], "app.example", "10.1.2.3", False),
    ([], ["10.0.0.0/8"], "app.example", "::ffff:10.1.2.3", False),
    ([], ["10.0.0.0/8"], "app.example", "11.1.2.3", True),
    ([], ["127.0.0.1"], "127.0.0.1", "127.0.0.1", False),
    ([], ["fd00::/8"], "app.example", "fd00::1", False),
    ([], ["all"], "app.example", "93.184.215.14", False),
    (["app.example"], ["all"], "app.example", "93.184.215.14", True),
    (["app.example"], ["all"], "other.example", "93.184.215.14", False),
    (["*.app.example"], ["all"], "www.app.example", "10.0.0.1", True),
    (["10.0.0.0/8"], ["all"], "app.example", "10.1.2.3", True),
    (["10.0.0.0/8"], ["all"], "app.example", "11.1.2.3", False),
    (["10.1.0.0/16"], ["10.0.0.0/8"], "app.example", "10.1.2.3", True),
    (["app.example"], ["10.0.0.0/8"], "app.example", "10.1.2.3", True),
    (["10.0.0.0/8"], ["app.example"], "app.example", "10.1.2.3", True),
    (["all"], ["all"], "app.example", "10.1.2.3", True),
    # what is always refused takes a network
    (["meta.example"], [], "meta.example", M, False),
    (["all"], [], "meta.example", M, False),
    ([M], [], "meta.example", M, True),
    (["169.254.0.0/16"], [], "meta.example", M, True),
    (["0.0.0.0/0"], [], "meta.example", M, True),
    ([M], [], "meta.example", "::ffff:a9fe:a9fe", True),
    (["::/0"], [], "meta.example", M, False),
    # Teredo by way of an allowed server to a refused client
    (["10.0.0.0/8"], [], "meta.example", "2001:0:a00:1::5601:5601", False),
    (["10.0.0.0/8"], [], "meta.example", M, False),
]


@pytest.mark.parametrize(("allow", "deny", "host", "address", "allowed"), TABLE)
async def test_allow_wins_over_deny(
    allow: list[str], deny: list[str], host: str, address: str, allowed: bool, connections: NoConnections
) -> None:
    transport = Http11Transport(Targets.parse(allow, deny), resolver=Resolver(Names([address])))
    runner = HttpRunner(transport)
    outcome = await runner.run(held(f"http://{host}/" if ":" not in host else f"http://[{host}]/"))
    assert isinstance(outcome, Failure)
    assert outcome.final is not allowed
    assert [each[0] for each in connections.made] == ([address] if allowed else [])
    if not allowed:
        assert "; --target-allow " in outcome.message
    await runner.close()


async def test_a_denied_name_is_not_even_looked_up() -> None:
    names = Names(["10.0.0.1"])
    runner = HttpRunner(Http11Transport(Targets.parse(deny=["bad.example"]), resolver=Resolver(names)))
    outcome = await runner.run(held("http://bad.example/"))
    assert isinstance(outcome, Failure)
    assert outcome.message == (
        "target not allowed: bad.example is denied by --target-deny bad.example; "
        "--target-allow bad.example would allow it"
    )
    assert names.asked == 0
    await runner.close()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "a host name"),
        ("*", "a host name"),
        ("a b", "a host name"),
        ("-x.example", "a host name"),
        ("*.*.example", "a host name"),
        ("http://app.example/", "give its host alone"),
        ("user@app.example", "give its host alone"),
        ("app.example:80", "rules take no port"),
        ("10.0.0.1:80", "rules take no port"),
        ("[::1]:80", "rules take no port"),
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("fd00::1/8", "did you mean fd00::/8"),
        ("10.0.0.0/33", "neither an address nor a network"),
        ("300.0.0.1", "neither an address nor a network"),
        ("2130706433", "neither an address nor a network"),
        ("0x7f.1", "neither an address nor a network"),
        ("app.example/path", "neither an address nor a network"),
        ("bücher.example", "xn--"),
    ],
)
def test_a_bad_rule_is_refused_with_a_sentence(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets.parse(allow=[rule])
    with pytest.raises(ValueError, match=message):
        Targets.parse(deny=[rule])


def test_rules_are_read_in_their_usual_spellings() -> None:
    rules = Rules([" App.Example. ", "*.Example.org", "[::1]", "10.0.0.0/8", "ALL", "my_host"])
    assert rules.names == {"app.example", "my_host"}
    assert rules.suffixes == [".example.org"]
    assert [str(network) for network in rules.networks] == ["::1/128", "10.0.0.0/8"]
    assert rules.all


# ---- ourselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "address", "port", "refused"),
    [
        ("127.0.0.1", "127.0.0.1", 9900, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 9900, True),
        ("127.0.0.1", "127.0.0.1", 9901, False),
        ("127.0.0.1", "10.0.0.5", 9900, False),
        ("::1", "::1", 9900, True),
        ("10.0.0.5", "10.0.0.5", 9900, True),
        ("0.0.0.0", "127.0.0.1", 9900, True),
        ("0.0.0.0", "127.8.8.8", 9900, True),
        ("::", "127.0.0.1", 9900, True),
        ("::", "::1", 9900, True),
        ("::", "10.0.0.5", 9900, False),  # only the connection can tell
    ],
)
def test_our_own_address_is_refused(own: str, address: str, port: int, refused: bool) -> None:
    targets = Targets.parse(own=[(own, 9900)])
    if not refused:
        return targets.check(address, address, port)
    with pytest.raises(NotAllowed, match=r"is this tasker itself; --target-allow .* would allow it"):
        targets.check(address, address, port)
    return Targets.parse(allow=[address], own=[(own, 9900)]).check(address, address, port)


def test_a_connection_to_ourselves_is_told_by_its_two_ends() -> None:
    targets = Targets()
    targets.listening([("::", 9900)])
    targets.check_connected("10.0.0.5", "10.0.0.6", 9900)
    targets.check_connected("10.0.0.5", "10.0.0.5", 80)
    with pytest.raises(NotAllowed, match=r"10\.0\.0\.5:9900 is this tasker itself"):
        targets.check_connected("10.0.0.5", "10.0.0.5", 9900)
    with pytest.raises(NotAllowed, match=r"\[fd00::5\]:9900 is this tasker itself"):
        targets.check_connected("fd00::5", "fd00::5", 9900)


async def test_a_listener_on_every_interface_is_not_called_by_itself(target: Target) -> None:
    transport = Http11Transport(Targets.parse(own=[("0.0.0.0", target.port)]))
    runner = HttpRunner(transport)
    outcome = await runner.run(held(target.url))
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith(f"target not allowed: 127.0.0.1:{target.port} is this tasker itself")
    assert target.accepted == 0
    await runner.close()


# ---- names ----------------------------------------------------------------------------------------------


async def test_an_unknown_name_was_not_sent() -> None:
    def unknown(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    runner = HttpRunner(Http11Transport(resolver=Resolver(unknown)))
    assert await runner.run(held("http://no.example/")) == Failure(
        ErrorClass.NOT_SENT, "can't resolve host no.example: no such host"
    )
    await runner.close()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "the name servers did not answer"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "non-recoverable failure"),
        (UnicodeError("label too long"), "it is no valid host name"),
        (OSError(24, "Too many open files"), "too many open files"),
    ],
)
async def test_what_the_lookup_says_is_told(error: Exception, message: str) -> None:
    def fails(host: str, port: int) -> list[Address]:
        raise error

    runner = HttpRunner(Http11Transport(resolver=Resolver(fails)))
    outcome = await runner.run(held("http://no.example/"))
    assert outcome == Failure(ErrorClass.NOT_SENT, f"can't resolve host no.example: {message}")
    await runner.close()


async def test_a_slow_name_ends_in_time_and_holds_one_thread(target: Target) -> None:
    import threading

    release = threading.Event()
    threads: set[int] = set()

    def lookup(host: str, port: int) -> list[Address]:
        if host == "slow.example":
            threads.add(threading.get_ident())
            release.wait(10)
        return [(socket.AF_INET, ("127.0.0.1", port))]

    runner = HttpRunner(Http11Transport(resolver=Resolver(lookup, threads=4)), connect_timeout=0.3)
    try:
        slow = [runner.run(held("http://slow.example/")) for _ in range(50)]
        quick = [runner.run(held(f"http://quick.example:{target.port}/")) for _ in range(5)]
        begun = asyncio.get_running_loop().time()
        outcomes = await asyncio.gather(*slow, *quick)
        assert asyncio.get_running_loop().time() - begun < 0.8
        for outcome in outcomes[:50]:
            assert outcome == Failure(ErrorClass.NOT_SENT, "can't resolve host slow.example within 0.3 s")
        assert all(isinstance(outcome, Success) for outcome in outcomes[50:])
        assert len(threads) == 1
    finally:
        await runner.close()
        release.set()


async def test_answers_of_the_resolver_are_used_again_for_a_while() -> None:
    names = Names(["127.0.0.1"])
    resolver = Resolver(names, kept=0.2)
    for _ in range(5):
        await resolver.resolve("app.example", 80)
    assert names.asked == 1
    async with asyncio.timeout(5):
        while names.asked == 1:
            await resolver.resolve("app.example", 80)
            await asyncio.sleep(0.01)
    resolver.close()


async def test_the_next_address_is_tried(target: Target) -> None:
    resolver = Resolver(Names(["127.0.0.2", "127.0.0.1"]))  # nobody listens on the first
    runner = HttpRunner(Http11Transport(resolver=resolver))
    assert isinstance(await runner.run(held(f"http://app.example:{target.port}/")), Success)
    await runner.close()


async def test_when_no_address_answers_each_is_told() -> None:
    runner = HttpRunner(Http11Transport(resolver=Resolver(Names(["127.0.0.2", "127.0.0.3"]))))
    outcome = await runner.run(held("http://app.example:9/"))
    assert outcome == Failure(
        ErrorClass.NOT_SENT, "connection refused by 127.0.0.2:9; connection refused by 127.0.0.3:9"
    )
    await runner.close()


async def test_a_silent_address_takes_only_its_share_of_the_time(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def connect(sock: socket.socket, address: Any) -> None:
        if address[0] == "127.0.0.2":
            await asyncio.sleep(60)
        await real(sock, address)

    monkeypatch.setattr(loop, "sock_connect", connect)
    runner = HttpRunner(
        Http11Transport(resolver=Resolver(Names(["127.0.0.2", "127.0.0.1"]))), connect_timeout=0.6
    )
    begun = loop.time()
    assert isinstance(await runner.run(held(f"http://app.example:{target.port}/")), Success)
    assert 0.2 < loop.time() - begun < 0.6
    await runner.close()
