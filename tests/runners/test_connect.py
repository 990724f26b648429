"""New connections: what the system says on the way is told as it is, and nothing has been sent."""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure, Success
from taskpusher.runners.connect import Connector
from taskpusher.runners.connection import Connection
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.resolver import Address, Resolver
from taskpusher.runners.targets import NotAllowed, Targets
from taskpusher.runners.transport import Http11Transport

from .target import Target, held, until


def meeting(monkeypatch: pytest.MonkeyPatch, *errors: OSError) -> None:
    """The next connects of this loop meet these."""
    coming = iter(errors)

    async def connect(sock: Any, address: Any) -> None:
        raise next(coming)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)


def named(*addresses: str) -> Http11Transport:
    """A transport for which every name has these addresses."""

    def look_up(host: str, port: int) -> Sequence[Address]:
        return [(2, (address, port)) for address in addresses]

    return Http11Transport(resolver=Resolver(look_up))


PEER = "127.0.0.1:9"
SAID = [
    (errno.EHOSTUNREACH, f"no route to {PEER}"),
    (errno.ENETUNREACH, f"no route to {PEER}"),
    (errno.ECONNRESET, f"connection reset by {PEER} before the request was sent"),
    (errno.EMFILE, "too many files are open here: raise the limit (ulimit -n, LimitNOFILE=)"),
    (errno.EADDRNOTAVAIL, f"can't connect to {PEER}: no address or port of ours is free for it"),
    (errno.ENOBUFS, f"can't connect to {PEER}: no buffer space available"),
]


@pytest.mark.parametrize(("number", "told"), SAID)
async def test_what_the_system_says_of_a_connect_is_told_with_the_way_out(
    number: int, told: str, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting(monkeypatch, OSError(number, os.strerror(number)))
    assert await runner.run(held(f"http://{PEER}/")) == Failure(ErrorClass.NOT_SENT, told)


async def test_the_end_of_the_time_is_told_as_such_whoever_sees_it_first(
    runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting(monkeypatch, TimeoutError())
    assert await runner.run(held(f"http://{PEER}/")) == Failure(
        ErrorClass.NOT_SENT, f"can't connect to {PEER} within 2 s"
    )


async def test_an_address_that_takes_its_share_of_the_time_is_told_beside_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meeting(monkeypatch, TimeoutError(), OSError(errno.ECONNREFUSED, "refused"))
    runner = HttpRunner(named("127.0.0.2", "127.0.0.3"))
    assert await runner.run(held("http://app.example:9/")) == Failure(
        ErrorClass.NOT_SENT,
        "no connection to 127.0.0.2:9 in its share of the time; connection refused by 127.0.0.3:9",
    )
    await runner.close()


async def test_a_connection_that_ended_at_the_tasker_itself_ends_the_attempt(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other address is tried then: it would be asked for what is not allowed."""

    def refuse(self: Targets, local: str, peer: str, port: int) -> None:
        raise NotAllowed(f"{peer}:{port} is this tasker itself")

    monkeypatch.setattr(Targets, "check_connected", refuse)
    runner = HttpRunner(named("127.0.0.1", "127.0.0.2"))
    outcome = await runner.run(held(f"http://app.example:{target.port}/"))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.NOT_SENT
    assert f"127.0.0.1:{target.port} is this tasker itself" in outcome.message
    assert target.requests == []
    await runner.close()


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (None, "TLS: the connection was closed by {} during the handshake"),
        (TimeoutError(), "TLS: no handshake with {} within 2 s"),
    ],
)
async def test_a_handshake_that_comes_to_nothing_is_told_and_its_connection_closed(
    ends: Exception | None, told: str, target: Target, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_tls(*given: object, **more: object) -> None:
        if ends is not None:
            raise ends

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
    peer = f"127.0.0.1:{target.port}"
    assert await runner.run(held(f"https://{peer}/")) == Failure(ErrorClass.NOT_SENT, told.format(peer))
    await until(lambda: target.open == 0)


# ---- connected, but too late --------------------------------------------------------------------------


def after_connecting(monkeypatch: pytest.MonkeyPatch, then: Callable[[Connection], Any]) -> None:
    really = Connector.connect

    async def connect(*given: Any) -> Connection:
        connection = await really(*given)
        await then(connection)
        return connection

    monkeypatch.setattr(Connector, "connect", connect)


async def test_a_connection_that_comes_while_the_tasker_stops_is_not_used(
    target: Target, transport: Http11Transport, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(connection: Connection) -> None:
        await transport.close()

    after_connecting(monkeypatch, stop)
    told = Failure(ErrorClass.NOT_SENT, "the tasker is stopping")
    assert await runner.run(held(target.url)) == told
    assert await runner.run(held(target.url)) == told
    assert target.requests == []
    await until(lambda: target.open == 0)


async def test_a_server_that_closes_at_once_was_sent_nothing(
    target: Target, runner: HttpRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(connection: Connection) -> None:
        connection.abort()
        await until(lambda: connection.closed)

    after_connecting(monkeypatch, lose)
    told = "127.0.0.1 closed the connection before the request was sent"
    assert await runner.run(held(target.url)) == Failure(ErrorClass.NOT_SENT, told)
    assert target.requests == []


# ---- kept ---------------------------------------------------------------------------------------------


async def test_a_connection_past_its_time_is_not_used_again(
    target: Target, transport: Http11Transport, runner: HttpRunner
) -> None:
    """Also where its timer is late, as on a busy event loop."""
    assert isinstance(await runner.run(held(target.url)), Success)
    (connection,) = transport._idle._order
    connection.idle_until = 0.0
    assert isinstance(await runner.run(held(target.url)), Success)
    assert target.accepted == 2


async def test_the_connection_with_the_least_time_is_closed_first(transport: Http11Transport) -> None:
    runner = HttpRunner(transport)
    first = asyncio.Event()

    async def script(peer: Any) -> None:
        head = await peer.request()
        if b"/long" in head:
            await peer.answer()
            await peer.hold()
            return
        await first.wait()
        await peer.answer(headers="Keep-Alive: timeout=1\r\n")
        await peer.hold()

    async with Target(script) as target:
        short = asyncio.ensure_future(runner.run(held(f"{target.url}/short")))
        await until(lambda: target.accepted == 1)
        await runner.run(held(f"{target.url}/long"))
        before = transport._idle._timer_at
        first.set()
        assert isinstance(await short, Success)
        assert transport._idle._timer_at < before
        await until(lambda: len(transport._idle) == 1)


async def test_a_time_that_ends_after_its_call_cuts_nobody(
    target: Target, transport: Http11Transport, runner: HttpRunner
) -> None:
    began = asyncio.get_running_loop().time()
    for timeout in (0.2, 5.0):
        assert isinstance(await runner.run(held(target.url, timeout=timeout)), Success)
    heap = transport._deadlines._heap
    assert min(heap)[0] < began + 1
    await until(lambda: not heap)
    assert isinstance(await runner.run(held(target.url)), Success)
    assert target.accepted == 1


async def test_a_connection_that_is_lost_twice_is_lost_once() -> None:
    """The layer below TLS may tell of it as well."""
    lost: list[Connection] = []
    connection = Connection(("http", "app.example", 80), asyncio.get_running_loop(), lost.append)
    for _ in range(2):
        connection.connection_lost(None)
    assert connection.closed
