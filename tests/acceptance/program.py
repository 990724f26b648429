"""The tasker as a process of its own, and what a test asks of it over HTTP."""

import base64
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

PATIENCE = 20.0  # seconds until something that shall happen has not
COMMAND = (sys.executable, "-m", "taskpusher")
CONSOLE_SCRIPT = str(Path(sys.executable).with_name("tasker"))
STARTED = re.compile(r" INFO started .*? store=(\S+) address=(\S+) ")

T = TypeVar("T")


def until(look: Callable[[], T], within: float = PATIENCE, what: Callable[[], object] | str = "") -> T:
    """Poll `look` until it is true; its value."""
    end = time.monotonic() + within
    while not (found := look()):
        told = what() if callable(what) else what
        assert time.monotonic() < end, f"it did not happen within {within} s: {told}"
        time.sleep(0.005)
    return found


def free_port() -> int:
    """One below those that the system gives out: another test can't get it before the program listens."""
    while True:
        port = random.randrange(12_000, 30_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            pass


def installed(*names: str) -> str:
    """Where the first of them that is here is; CI has to have one, elsewhere the test is skipped."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        missing = f"{' or '.join(names)} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}: CI has to install it")
        pytest.skip(missing)
    return found


class Tasker:
    """A running command. What it says goes to a file, so that it never waits for a reader."""

    def __init__(
        self,
        *options: object,
        log: Path,
        command: tuple[str, ...] = COMMAND,
        env: dict[str, str] | None = None,
        auth: str = "",
        **more: Any,
    ) -> None:
        self.auth = auth
        self._log = log
        self._said_before = log.stat().st_size if log.exists() else 0
        self.port = 0
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
        line = [*command, *map(str, options)]
        self.began = time.monotonic()
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ | (env or {}), **more
            )

    # ---- its life ---------------------------------------------------------------------------------

    @property
    def said(self) -> str:
        return self._log.read_bytes()[self._said_before :].decode()

    def ready(self, within: float = PATIENCE) -> "Tasker":
        """Wait for its address in the log, then for /readyz."""
        started = until(lambda: self._alive() and STARTED.search(self.said), within, lambda: self.said)
        assert started
        self.store, addresses = started[1], started[2]
        self.port = int(addresses.split(",")[0].rpartition(":")[2])
        until(lambda: self.get("/readyz")[0] == 200, within, lambda: self.said)
        return self

    def _alive(self) -> bool:
        code = self.process.poll()
        assert code is None, f"it ended with {code}: {self.said}"
        return True

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def tell_and_see(self, number: int = signal.SIGTERM) -> float:
        """Send the signal and see the stop begin; when it was sent."""
        sent = time.monotonic()
        self.tell(number)
        until(lambda: " INFO stopping " in self.said, PATIENCE, lambda: self.said)
        return sent

    def end(self, within: float = PATIENCE) -> int:
        """The exit code, once it has gone by itself."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {within} s: {self.said}") from None

    def stop(self) -> None:
        """The usual end of a test that wants to start it again."""
        self.tell()
        assert self.end() == 0, self.said

    def kill(self) -> None:
        """kill -9, and wait for the body."""
        self.process.kill()
        self.process.wait()

    # ---- asking it --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers(self) -> dict[str, str]:
        if not self.auth:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(self.auth.encode()).decode()}

    @contextmanager
    def connection(self, timeout: float = PATIENCE) -> Iterator["Client"]:
        client = Client(self.port, self.headers(), timeout)
        try:
            yield client
        finally:
            client.close()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        with self.connection() as client:
            return client.ask(method, path, body, **headers)

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def push(self, url: str, **fields: object) -> str:
        """The uid; any answer but 201 fails the test."""
        status, answer = self.ask("POST", "/add", {"url": url, **fields})
        assert status == 201, answer
        return str(answer["uid"])

    def push_many(self, jobs: list[dict[str, object]]) -> list[str]:
        lines = b"\n".join(json.dumps(job).encode() for job in jobs)
        status, answer = self.ask("POST", "/add", lines, content_type="application/x-ndjson")
        assert status == 201, answer
        return list(answer["uids"])

    def job(self, uid: str) -> dict[str, Any]:
        status, job = self.get(f"/job/{uid}")
        assert status == 200, job
        return dict(job)

    def state(self, uid: str) -> str:
        return str(self.job(uid)["state"])

    def completed(self, uid: str) -> dict[str, Any]:
        """The job, once it is."""
        until(lambda: self.state(uid) not in ("waiting", "running"), PATIENCE, lambda: self.job(uid))
        job = self.job(uid)
        assert job["state"] == "completed", job
        return job

    def number(self, state: str) -> int:
        return int(self.get(f"/jobs/{state}?limit=1")[1]["total"])

    def pages(self, path: str) -> Iterator[list[dict[str, Any]]]:
        """Every page from there on."""
        follow: str | None = path
        while follow:
            status, page = self.get(follow)
            assert status == 200, page
            yield page["jobs"]
            follow = page["next"]

    def uids(self, state: str) -> list[str]:
        return [job["uid"] for page in self.pages(f"/jobs/{state}") for job in page]


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, headers: dict[str, str], timeout: float = PATIENCE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._headers = headers

    def close(self) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status, and the answer: its JSON, or its text. A dict is sent as JSON."""
        sent = dict(self._headers)
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, sent)  # type: ignore[arg-type]
        answer = self._connection.getresponse()
        told = answer.read().decode()
        return answer.status, json.loads(told) if "json" in answer.headers.get("Content-Type", "") else told


def failing(*options: object, within: float = PATIENCE, **more: Any) -> tuple[int, str, float]:
    """A command that ends by itself: exit code, the one sentence that it says, and how long it took."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
    began = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *map(str, options)],
        capture_output=True, text=True, timeout=within, check=False, env=environ, **more,
    )  # fmt: skip
    took = time.monotonic() - began
    assert done.stdout == ""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("tasker: "), done.stderr
    return done.returncode, done.stderr, took
