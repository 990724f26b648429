"""A machine as docs/operations.md makes it, in a directory: its paths are below that directory.

`systemctl`, `journalctl`, `runuser` and `useradd` are stand-ins, since a test has no systemd and is not
always root. The units are the real ones: their ExecStart is run, with the credentials that they load.
"""

import os
import re
import shlex
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

from .program import PATIENCE, Tasker, free_port, until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
PLACES = (
    "/etc/tasker",
    "/etc/systemd/system",
    "/etc/prometheus",
    "/var/lib/tasker",
    "/var/backups/tasker",
    "/usr/local/bin",
)
VENV = Path(sys.executable).parent
FAILED = "failed"

STAND_INS = {
    "systemctl": 'ASK systemctl "$@"',
    "journalctl": 'ASK journalctl "$@"',
    "runuser": 'shift 3\nexec "$@"',  # -u tasker --
    "useradd": "exit 0",
}
ASK = """
import os, shlex, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as manager:
    manager.sendall((shlex.join(sys.argv[1:]) + "\\n").encode())
    code, _, said = b"".join(iter(lambda: manager.recv(65536), b"")).decode().partition("\\n")
sys.stdout.write(said)
sys.exit(int(code))
"""


class Machine:
    """Runs commands of the page; use it as a context manager."""

    def __init__(self, home: Path, targets_port: int) -> None:
        self.home, self.targets_port, self.port = home, targets_port, free_port()
        self.tasker: Tasker | None = None
        self.others: list[Tasker] = []  # that a test has started besides
        self.result = "inactive"  # or failed; of the service that does not run
        self.log = home / "journal"
        for place in PLACES:
            (home / place[1:]).mkdir(parents=True)
        self.log.touch()
        self.source = home / "source"
        files = self.source / "examples" / "operations"
        files.mkdir(parents=True)
        for file in (ROOT / "examples" / "operations").iterdir():
            shutil.copy(file, files)
            (files / file.name).write_text(self.here(file.read_text()))

    def path(self, place: str) -> Path:
        return self.home / place[1:]

    def __enter__(self) -> "Machine":
        machine = self

        class Manager(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                code, said = machine.told(shlex.split(self.rfile.readline().decode()))
                self.wfile.write(f"{code}\n{said}".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Manager)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._make_stand_ins(self._server.server_address[1])
        return self

    def __exit__(self, *error: object) -> None:
        self.kill_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kill_all(self) -> None:
        for one in (self.tasker, *self.others):
            if one is not None:
                one.kill()
        self.tasker, self.others, self.result = None, [], "inactive"

    # ---- as it was --------------------------------------------------------------------------------

    def keep(self) -> None:
        """Stop the tasker, and keep what is on the machine for `back`."""
        self.stop()
        for place in PLACES:
            shutil.copytree(self.path(place), self.path(f"/kept{place}"))

    def back(self, targets_port: int) -> None:
        """As it was when it was kept, with the tasker running, and with another target."""
        self.kill_all()
        self.targets_port = targets_port
        self.log.write_bytes(b"")
        for place in PLACES:
            here = self.path(place)
            here.unlink() if here.is_symlink() else shutil.rmtree(here)
            shutil.copytree(self.path(f"/kept{place}"), here)
        assert self.start()[0] == 0

    def _make_stand_ins(self, port: int) -> None:
        self.bin = self.home / "bin"
        self.bin.mkdir()
        ask = self.home / "ask.py"
        ask.write_text(ASK.format(port=port))
        for name, script in STAND_INS.items():
            script = script.replace("ASK", shlex.join([sys.executable, "-S", str(ask)]))
            (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.bin / name).chmod(0o755)

    # ---- what is typed ----------------------------------------------------------------------------

    def here(self, text: str) -> str:
        for place in PLACES:
            text = text.replace(place, str(self.path(place)))
        text = re.sub(r"^(install .*)-o \w+ ", r"\1", text, flags=re.MULTILINE)  # their users are not here
        text = text.replace("localhost:9900", f"127.0.0.1:{self.port}")
        return text.replace("localhost:8000", f"127.0.0.1:{self.targets_port}")

    def run(self, script: str) -> str:
        """What the script says, with the paths as the page has them."""
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("TASKER_", "COLUMNS"))
        }
        environ |= {
            "PATH": f"{self.bin}:{self.path('/usr/local/bin')}:{VENV}:{environ['PATH']}",
            "TASKER_SERVER": f"http://127.0.0.1:{self.port}",
            "TASKER_CONFIG": str(self.path("/etc/tasker/tasker.toml")),
            "TASKER_BASICAUTH": f"@{self.path('/etc/tasker/admins')}",
        }
        done = subprocess.run(
            ["bash", "-u", "-c", self.here(script)], cwd=self.source, env=environ, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=3 * PATIENCE, check=False,
        )  # fmt: skip
        said = done.stdout.replace(str(self.home), "").replace("127.0.0.1", "localhost")
        assert done.returncode == 0, said
        return said

    # ---- systemd ----------------------------------------------------------------------------------

    def told(self, words: list[str]) -> tuple[int, str]:
        """A command of systemd's: exit code, and what it says."""
        name, *rest = words
        if name == "journalctl":
            count = int(rest[rest.index("-n") + 1]) if "-n" in rest else 0
            lines = self.log.read_text().splitlines(keepends=True)
            return 0, "".join(lines[-count:])
        action, *rest = rest
        units = [unit for unit in rest if re.fullmatch(r"tasker(-backup)?\.(service|socket|timer)", unit)]
        assert units or action == "daemon-reload" or rest == ["prometheus.service"], words
        if action in ("stop", "restart", "disable") and "tasker.service" in units:
            self.stop()
        if action in ("start", "restart", "enable") and "tasker.service" in units:
            return self.start()
        if action == "start" and "tasker-backup.service" in units:
            return self._once("tasker-backup.service"), ""
        if action == "kill":
            self.kill()
            return self.start()
        if action == "is-active":
            return (0, "active\n") if not self._ended() else (3, f"{self.result}\n")
        return 0, ""

    def start(self) -> tuple[int, str]:
        if not self._ended():
            return 0, ""
        line = self._line("tasker.service")
        self.tasker = Tasker(*line[1:], f"--address=127.0.0.1:{self.port}", log=self.log)
        self.tasker.port = self.port
        until(lambda: self._ended() or self._answers(), what=lambda: self.log.read_text())
        self.result = FAILED if self._ended() else self.result
        return (1, "") if self._ended() else (0, "")

    def _ended(self) -> bool:
        return self.tasker is None or self.tasker.process.poll() is not None

    def _answers(self) -> bool:
        assert self.tasker is not None
        try:
            return self.tasker.get("/readyz")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.tasker is not None and not self._ended():
            self.tasker.stop()
        self.tasker, self.result = None, "inactive"

    def kill(self) -> None:
        assert self.tasker is not None
        self.tasker.tell(signal.SIGCONT)
        self.tasker.kill()
        self.tasker = None

    def _line(self, unit: str) -> list[str]:
        text = self.path(f"/etc/systemd/system/{unit}").read_text().replace("\\\n", " ")
        credentials = self.home / "credentials"
        shutil.rmtree(credentials, ignore_errors=True)
        credentials.mkdir()
        for name, source in re.findall(r"^LoadCredential=(\w+):(.*)$", text, re.MULTILINE):
            shutil.copy(source, credentials / name)
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        return shlex.split(line.replace("%d", str(credentials)))

    def _once(self, unit: str) -> int:
        environ = os.environ | {"TASKER_CONFIG": str(self.path("/etc/tasker/tasker.toml"))}
        environ["PATH"] = f"{VENV}:{environ['PATH']}"
        with self.log.open("ab") as log:
            return subprocess.run(
                self._line(unit), env=environ, stdout=log, stderr=log, check=False
            ).returncode
