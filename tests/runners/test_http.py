"""The http runner: what goes out for a job, and what its answers mean."""

import asyncio
from base64 import b64encode
from typing import Any

import pytest

from taskpusher import __version__
from taskpusher.job import ErrorClass, Result
from taskpusher.runners.base import Failure, Outcome, Success
from taskpusher.runners.http import HttpRunner, parse_success, retry_after, tidy
from taskpusher.runners.transport import Answer, Call, CallFailed, NotSent, Unknown
from taskpusher.trace import Trace

from .target import Peer, Target, held, well

UID = "0199c0de000070008000000000000001"


class Scripted:
    """A transport that gives what the test says and keeps what it was given."""

    def __init__(self, outcome: Answer | CallFailed | None = None) -> None:
        self.outcome = outcome or Answer(200, (), b"ok")
        self.calls: list[Call] = []

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        if isinstance(self.outcome, CallFailed):
            raise self.outcome
        return self.outcome

    async def close(self) -> None:
        pass


class StoppedClock:
    def now(self) -> int:
        return 784111777_000  # Sun, 06 Nov 1994 08:49:37 GMT

    def monotonic(self) -> float:
        return 0.0


async def sent(
    url: str = "http://app.example/job", body: bytes = b"", *, server: Any = (), **job: Any
) -> Call:
    transport = Scripted()
    await HttpRunner(transport, headers=server).run(held(url, body, **job))
    return transport.calls[0]


def lines(call: Call) -> list[str]:
    return call.headers.decode().split("\r\n")[:-1]


def value(call: Call, name: str) -> list[str]:
    return [line.partition(": ")[2] for line in lines(call) if line.lower().startswith(name.lower() + ":")]


# ---- what goes out --------------------------------------------------------------------------------------


async def test_the_headers_of_a_call_in_their_order() -> None:
    call = await sent(server=[("X-Tasker", "mine")], headers=(("X-Job", "yes"),), method="POST", body=b"a=1")
    assert lines(call) == [
        "Host: app.example",
        f"User-Agent: TaskPusher/{__version__}",
        "Accept: */*",
        "Accept-Encoding: identity",
        f"Tasker-Uid: {UID}",
        "Tasker-Attempt: 1",
        f"Idempotency-Key: {UID}",
        "X-Tasker: mine",
        "X-Job: yes",
        "Content-Length: 3",
    ]


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target", "authority"),
    [
        ("http://app.example/job?a=1", "http", "app.example", 80, "/job?a=1", "app.example"),
        ("http://app.example", "http", "app.example", 80, "/", "app.example"),
        ("http://app.example?a=/b", "http", "app.example", 80, "/?a=/b", "app.example"),
        ("http://app.example/a?b#c", "http", "app.example", 80, "/a?b", "app.example"),
        ("http://app.example#c/d", "http", "app.example", 80, "/", "app.example"),
        ("https://app.example/", "https", "app.example", 443, "/", "app.example"),
        ("https://app.example:443/", "https", "app.example", 443, "/", "app.example"),
        ("https://app.example:80/", "https", "app.example", 80, "/", "app.example:80"),
        ("http://[::1]:8080/x", "http", "::1", 8080, "/x", "[::1]:8080"),
        ("http://u:p@10.0.0.1:8080//x", "http", "10.0.0.1", 8080, "//x", "10.0.0.1:8080"),
    ],
)
async def test_a_url_becomes_an_origin_and_a_target(
    url: str, scheme: str, host: str, port: int, target: str, authority: str
) -> None:
    call = await sent(url)
    assert (call.scheme, call.host, call.port, call.target) == (scheme, host, port, target)
    assert value(call, "Host") == [authority]


async def test_userinfo_becomes_basic_authorization_and_goes_nowhere_else() -> None:
    call = await sent("http://us%40er:p%3Ass@app.example/job", server=[("Authorization", "server's")])
    assert value(call, "Authorization") == ["Basic " + b64encode(b"us@er:p:ss").decode()]
    assert b"us%40er" not in call.headers
    assert "@" not in call.target + call.host


async def test_a_jobs_own_authorization_wins_over_its_userinfo() -> None:
    call = await sent("http://user:pass@app.example/", headers=(("authorization", "Bearer x"),))
    assert value(call, "Authorization") == ["Bearer x"]


async def test_a_jobs_headers_replace_ours_by_name_in_any_case() -> None:
    own = (
        ("host", "virtual.example"),
        ("user-agent", "Mine/1"),
        ("ACCEPT", "text/plain"),
        ("idempotency-key", "my-key"),
        ("x-token", "job"),
    )
    call = await sent(server=[("X-Token", "server"), ("X-Other", "server")], headers=own)
    assert call.host == "app.example"
    for name, expected in (*own, ("x-other", "server")):
        assert value(call, name) == [expected]


