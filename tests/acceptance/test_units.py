"""The units of examples/operations: systemd's own checks, and a tasker that its tool starts on a socket."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .program import PATIENCE, Tasker, free_port, installed, until

FILES = Path(__file__).parents[2] / "examples" / "operations"
UNITS = ("tasker.socket", "tasker.service", "tasker-backup.service", "tasker-backup.timer")
PROGRAMS = {
    "/opt/taskpusher/.venv/bin/tasker": sys.executable,
    "/usr/local/bin/tasker-backup": sys.executable,
}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """They, with programs that are there."""
    for name in UNITS:
        text = (FILES / name).read_text()
        for written, real in PROGRAMS.items():
            text = text.replace(written, real)
        (tmp_path / name).write_text(text)
    return tmp_path


def analyzed(*line: object) -> None:
    words = [installed("systemd-analyze"), "--no-pager", *map(str, line)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    mine = [said for said in done.stderr.splitlines() if "tasker" in said]
    assert mine == [], done.stderr


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    analyzed("verify", *(units / name for name in UNITS))


@pytest.mark.parametrize(("name", "most"), [("tasker.service", 15), ("tasker-backup.service", 30)])
def test_systemd_rates_the_services_as_well_closed(name: str, most: int, units: Path) -> None:
    """In tenths: 100 is wide open."""
    analyzed("security", "--offline=true", f"--threshold={most}", units / name)


def test_what_stops_the_service_fits_what_the_tasker_does() -> None:
    service = (FILES / "tasker.service").read_text()
    (prevented,) = re.findall(r"^RestartPreventExitStatus=(.*)$", service, re.MULTILINE)
    assert prevented.split() == ["2", "3", "4"]
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    assert int(stop) > 30, "longer than --grace"


# ---- started on a socket ------------------------------------------------------------------------------


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[tuple[Tasker, socket.socket]]:
    """systemd-socket-activate with the options of the unit, and what the manager would be told."""
    program = installed("systemd-socket-activate")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in ("admins", "apps", "watchers"):
        (credentials / name).write_text(f"{name}:secret\n")
    service = (FILES / "tasker.service").read_text().replace("\\\n", "")
    (line,) = re.findall(r"^ExecStart=\S+ (.*)$", service, re.MULTILINE)
    line = line.replace("--config /etc/tasker/tasker.toml", "").replace("%d", str(credentials))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        told = {"NOTIFY_SOCKET": tmp_path / "notify", "WATCHDOG_USEC": "200000", "PATH": os.environ["PATH"]}
        passed_on = [word for name, value in told.items() for word in ("-E", f"{name}={value}")]
        address = f"127.0.0.1:{free_port()}"
        tasker = Tasker(
            *line.split(), f"--store=lmdb:{tmp_path / 'db'}", log=tmp_path / "log", auth="admins:secret",
            command=(program, "-l", address, *passed_on, sys.executable, "-m", "taskpusher"),
        )  # fmt: skip
        tasker.port = int(address.rpartition(":")[2])
        yield tasker, manager
        tasker.kill()


def test_a_push_starts_it_and_waits_in_the_socket_until_it_answers(
    activated: tuple[Tasker, socket.socket],
) -> None:
    tasker, manager = activated
    until(lambda: "Listening on" in tasker.said)
    assert "started" not in tasker.said
    uid = tasker.push("http://localhost:1/", delay="1h")
    assert tasker.state(uid) == "waiting"
    assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"WATCHDOG=1"
    assert manager.recv(100) == b"WATCHDOG=1"
    tasker.tell(signal.SIGTERM)
    until(lambda: manager.recv(100) == b"STOPPING=1")
    assert tasker.end() == 0
    assert "listening on the sockets of systemd" in tasker.said


def test_the_users_of_the_unit_have_the_roles_it_gives_them(activated: tuple[Tasker, socket.socket]) -> None:
    tasker, _ = activated
    until(lambda: "Listening on" in tasker.said)
    uid = tasker.push("http://localhost:1/", delay="1h")
    tasker.auth = "apps:secret"
    assert (tasker.ask("POST", "/add", {"url": "http://localhost:1/"})[0], tasker.get("/stats")[0]) == (
        201,
        403,
    )
    tasker.auth = "watchers:secret"
    assert (tasker.get("/stats")[0], tasker.ask("POST", f"/job/{uid}/cancel")[0]) == (200, 403)


def test_a_backup_script_is_plain_sh() -> None:
    for name in ("tasker-backup", "tasker-watch"):
        assert os.access(FILES / name, os.X_OK)
        subprocess.run([shutil.which("sh") or "sh", "-n", str(FILES / name)], check=True)
