"""How the peers' jobs call the target: one keep-alive connection a thread, on the standard library."""

import http.client
import os
import threading
from urllib.parse import urlsplit

_target = urlsplit(os.environ["BENCH_URL"])
_own = threading.local()


def call() -> str:
    """The body of the answer; raises RuntimeError unless it was 200."""
    connection = getattr(_own, "connection", None)
    if connection is None:
        connection = _own.connection = http.client.HTTPConnection(_target.hostname, _target.port, timeout=30)
    connection.request("GET", _target.path)
    answer = connection.getresponse()
    body = answer.read().decode()
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}")
    return body
