"""What happens while the pictures are taken: hosts that answer, and a client that pushes."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

from tests.acceptance.program import Tasker

from .shop import HOOKS, IMAGES, WORKS

SLOW = {IMAGES: (1.0, 3.0)}  # seconds that an answer takes, from and to
HANGING = "/tasks/reports/year"  # never answered while the pictures are taken
ANSWER = b'{"sold": 1284, "returned": 31, "best": [{"sku": "SKU-12038", "sold": 212}]}'


class Hosts:
    """All hosts of the shop, on one port; use it as a context manager."""

    def __enter__(self) -> "Hosts":
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ended, random = self._ended, Random(3)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                host = self.headers["Host"]
                ended.wait(
                    600 if self.path.startswith(HANGING) else random.uniform(*SLOW.get(host, (0.02, 0.2)))
                )
                if host == HOOKS and random.random() < 0.2:
                    self._answer(503, b"upstream is down", "text/plain")
                else:
                    self._answer(200, ANSWER, "application/json")

            do_POST = do_GET  # noqa: N815 - the name is the method's

            def _answer(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):  # who hung up needs no answer
                    self.wfile.write(body)

            def log_message(self, *words: Any) -> None:
                pass

        return Handler


class Client:
    """Pushes a few jobs a second for as long as the block lasts."""

    def __init__(self, tasker: Tasker, rate: float = 0.6) -> None:
        self._tasker, self._rate, self._random = tasker, rate, Random(5)

    def __enter__(self) -> "Client":
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._push, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _push(self) -> None:
        while not self._ended.wait(self._random.expovariate(self._rate)):
            work = self._random.choices(WORKS[:6], [one.often for one in WORKS[:6]])[0]
            number = str(self._random.randint(10_000, 18_999))
            fields: dict[str, object] = {"queue": work.queue, "tags": list(work.tags), "max_attempts": 4}
            if work.title:
                fields["title"] = work.title.replace("{n}", number)
            self._tasker.push(f"http://{work.host}{work.path.replace('{n}', number)}", **fields)