@pytest.mark.parametrize(
    "name",
    [
        "Tasker-Uid",
        "tasker-any",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Accept-Encoding",
    ],
)
async def test_a_job_can_not_speak_for_us_or_the_connection(name: str) -> None:
    call = await sent(headers=((name, "7"),), body=b"abc")
    assert "7" not in [line.partition(": ")[2] for line in lines(call)]


@pytest.mark.parametrize(
    ("name", "text"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X\r\nY", "b"), ("X Y", "b"), ("", "b")],
)
async def test_a_header_that_would_break_out_is_not_sent(name: str, text: str) -> None:
    transport = Scripted()
    outcome = await HttpRunner(transport).run(held("http://app.example/", headers=((name, text),)))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.final) == (ErrorClass.NOT_SENT, True)
    assert transport.calls == []
    with pytest.raises(ValueError, match="can't be sent"):
        HttpRunner(transport, headers=[(name, text)])


@pytest.mark.parametrize(
    "job",
    [
        {"target": "http://app.example/a b"},
        {"target": "http://app.example/a\r\nX: y"},
        {"target": "http://app.example/ü"},
        {"target": "ftp://app.example/"},
        {"target": "app.example"},
        {"target": "http:///x"},
        {"target": "http://a b/"},
        {"method": "GET /x HTTP/1.1\r\nX:"},
        {"method": ""},
    ],
)
async def test_a_record_that_is_no_request_is_not_sent(job: dict[str, Any]) -> None:
    transport = Scripted()
    target = job.pop("target", "http://app.example/")
    outcome = await HttpRunner(transport).run(held(target, **job))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.final) == (ErrorClass.NOT_SENT, True)
    assert transport.calls == []


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", []),
        ("GET", b"abc", ["3"]),
        ("DELETE", b"", []),
        ("POST", b"", ["0"]),
        ("PUT", b"", ["0"]),
        ("PATCH", b"", ["0"]),
        ("POST", b"abc", ["3"]),
    ],
)
async def test_the_length_is_said_where_a_body_is_expected(
    method: str, body: bytes, length: list[str]
) -> None:
    assert value(await sent(method=method, body=body), "Content-Length") == length


async def test_the_key_stays_over_attempts_and_changes_with_the_run() -> None:
    assert value(await sent(attempt=3), "Idempotency-Key") == [UID]
    assert value(await sent(attempt=3), "Tasker-Attempt") == ["3"]
    assert value(await sent(attempt=4, run=2), "Idempotency-Key") == [f"{UID}-2"]


@pytest.mark.parametrize(
    ("job", "repeatable"),
    [({}, True), ({"method": "PUT"}, True), ({"method": "POST"}, False), ({"once": True}, False)],
)
async def test_only_what_may_go_out_twice_may(job: dict[str, Any], repeatable: bool) -> None:
    assert (await sent(**job)).repeatable is repeatable


async def test_limits_go_with_the_call() -> None:
    transport = Scripted()
    runner = HttpRunner(transport, connect_timeout=7.0, max_response=123)
    await runner.run(held("http://app.example/", timeout=77.0))
    (call,) = transport.calls
    assert (call.timeout, call.connect_timeout, call.max_response) == (77.0, 7.0, 123)


