"""OpenTelemetry: a span for each push and for each attempt. Needs the extra `taskpusher[otel]`.

    push       PRODUCER  child of the request's traceparent, or of the current span
    attempt    CLIENT    child of the push; its context goes out with the call

Without it a trace is carried from the push to the call all the same (see trace.py), with no spans of ours.
Attributes are those of OpenTelemetry's conventions for messaging and HTTP.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider as SdkProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    TracerProvider,
    get_tracer_provider,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import __version__
from .job import ErrorClass, Held, Job
from .masking import masked_url
from .runners.base import Failure, Outcome, Released, Runner, Success
from .runners.http import METHODS
from .stores.base import Add, Written
from .trace import Trace

SYSTEM = "taskpusher"
PATIENCE = 2.0  # seconds that an end waits for the last spans to be taken

Attributes = dict[str, str | int]

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Spans of a provider; the global one, if none is given. Hand it to TaskPusher."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider or get_tracer_provider()
        self._tracer = self._provider.get_tracer("taskpusher", __version__)

    async def push(
        self, adds: Sequence[Add], write: Callable[[Sequence[Add]], Awaitable[list[Written]]]
    ) -> list[Written]:
        """Write the adds, which are one push, in a span; the jobs carry its context."""
        about = _about("push", "send", adds[0].job) if adds else {}
        if len(adds) == 1:
            about["messaging.message.id"] = adds[0].job.uid
        elif adds:
            about["messaging.batch.message_count"] = len(adds)
        parent = _context(adds[0].job.trace) if adds and adds[0].job.trace else None  # None: the current span
        kind = SpanKind.PRODUCER
        with self._tracer.start_as_current_span("push", parent, kind, about) as span:
            return await write([replace(add, job=_traced(add.job, span)) for add in adds])

    def runners(self, runners: Mapping[str, Runner]) -> dict[str, Runner]:
        """The runners, with a span around each of their attempts."""
        return {kind: TracedRunner(runner, self._tracer) for kind, runner in runners.items()}

    async def close(self) -> None:
        """Hand out the last spans, as far as they are taken in time; for a provider that is ours."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is None:
            return
        thread = threading.Thread(target=shutdown, name="taskpusher-tracing", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, PATIENCE)


class TracedRunner:
    """A runner in whose attempts are spans. The inner one is given the job with the attempt's own context."""

    def __init__(self, runner: Runner, tracer: Tracer) -> None:
        self._runner, self._tracer = runner, tracer

    async def run(self, held: Held) -> Outcome:
        job = held.job
        name = _method(job) if job.kind == "http" else job.kind
        about = _about("attempt", "process", job) | {"messaging.message.id": job.uid} | _request(job)
        parent = _context(job.trace)
        with self._tracer.start_as_current_span(name, parent, SpanKind.CLIENT, about) as span:
            try:
                outcome = await self._runner.run(Held(_traced(job, span), held.body))
            except asyncio.CancelledError:
                _fail(span, "cut", "the attempt was cut")
                raise
            _tell(span, outcome)
            return outcome

    async def close(self) -> None:
        await self._runner.close()


def exporting() -> Tracing:
    """Spans sent by OTLP over HTTP, to where the standard OTEL_* environment says.

    Raises ImportError without the exporter.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):  # nothing was said
        resource = resource.merge(Resource({SERVICE_NAME: "tasker"}))
    provider = SdkProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


# ---- contexts -----------------------------------------------------------------------------------------


def _context(trace: Trace | None) -> Context:
    """The context of a span whose parent that is; without one, a new trace begins."""
    if trace is None:
        return Context()
    carrier = {"traceparent": trace.parent, "tracestate": trace.state}
    return _propagator.extract(carrier, Context())


def _traced(job: Job, span: Span) -> Job:
    """The job in the trace of that span; as it was, where tracing is switched off (OTEL_SDK_DISABLED)."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span, Context()))
    parent = carrier.get("traceparent")
    return job if parent is None else replace(job, trace=Trace(parent, carrier.get("tracestate", "")))


# ---- attributes ---------------------------------------------------------------------------------------


def _about(operation: str, kind: str, job: Job) -> Attributes:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": job.queue,
    }


def _method(job: Job) -> str:
    """Known ones only: each name of a span is a kind of its own to those who look at them."""
    return job.method if job.method in METHODS else "HTTP"


def _request(job: Job) -> Attributes:
    """What goes out, without what is secret in its URL."""
    if job.kind != "http":
        return {}
    about: Attributes = {"http.request.method": job.method, "url.full": masked_url(job.target)}
    if job.method not in METHODS:
        about |= {"http.request.method": "_OTHER", "http.request.method_original": job.method}
    if job.attempt > 1:
        about["http.request.resend_count"] = job.attempt - 1
    parts = urlsplit(job.target)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # a record that can't be called
        return about
    return about | {"server.address": parts.hostname or "", "server.port": port}


def _tell(span: Span, outcome: Outcome) -> None:
    """What the attempt came to."""
    match outcome:
        case Success(result):
            if result.status:
                span.set_attribute("http.response.status_code", result.status)
        case Failure(error_class, message, result):
            if result is not None and result.status:
                span.set_attribute("http.response.status_code", result.status)
            answered = error_class is ErrorClass.ANSWERED and result is not None
            _fail(span, str(result.status) if answered and result else str(error_class), message)
        case Released(message):
            _fail(span, "released", message)


def _fail(span: Span, kind: str, message: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, message)
