import asyncio
import contextlib
import errno
import gc
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from taskpusher.errors import StoreBroken
from taskpusher.values import Address
from taskpusher.web import connection
from taskpusher.web.server import App, Server, bind, spoken_address

LOOPBACK = Address("127.0.0.1", 0)
GET = b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


async def answer(send: Any, status: int = 200, body: bytes = b"ok", *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def whole_body(receive: Any) -> bytes | None:
    """None when the client went away before it was whole."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await whole_body(receive)
    if body is not None:
        await answer(send, 200, scope["path"].encode() + b" " + body)


@asynccontextmanager
async def serving(app: App = echo) -> AsyncIterator[tuple[Server, int]]:
    sockets = bind(LOOPBACK)
    port = sockets[0].getsockname()[1]
    server = Server(app)
    await server.start(sockets)
    try:
        yield server, port
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def said(port: int, *pieces: bytes) -> bytes:
    """All that is answered to the pieces, up to the end of the connection."""
    async with asyncio.timeout(5), connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


class Turnstile:
    """An app that answers one request for each turn it is given."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.turns.acquire()
        await answer(send)
        self.answered += 1

    def give(self, turns: int) -> None:
        for _ in range(turns):
            self.turns.release()


def problem(answered: bytes) -> dict[str, Any]:
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/problem+json" in head
    assert b"\r\nconnection: close" in head
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == int(head.split(b" ")[1])
    assert found["title"]
    assert found["detail"]
    return found


# ---- requests -----------------------------------------------------------------------------------------


async def test_requests_are_answered_one_after_the_other_on_one_connection() -> None:
    async with serving() as (_, port):
        post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        answered = await said(port, GET, post, GET + LAST)
        assert answered.count(b"HTTP/1.1 200 OK") == 4
        assert answered.index(b"/x ") < answered.index(b"/p abc") < answered.index(b"/last ")
        assert b"server:" not in answered


async def test_what_an_answer_needed_goes_with_it_and_is_no_garbage_to_look_for() -> None:
    async with serving() as (_, port), connected(port) as (reader, writer):
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                writer.write(GET)
                await reader.readuntil(b"/x ")
            answers = [one for one in gc.get_objects() if type(one) is connection.Answering]
            assert len(answers) <= 1  # of the request that may not have ended
        finally:
            gc.enable()


async def test_no_more_is_read_while_requests_wait_for_their_turn() -> None:
    app = Turnstile()
    async with serving(app) as (server, port), connected(port) as (reader, writer):
        writer.write(GET * 10)
        await until(lambda: any(one.pipeline for one in server.state.connections))
        (ours,) = server.state.connections
        writer.write(GET * 9 + LAST)
        await writer.drain()
        app.give(3)
        await until(lambda: app.answered == 3)
        await until(lambda: len(ours.pipeline) == 6)
        app.give(20)
        answered = await asyncio.wait_for(reader.read(), 5)
        assert answered.count(b"HTTP/1.1 200 OK") == 20


async def test_of_very_many_requests_at_once_the_first_are_answered_and_the_connection_closed() -> None:
    app = Turnstile()
    app.give(5000)
    async with serving(app) as (_, port):
        answered = await said(port, GET * (connection.MOST_PIPELINED + 500))
    assert answered.count(b"HTTP/1.1 200 OK") == connection.MOST_PIPELINED + 1


async def test_the_date_is_right_without_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (_, port):
        for moment in (1_795_176_000.9, 1_795_176_001.0, 1_795_176_061.5, 1_795_170_000.0):
            monkeypatch.setattr(connection.time, "time", lambda moment=moment: moment)
            head = (await said(port, LAST)).partition(b"\r\n\r\n")[0].decode()
            (date,) = [line[6:] for line in head.split("\r\n") if line.startswith("date: ")]
            assert parsedate_to_datetime(date).timestamp() == moment // 1


async def test_an_idle_server_has_no_timer() -> None:
    def timers() -> list[Any]:
        return [timer for timer in getattr(loop, "_scheduled", []) if not timer.cancelled()]

    loop: Any = asyncio.get_running_loop()
    before = timers()
    async with serving() as (server, port):
        assert timers() == before
        await said(port, LAST)
        await until(lambda: not server.state.connections)
        assert all(timer in before or timer._when < loop.time() + 11 for timer in timers())
    assert timers() == before


async def test_a_body_that_comes_in_chunks_is_whole_and_its_trailers_are_no_headers() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await whole_body(receive), scope["headers"]))
        await answer(send)

    async with serving(app) as (_, port):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        await said(port, head, b"1\r\na\r\n", b"2;x=y\r\nbc\r\n", b"0\r\nAuthorization: x\r\n\r\n" + LAST)
        assert seen[0] == (b"abc", [(b"host", b"a"), (b"transfer-encoding", b"chunked")])
        assert len(seen) == 2


