"""The order of an answer: the system calls show that what was answered had been synced.

    python -m tests.proof ack-order --size night

Between the read of a push and the write of its answer a sync of the data has begun and ended, and after it a
write of the meta page, through O_DSYNC, has too; one push at a time, and 200 at once, which share commits.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.program import COMMAND, PATIENCE, Tasker, until

from . import Proof

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


def push_at_once(tasker: Tasker, server: int, number: int) -> None:
    """One job on each of so many connections, all of them there when the server wakes."""
    authorization = tasker.headers()["Authorization"]
    body = b'{"url": "http://localhost:1/", "delay": "1h"}'
    head = f"POST /add HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", tasker.port)
        pushers = [stack.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(number)]
        for pusher in pushers:  # so that it has accepted all of them
            pusher.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert pusher.recv(1000).startswith(b"HTTP/1.1 200")
        os.kill(server, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{server}/stat").read_text().rpartition(") ")[2][0] in "Tt")
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


AT_ONCE = 200
SIZES = {"quick": (50, 1), "night": (200, 4)}  # pushes one after the other, and rounds of AT_ONCE
SHARED = 10  # pushes that a commit holds, on the average, when AT_ONCE come at once


def traced(where: Path, alone: int, rounds: int) -> list[Traced]:
    """The calls of a tasker that is sent so many pushes."""
    trace = where / "trace"
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(trace), "-s", "64", "-e", f"trace={CALLS}")
    options = (f"--store=lmdb:{where / 'db'}", "--address=127.0.0.1:0", "--basicauth-add=a:b")
    tasker = Tasker(*options, log=where / "said", auth="a:b", command=(*strace, *COMMAND))
    try:
        server = int(re.search(r" pid=(\d+) ", tasker.ready().said)[1])  # type: ignore[index]
        for number in range(alone):  # each on a connection of its own
            tasker.push(f"http://localhost:1/{number}", delay="1h")
        for _ in range(rounds):
            push_at_once(tasker, server, AT_ONCE)
        os.kill(server, signal.SIGTERM)
        assert tasker.end() == 0, tasker.said
    finally:
        tasker.kill()
    return parsed(trace.read_text())


def prove(size: str, seed: int, deadline: float) -> Proof:
    alone, rounds = SIZES[size]
    with tempfile.TemporaryDirectory() as name:
        calls = traced(Path(name), alone, rounds)
    asked, answered = exchanges(calls)
    synced, written = opened(calls, "O_RDWR"), opened(calls, "O_DSYNC")
    assert synced, "the trace does not show how the data file was opened"
    assert written, "the meta page was not written with O_DSYNC"
    syncs = [call for call in calls if call.name in ("fdatasync", "fsync") and call.fd in synced]
    metas = [call for call in calls if call.name.startswith("pwrite") and call.fd in written]
    kept = [(sync, meta) for sync in syncs for meta in metas if sync.ended < meta.begun]
    early = [
        answer
        for read, answer in zip(asked, answered, strict=True)
        if not any(read.ended < sync.begun and meta.ended < answer.begun for sync, meta in kept)
    ]
    commits = sum(asked[alone].begun < meta.begun < answered[-1].begun for meta in metas)
    share = rounds * AT_ONCE / commits
    number = alone + rounds * AT_ONCE
    details = [
        f"{len(syncs)} syncs, {len(metas)} writes of the meta page through O_DSYNC",
        *(f"answered before it was kept: {answer}" for answer in early[:5]),
    ]
    figure = (
        f"{len(answered) - len(early)} of {number} pushes answered after their sync; {AT_ONCE} at once: "
        f"{share:.0f} a commit"
    )
    return Proof(figure, not early and len(answered) == number and share >= SHARED, details)
