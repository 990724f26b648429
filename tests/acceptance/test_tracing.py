"""Trace context through the real program, with spans and without."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .program import Tasker, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


class App:
    """An app that is called, and a collector of spans."""

    def __init__(self) -> None:
        app = self
        self.calls: list[dict[str, str]] = []  # headers
        self.spans: list[Span] = []
        self.services: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                app.came(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *said: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def came(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if path != "/v1/traces":
            self.calls.append(headers)
            return
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = [pair.value for pair in one.resource.attributes if pair.key == "service.name"]
            self.services |= {value.string_value for value in named}
            self.spans += [span for scope in one.scope_spans for span in scope.spans]


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def push(tasker: Tasker, app: App, **headers: str) -> None:
    status, _ = tasker.ask("POST", "/add", {"url": f"{app.url}/work", "method": "POST"}, **headers)
    assert status == 201


def test_a_trace_is_carried_to_the_call_over_a_restart(start: Callable[..., Tasker], app: App) -> None:
    tasker = start()
    tasker.ask("PUT", "/queues/default", {"paused": True})
    push(tasker, app, traceparent=PARENT, tracestate="congo=t61, rojo=1")
    push(tasker, app, traceparent="nonsense", tracestate="congo=t61")
    tasker.stop()
    tasker = start()
    tasker.ask("PUT", "/queues/default", {"paused": False})
    until(lambda: len(app.calls) == 2)
    found = sorted((call.get("traceparent", ""), call.get("tracestate", "")) for call in app.calls)
    assert found == [("", ""), (PARENT, "congo=t61,rojo=1")]


def test_spans_go_to_where_the_environment_says(start: Callable[..., Tasker], app: App) -> None:
    tasker = start("--tracing", env={"OTEL_EXPORTER_OTLP_ENDPOINT": app.url})
    push(tasker, app, traceparent=PARENT)
    until(lambda: app.calls)
    until(lambda: tasker.number("completed") == 1)
    tasker.stop()
    spans = {span.name: span for span in app.spans}
    assert spans.keys() == {"push", "POST"}
    assert spans["push"].parent_span_id.hex() == SPAN
    assert spans["POST"].parent_span_id == spans["push"].span_id
    assert app.calls[0]["traceparent"].startswith(f"00-{TRACE}-{spans['POST'].span_id.hex()}-")
    assert app.services == {"tasker"}


def test_a_collector_that_is_away_holds_up_neither_jobs_nor_the_stop(
    start: Callable[..., Tasker], app: App
) -> None:
    tasker = start("--tracing", env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    push(tasker, app)
    until(lambda: app.calls)
    until(lambda: tasker.number("completed") == 1)
    tasker.tell()
    assert tasker.end(10.0) == 0