async def test_nothing_leaks_from_job_to_job(runner: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(headers="Set-Cookie: session=secret; Path=/\r\nAuthorization: secret\r\n")

    async with Target(script) as target:
        for number in range(300):
            secret = (("Authorization", f"secret-{number}"), (f"X-{number}", "1"))
            await runner.run(held(target.url, headers=secret if number % 2 else ()))
        assert target.accepted == 1
        for number, request in enumerate(target.requests):
            assert b"ookie" not in request
            assert request.count(b"secret-") == number % 2
            assert (f"secret-{number}".encode() in request) == bool(number % 2)
            assert request.count(b"\r\nX-") == number % 2


# ---- what comes back ------------------------------------------------------------------------------------


async def outcome_of(answer: Answer | CallFailed, **job: Any) -> Outcome:
    return await HttpRunner(Scripted(answer), clock=StoppedClock()).run(held("http://app.example/", **job))


async def test_a_success_brings_its_result() -> None:
    headers = (("X", "ä"), ("x", "2"))
    assert await outcome_of(Answer(200, headers, b"body", True)) == Success(
        Result(200, headers, b"body", True)
    )


async def test_a_body_past_the_limit_is_cut_for_any_transport() -> None:
    outcome = await HttpRunner(Scripted(Answer(200, (), b"12345")), max_response=3).run(held("http://a/"))
    assert outcome == Success(Result(200, (), b"123", True))


@pytest.mark.parametrize(
    ("status", "headers", "success", "message"),
    [
        (204, {}, "200", "answered 204; success is 200: set success=200-299"),
        (201, {}, "200,202", "answered 201; success is 200,202: set success=200-299"),
        (
            301,
            {"Location": "https://b.example/x"},
            "200",
            "answered 301 to https://b.example/x; redirects are not followed: use that URL",
        ),
        (
            302,
            {"location": "//u:p@b.example/?token=abc"},
            "200",
            "answered 302 to //b.example/?token=***; redirects are not followed: use that URL",
        ),
        (
            303,
            {"Location": "/x\x1b[0m\x85y"},
            "200",
            "answered 303 to /x [0m y; redirects are not followed: use that URL",
        ),
        (304, {}, "200", "answered 304 Not Modified"),
        (404, {"X-Secret": "value"}, "200", "answered 404 Not Found"),
        (503, {}, "200", "answered 503 Service Unavailable"),
        (799, {}, "200", "answered 799"),
        (200, {}, "404", "answered 200; success is 404: set success=200-299"),
    ],
)
async def test_a_failure_says_what_to_do(
    status: int, headers: dict[str, str], success: str, message: str
) -> None:
    answer = Answer(status, tuple(headers.items()), b"why")
    outcome = await outcome_of(answer, success=success)
    assert outcome == Failure(
        ErrorClass.ANSWERED, message, Result(status, tuple(headers.items()), b"why"), final=False
    )


async def test_a_message_is_one_line_of_bounded_length() -> None:
    outcome = await outcome_of(Answer(301, (("Location", "http://x/" + "y" * 60_000),), b""))
    assert isinstance(outcome, Failure)
    assert len(outcome.message) <= 500
    assert tidy("a\r\n\tb\0c\u2028d") == "a b c d"
    assert len(tidy("x" * 600)) == 500


@pytest.mark.parametrize("failure", [NotSent("connection refused\nby x"), Unknown("no answer\nby x")])
async def test_a_failed_call_keeps_its_class(failure: CallFailed) -> None:
    outcome = await outcome_of(failure)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is failure.error_class
    assert outcome.message.endswith(" by x")
    assert outcome.result is None


async def test_an_unexpected_error_is_not_swallowed() -> None:
    class Broken(Scripted):
        async def call(self, call: Call) -> Answer:
            raise KeyError("bug")

    with pytest.raises(KeyError):
        await HttpRunner(Broken()).run(held("http://app.example/"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", 0.0),
        (" 7 ", 7.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:48:37 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("1e9", None),
        ("9" * 400, None),
        ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 999999 08:50:37 GMT", None),
        ("\0", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    assert retry_after(Answer(503, (("RETRY-after", text),), b""), StoppedClock()) == seconds


async def test_retry_after_goes_with_the_failure() -> None:
    outcome = await outcome_of(Answer(429, (("Retry-After", "30"),), b""))
    assert isinstance(outcome, Failure)
    assert outcome.retry_after == 30.0


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("200", ((200, 200),)),
        ("200-299", ((200, 299),)),
        ("200,204", ((200, 200), (204, 204))),
        (" 2xx , 404 ", ((200, 299), (404, 404))),
        ("2XX", ((200, 299),)),
        ("200-200", ((200, 200),)),
    ],
)
def test_success_is_read(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert parse_success(text) == ranges


@pytest.mark.parametrize(
    "text",
    ["", ",", "200,", "ok", "20", "2000", "299-200", "100", "1xx", "0xx", "200-", "-200", "200 204", "²00"],
)
def test_nonsense_is_no_success(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (status|range)"):
        parse_success(text)


async def test_a_record_with_nonsense_as_success_does_not_go_out() -> None:
    transport = Scripted()
    with pytest.raises(ValueError, match="is no status"):
        await HttpRunner(transport).run(held("http://app.example/", success="fine"))
    assert transport.calls == []


async def test_many_origins_and_headers_do_not_pile_up() -> None:
    runner = HttpRunner(Scripted())
    for number in range(2000):
        await runner.run(held(f"http://app{number}.example/", headers=(("X", str(number)),)))
    assert len(runner._frames) <= 512


async def test_a_message_never_holds_the_password(runner: HttpRunner) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.close()

    async with Target(script) as target:
        for url in (
            f"http://me:hunter2@127.0.0.1:{target.port}/",
            "http://me:hunter2@127.0.0.1:9/",
            "http://me:hunter2@169.254.169.254/",
            "http://me:hunter2@no..example/",
            "http://me:hunter2@[::1/",
        ):
            outcome = await asyncio.wait_for(runner.run(held(url)), 10)
            assert isinstance(outcome, Failure)
            assert "hunter2" not in outcome.message
        target.script = well


# ---- trace context ------------------------------------------------------------------------------------

TRACE = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61")


async def test_the_trace_of_the_push_goes_with_the_call() -> None:
    call = await sent(trace=TRACE)
    assert value(call, "traceparent") == [TRACE.parent]
    assert value(call, "tracestate") == ["congo=t61"]
    assert value(await sent(trace=Trace(TRACE.parent)), "tracestate") == []
    assert value(await sent(), "traceparent") == []


@pytest.mark.parametrize("name", ["traceparent", "TraceParent", "tracestate"])
async def test_a_jobs_own_trace_headers_win(name: str) -> None:
    call = await sent(trace=TRACE, headers=((name, "own"),))
    assert [line for line in lines(call) if line.lower().startswith("trace")] == [f"{name}: own"]
