"""What a target can do wrong, one row each: class, message, and that the call ends in time."""

import asyncio
import gzip
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from taskpusher.job import ErrorClass
from taskpusher.runners.base import Failure, Success
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.transport import Http11Transport

from .target import Peer, Script, Target, held, says, well

NOT_SENT, UNKNOWN, ANSWERED = ErrorClass.NOT_SENT, ErrorClass.UNKNOWN, ErrorClass.ANSWERED
MIB = 1 << 20


@pytest.fixture
def anyio_backend(both_loops: object) -> object:
    return both_loops


def resident() -> int:
    """Bytes of memory of this process that are in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- scripts ------------------------------------------------------------------------------------------


async def closes_at_once(peer: Peer) -> None:
    await peer.head()


async def resets_before_an_answer(peer: Peer) -> None:
    await peer.request()
    peer.reset()


async def resets_in_headers(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await asyncio.sleep(0.02)  # that it is read before the reset discards it
    peer.reset()


async def resets_in_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await asyncio.sleep(0.02)
    peer.reset()


async def says_nothing(peer: Peer) -> None:
    await peer.request()
    await peer.hold()


async def never_reads(peer: Peer) -> None:
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(60)


async def drips_headers(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


async def drips_a_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.02)


def floods(head: bytes, part: bytes) -> Script:
    """`part` for ever, or until 400 MiB; what was taken is counted in `target.requests[-1]`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        sent = 0
        try:
            while sent < 400 * MIB:
                await peer.send(part)
                sent += len(part)
        finally:
            peer.target.requests.append(b"%d" % sent)

    return script


async def answers_early_and_keeps(peer: Peer) -> None:
    await peer.head()
    await peer.answer(b"too big", "413 Content Too Large")
    await peer.hold()


async def answers_early_and_closes(peer: Peer) -> None:
    await peer.head()
    await peer.answer(b"too big", "413 Content Too Large", "Connection: close\r\n")
    await asyncio.sleep(0.05)
    peer.close()