async def test_an_upgrade_is_answered_in_http_1_1() -> None:
    async with serving() as (_, port):
        upgrade = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        answered = await said(port, b"GET /u HTTP/1.1\r\n" + upgrade + b"\r\n")
        assert answered.startswith(b"HTTP/1.1 200 OK")
        assert answered.endswith(b"/u ")
        post = b"POST / HTTP/1.1\r\n" + upgrade + b"Content-Length: 2\r\n\r\nab"
        assert "without Upgrade" in problem(await said(port, post))["detail"]


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http://host HTTP/1.1\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
async def test_what_is_not_http_is_a_400_and_no_news_for_the_log(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (server, port):
        assert problem(await said(port, request_))["status"] == 400
        assert (await said(port, LAST)).startswith(b"HTTP/1.1 200")
        await until(lambda: not server.state.tasks)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


async def test_a_head_up_to_64_kib_is_taken() -> None:
    async with serving() as (_, port):
        field = b"X: " + b"x" * 60_000 + b"\r\n\r\n"
        for pieces in ([HEAD + field], [HEAD, field[:30_000], field[30_000:]]):
            assert (await said(port, *pieces)).startswith(b"HTTP/1.1 200")
        body = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        assert (await said(port, body)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n"],
        [HEAD + b"X: x\r\n" * 12_000 + b"\r\n"],
        [HEAD + b"X: " + b"x" * 70_000],
        [HEAD, b"X: ", *[b"x" * 10_000] * 500],
        [HEAD, *[b"X: x\r\n" * 1_000] * 50],
        [b"X" * 20_000, b"X" * 60_000],
    ],
)
async def test_a_larger_head_is_a_431_however_it_comes(pieces: list[bytes]) -> None:
    async with serving() as (_, port):
        assert problem(await said(port, *pieces))["status"] in (431, 400)


@pytest.mark.parametrize("end", [b" HTTP/1.1\r\n\r\n", b""])
async def test_a_url_over_16_kib_is_a_414(end: bytes) -> None:
    async with serving() as (_, port):
        assert problem(await said(port, b"GET /" + b"x" * 17_000 + end))["status"] == 414


async def test_many_requests_at_once_are_no_large_head() -> None:
    async with serving() as (_, port):
        get = GET.replace(b"Host: a", b"Host: a\r\nX: " + b"x" * 100)
        answered = await said(port, get * 900 + LAST)
        assert answered.count(b"HTTP/1.1 200 OK") == 901


@pytest.mark.parametrize("drivel", [b"X: x\r\n", b"1;" + b"x" * 1_000])
async def test_endless_trailers_and_chunk_extensions_are_cut_off(drivel: bytes) -> None:
    async with serving() as (_, port):
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        start = b"0\r\n" if drivel.startswith(b"X") else b""
        answered = await said(port, head, b"1\r\na\r\n" + start, *[drivel * 1_000] * 200)
        assert problem(answered)["status"] == 431


