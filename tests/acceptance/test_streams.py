"""Streams of events from the real program: they tell, they cost nothing, and they hold no stop."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .program import PATIENCE, Tasker, free_port, until
from .target import Target
from .test_idle import MOST, in_the_window

PROMPT = 1.0  # seconds; alone it takes some milliseconds

# A tasker's API below a path of somebody's app, as in the README.
APP = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from taskpusher import HttpRunner, Http11Transport, MemoryStore, TaskPusher, create_app

pusher = TaskPusher(MemoryStore(), {"http": HttpRunner(Http11Transport())})


@asynccontextmanager
async def lifespan(app):
    async with pusher:
        yield


app = Starlette(routes=[Mount("/jobs", create_app(pusher))], lifespan=lifespan)
"""


class Stream:
    """An open stream, read by a thread unless it shall not be."""

    def __init__(self, port: int, path: str = "/tasks/events", read: bool = True) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.text = ""
        self.ended_at = 0.0  # time.monotonic()
        self._thread = threading.Thread(target=self._read, name="stream")
        if read:
            self._thread.start()
            until(lambda: "event: tick" in self.text)

    def _read(self) -> None:
        try:
            while data := self._socket.recv(65536):
                self.text += data.decode()
        except OSError as error:
            self.text += f"\n{error!r}"
        self.ended_at = time.monotonic()

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


@contextmanager
def open_streams(port: int, *paths: str) -> Iterator[list[Stream]]:
    made: list[Stream] = []
    try:
        for path in paths:
            made.append(Stream(port, path))
        yield made
    finally:
        for one in made:
            one.close()


def test_a_stream_tells_of_a_job_until_it_is_completed(start: Callable[..., Tasker], target: Target) -> None:
    tasker = start()
    uid = tasker.push(f"{target.url}/hold", delay="200ms")
    with open_streams(tasker.port, f"/tasks/events?uid={uid}") as (stream,):
        until(lambda: '"state":"running"' in stream.text)
        target.release()
        until(lambda: '"state":"completed"' in stream.text)
        until(lambda: '"completed":1' in stream.text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_do_not_hold_a_stop(number: int, start: Callable[..., Tasker], target: Target) -> None:
    tasker = start()
    with open_streams(tasker.port, *["/tasks/events"] * 10, "/tasks/events?every=60") as streams:
        sent = time.monotonic()
        tasker.tell(number)
        assert tasker.end() == 0
        assert time.monotonic() - sent < PROMPT
        until(lambda: all(one.ended_at for one in streams))
        for one in streams:
            assert one.text.endswith("\r\n0\r\n\r\n"), one.text[-200:]
    assert "Traceback" not in tasker.said, tasker.said


def test_streams_go_on_while_a_stop_waits_for_what_runs(start: Callable[..., Tasker], target: Target) -> None:
    tasker = start("--grace=30s")
    tasker.push(f"{target.url}/hold")
    until(lambda: target.in_flight == 1)
    with open_streams(tasker.port, "/tasks/events") as (stream,):
        until(lambda: '"busy":1' in stream.text)
        tasker.tell_and_see()
        tasker.push(f"{target.url}/later")
        until(lambda: '"waiting":1' in stream.text)
        target.release()
        released = time.monotonic()
        assert tasker.end() == 0
        assert time.monotonic() - released < PROMPT
        until(lambda: stream.ended_at)


def test_a_second_signal_ends_streams_too(start: Callable[..., Tasker], target: Target) -> None:
    tasker = start("--grace=1h")
    tasker.push(f"{target.url}/hold")
    until(lambda: target.in_flight == 1)
    with open_streams(tasker.port, *["/tasks/events"] * 3) as streams:
        tasker.tell_and_see()
        again = time.monotonic()
        tasker.tell(signal.SIGINT)
        assert tasker.end() == 0
        assert time.monotonic() - again < 1.5 * PROMPT
        until(lambda: all(one.ended_at for one in streams))
    assert "Traceback" not in tasker.said, tasker.said


def test_a_stream_that_nobody_reads_does_not_hold_a_stop(start: Callable[..., Tasker]) -> None:
    tasker = start()
    stream = Stream(tasker.port, read=False)
    try:
        sent = time.monotonic()
        tasker.tell()
        assert tasker.end() == 0
        assert time.monotonic() - sent < PROMPT
    finally:
        stream.close()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc here")
def test_an_open_stream_wakes_nobody_while_nothing_moves(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start()
    with open_streams(tasker.port, "/tasks/events", "/tasks/events?every=5") as streams:
        tasker.completed(tasker.push(target.url))
        until(lambda: all('"moved":0' in one.text[-200:] for one in streams))
        assert in_the_window(tasker) <= MOST


def test_below_another_app_they_do_not_hold_its_server(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP, "utf-8")
    port, log = free_port(), tmp_path / "log"
    line = [sys.executable, "-m", "uvicorn", "app:app", f"--port={port}"]
    with log.open("wb") as said:
        process = subprocess.Popen(line, cwd=tmp_path, stdout=said, stderr=said, env={**os.environ})
    try:
        until(lambda: "running on" in log.read_text() or process.poll() is not None)
        with open_streams(port, *["/jobs/tasks/events"] * 3) as streams:
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            assert time.monotonic() - sent < 2 * PROMPT
            until(lambda: all(one.ended_at for one in streams))
            assert all(one.text.endswith("\r\n0\r\n\r\n") for one in streams)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()
