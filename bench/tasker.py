"""The real tasker, as a process of its own."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import programs

CHUNK = 1000  # jobs of one NDJSON request


class Tasker:
    """A tasker that keeps its jobs in `directory`/tasker.db. It was started at `begun` (perf_counter)."""

    def __init__(self, directory: Path, concurrency: int, *options: str) -> None:
        self.store, self.log = directory / "tasker.db", directory / "tasker.log"
        self.port = programs.free_port()
        command = [sys.executable, "-m", "taskpusher", f"--address=127.0.0.1:{self.port}"]
        command += [f"--store=lmdb:{self.store}", f"--concurrency={concurrency}", "--log-level=warning"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
        with self.log.open("ab") as said:
            self.begun = time.perf_counter()
            self.process = subprocess.Popen(
                [*command, *options], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ
            )
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def pid(self) -> int:
        return self.process.pid

    # ---- its life ---------------------------------------------------------------------------------

    def ready(self) -> float:
        """Wait for /readyz; seconds since it was started."""
        programs.alive_until(self.process, self.is_ready, self.log, step=0.002)
        return time.perf_counter() - self.begun

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            self.hang_up()
            return False

    def hang_up(self) -> None:
        """Close the connection; the next question opens another."""
        self._connection.close()

    def kill(self) -> None:
        self.hang_up()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    # ---- asking it --------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, Any]:
        self._connection.request(method, path, body or None, {"Content-Type": kind} if body else {})
        answer = self._connection.getresponse()
        said = answer.read()
        return answer.status, json.loads(said) if "json" in answer.headers["Content-Type"] else said

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def pause(self, paused: bool) -> None:
        status, told = self.ask("PUT", "/queues/default", json.dumps({"paused": paused}).encode())
        assert status == 200, told

    def push(self, jobs: int, url: str) -> None:
        """Push so many jobs, in requests of a thousand."""
        line = json.dumps({"url": url}).encode()
        while jobs:
            some = min(jobs, CHUNK)
            status, told = self.ask("POST", "/add", b"\n".join([line] * some), "application/x-ndjson")
            assert status == 201, told
            jobs -= some

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return dict(self.get("/stats")[1]["states"])

    # ---- looking at the process -------------------------------------------------------------------

    def memory(self) -> float:
        """Anonymous memory in MB: what the process holds that is no page of a file."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s*(\d+) kB", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1024 / 1e6

    def wake_ups(self) -> int:
        """How often its threads have gone to sleep so far."""
        pattern = re.compile(r"^voluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)
        tasks = Path(f"/proc/{self.pid}/task").glob("*/status")
        return sum(int(found[1]) for task in tasks if (found := pattern.search(task.read_text())))

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def disk(self) -> int:
        """Bytes that its jobs take on the disk."""
        return (self.store / "data.mdb").stat().st_blocks * 512


@contextmanager
def serving(directory: Path, concurrency: int, *options: str) -> Iterator[Tasker]:
    """A tasker that is ready; it is stopped at the end, if it was not before."""
    directory.mkdir(parents=True, exist_ok=True)
    tasker = Tasker(directory, concurrency, *options)
    try:
        tasker.ready()
        yield tasker
    finally:
        tasker.stop()