async def test_answers_under_way_go_out_before_a_bad_request_ends_the_connection() -> None:
    may_answer = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await may_answer.wait()
        await answer(send, 200, scope["path"].encode())

    async with serving(app) as (server, port), connected(port) as (reader, writer):
        writer.write(GET + LAST.replace(b"Connection: close\r\n", b"") + b"nonsense\r\n\r\n")
        await until(lambda: any(one.ended for one in server.state.connections))
        may_answer.set()
        async with asyncio.timeout(5):
            answered = await reader.read()
        assert answered.count(b"HTTP/1.1 200 OK") == 2
        assert b"400" not in answered


async def test_an_answer_before_the_body_is_whole_reaches_a_client_that_still_sends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answer(send, 413, b"too big", (b"connection", b"close"))

    async with serving(app) as (_, port):
        head = b"POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n"
        answered = await said(port, head, *[b"x" * 10_000] * 300)
        assert answered.startswith(b"HTTP/1.1 413")
        assert answered.endswith(b"too big")


async def test_a_connection_goes_on_when_the_body_ends_soon_after_the_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 403 if scope["method"] == "POST" else 200)

    async with serving(app) as (_, port), connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
        async with asyncio.timeout(5):
            await reader.readuntil(b"ok")
            writer.write(b"bc" + LAST)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")


# ---- slow clients -------------------------------------------------------------------------------------


async def test_a_silent_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIME", 0.05)
    async with serving() as (_, port):
        assert await said(port) == b""
        assert await said(port, b"\r\n") == b""


async def test_a_head_that_drips_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIME", 0.1)
    async with serving() as (_, port):
        for before in (b"", GET):
            async with asyncio.timeout(5), connected(port) as (reader, writer):
                writer.write(before)
                if before:
                    await reader.readuntil(b"/x ")
                began = time.monotonic()
                reading = asyncio.ensure_future(reader.read())
                writer.write(b"GET / HTTP/1.1\r\n")
                while not reading.done():
                    writer.write(b"X: x\r\n")
                    await asyncio.sleep(0.01)
                assert problem(await reading)["status"] == 408
                assert time.monotonic() - began < 2


async def test_a_body_that_stands_still_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_TIME", 0.05)
    bodies: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append(await whole_body(receive))

    async with serving(app) as (server, port):
        answered = await said(port, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab")
        assert problem(answered)["status"] == 408
        await until(lambda: not server.state.tasks)
        assert bodies == [None]


async def test_an_app_that_reads_slowly_is_not_taken_for_a_slow_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "BODY_TIME", 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)
        body = await whole_body(receive)
        await answer(send, 200, str(len(body or b"")).encode(), (b"connection", b"close"))

    async with serving(app) as (_, port):
        post = b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
        assert (await said(port, post)).endswith(b"1000000")


async def test_an_app_that_thinks_long_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("HEAD_TIME", "BODY_TIME", "IDLE_TIME"):
        monkeypatch.setattr(connection, limit, 0.05)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.12)
        await answer(send)

    async with serving(app) as (_, port):
        post = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        for pieces in ([LAST], [post + b"ab"], [post, b"ab"]):
            assert (await said(port, *pieces)).endswith(b"ok")


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_TIME", 0.05)
    async with serving() as (server, port):
        assert (await said(port, GET)).endswith(b"/x ")
        await until(lambda: not server.state.connections)


async def test_a_client_that_takes_no_answer_is_cut_off_and_a_slow_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "STALL_TIME", 0.2)
    body = b"x" * 20_000_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, body, (b"connection", b"close"))
        await answered.wait()

    answered = asyncio.Event()
    async with serving(app) as (server, port):
        async with connected(port) as (_, writer):
            writer.write(GET)
            await until(lambda: bool(server.state.connections))
            await until(lambda: not server.state.connections)
        async with asyncio.timeout(20), connected(port) as (reader, writer):
            writer.write(GET)
            taken = 0
            while part := await reader.read(1 << 18):
                taken += len(part)
                await asyncio.sleep(0.01)
            assert taken > len(body)
        answered.set()


