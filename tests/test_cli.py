"""The whole command, as a process of its own: how it starts, answers, stops, and what it says if it can't."""

import base64
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from taskpusher import __version__, cli
from taskpusher.config import load

COMMAND = (sys.executable, "-m", "taskpusher")
PATIENCE = 10.0  # seconds until something that shall happen has not


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Tasker:
    """A running command; it has said that it started."""

    def __init__(self, *options: object, command: tuple[str, ...] = COMMAND, **more: Any) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
        more["env"] = environ | more.pop("env", {})
        line = [*command, *map(str, options)]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, **more)
        self.said = ""
        self._until_said(r"(started|\"message\":\"started\").*\n")
        addresses = re.search(r"\baddress\"?[=:]\"?([^ \"]+)", self.said[self.said.index("started") :])
        assert addresses
        self.addresses = addresses[1].split(",")
        self.port = int(self.addresses[0].rpartition(":")[2]) if ":" in self.addresses[0] else 0

    def _until_said(self, pattern: str) -> None:
        assert self.process.stderr is not None
        while not re.search(pattern, self.said):
            readable, _, _ = select.select([self.process.stderr], [], [], PATIENCE)
            line = self.process.stderr.readline() if readable else ""
            assert line, f"{pattern} was not said, but: {self.said}"
            self.said += line

    def ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status, and the answer: its JSON, or its text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        try:
            connection.request(method, path, body, {**form, **(headers or {})})
            answer = connection.getresponse()
            told = answer.read().decode()
            return answer.status, json.loads(told) if "json" in answer.headers["Content-Type"] else told
        finally:
            connection.close()

    def push(self, url: str) -> str:
        status, answer = self.ask("POST", "/add", f"url={url}")
        assert status == 201, answer
        return str(answer["uid"])

    def state(self, uid: str) -> str:
        return str(self.ask("GET", f"/job/{uid}")[1]["state"])

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def tell_and_see(self, number: int = signal.SIGTERM) -> None:
        """Send it, and see the stop begin."""
        self.tell(number)
        self._until_said(r"stopping")

    def end(self, within: float = PATIENCE) -> int:
        """The exit code, once it has gone by itself."""
        _, rest = self.process.communicate(timeout=within)
        self.said += rest or ""
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Tasker]]:
    """Starts a tasker on a store of this test and any free port."""
    started: list[Tasker] = []

    def begin(*options: object, **more: Any) -> Tasker:
        defaults = (f"--store=lmdb:{tmp_path / 'db'}", "--address=127.0.0.1:0")
        tasker = Tasker(*defaults, *options, **more)
        started.append(tasker)
        return tasker

    yield begin
    for tasker in started:
        tasker.process.kill()
        tasker.process.communicate()


