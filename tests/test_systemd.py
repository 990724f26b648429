import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from taskpusher.systemd import Notifier, inherited_sockets


def manager(address: str) -> socket.socket:
    """The end that systemd has of NOTIFY_SOCKET."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(address)
    channel.settimeout(5)
    return channel


@pytest.mark.parametrize("abstract", [False, True])
async def test_the_service_manager_is_told_of_ready_and_stopping(tmp_path: Path, abstract: bool) -> None:
    name = f"@taskpusher-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": name, "OTHER": "1"}
    with manager("\0" + name[1:] if abstract else name) as channel:
        notifier = Notifier(environ)
        notifier.ready()
        notifier.stopping()
        assert [channel.recv(100), channel.recv(100)] == [b"READY=1", b"STOPPING=1"]
    assert environ == {"OTHER": "1"}


async def test_where_there_is_no_manager_nothing_happens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"WATCHDOG_USEC": "1000"}):
        notifier = Notifier(environ)
        notifier.ready()
        notifier.stopping()
        notifier.close()
        assert environ == {}


async def test_the_watchdog_is_told_that_the_loop_turns_until_the_end(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    with manager(name) as channel:
        notifier = Notifier(environ)
        notifier.ready()
        said = [await asyncio.to_thread(channel.recv, 100) for _ in range(4)]
        assert said == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        notifier.stopping()
        while await asyncio.to_thread(channel.recv, 100) != b"STOPPING=1":
            pass
        assert await asyncio.to_thread(channel.recv, 100) == b"WATCHDOG=1"
        notifier.close()
    assert environ == {}


async def test_a_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with manager(name) as channel:
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
        notifier.ready()
        await asyncio.sleep(0)
        notifier.say("END")
        assert [channel.recv(100), channel.recv(100)] == [b"READY=1", b"END"]


def test_sockets_of_another_process_are_not_ours() -> None:
    environ = {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"}
    assert inherited_sockets(environ) == []
    assert environ == {}
    assert inherited_sockets({}) == []
    assert inherited_sockets({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}) == []


INHERIT = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
from taskpusher.systemd import inherited_sockets
try:
    (found,) = inherited_sockets()
except OSError as error:
    print(error)
else:
    print(found.getsockname(), found.get_inheritable(), found.getblocking(), "LISTEN_FDS" in os.environ)
"""


def inheriting(handed: socket.socket) -> str:
    command = [sys.executable, "-c", INHERIT, str(handed.fileno())]
    return subprocess.run(
        command, pass_fds=[handed.fileno()], capture_output=True, text=True, check=True
    ).stdout


def test_a_listening_socket_is_taken_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert inheriting(listener) == f"{listener.getsockname()} False False False\n"


def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as idle:
        assert inheriting(idle) == "descriptor 3 from systemd is no listening stream socket\n"