# ---- stopping -----------------------------------------------------------------------------------------


async def test_a_stop_lets_requests_under_way_end_and_takes_no_new_connection() -> None:
    may_answer = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await may_answer.wait()
        await answer(send)

    async with (
        serving(app) as (server, port),
        connected(port) as (reader, writer),
        connected(port) as (idle, _),
    ):
        writer.write(GET)
        await until(lambda: len(server.state.tasks) == 1 and len(server.state.connections) == 2)
        stopping = asyncio.ensure_future(server.stop(5.0))
        async with asyncio.timeout(2):
            assert await idle.read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not stopping.done()
        may_answer.set()
        answered = await reader.read()
        assert answered.endswith(b"ok")
        assert b"connection: close" in answered
        await stopping


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    """An event stream that looks at nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await asyncio.Event().wait()


async def listener(scope: Any, receive: Any, send: Any) -> None:
    """An event stream that ends when the client goes."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    assert (await receive())["type"] == "http.disconnect"


@pytest.mark.parametrize("app", [stubborn, listener])
async def test_a_stop_cuts_off_event_streams_without_a_word_in_the_log(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(app) as (server, port), connected(port) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"data: 1")
        began = time.monotonic()
        await server.stop(0.1)
        assert 0.05 < time.monotonic() - began < 1
        assert not server.state.connections
        assert not server.state.tasks
        assert caplog.records == []


async def test_a_stop_can_be_hurried() -> None:
    async with serving(stubborn) as (server, port), connected(port) as (reader, writer):
        server.hurry()  # nothing stops yet
        writer.write(GET)
        await reader.readuntil(b"data: 1")
        stopping = asyncio.ensure_future(server.stop(60.0))
        await until(lambda: server._patience is not None)
        server.hurry()
        async with asyncio.timeout(2):
            await stopping
        server.hurry()


async def test_a_request_that_met_a_failing_disk_is_not_answered() -> None:
    met = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        met.set()
        raise StoreBroken("the disk failed")

    async with serving(app) as (server, port), connected(port) as (reader, writer):
        writer.write(GET)
        await met.wait()
        await server.stop(0.0)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


# ---- sockets ------------------------------------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def bound(address: Address) -> Any:
    sockets = bind(address)
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    with bound(Address("localhost", 0)) as sockets:
        names = [one.getsockname()[:2] for one in sockets]
        hosts = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
        assert [host for host, _ in names] == hosts
        assert len({port for _, port in names}) == 1
        assert spoken_address(sockets[0]) == f"127.0.0.1:{names[0][1]}"
        if has_ipv6():
            assert spoken_address(sockets[1]) == f"[::1]:{names[0][1]}"


def test_no_host_is_every_interface() -> None:
    with bound(Address("", 0)) as sockets:
        hosts = ["0.0.0.0", "::"] if has_ipv6() else ["0.0.0.0"]
        assert [one.getsockname()[0] for one in sockets] == hosts


def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    make = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        return make(family, kind)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with bound(Address("localhost", 0)) as sockets:
        assert [one.getsockname()[0] for one in sockets] == ["127.0.0.1"]


def test_a_taken_address_and_an_unknown_host_are_errors() -> None:
    with bound(LOOPBACK) as (taken,):
        with pytest.raises(OSError) as refused:
            bind(Address("localhost", taken.getsockname()[1]))
        assert refused.value.errno == errno.EADDRINUSE
    with pytest.raises(socket.gaierror):
        bind(Address("no-such-host.invalid", 0))


async def test_a_unix_socket_is_served(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(path)
    unix.listen()
    assert spoken_address(unix) == path
    server = Server(echo)
    await server.start([unix])
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(LAST)
    assert (await reader.read()).endswith(b"/last ")
    writer.close()
    await server.stop()