class Target:
    """An app that answers "ok", when it may."""

    def __init__(self) -> None:
        target = self
        self.called: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target.called.append(self.path)
                target.may_answer.wait(PATIENCE)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *said: object) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:  # the tasker was told to hurry
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    thread = threading.Thread(target=target.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield target
    target.may_answer.set()
    target.server.shutdown()
    thread.join()
    target.server.server_close()


def failing(*options: object, **more: Any) -> tuple[int, str]:
    """The exit code of a command that ends by itself, and the one sentence that it says."""
    line = [*COMMAND, *map(str, options)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False, **more)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("tasker: ")
    return done.returncode, done.stderr


# ---- usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["-h", "--help", "-help"])
def test_the_help_names_every_option_once(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([asked]) == 0
    told = capsys.readouterr().out
    for row in cli.config.SETTINGS:
        assert len(re.findall(rf"^  --{row.name}\b(?!-)", told, re.MULTILINE)) == 1
    assert "\n  -address" not in told


@pytest.mark.parametrize("asked", ["--version", "-version"])
def test_the_version_is_told(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([asked]) == 0
    assert capsys.readouterr().out == f"tasker {__version__}\n"


def test_the_help_does_not_load_what_serving_needs() -> None:
    script = "import sys, taskpusher.cli as c; c.run(['-h']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for heavy in ("uvicorn", "httpx", "lmdb", "starlette", "jinja2"):
        assert f"'{heavy}'" not in done.stdout


def test_a_reader_that_has_seen_enough_of_the_help_costs_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, "-h"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""


def test_long_options_work_with_one_dash_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli, "serve", lambda settings: seen.append(settings) or 0)
    for name in [name for name in os.environ if name.startswith("TASKER_")]:
        monkeypatch.delenv(name)
    assert cli.run(["--basicauth=test:test", "-address=localhost:9901", "-header", "A: -b"]) == 0
    assert cli.run(["-basicauth", "test:test", "--address", "localhost:9901", "--header=A: -b"]) == 0
    options = {"basicauth": "test:test", "address": "localhost:9901", "header": "A: -b"}
    assert seen == [load(options, {})] * 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--foo"], "No such option '--foo'"),
        (["foo"], "No such command 'foo'"),
        (["-address"], "requires an argument"),
        (["-address=x"], "--address: 'x' is no host:port"),
        (["--basicauth", "test"], "--basicauth: it is no user:password: there is no colon"),
        (["--basicauth=@/nowhere"], "--basicauth: the file /nowhere can't be read: No such file"),
        (["--basicauth-add=:x"], "--basicauth-add: it has an empty user"),
        (["--address=:9900"], "set --basicauth user:password, or --insecure"),
        (["--timeout=soon"], "--timeout: "),
        (["--header=Tasker-Uid: 1"], "--header: "),
        (["--target-deny=http://x/"], "--target-deny: "),
        (["--config=/nowhere"], "--config: /nowhere can't be read"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence_with_exit_2(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(options) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert told.err.startswith("tasker: ")
    assert complaint in told.err


# ---- starting -----------------------------------------------------------------------------------------


def test_it_says_where_it_listens_what_it_keeps_and_whether_a_password_is_asked(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    tasker = start("--store=lmdb:some/where", "-address=localhost:0", "-basicauth=me:pass", cwd=tmp_path)
    assert (
        f"started version={__version__} pid={tasker.process.pid} store={tmp_path}/some/where " in tasker.said
    )
    assert tasker.addresses[0] == f"127.0.0.1:{tasker.port}"
    assert tasker.addresses[1:] in ([], [f"[::1]:{tasker.port}"])
    assert "auth=on" in tasker.said
    assert tasker.ask("GET", "/stats")[0] == 401
    me = {"Authorization": "Basic " + base64.b64encode(b"me:pass").decode()}
    assert tasker.ask("GET", "/stats", headers=me)[0] == 200
    assert tasker.ask("GET", "/healthz")[0] == 200
    tasker.tell()
    assert tasker.end() == 0
    assert "pass" not in tasker.said.replace("taskpusher", "")


def test_the_host_must_be_one_that_is_served(start: Callable[..., Tasker]) -> None:
    tasker = start("--host=jobs.example")
    for host in ("localhost", f"127.0.0.1:{tasker.port}", "[::1]", "jobs.example", "JOBS.example:80"):
        assert tasker.ask("GET", "/stats", headers={"Host": host})[0] == 200
    for host in ("evil.example", "10.0.0.1"):
        assert tasker.ask("GET", "/stats", headers={"Host": host})[0] == 421


def test_production_logs_json_lines(start: Callable[..., Tasker]) -> None:
    tasker = start(env={"TASKER_LOG_LEVEL": "production"})
    tasker.tell()
    assert tasker.end() == 0
    lines = [json.loads(line) for line in tasker.said.splitlines()]
    assert [line["message"] for line in lines] == ["started", "stopping", "stopped"]
    assert lines[0]["auth"] == "off"


def test_a_pushed_job_is_called_with_the_headers_of_the_server(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start()
    uid = tasker.push(f"{target.url}/work")
    until(lambda: tasker.state(uid) == "completed")
    assert target.called == ["/work"]


def test_its_own_address_is_no_target(start: Callable[..., Tasker]) -> None:
    tasker = start()
    uid = tasker.push(f"http://localhost:{tasker.port}/healthz")
    until(lambda: tasker.state(uid) == "error")
    assert tasker.ask("GET", f"/job/{uid}")[1]["error"]["class"] == "not_sent"


def test_a_second_tasker_on_the_directory_is_told_the_pid_with_exit_3(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    first = start()
    for port in (0, first.port):
        code, told = failing(f"--store=lmdb:{tmp_path / 'db'}", f"-address=127.0.0.1:{port}")
        assert code == 3
        assert f"{tmp_path / 'db'} is in use by process {first.process.pid}" in told


def test_a_store_that_is_none_is_exit_3(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    code, told = failing(f"--store=lmdb:{file}", "-address=127.0.0.1:0")
    assert code == 3
    assert str(file) in told


def test_a_taken_address_is_exit_4_and_no_job_is_called(
    start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    target.may_answer.clear()
    tasker = start("--grace=0")
    tasker.push(f"{target.url}/work")
    until(lambda: target.called == ["/work"])
    tasker.tell()
    assert tasker.end() == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, told = failing(f"--store=lmdb:{tmp_path / 'db'}", f"-address={address}")
    assert code == 4
    assert f"the address {address} is in use" in told
    assert target.called == ["/work"]


def test_an_unknown_host_is_exit_4(tmp_path: Path) -> None:
    code, told = failing("--store=memory:", "-address=no-such-host.invalid:0", "--insecure")
    assert code == 4
    assert "the host no-such-host.invalid is not known" in told


# ---- stopping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_idle_tasker_ends_at_once_with_exit_0(start: Callable[..., Tasker], number: int) -> None:
    tasker = start("--store=memory:")
    began = time.monotonic()
    tasker.tell(number)
    assert tasker.end() == 0
    assert time.monotonic() - began < 2
    assert "Traceback" not in tasker.said


def test_under_nohup_a_hangup_is_no_signal_to_stop(start: Callable[..., Tasker]) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    tasker = start("--store=memory:", preexec_fn=ignore)
    tasker.tell(signal.SIGHUP)
    assert tasker.ask("GET", "/healthz")[0] == 200
    tasker.tell_and_see()
    assert tasker.end() == 0


def test_a_stop_waits_for_what_runs_and_keeps_what_is_pushed_meanwhile(
    start: Callable[..., Tasker], target: Target
) -> None:
    target.may_answer.clear()
    tasker = start()
    running = tasker.push(f"{target.url}/first")
    until(lambda: target.called == ["/first"])
    tasker.tell_and_see()
    assert tasker.ask("GET", "/readyz")[0] == 503
    waiting = tasker.push(f"{target.url}/second")
    assert tasker.state(running) == "running"
    assert target.called == ["/first"]
    target.may_answer.set()
    assert tasker.end() == 0
    again = start()
    until(lambda: again.state(waiting) == "completed")
    assert again.state(running) == "completed"
    assert target.called == ["/first", "/second"]


def test_after_the_grace_what_still_runs_is_released(start: Callable[..., Tasker], target: Target) -> None:
    target.may_answer.clear()
    tasker = start("--grace=100ms")
    uid = tasker.push(f"{target.url}/work")
    until(lambda: target.called == ["/work"])
    tasker.tell()
    assert tasker.end(within=5) == 0
    target.may_answer.set()
    again = start()
    until(lambda: again.state(uid) == "completed")
    assert again.ask("GET", f"/job/{uid}")[1]["failures"] == 0


def test_a_second_signal_ends_it_at_once_with_exit_0(start: Callable[..., Tasker], target: Target) -> None:
    target.may_answer.clear()
    tasker = start("--grace=1h")
    uid = tasker.push(f"{target.url}/work")
    until(lambda: target.called == ["/work"])
    tasker.tell_and_see()
    assert tasker.state(uid) == "running"
    began = time.monotonic()
    tasker.tell(signal.SIGINT)
    assert tasker.end() == 0
    assert time.monotonic() - began < 2
    assert "Traceback" not in tasker.said


def test_two_signals_in_one_breath_are_two(start: Callable[..., Tasker], target: Target) -> None:
    target.may_answer.clear()
    tasker = start("--grace=1h")
    tasker.push(f"{target.url}/work")
    until(lambda: target.called == ["/work"])
    tasker.tell(signal.SIGTERM)
    tasker.tell(signal.SIGINT)
    assert tasker.end() == 0


HANGING_LOOKUP = """
import socket, time
lookup = socket.getaddrinfo
def hang(host, *args, **more):
    return time.sleep(60) if host == "nowhere.example" else lookup(host, *args, **more)
socket.getaddrinfo = hang
from taskpusher.cli import main
main()
"""


def test_a_name_lookup_that_hangs_does_not_hold_up_the_end(start: Callable[..., Tasker]) -> None:
    tasker = start("--grace", "0", command=(sys.executable, "-c", HANGING_LOOKUP))
    uid = tasker.push("http://nowhere.example/")
    until(lambda: tasker.state(uid) == "running")
    tasker.process.send_signal(signal.SIGTERM)
    assert tasker.process.wait(PATIENCE) == 0


COUNTING_FROZEN = """
import atexit, gc, sys
atexit.register(lambda: print(f"frozen={gc.get_freeze_count()}", file=sys.stderr))
from taskpusher.cli import main
main()
"""


def test_what_was_loaded_at_the_start_is_not_looked_through_for_garbage(start: Callable[..., Tasker]) -> None:
    tasker = start(command=(sys.executable, "-c", COUNTING_FROZEN))
    tasker.tell()
    assert tasker.end() == 0
    frozen = re.search(r"frozen=([0-9]+)", tasker.said)
    assert frozen and int(frozen[1]) > 10_000


def test_a_drain_first_runs_all_that_is_due(start: Callable[..., Tasker], target: Target) -> None:
    target.may_answer.clear()
    tasker = start("--on-stop=drain", "--concurrency=1")
    for number in range(5):
        tasker.push(f"{target.url}/{number}")
    until(lambda: target.called == ["/0"])
    tasker.tell_and_see()
    until(lambda: tasker.ask("GET", "/readyz")[0] == 503)
    stopped_in = time.time_ns() // 1_000_000
    until(lambda: time.time_ns() // 1_000_000 > stopped_in)  # what is due in that millisecond still runs
    later = tasker.push(f"{target.url}/later")
    target.may_answer.set()
    assert tasker.end() == 0
    assert target.called == [f"/{number}" for number in range(5)]
    again = start()
    until(lambda: again.state(later) == "completed")


# ---- when the disk fails ------------------------------------------------------------------------------

BROKEN = """
from taskpusher import cli
from taskpusher.errors import StoreBroken
from taskpusher.stores.memory import MemoryStore

watch = MemoryStore.watch

def watching(self, hint, broken):
    self.tell = broken
    watch(self, hint, broken)

async def fail():
    raise StoreBroken("the disk failed: I/O error")

def write(self, *changes):
    self.tell(OSError("I/O error"))
    return fail()

MemoryStore.watch, MemoryStore.write = watching, write
cli.main()
"""


def test_when_the_disk_fails_nothing_is_answered_and_the_exit_is_1(start: Callable[..., Tasker]) -> None:
    tasker = start("--store=memory:", command=(sys.executable, "-c", BROKEN))
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        tasker.push("http://127.0.0.1:1/")
    assert tasker.end(within=2) == 1
    assert (
        'CRITICAL the store or a worker failed; nothing more is answered error="I/O error"'
        in re.sub(r"^.{24}", "", tasker.said, flags=re.MULTILINE)
        or "I/O error" in tasker.said
    )
    assert "Traceback" not in tasker.said


STARTLED = """
from taskpusher import cli
from taskpusher.pusher import TaskPusher

async def start(self):
    raise RuntimeError("startled")

TaskPusher.start = start
cli.main()
"""


def test_what_nobody_foresaw_is_logged_with_exit_1() -> None:
    line = [sys.executable, "-c", STARTLED, "--store=memory:", "-address=127.0.0.1:0"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "CRITICAL stopped by an error" in done.stderr
    assert "  RuntimeError: startled" in done.stderr


# ---- systemd ------------------------------------------------------------------------------------------

ACTIVATED = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
from taskpusher.cli import main
main()
"""


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        tasker = start("--store=memory:", env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert tasker.ask("GET", "/readyz")[0] == 200
        tasker.tell()
        assert manager.recv(100) == b"STOPPING=1"
        assert tasker.end() == 0


def test_a_socket_of_systemd_is_served_and_outlives_a_restart(start: Callable[..., Tasker]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as kept:
        handed = (sys.executable, "-c", ACTIVATED, str(kept.fileno()))
        first = start(command=handed, pass_fds=[kept.fileno()])
        assert first.port == kept.getsockname()[1]
        assert "listening on the sockets of systemd" in first.said
        first.tell()
        assert first.end() == 0
        waiting = http.client.HTTPConnection("127.0.0.1", first.port, timeout=PATIENCE)
        waiting.request("GET", "/healthz")  # nobody is there to answer
        start(command=handed, pass_fds=[kept.fileno()])
        assert waiting.getresponse().status == 200
        waiting.close()


def test_a_socket_of_systemd_that_others_reach_needs_a_password_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as opened:
        line = [sys.executable, "-c", ACTIVATED, str(opened.fileno()), "--store=memory:"]
        done = subprocess.run(
            line, pass_fds=[opened.fileno()], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert done.returncode == 2
    assert "set --basicauth user:password, or --insecure" in done.stderr


# ---- the parts ----------------------------------------------------------------------------------------


@contextmanager
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """An HTTP proxy that answers everything itself, once; the heads it was sent."""
    heads: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in b"".join(heads):
                heads.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], heads
        thread.join()


def test_calls_go_through_the_proxy(start: Callable[..., Tasker]) -> None:
    with proxy() as (port, heads):
        tasker = start(f"--proxy=http://127.0.0.1:{port}", "--header=X-Tasker: mine")
        uid = tasker.push("http://app.example/work")
        until(lambda: tasker.state(uid) == "completed")
    head = b"".join(heads)
    assert head.startswith(b"GET http://app.example/work HTTP/1.1\r\n")
    assert b"\r\nX-Tasker: mine\r\n" in head
