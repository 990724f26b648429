"""Connections: kept, closed, shared by nobody, and gone when a call is cut."""

import asyncio
import gc
import os
import ssl
import time
from typing import Any

import pytest
import trustme
import uvloop

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure, Outcome, Success
from taskpusher.runners.connection import Connection, keep_alive
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.transport import Http11Transport, Unknown

from .target import Peer, Target, held, says, until, well


@pytest.fixture
def anyio_backend(both_loops: object) -> object:
    return both_loops


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_the_loops_are_what_they_say(request: pytest.FixtureRequest) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, uvloop.Loop) == ("uvloop" in request.node.name)


# ---- kept ---------------------------------------------------------------------------------------------


async def test_calls_one_after_another_share_a_connection(runner: HttpRunner, target: Target) -> None:
    for _ in range(20):
        assert isinstance(await runner.run(held(target.url)), Success)
    assert target.accepted == 1


async def test_calls_at_once_have_a_connection_each_and_keep_them(runner: HttpRunner, target: Target) -> None:
    for _ in range(3):
        outcomes = await asyncio.gather(*(runner.run(held(target.url)) for _ in range(20)))
        assert all(isinstance(outcome, Success) for outcome in outcomes)
    assert target.accepted == 20


KEPT = [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray", False),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r", False),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", False),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\nstray", False),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nstray", False),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
    (
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        False,
    ),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTT", False),
    (
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        False,
    ),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n", True),
    ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
    ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
    ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
    ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", True),
    ("GET", b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok", False),
    ("GET", b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 2\r\n\r\nok", True),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + bytes(99_999), False),
]


@pytest.mark.parametrize(("method", "answer", "kept"), KEPT)
async def test_a_connection_is_kept_only_when_its_answer_was_whole_and_alone(
    method: str, answer: bytes, kept: bool, runner: HttpRunner
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    async with Target(script) as target:
        for _ in range(3):
            outcome = await runner.run(held(target.url, method=method, success="200-399"))
            assert isinstance(outcome, Success), outcome
            if method == "HEAD" or b" 204 " in answer or b" 304 " in answer:
                assert outcome.result.body == b""
        assert target.accepted == (1 if kept else 3)


async def test_an_answer_without_headers_follows_one_with_headers(runner: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(headers="X: y\r\n")
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nbare")
        peer.close()

    async with Target(script) as target:
        first, second = [await runner.run(held(target.url)) for _ in range(2)]
        assert isinstance(first, Success)
        assert first.result.headers == (("X", "y"), ("Content-Length", "2"))
        assert isinstance(second, Success)
        assert second.result.headers == ()
        assert second.result.body == b"bare"


async def test_bytes_on_an_idle_connection_close_it(runner: HttpRunner) -> None:
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()
        await more.wait()
        await peer.answer(b"poison")
        await peer.hold()

    async with Target(script) as target:
        assert isinstance(await runner.run(held(target.url)), Success)
        more.set()
        await until(lambda: target.open == 0)
        target.script = well
        outcome = await runner.run(held(target.url))
        assert isinstance(outcome, Success)
        assert outcome.result.body == b"ok"
        assert target.accepted == 2


async def test_idle_connections_are_closed_after_their_time_and_timers_rest(target: Target) -> None:
    transport = Http11Transport(idle=0.1)
    runner = HttpRunner(transport)
    await asyncio.gather(*(runner.run(held(target.url)) for _ in range(5)))
    assert len(transport._idle) == 5
    await until(lambda: target.open == 0 and len(transport._idle) == 0)
    assert transport._idle._timer is None
    assert transport._idle._stacks == {}
    await transport.close()


async def test_a_server_that_keeps_shorter_is_believed(transport: Http11Transport) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(headers="Keep-Alive: timeout=1\r\n")

    async with Target(script) as target:
        await HttpRunner(transport).run(held(target.url))
        (connection,) = transport._idle._order
        left = connection.idle_until - asyncio.get_running_loop().time()
        assert left <= 1.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("timeout=5", 5),
        ("timeout=5, max=100", 5),
        ("max=1,  Timeout = 3", 3),
        ("", None),
        ("timeout=x", None),
    ],
)
def test_keep_alive_is_read(value: str, seconds: float | None) -> None:
    assert keep_alive(value) == (float("inf") if seconds is None else seconds)


async def test_the_oldest_idle_connection_makes_room(target: Target) -> None:
    transport = Http11Transport(most_idle=3)
    runner = HttpRunner(transport)
    await asyncio.gather(*(runner.run(held(target.url)) for _ in range(10)))
    assert len(transport._idle) == 3
    await until(lambda: target.open == 3)
    await transport.close()


# ---- a close that crosses the request -------------------------------------------------------------------


async def crossing(peer: Peer) -> None:
    """Answers once; closes when the second request comes, as if it had been closing already."""
    if peer.target.accepted > 1:
        return await well(peer)
    await peer.request()
    await peer.answer()
    await peer.reader.read(1)
    peer.reset()
    return None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
async def test_an_idempotent_call_that_met_a_closing_connection_goes_out_again(
    method: str, runner: HttpRunner
) -> None:
    async with Target(crossing) as target:
        for _ in range(2):
            outcome = await runner.run(held(target.url, method=method))
            assert isinstance(outcome, Success), outcome
        assert target.accepted == 2


@pytest.mark.parametrize("job", [{"method": "POST"}, {"method": "PATCH"}, {"method": "GET", "once": True}])
async def test_any_other_call_that_met_a_closing_connection_is_unknown(
    job: dict[str, Any], runner: HttpRunner
) -> None:
    async with Target(crossing) as target:
        assert isinstance(await runner.run(held(target.url, **job)), Success)
        outcome = await runner.run(held(target.url, **job))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is ErrorClass.UNKNOWN
        assert "as the request was sent" in outcome.message
        assert target.accepted == 1


async def test_a_call_goes_out_again_once_only(runner: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.target.accepted == 1:
            await peer.answer()
            await peer.reader.read(1)

    async with Target(script) as target:
        assert isinstance(await runner.run(held(target.url)), Success)
        outcome = await runner.run(held(target.url))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is ErrorClass.UNKNOWN
        assert target.accepted == 2


async def test_a_connection_that_the_server_closed_is_not_used(transport: Http11Transport) -> None:
    runner = HttpRunner(transport)
    async with Target(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as target:
        for _ in range(3):
            assert isinstance(await runner.run(held(target.url, method="POST")), Success)
            await until(lambda: len(transport._idle) == 0)
        assert target.accepted == 3


async def test_a_server_that_closes_after_each_answer_never_fails_an_idempotent_call(
    runner: HttpRunner,
) -> None:
    # Without saying so: the close races the next request every time.
    async with Target(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as target:
        for _ in range(200):
            assert isinstance(await runner.run(held(target.url)), Success)


# ---- cut ----------------------------------------------------------------------------------------------


async def cut(runner: HttpRunner, url: str, after: int, body: bytes = b"") -> None:
    """Start a call and cancel it after so many turns of the loop."""
    call = asyncio.ensure_future(runner.run(held(url, body, method="POST" if body else "GET")))
    for _ in range(after):
        await asyncio.sleep(0)
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        pass


async def test_thousands_of_cancelled_calls_leave_nothing(runner: HttpRunner, target: Target) -> None:
    assert isinstance(await runner.run(held(target.url)), Success)
    gc.collect()
    before = fds()
    for turn in range(50):
        await asyncio.gather(*(cut(runner, target.url, (turn + n) % 12) for n in range(50)))
    outcomes = await asyncio.gather(*(runner.run(held(target.url)) for _ in range(100)))
    assert all(isinstance(outcome, Success) for outcome in outcomes)
    await runner.close()
    await until(lambda: target.open == 0)
    await until(lambda: fds() <= before)
    transport = runner._transport
    assert isinstance(transport, Http11Transport)
    assert not transport._open
    assert len(transport._idle) == 0


async def test_calls_cancelled_while_the_target_is_silent_leave_nothing(runner: HttpRunner) -> None:
    async with Target(lambda peer: peer.hold()) as target:
        before = fds()
        for _ in range(10):
            calls = [asyncio.ensure_future(runner.run(held(target.url, bytes(200_000)))) for _ in range(50)]
            await until(lambda: target.open == 50)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: target.open == 0)
        await until(lambda: fds() <= before)
        target.script = well
        assert isinstance(await runner.run(held(target.url)), Success)


async def test_cancelled_tls_handshakes_leave_nothing() -> None:
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    runner = HttpRunner(Http11Transport(tls=client))
    async with Target(tls=server) as target:
        assert isinstance(await runner.run(held(target.url)), Success)
        before = fds()
        for turn in range(20):
            await asyncio.gather(*(cut(runner, target.url, n % 25) for n in range(turn, turn + 25)))
        outcomes = await asyncio.gather(*(runner.run(held(target.url)) for _ in range(20)))
        assert all(isinstance(outcome, Success) for outcome in outcomes)
        await runner.close()
        await until(lambda: fds() <= before)


async def test_an_answer_never_reaches_the_next_call_when_its_own_was_cut(runner: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await asyncio.sleep(0.001)
            await peer.answer(request.split(b" ", 2)[1])

    async with Target(script) as target:

        async def one(number: int) -> None:
            call = asyncio.ensure_future(runner.run(held(f"{target.url}/{number}")))
            if number % 3 == 0:
                await asyncio.sleep(0.0002 * (number % 11))
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            else:
                outcome = await call
                assert isinstance(outcome, Success)
                assert outcome.result.body == b"/%d" % number

        for start in range(0, 1000, 50):
            await asyncio.gather(*(one(number) for number in range(start, start + 50)))


async def test_close_ends_what_is_under_way(transport: Http11Transport) -> None:
    runner = HttpRunner(transport)
    async with Target(lambda peer: peer.hold()) as target:
        calls: list[asyncio.Task[Outcome]] = [
            asyncio.create_task(runner.run(held(target.url))) for _ in range(3)
        ]
        await until(lambda: target.open == 3)
        await runner.close()
        for outcome in await asyncio.gather(*calls):
            assert isinstance(outcome, Failure)
            assert outcome.error_class is ErrorClass.UNKNOWN
        outcome = await runner.run(held(target.url))
        assert outcome == Failure(ErrorClass.NOT_SENT, "the tasker is stopping")


# ---- time ---------------------------------------------------------------------------------------------


async def test_each_call_ends_at_its_own_deadline(runner: HttpRunner) -> None:
    async with Target(lambda peer: peer.hold()) as target:

        async def one(timeout: float) -> None:
            begun = time.monotonic()
            outcome = await runner.run(held(target.url, timeout=timeout))
            assert isinstance(outcome, Failure)
            assert timeout - 0.01 <= time.monotonic() - begun < timeout + 0.4
            assert outcome.message == f"no answer within {timeout:g} s"

        await asyncio.gather(*(one(timeout) for timeout in (0.5, 0.1, 0.3, 0.2, 0.4, 0.1)))


async def test_calls_that_ended_do_not_pile_up_among_the_deadlines(
    transport: Http11Transport, target: Target
) -> None:
    runner = HttpRunner(transport)
    for _ in range(40):
        await asyncio.gather(*(runner.run(held(target.url, timeout=3600.0)) for _ in range(25)))
    assert len(transport._deadlines._heap) < 200


async def test_a_big_body_arrives_whole(runner: HttpRunner, target: Target) -> None:
    body = os.urandom(1 << 20) * 8
    outcome = await runner.run(held(target.url, body, method="PUT"))
    assert isinstance(outcome, Success)
    assert target.requests[0].endswith(body)
    assert isinstance(await runner.run(held(target.url)), Success)
    assert target.accepted == 1


async def test_an_idle_connection_holds_no_bodies(transport: Http11Transport, target: Target) -> None:
    await HttpRunner(transport).run(held(target.url, bytes(1 << 20), method="PUT"))
    (connection,) = transport._idle._order
    assert connection._call.body == connection._body == b""
    assert connection._rest is None


async def test_a_closed_connection_is_freed_at_once(transport: Http11Transport) -> None:
    async with Target(says(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")) as target:
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await HttpRunner(transport).run(held(target.url))
            await until(lambda: not transport._open)
            transport._deadlines.close()
            await asyncio.sleep(0)
            assert sum(isinstance(each, Connection) for each in gc.get_objects()) <= 1
        finally:
            gc.enable()


async def test_the_loopback_of_ipv6_is_called(transport: Http11Transport) -> None:
    try:
        target = await Target(host="::1").__aenter__()
    except OSError:
        pytest.skip("no IPv6 here")
    outcome = await HttpRunner(transport).run(held(target.url))
    assert isinstance(outcome, Success)
    assert f"Host: [::1]:{target.port}".encode() in target.requests[0]
    await target.__aexit__()


async def test_localhost_is_found_by_its_name(transport: Http11Transport, target: Target) -> None:
    assert isinstance(await HttpRunner(transport).run(held(f"http://localhost:{target.port}/")), Success)


async def test_a_fault_of_our_own_is_told_to_the_loop_and_is_unknown(
    runner: HttpRunner, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(self: Connection) -> None:
        raise KeyError("bug")

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    monkeypatch.setattr(Connection, "_decoded", fault)
    outcome = await runner.run(held(target.url))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.UNKNOWN
    assert told
    asyncio.get_running_loop().set_exception_handler(None)


async def test_a_failure_keeps_its_class_at_the_transport(transport: Http11Transport, target: Target) -> None:
    call = HttpRunner(transport).call(held(target.url).job, b"")
    target.script = says(b"nonsense")
    with pytest.raises(Unknown, match="not HTTP") as caught:
        await transport.call(call)
    assert caught.value.error_class is ErrorClass.UNKNOWN
    assert not caught.value.final