def ok(rest: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + rest


# ---- the table ----------------------------------------------------------------------------------------


@dataclass
class Row:
    name: str
    script: Script
    expect: ErrorClass | str  # a class, or the body of a success
    message: str = ""  # a regular expression for the whole of it
    job: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    flood: bool = False
    truncated: bool = False


ROWS = [
    # no answer
    Row(
        "close without an answer",
        closes_at_once,
        UNKNOWN,
        "the connection was closed after the request was sent.*",
    ),
    Row(
        "RST before an answer",
        resets_before_an_answer,
        UNKNOWN,
        "the connection was reset after the request .*",
    ),
    Row(
        "close without an answer to POST", closes_at_once, UNKNOWN, ".*without an answer", {"method": "POST"}
    ),
    Row("silence", says_nothing, UNKNOWN, r"no answer within 0\.2 s", {"timeout": 0.2}),
    Row(
        "a big body never read",
        never_reads,
        UNKNOWN,
        r"no answer within 0\.2 s",
        {"timeout": 0.2, "method": "POST"},
        body=bytes(30 * MIB),
    ),
    # cut short
    Row(
        "RST in the headers",
        resets_in_headers,
        UNKNOWN,
        "the connection was reset in the middle of .* headers",
    ),
    Row("RST in the body", resets_in_body, UNKNOWN, "the answer was cut short: .* reset after 4 of 10 bytes"),
    Row(
        "close in the headers",
        says(b"HTTP/1.1 200 OK\r\nX: y"),
        UNKNOWN,
        ".*was closed in the middle of .*headers",
    ),
    Row(
        "shorter than its length",
        says(ok(b"Content-Length: 9\r\n\r\nshort")),
        UNKNOWN,
        ".*after 5 of 9 bytes",
    ),
    Row("longer than its length", says(ok(b"Content-Length: 2\r\n\r\nok and more")), "ok"),
    Row(
        "close between chunks",
        says(ok(b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")),
        UNKNOWN,
        "the answer was cut short: the connection was closed after 2 bytes",
    ),
    Row(
        "half a body, then silence",
        says(ok(b"Content-Length: 9\r\n\r\nhalf"), close=False),
        UNKNOWN,
        r"the answer was not complete within 0\.2 s; 4 bytes of its body came",
        {"timeout": 0.2},
    ),
    # slow
    Row("headers a byte at a time", drips_headers, UNKNOWN, r"no answer within 0\.2 s", {"timeout": 0.2}),
    Row(
        "a body a byte at a time", drips_a_body, UNKNOWN, r"the answer was not complete .*", {"timeout": 0.5}
    ),
    # large
    Row(
        "a body without end",
        floods(ok(b"Content-Length: 419430400\r\n\r\n"), b"x" * MIB),
        "x" * 65536,
        truncated=True,
        flood=True,
    ),
    Row(
        "a chunked body without end",
        floods(ok(b"Transfer-Encoding: chunked\r\n\r\n"), b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        "x" * 65536,
        truncated=True,
        flood=True,
    ),
    Row(
        "a gzip bomb is only bytes",
        says(ok(b"Content-Encoding: gzip\r\n\r\n") + gzip.compress(bytes(50 * MIB), mtime=0)),
        gzip.compress(bytes(50 * MIB), mtime=0)[:65536].decode("latin-1"),
        flood=True,
    ),
    Row(
        "headers without end",
        floods(ok(b""), b"X-Header: y\r\n" * 9999),
        UNKNOWN,
        ".*headers are larger.*",
        flood=True,
    ),
    Row(
        "one header without end",
        floods(ok(b"X: "), b"x" * MIB),
        UNKNOWN,
        ".*headers are larger.*",
        flood=True,
    ),
    Row(
        "headers too large in one piece",
        says(ok(b"X: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n")),
        UNKNOWN,
        ".*headers are larger than 65536 bytes",
    ),
    Row(
        "1xx without end",
        floods(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 999),
        UNKNOWN,
        "more than 32 interim answers.*",
        flood=True,
    ),
    Row(
        "trailers without end",
        floods(ok(b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"), b"X: y\r\n" * 9999),
        UNKNOWN,
        ".*trailers have no end",
        flood=True,
    ),
    Row(
        "chunk extensions without end",
        floods(ok(b"Transfer-Encoding: chunked\r\n\r\n2;"), b"x" * MIB),
        UNKNOWN,
        "(.*no end|the answer is not HTTP: .*)",
        flood=True,
    ),
    # not HTTP
    Row("garbage", says(b"SSH-2.0-OpenSSH_9.2\r\n"), UNKNOWN, "the answer is not HTTP: .*"),
    Row("garbage without end", floods(b"", b"\0" * MIB), UNKNOWN, "the answer is not HTTP: .*", flood=True),
    Row("HTTP/0.9", says(b"<html>hello</html>"), UNKNOWN, "the answer is not HTTP: .*"),
    Row("HTTP/2", says(b"\0\0\6\4\0\0\0\0\0\0\5\0\0\100\0"), UNKNOWN, "the answer is not HTTP: .*"),
    Row("a status of 99", says(b"HTTP/1.1 099 No\r\n\r\n"), UNKNOWN, "the answer is not HTTP: .*"),
    Row(
        "a bad chunk",
        says(ok(b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")),
        UNKNOWN,
        "the answer is not HTTP: .*",
    ),
    Row(
        "a chunk size past 64 bits",
        says(ok(b"Transfer-Encoding: chunked\r\n\r\n1ffffffffffffffffff\r\n")),
        UNKNOWN,
        "the answer is not HTTP: .*",
    ),
    Row(
        "a huge chunk size",
        says(ok(b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nsmall")),
        UNKNOWN,
        "the answer was cut short: .* after 5 bytes",
    ),
    Row(
        "two lengths",
        says(ok(b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok")),
        UNKNOWN,
        ".*not HTTP: .*",
    ),
    Row(
        "length and chunks",
        says(ok(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")),
        UNKNOWN,
        ".*not HTTP: .*",
    ),
    Row("a negative length", says(ok(b"Content-Length: -1\r\n\r\nok")), UNKNOWN, ".*not HTTP: .*"),
    Row(
        "101",
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        UNKNOWN,
        "answered 101 Switching Protocols, which was not asked for",
    ),
    Row("101 without Upgrade", says(b"HTTP/1.1 101 Hm\r\n\r\n"), UNKNOWN, "answered 101 Switching .*"),
    # odd, but answers
    Row("close-delimited", says(ok(b"\r\nto the end")), "to the end"),
    Row("HTTP/1.0", says(b"HTTP/1.0 200 OK\r\n\r\nold"), "old"),
    Row("no headers, no body", says(ok(b"\r\n")), ""),
    Row(
        "chunks with trailers",
        says(ok(b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n")),
        "ok",
    ),
    Row(
        "an Upgrade that is offered",
        says(ok(b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok")),
        "ok",
    ),
    Row(
        "103 and 100 before the answer",
        says(
            b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
            + ok(b"Content-Length: 2\r\n\r\nok")
        ),
        "ok",
    ),
    Row("1xx, then a close", says(b"HTTP/1.1 100 Continue\r\n\r\n"), UNKNOWN, ".*in the middle of .*"),
    Row("an empty answer", says(b"HTTP/1.1 204 No Content\r\n\r\n"), "", job={"success": "2xx"}),
    Row("status 999", says(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), ANSWERED, "answered 999"),
    Row(
        "301",
        says(
            b"HTTP/1.1 301 Moved\r\nLocation: https://u:secret@b.example/new?a=1\r\nContent-Length: 0\r\n\r\n"
        ),
        ANSWERED,
        r"answered 301 to https://b\.example/new\?a=1; redirects are not followed: use that URL",
    ),
    Row(
        "an early answer, connection kept",
        answers_early_and_keeps,
        ANSWERED,
        "answered 413 .*",
        {"method": "POST"},
        body=bytes(30 * MIB),
    ),
    Row(
        "an early answer, connection closed",
        answers_early_and_closes,
        ANSWERED,
        "answered 413 .*",
        {"method": "POST"},
        body=bytes(30 * MIB),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_the_target_fault_is_told_truly(row: Row, runner: HttpRunner) -> None:
    async with Target(row.script) as target:
        before = resident()
        begun = time.monotonic()
        outcome = await runner.run(held(target.url + "/job", row.body, **row.job))
        assert time.monotonic() - begun < row.job.get("timeout", 5.0) + 0.5
        if isinstance(row.expect, ErrorClass):
            assert isinstance(outcome, Failure)
            assert outcome.error_class is row.expect
            assert re.fullmatch(row.message, outcome.message), outcome.message
        else:
            assert isinstance(outcome, Success), outcome
            assert outcome.result.body == row.expect.encode("latin-1")
            assert outcome.result.truncated or not row.truncated
        if row.flood:
            assert resident() - before < 40 * MIB
            assert int(target.requests[-1]) < 40 * MIB if target.requests[-1].isdigit() else True
        # Whatever it was: the next call is not hurt by it.
        target.script = well
        assert isinstance(await runner.run(held(target.url)), Success)


# ---- before the request goes out ----------------------------------------------------------------------


async def test_a_refused_connection_was_not_sent(runner: HttpRunner) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcome = await runner.run(held(f"http://127.0.0.1:{port}/"))
    assert outcome == Failure(NOT_SENT, f"connection refused by 127.0.0.1:{port}")


async def test_a_full_backlog_was_not_sent(transport: Http11Transport) -> None:
    # A listener whose queue is full drops SYNs: the nearest thing to a black hole on loopback.
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        try:
            outcome = await HttpRunner(transport, connect_timeout=0.3).run(
                held(f"http://127.0.0.1:{hole.getsockname()[1]}/")
            )
        finally:
            for filler in fillers:
                filler.close()
    assert isinstance(outcome, Failure)
    assert outcome.error_class is NOT_SENT
    assert re.fullmatch(r"can't connect to 127\.0\.0\.1:\d+ within 0\.3 s", outcome.message)


class Authority:
    """A CA of the test's own, and contexts made with it."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.client = ssl.create_default_context()
        self.ca.configure_trust(self.client)

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[HttpRunner]:
    runner = HttpRunner(Http11Transport(tls=authority.client), connect_timeout=2.0)
    yield runner
    await runner.close()


async def test_tls_works_and_its_connections_are_kept(authority: Authority, secure: HttpRunner) -> None:
    async with Target(tls=authority.server("127.0.0.1")) as target:
        for _ in range(3):
            assert isinstance(await secure.run(held(target.url)), Success)
        assert target.accepted == 1


@pytest.mark.parametrize("length", [0, 1, 300_000])
async def test_bodies_of_every_size_arrive_whole_over_tls(
    length: int, authority: Authority, secure: HttpRunner
) -> None:
    async with Target(tls=authority.server("127.0.0.1")) as target:
        outcome = await secure.run(held(target.url, b"x" * length, method="POST"))
        assert isinstance(outcome, Success)
        assert target.requests[0].endswith(b"\r\n\r\n" + b"x" * length)


async def test_a_certificate_for_another_name_was_not_sent(authority: Authority, secure: HttpRunner) -> None:
    async with Target(tls=authority.server("other.example")) as target:
        outcome = await secure.run(held(target.url))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert outcome.message.startswith("TLS: certificate verify failed: IP address mismatch")
        assert target.requests == []


async def test_an_unknown_authority_was_not_sent(authority: Authority, runner: HttpRunner) -> None:
    async with Target(tls=authority.server("127.0.0.1")) as target:
        outcome = await runner.run(held(target.url))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert outcome.message.startswith("TLS: certificate verify failed: ")


async def test_a_server_without_tls_was_not_sent(secure: HttpRunner) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.hold()

    async with Target(plain) as target:
        outcome = await secure.run(held(f"https://127.0.0.1:{target.port}/"))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert re.fullmatch(r"TLS: .*; does 127\.0\.0\.1:\d+ speak TLS\?", outcome.message), outcome.message


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_close_in_the_handshake_was_not_sent(how: str, secure: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(10)
        if how == "reset":
            peer.reset()

    async with Target(script) as target:
        outcome = await secure.run(held(f"https://127.0.0.1:{target.port}/"))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert outcome.message.startswith("TLS: "), outcome.message


async def test_a_handshake_that_hangs_was_not_sent(authority: Authority) -> None:
    runner = HttpRunner(Http11Transport(tls=authority.client), connect_timeout=0.3)
    async with Target(lambda peer: peer.hold()) as target:
        outcome = await runner.run(held(f"https://127.0.0.1:{target.port}/"))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert re.fullmatch(r"TLS: no handshake with 127\.0\.0\.1:\d+ within 0\.3 s", outcome.message)
    await runner.close()


async def test_the_total_timeout_covers_connecting_too(authority: Authority) -> None:
    runner = HttpRunner(Http11Transport(tls=authority.client), connect_timeout=9.0)
    async with Target(lambda peer: peer.hold()) as target:
        outcome = await runner.run(held(f"https://127.0.0.1:{target.port}/", timeout=0.3))
        assert isinstance(outcome, Failure)
        assert outcome.error_class is NOT_SENT
        assert outcome.message.endswith("within 0.3 s")
    await runner.close()


async def test_a_tls_answer_delimited_by_the_close_is_whole(authority: Authority, secure: HttpRunner) -> None:
    async with Target(says(ok(b"\r\nto the end")), tls=authority.server("127.0.0.1")) as target:
        outcome = await secure.run(held(target.url))
        assert isinstance(outcome, Success), outcome
        assert outcome.result.body == b"to the end"


async def test_a_large_tls_answer_is_cut_and_closed(authority: Authority, secure: HttpRunner) -> None:
    script = floods(ok(b"Content-Length: 419430400\r\n\r\n"), b"x" * MIB)
    async with Target(script, tls=authority.server("127.0.0.1")) as target:
        outcome = await secure.run(held(target.url))
        assert isinstance(outcome, Success)
        assert outcome.result.truncated
