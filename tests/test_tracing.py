"""Spans of pushes and attempts, as OpenTelemetry's SDK gets them."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from taskpusher.job import ErrorClass, Held, Result
from taskpusher.push import new_job
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome, Released, Success
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import FakeClock, ScriptedRunner, eventually
from taskpusher.trace import Trace
from taskpusher.tracing import Tracing

URL = "http://user:secret@app.example:8000/work?token=abc&id=7"
FROM = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61")


class Site:
    """A pusher whose spans are kept here."""

    def __init__(self, pusher: TaskPusher, runner: ScriptedRunner, exporter: InMemorySpanExporter) -> None:
        self.pusher, self.runner, self.exporter = pusher, runner, exporter

    async def spans(self, *names: str) -> list[ReadableSpan]:
        """In the order in which they ended, once there are so many."""
        await eventually(lambda: len(self.exporter.get_finished_spans()) >= len(names))
        found = list(self.exporter.get_finished_spans())
        assert sorted(span.name for span in found) == sorted(names)
        return [next(span for span in found if span.name == name) for name in names]


@asynccontextmanager
async def traced(
    runner: ScriptedRunner, provider: TracerProvider | None = None, **settings: Any
) -> AsyncIterator[Site]:
    exporter = InMemorySpanExporter()
    provider = provider or TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    runners = {"http": runner}
    async with TaskPusher(MemoryStore(), runners, tracing=Tracing(provider), **settings) as pusher:
        yield Site(pusher, runner, exporter)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_line(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
    return f"00-{ids}-{context.trace_flags:02x}"


async def test_a_push_and_its_attempt_are_spans_of_one_trace() -> None:
    async with traced(ScriptedRunner(Success(Result(204)))) as site:
        job = await site.pusher.push(URL, queue="mail")
        push, attempt = await site.spans("push", "GET")
        assert push.kind is SpanKind.PRODUCER and push.parent is None
        assert attributes(push) == {
            "messaging.system": "taskpusher",
            "messaging.operation.name": "push",
            "messaging.operation.type": "send",
            "messaging.destination.name": "mail",
            "messaging.message.id": job.uid,
        }
        assert attempt.kind is SpanKind.CLIENT
        assert attempt.parent is not None
        assert attempt.parent.span_id == push.get_span_context().span_id
        assert attempt.context.trace_id == push.context.trace_id
        about = attributes(attempt)
        assert about["messaging.message.id"] == job.uid
        assert about["messaging.operation.type"] == "process"
        assert about["http.request.method"] == "GET"
        assert about["http.response.status_code"] == 204
        assert (about["server.address"], about["server.port"]) == ("app.example", 8000)
        assert about["url.full"] == "http://***@app.example:8000/work?token=***&id=7"
        assert "http.request.resend_count" not in about
        assert attempt.status.status_code is StatusCode.UNSET


async def test_the_call_carries_the_context_of_its_attempt() -> None:
    async with traced(ScriptedRunner()) as site:
        job = await site.pusher.push(URL)
        push, attempt = await site.spans("push", "GET")
        (held,) = site.runner.ran
        assert held.job.trace == Trace(parent_line(attempt))
        assert job.trace == Trace(parent_line(push))


async def test_the_trace_of_the_request_goes_on() -> None:
    async with traced(ScriptedRunner()) as site:
        pusher = site.pusher
        add = new_job({"url": URL}, pusher.defaults, pusher.clock.now(), FROM)
        await pusher.add(add)
        push, attempt = await site.spans("push", "GET")
        assert push.parent is not None
        assert push.parent.is_remote
        assert format_span_id(push.parent.span_id) == "00f067aa0ba902b7"
        assert format_trace_id(attempt.context.trace_id) in FROM.parent
        (held,) = site.runner.ran
        assert held.job.trace == Trace(parent_line(attempt), "congo=t61")


async def test_in_an_app_the_push_is_a_child_of_the_current_span() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    async with traced(ScriptedRunner(), provider) as site:
        with provider.get_tracer("app").start_as_current_span("request") as request:
            await site.pusher.push(URL)
        push, attempt, _ = await site.spans("push", "GET", "request")
        assert push.parent is not None
        assert push.parent.span_id == request.get_span_context().span_id
        assert attempt.context.trace_id == request.get_span_context().trace_id


async def test_many_jobs_pushed_at_once_are_one_push() -> None:
    async with traced(ScriptedRunner()) as site:
        pusher = site.pusher
        adds = [new_job({"url": URL}, pusher.defaults, pusher.clock.now(), FROM) for _ in range(3)]
        await pusher.add(*adds)
        push, *attempts = await site.spans("push", "GET", "GET", "GET")
        assert attributes(push)["messaging.batch.message_count"] == 3
        assert {one.parent.span_id for one in attempts if one.parent} == {push.context.span_id}


@pytest.mark.parametrize(
    ("outcome", "kind", "message"),
    [
        (Failure(ErrorClass.ANSWERED, "answered 410 Gone", Result(410)), "410", "answered 410 Gone"),
        (Failure(ErrorClass.NOT_SENT, "nobody there"), "not_sent", "nobody there"),
        (Failure(ErrorClass.UNKNOWN, "cut short"), "unknown", "cut short"),
        (Released("stopping"), "released", "stopping"),
    ],
)
async def test_an_attempt_that_fails_says_so(outcome: Outcome, kind: str, message: str) -> None:
    async with traced(ScriptedRunner(outcome), concurrency=1) as site:
        await site.pusher.push(URL, once=True)
        await eventually(lambda: len(site.exporter.get_finished_spans()) >= 2)
        attempt = next(span for span in site.exporter.get_finished_spans() if span.name == "GET")
        assert attributes(attempt)["error.type"] == kind
        assert attempt.status.status_code is StatusCode.ERROR
        assert attempt.status.description == message


async def test_each_attempt_is_a_span_of_its_own() -> None:
    clock = FakeClock()
    async with traced(ScriptedRunner(Failure(ErrorClass.UNKNOWN, "cut")), clock=clock) as site:
        await site.pusher.push(URL, max_attempts=2, method="POST")
        await eventually(lambda: len(site.exporter.get_finished_spans()) == 2)

        def tried_again() -> bool:
            clock.advance(10)
            site.pusher._workers.feed.wake()
            return len(site.exporter.get_finished_spans()) == 3

        await eventually(tried_again)
        push, first, second = site.exporter.get_finished_spans()
        assert "http.request.resend_count" not in attributes(first)
        assert attributes(second)["http.request.resend_count"] == 1
        assert first.parent == second.parent
        assert first.context.span_id != second.context.span_id
        assert push.context.trace_id == second.context.trace_id


async def test_an_attempt_that_is_cut_says_so() -> None:
    async def for_ever(held: Held) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    async with traced(ScriptedRunner(play=for_ever)) as site:
        job = await site.pusher.push(URL, method="PURGE")
        await eventually(lambda: site.runner.ran)
        await site.pusher.cancel(job.uid)
        _, attempt = await site.spans("push", "HTTP")
        assert attributes(attempt)["error.type"] == "cut"
        assert attributes(attempt)["http.request.method"] == "_OTHER"
        assert attributes(attempt)["http.request.method_original"] == "PURGE"


async def test_what_a_runner_raises_is_on_its_span() -> None:
    async def broken(held: Held) -> Outcome:
        raise ZeroDivisionError("by nothing")

    logging.disable(logging.CRITICAL)
    try:
        async with traced(ScriptedRunner(play=broken)) as site:
            await site.pusher.push(URL)
            _, attempt = await site.spans("push", "GET")
            assert attempt.status.status_code is StatusCode.ERROR
            assert [event.name for event in attempt.events] == ["exception"]
    finally:
        logging.disable(logging.NOTSET)


async def test_with_the_sdk_switched_off_the_trace_is_still_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with traced(ScriptedRunner()) as site:
        pusher = site.pusher
        await pusher.add(new_job({"url": URL}, pusher.defaults, pusher.clock.now(), FROM))
        (held,) = await eventually(lambda: site.runner.ran)
        assert held.job.trace == FROM
        assert site.exporter.get_finished_spans() == ()


async def test_a_trace_that_is_not_sampled_is_passed_on_as_such() -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    async with traced(ScriptedRunner(), provider) as site:
        await site.pusher.push(URL)
        (held,) = await eventually(lambda: site.runner.ran)
        assert held.job.trace is not None
        assert int(held.job.trace.parent[-2:], 16) & 1 == 0
        assert site.exporter.get_finished_spans() == ()


def test_who_does_not_trace_does_not_load_the_library() -> None:
    script = "import sys, taskpusher.cli, taskpusher.web; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_global_provider_is_taken_if_none_is_given() -> None:
    assert Tracing()._provider is trace.get_tracer_provider()


def test_without_the_extra_the_option_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None; from taskpusher.cli import main; main()"
    line = [sys.executable, "-c", script, "--tracing", "--store=memory:", "--address=127.0.0.1:0"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "--tracing" in done.stderr and "taskpusher[otel]" in done.stderr
    assert done.stderr.count("\n") == 1
