"""What the jobs call: nginx that answers "ok", and how often it was called."""

import http.client
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import programs

CONFIG = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "ok"; }}
    location = /hits {{ stub_status; }}
  }}
}}
"""
LOOK = 0.01  # seconds between two looks at the count


@dataclass(frozen=True)
class Seen:
    """A drain as the target saw it; moments are of time.perf_counter()."""

    hits: int
    begun: float
    first: float  # the first look that saw hits,
    first_hits: int  # and how many it saw
    last: float  # the look that saw enough, or the last one
    enough: bool

    @property
    def rate(self) -> float:
        """Hits a second from the beginning on."""
        return self.hits / (self.last - self.begun)

    @property
    def rate_from_first(self) -> float:
        """Hits a second from the first on: how long the program took to start is left out."""
        return (self.hits - self.first_hits) / max(self.last - self.first, LOOK)


class Target:
    def __init__(self, port: int) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}/x"
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._looks = 0

    def hits(self) -> int:
        """How often it was called since it was started, these looks left out."""
        self._connection.request("GET", "/hits")
        self._looks += 1
        words = self._connection.getresponse().read()
        found = re.search(rb"requests\s*\d+ \d+ (\d+)", words)
        assert found, words
        return int(found[1]) - self._looks

    def until(self, hits: int, before: int, begun: float, within: float) -> Seen:
        """Wait for so many hits more than `before`, for `within` seconds at most."""
        first, first_hits = 0.0, 0
        while True:
            count, now = self.hits() - before, time.perf_counter()
            if count and not first:
                first, first_hits = now, count
            if count >= hits or now - begun > within:
                return Seen(min(count, hits), begun, first or now, first_hits, now, count >= hits)
            time.sleep(LOOK)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def answering(directory: Path, port: int = 0) -> Iterator[Target]:
    """nginx on a port of its own, with its files in the directory."""
    programs.need("nginx")
    port = port or programs.free_port()
    home = Path(tempfile.mkdtemp(prefix="nginx-", dir=directory))
    config, log = home / "nginx.conf", home / "log"
    config.write_text(CONFIG.format(dir=home, port=port))
    with programs.running(["nginx", "-p", home, "-c", config], log) as process:
        programs.listening(process, port, log)
        target = Target(port)
        try:
            yield target
        finally:
            target.close()


@contextmanager
def silent(port: int) -> Iterator[None]:
    """A target that takes connections and never says a word: what calls it runs on and on."""
    with socket.create_server(("127.0.0.1", port), backlog=1024):
        yield
