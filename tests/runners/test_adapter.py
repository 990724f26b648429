"""Any httpx transport in place of our own."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import respx

from taskpusher.job import ErrorClass
from taskpusher.runners.adapter import HttpxTransport
from taskpusher.runners.base import Failure, Success
from taskpusher.runners.http import HttpRunner
from taskpusher.runners.targets import Targets

from .target import Peer, Target, held, says

URL = "http://user:pass@app.example:8080/job?a=%2F1"


async def test_a_mock_transport_sees_the_request_as_it_would_go_out() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, headers=[("X", "1"), ("X", "2")], content=b"done")

    runner = HttpRunner(HttpxTransport(httpx.MockTransport(handler)))
    outcome = await runner.run(held(URL, b"body", method="POST", headers=(("X-Job", "yes"),)))
    await runner.close()
    assert isinstance(outcome, Success)
    assert outcome.result.body == b"done"
    assert [each for each in outcome.result.headers if each[0] == "X"] == [("X", "1"), ("X", "2")]
    (request,) = seen
    assert request.method == "POST"
    assert str(request.url) == "http://app.example:8080/job?a=%2F1"
    assert request.content == b"body"
    assert request.headers.get_list("host") == ["app.example:8080"]
    assert request.headers.get_list("content-length") == ["4"]
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-job"] == "yes"
    assert request.headers["authorization"].startswith("Basic ")


async def test_a_respx_router_works() -> None:
    router = respx.Router(assert_all_called=False)
    route = router.post("http://app.example/job").mock(
        side_effect=[httpx.Response(503, headers={"Retry-After": "9"}), httpx.Response(200, text="ok")]
    )
    router.get("http://app.example/down").mock(side_effect=httpx.ConnectError)
    runner = HttpRunner(HttpxTransport(httpx.MockTransport(router.async_handler)))
    first, second = [await runner.run(held("http://app.example/job", method="POST")) for _ in range(2)]
    down = await runner.run(held("http://app.example/down"))
    assert isinstance(first, Failure)
    assert first.retry_after == 9.0
    assert isinstance(second, Success)
    assert isinstance(down, Failure)
    assert down.error_class is ErrorClass.NOT_SENT
    assert route.call_count == 2


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (httpx.ConnectError("all attempts failed"), ErrorClass.NOT_SENT),
        (httpx.ConnectTimeout(""), ErrorClass.NOT_SENT),
        (httpx.PoolTimeout(""), ErrorClass.NOT_SENT),
        (httpx.UnsupportedProtocol("x"), ErrorClass.NOT_SENT),
        (httpx.ProxyError("407"), ErrorClass.NOT_SENT),
        (httpx.ReadError(""), ErrorClass.UNKNOWN),
        (httpx.WriteError(""), ErrorClass.UNKNOWN),
        (httpx.CloseError(""), ErrorClass.UNKNOWN),
        (httpx.ReadTimeout(""), ErrorClass.UNKNOWN),
        (httpx.WriteTimeout(""), ErrorClass.UNKNOWN),
        (httpx.RemoteProtocolError("Server disconnected"), ErrorClass.UNKNOWN),
        (httpx.LocalProtocolError("x"), ErrorClass.UNKNOWN),
        (httpx.DecodingError("x"), ErrorClass.UNKNOWN),
        (ConnectionResetError(104, "reset"), ErrorClass.UNKNOWN),
    ],
)
async def test_httpx_errors_keep_their_meaning(error: Exception, error_class: ErrorClass) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    outcome = await HttpRunner(HttpxTransport(httpx.MockTransport(handler))).run(held(URL))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is error_class
    assert outcome.message
    assert "pass" not in outcome.message


async def test_the_total_timeout_holds_for_a_body_that_drips() -> None:
    closed = []

    class Drip(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.02)

        async def aclose(self) -> None:
            closed.append(True)

    runner = HttpRunner(HttpxTransport(httpx.MockTransport(lambda _: httpx.Response(200, stream=Drip()))))
    begun = time.monotonic()
    outcome = await runner.run(held(URL, timeout=0.3))
    assert time.monotonic() - begun < 0.8
    assert outcome == Failure(ErrorClass.UNKNOWN, "no answer within 0.3 s")
    assert closed == [True]


async def test_a_large_body_is_cut_and_read_no_further() -> None:
    given = 0

    class Flood(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal given
            while True:
                given += 1
                yield bytes(10_000)

    runner = HttpRunner(HttpxTransport(httpx.MockTransport(lambda _: httpx.Response(200, stream=Flood()))))
    outcome = await runner.run(held(URL))
    assert isinstance(outcome, Success)
    assert len(outcome.result.body) == 65536
    assert outcome.result.truncated
    assert given == 7


async def test_encoded_bodies_stay_as_they_came() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"\x1f\x8bnot really", headers="Content-Encoding: gzip\r\n")

    async with Target(script) as target:
        runner = HttpRunner(HttpxTransport(httpx.AsyncHTTPTransport()))
        outcome = await runner.run(held(target.url))
        await runner.close()
    assert isinstance(outcome, Success)
    assert outcome.result.body == b"\x1f\x8bnot really"


async def test_a_proxy_carries_the_call() -> None:
    async with Target(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")) as proxy:
        transport = httpx.AsyncHTTPTransport(proxy=proxy.url, trust_env=False)
        runner = HttpRunner(HttpxTransport(transport))
        outcome = await runner.run(held("http://app.example/job"))
        await runner.close()
        assert isinstance(outcome, Success)
        assert outcome.result.body == b"mine"
        assert proxy.requests[0].startswith(b"GET http://app.example/job HTTP/1.1\r\n")


async def test_the_rules_that_need_no_address_hold_behind_a_proxy() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("called")

    transport = HttpxTransport(httpx.MockTransport(handler), Targets.parse(deny=["bad.example"]))
    for url in ("http://bad.example/", "http://169.254.169.254/", "http://[::ffff:169.254.169.254]/"):
        outcome = await HttpRunner(transport).run(held(url))
        assert isinstance(outcome, Failure)
        assert outcome.final
