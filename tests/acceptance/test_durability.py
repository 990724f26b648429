"""What was answered has been synced: the order of the system calls shows it."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from taskpusher.pusher import TaskPusher
from taskpusher.stores.lmdb import LmdbStore

from .program import COMMAND, PATIENCE, Tasker

CALLS = "read,recvfrom,recvmsg,write,writev,sendto,sendmsg,openat,pwrite64,pwritev,pwritev2,fdatasync,fsync"


def can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    done = subprocess.run(
        [strace, "-f", "-o", os.devnull, "-e", "trace=fdatasync", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


class Traced(NamedTuple):
    name: str
    fd: int
    text: str  # what stands between the parentheses
    begun: int  # lines of the trace
    ended: int


def parsed(trace: str) -> list[Traced]:
    """The calls of a `strace -f`, in the order they ended."""
    open_calls: dict[tuple[str, str], tuple[int, str]] = {}
    found = []
    for number, line in enumerate(trace.splitlines()):
        match = re.match(r"(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$", line)
        if match is None:
            continue
        pid, name, how, text = match.groups()
        begun = number
        if how != "(":
            begun, head = open_calls.pop((pid, name), (number, ""))
            text = head + text
        elif text.endswith("<unfinished ...>"):
            open_calls[pid, name] = (number, text.removesuffix("<unfinished ...>"))
            continue
        fd = re.match(r"\d+", text)
        found.append(Traced(name, int(fd[0]) if fd else -1, text, begun, number))
    return found


def opened(calls: list[Traced], options: str) -> set[int]:
    """The descriptors under which the data file was opened with those options."""
    return {
        int(match[1])
        for call in calls
        if call.name == "openat" and 'db/data.mdb"' in call.text and options in call.text
        if (match := re.search(r"= (\d+)$", call.text))
    }


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or may not trace here")
def test_an_add_is_answered_after_its_commit_was_synced(start: Callable[..., Tasker], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(trace), "-s", "64", "-e", f"trace={CALLS}")
    tasker = start("--basicauth-add=a:b", auth="a:b", command=(*strace, *COMMAND))
    server = int(re.search(r" pid=(\d+) ", tasker.said)[1])  # type: ignore[index]
    for number in range(20):  # one after the other, each on a connection of its own
        tasker.push(f"http://localhost:1/{number}", delay="1h")
    push_at_once(tasker, server, 200)
    os.kill(server, signal.SIGTERM)
    assert tasker.end() == 0
    calls = parsed(trace.read_text())
    asked, answered = exchanges(calls)
    assert len(answered) == 20 + 200
    synced, written = opened(calls, "O_RDWR"), opened(calls, "O_DSYNC")
    assert synced, "the trace does not show how the data file was opened"
    assert written, "the meta page was not written with O_DSYNC"
    syncs = [call for call in calls if call.name in ("fdatasync", "fsync") and call.fd in synced]
    metas = [call for call in calls if call.name.startswith("pwrite") and call.fd in written]
    for read, answer in zip(asked, answered, strict=True):
        assert any(
            read.ended < sync.begun and sync.ended < meta.begun and meta.ended < answer.begun
            for sync in syncs
            for meta in metas
        ), f"answered before it was kept: {answer}"


async def test_many_adds_share_a_commit(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "db")
    async with TaskPusher(store, {}, concurrency=50) as pusher:
        before = store._writer.commits
        for _ in range(5):
            await asyncio.gather(*(pusher.push("http://localhost:1/", delay="1h") for _ in range(200)))
        commits = store._writer.commits - before
    assert 1000 / commits >= 10, f"1000 adds, 200 at once, took {commits} commits"


def push_at_once(tasker: Tasker, server: int, number: int) -> None:
    """One job on each of so many connections, all of them there when the server wakes."""
    authorization = tasker.headers()["Authorization"]
    body = b'{"url": "http://localhost:1/", "delay": "1h"}'
    head = f"POST /add HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", tasker.port)
        pushers = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(number)]
        os.kill(server, signal.SIGSTOP)
        for pusher in pushers:
            pusher.sendall(f"{head}{kind}".encode() + body)
        os.kill(server, signal.SIGCONT)
        for pusher in pushers:
            assert pusher.recv(100).startswith(b"HTTP/1.1 201")


def exchanges(calls: list[Traced]) -> tuple[list[Traced], list[Traced]]:
    """The reads of `POST /add` that ended with a 201, each with the write of that."""
    waiting: dict[int, Traced] = {}
    pairs = []
    for call in calls:
        if '"POST /add' in call.text:
            waiting[call.fd] = call
        elif '"HTTP/1.1 201' in call.text and call.fd in waiting:
            pairs.append((waiting.pop(call.fd), call))
    return [read for read, _ in pairs], [answer for _, answer in pairs]
