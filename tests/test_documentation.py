"""The README and docs/ say what the code does: options and endpoints are all there, examples run, links lead
somewhere."""

import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from starlette.routing import Route

from taskpusher import LmdbStore, MemoryStore, TaskPusher, cli
from taskpusher.commands import COMMANDS as SUBCOMMANDS
from taskpusher.config import SETTINGS
from taskpusher.testing import no_limits
from taskpusher.web import create_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if path.is_file()]
PATIENCE = 10.0  # seconds until something that shall happen has not


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of the fenced blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


# ---- nothing is left out ------------------------------------------------------------------------------


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_every_setting_is_documented(row: Any) -> None:
    settings = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert re.search(rf"^\| `--{row.name}[ `]", settings, re.MULTILINE)
    assert f"`{row.variable}`" in settings


def test_every_endpoint_is_documented() -> None:
    api = (ROOT / "docs" / "api.md").read_text("utf-8")
    routes = create_app(TaskPusher(MemoryStore(), {}))._router.routes
    assert len(routes) > 10
    for route in routes:
        assert isinstance(route, Route)
        if not route.include_in_schema:
            continue  # a page for people
        path = route.path.replace(":path}", "}")
        stem, _, last = path.rpartition("/")
        move = stem in ("/job/{uid}", "/jobs/{state}") and f"`{last}`" in api
        assert move or re.search(rf"`[A-Z]* ?{re.escape(path)}`", api), f"docs/api.md does not say {path}"
    assert "`POST /add`" in api


def command_named(name: str) -> click.Command:
    command = cli.tasker.get_command(click.Context(cli.tasker), name)
    assert command is not None, f"tasker {name} is no command"
    return command


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_command_is_documented_with_all_its_options(name: str) -> None:
    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    shared = sections["Which tasker, and who asks"]
    (mine,) = [text for title, text in sections.items() if name in title.split(", ")]
    assert re.search(rf"^\| .*`(tasker )?{name}\b", page, re.MULTILINE), "it stands in the table at the top"
    assert f"$ tasker {name}" in page or f"`{name}`" in mine
    for option in command_named(name).params:
        if isinstance(option, click.Option):
            for spelled in (*option.opts, *option.secondary_opts):
                assert re.search(rf"`{spelled}\b", shared + mine), f"tasker {name} {spelled}"


# ---- shell blocks -------------------------------------------------------------------------------------

COMMANDS = {
    ".venv/bin/pip", ".venv/bin/pytest", ".venv/bin/tasker", "/opt/taskpusher/.venv/bin/pip",
    "cat", "chmod", "cp", "curl", "cut", "df", "export", "install", "journalctl", "jq", "kill", "ln", "ls",
    "mkdir", "mv", "printf", "promtool", "python3", "rm", "sed", "sort", "systemctl", "tasker", "touch",
    "uniq", "useradd",
}  # fmt: skip


def command_lines(script: str) -> Iterator[list[str]]:
    """The words of every command, with continued lines joined and here-documents left out."""
    script = re.sub(r"<<'(\w+)'\n.*?^\1$", "", script.replace("\\\n", " "), flags=re.DOTALL | re.MULTILINE)
    for line in script.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set(";|&()") and word:
                if command and not re.fullmatch(r"\w+=\$?", command[0]):
                    yield started_by(command)
                command = []
            else:
                command.append(word)


def started_by(command: list[str]) -> list[str]:
    """The command that this one starts, if it does."""
    if command[:4] == ["runuser", "-u", "tasker", "--"]:
        return command[4:]
    return [*command[1:], "UID"] if command[0] == "xargs" else command


def shell_pages() -> list[tuple[str, list[str]]]:
    pages = [ROOT / "README.md", ROOT / "docs" / "operations.md", ROOT / "docs" / "commands.md"]
    return [
        (page.name, command)
        for page in pages
        for language, text in blocks(page.read_text("utf-8"))
        if language in ("sh", "console") and not text.startswith("#!")
        for command in command_lines(typed(text) if language == "console" else text)
    ]


def typed(transcript: str) -> str:
    """The commands of a transcript, without what they say."""
    return "".join(f"{line}\n" for line in re.findall(r"^\$ (.*)$", transcript, re.MULTILINE))


@pytest.mark.parametrize(("page", "command"), shell_pages(), ids=lambda value: " ".join(value)[:60])
def test_shell_lines_are_commands_with_options_that_exist(page: str, command: list[str]) -> None:
    assert command[0] in COMMANDS, page
    if command[0].endswith("tasker"):
        check_options(command[1:])


def check_options(words: Sequence[str]) -> None:
    """Those of serving, or those of the command that stands first."""
    if words and words[0] in SUBCOMMANDS:
        command_named(words[0]).make_context(f"tasker {words[0]}", list(words[1:]))
        return
    known = {row.name: row for row in SETTINGS}
    rest = list(words)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        assert option.startswith("-"), f"{option} is no option"
        row = known[option.lstrip("-")]
        if not row.is_flag:
            value = value if equals else rest.pop(0)
            if not value.startswith("@"):
                row.parse(value)


def test_what_docs_say_of_tasker_in_passing_are_options_too() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for line in re.findall(r"`tasker((?: -[^`]*)+)`", text):
            check_options(shlex.split(line))
        for name in re.findall(r"`tasker ([a-z]+)[^`]*`", text):
            command_named(name)


# ---- files that are quoted ----------------------------------------------------------------------------

OPERATIONS = ROOT / "docs" / "operations.md"
FILES = ROOT / "examples" / "operations"
ONLY_LINKED = {"tasker-alerts.yml", "tasker-alerts-test.yml"}


@pytest.mark.parametrize("file", sorted(FILES.iterdir()), ids=lambda file: file.name)
def test_a_file_for_operators_stands_in_the_page_as_it_is(file: Path) -> None:
    page, link = OPERATIONS.read_text("utf-8"), f"[{file.name}](../examples/operations/{file.name})"
    assert link in page
    if file.name not in ONLY_LINKED:
        quoted = re.search(rf"{re.escape(link)}[^\n]*:\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        assert quoted is not None
        assert quoted[1] == file.read_text("utf-8")


def test_every_alert_says_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", (FILES / "tasker-alerts.yml").read_text("utf-8"))
    assert len(alerts) > 10
    for alert in alerts:
        row = rf"^\| .*`{alert}`.* \| .+ \|$"
        assert re.search(row, OPERATIONS.read_text("utf-8"), re.MULTILINE), alert


# ---- links --------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#?([^)\s]*)\)", page.read_text("utf-8")):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


# ---- the README's tour, run ---------------------------------------------------------------------------


class Target:
    """The app on localhost:8000 of the README: answers 200, and knows by which jobs it was called."""

    def __init__(self) -> None:
        target = self
        self.called: list[tuple[str, str]] = []  # path, uid

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                target.called.append((self.path, self.headers["Tasker-Uid"]))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *said: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def paths(self) -> list[str]:
        return sorted(path for path, _ in self.called)


class Tour:
    """What the README's reader has: an app, passwords and curlrc in a directory, a tasker that runs."""

    def __init__(self, home: Path, target: Target) -> None:
        self.home, self.target, self.port = home, target, 9900
        self.shell = [script for language, script in blocks(README) if language == "sh"]
        (setup,) = [script for script in self.shell if "> passwords" in script]
        self.tour = self.shell[self.shell.index(setup) + 1 :]
        (home / ".venv" / "bin").mkdir(parents=True)
        (home / ".venv" / "bin" / "tasker").symlink_to(Path(sys.executable).with_name("tasker"))
        *before, start = setup.rstrip().splitlines()
        self.run("bash", "-euo", "pipefail", "-c", "\n".join(before))
        words = shlex.split(start)
        assert words[0].endswith("tasker")
        self.process, self.port = self.start("taskpusher", *words[1:], "--address=localhost:0")

    def start(self, *module: str) -> tuple[subprocess.Popen[str], int]:
        """A Python module that says where it listens, and the port it said."""
        line = [sys.executable, "-m", *module]
        process = subprocess.Popen(line, cwd=self.home, stderr=subprocess.PIPE, text=True, env=environment())
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"(?:address=|running on http://)[\w.]+:(\d+)", said)):
            readable, _, _ = select.select([process.stderr], [], [], PATIENCE)
            line_said = process.stderr.readline() if readable else ""
            assert line_said, said
            said += line_said
        return process, int(found[1])

    def here(self, text: str) -> str:
        """The example with the ports and the command of this test, and nothing else changed."""
        ports = {
            "localhost:8000": f"localhost:{self.target.port}",
            "localhost:9900": f"localhost:{self.port}",
        }
        ports |= {'"localhost", 9900': f'"localhost", {self.port}'}
        ports |= {".venv/bin/tasker": f"{shlex.quote(sys.executable)} -m taskpusher"}
        for written, real in ports.items():
            text = text.replace(written, real)
        return text

    def run(self, *line: str) -> str:
        here = environment() | {"TASKER_SERVER": f"http://localhost:{self.port}"}
        done = subprocess.run(
            line, cwd=self.home, capture_output=True, text=True, timeout=60, check=False, env=here
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        return done.stdout

    def run_example(self, program: str, ending: str, text: str) -> str:
        script = self.home / f"example.{ending}"
        script.write_text(self.here(text), "utf-8")
        return self.run(program, str(script))

    def ask(self, path: str, port: int = 0, method: str = "GET", body: str = "", user: bool = True) -> Any:
        """Status, headers and JSON of an answer."""
        connection = HTTPConnection("localhost", port or self.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        if user:
            secret = (self.home / "passwords").read_bytes().strip()
            headers["Authorization"] = f"Basic {b64encode(secret).decode()}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        return answer.status, answer.headers, told

    def completed(self, uid: str, port: int = 0, below: str = "") -> Any:
        def look() -> Any:
            job = self.ask(f"{below}/job/{uid}", port)[2]
            return job if job["state"] == "completed" else None

        return until(look)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    target = Target()
    thread = threading.Thread(target=target.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made = Tour(tmp_path_factory.mktemp("tour"), target)
    yield made
    made.process.send_signal(signal.SIGTERM)
    assert made.process.wait(PATIENCE) == 0
    assert made.process.stderr is not None
    made.process.stderr.close()
    target.server.shutdown()
    thread.join()
    target.server.server_close()


def needs(program: str) -> None:
    if shutil.which(program) is None:
        missing(program)


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, which CI has to install")
    pytest.skip(f"{what} is not installed")


def examples(language: str) -> list[str]:
    return [text for kind, text in blocks(README) if kind == language]


def test_the_first_example_asks_for_more_than_one_attempt(tour: Tour) -> None:
    assert "max_attempts=5" in tour.tour[0]


def test_the_password_is_in_files_for_their_owner_alone(tour: Tour) -> None:
    for name in ("passwords", "curlrc"):
        assert (tour.home / name).stat().st_mode & 0o077 == 0
    assert tour.ask("/stats")[0] == 200
    assert tour.ask("/stats", user=False)[0] == 401


def test_the_curl_examples_do_what_they_say(tour: Tour) -> None:
    needs("curl")
    tour.target.called.clear()
    told = tour.run("bash", "-euo", "pipefail", "-c", tour.here("\n".join(tour.tour)))
    report = "/report?id=7&format=pdf"
    expected = sorted(["/work", "/mail/1", "/mail/2", report, report, "/work", "/work"])
    until(lambda: tour.target.paths() == expected)
    for _, uid in tour.target.called:
        tour.completed(uid)
    assert '"key":"report-7"' in told
    assert "nothing is wrong" in told
    for state in ("waiting", "canceled"):
        assert f'"state":"{state}"' in told
    (mail,) = [queue for queue in tour.ask("/queues")[2]["queues"] if queue["name"] == "mail"]
    assert (mail["paused"], mail["concurrency"]) == (False, 2)


@pytest.mark.parametrize("number", [0, 1])
def test_the_php_examples_push_a_job(tour: Tour, number: int) -> None:
    needs("php")
    text = examples("php")[number]
    loaded = ["php", "-r", "exit(extension_loaded('curl') ? 0 : 1);"]
    if "curl_init" in text and subprocess.run(loaded, check=False).returncode:
        missing("PHP's curl extension")
    uid = tour.run_example("php", "php", text).strip()
    assert tour.completed(uid)["max_attempts"] == 5


def test_the_ruby_example_pushes_a_job(tour: Tour) -> None:
    needs("ruby")
    (text,) = examples("ruby")
    uid = tour.run_example("ruby", "rb", text).strip()
    assert tour.completed(uid)["max_attempts"] == 5


def test_the_python_example_pushes_a_job(tour: Tour) -> None:
    (text,) = [text for text in examples("python") if "urllib.request" in text]
    uid = tour.run_example(sys.executable, "py", text).strip()
    assert tour.completed(uid)["max_attempts"] == 5


def test_the_client_example_pushes_a_job(tour: Tour) -> None:
    (text,) = [text for text in examples("python") if "import Client" in text]
    uid, state = tour.run_example(sys.executable, "py", text).split()
    assert state in ("waiting", "running", "completed")
    assert tour.completed(uid)["max_attempts"] == 5


async def test_the_embedded_pusher_keeps_its_job(tour: Tour) -> None:
    (text,) = [text for text in examples("python") if "asyncio.run" in text]
    uid, state = tour.run_example(sys.executable, "py", text.replace("jobs.db", "own.db")).split()
    assert state == "waiting"
    store = LmdbStore(tour.home / "own.db")
    await store.open("reader", no_limits)
    job = await store.get(uid)
    await store.close()
    assert job is not None
    assert job.max_attempts == 5


def test_the_mounted_api_pushes_a_job(tour: Tour) -> None:
    (text,) = [text for text in examples("python") if "Mount(" in text]
    (tour.home / "app.py").write_text(text, "utf-8")
    process, port = tour.start("uvicorn", "app:app", "--port=0")
    try:
        form = f"url=http://localhost:{tour.target.port}/mounted"
        assert tour.ask("/jobs/add", port, "POST", form, user=False)[0] == 401
        status, headers, told = tour.ask("/jobs/add", port, "POST", form)
        assert (status, headers["Location"]) == (201, f"/jobs/job/{told['uid']}")
        tour.completed(told["uid"], port, "/jobs")
        assert tour.target.called[-1] == ("/mounted", told["uid"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


GUARANTEE = """
A job that was answered 2xx runs at least once. It may run again after a crash, a stop past the grace, a lost
lease, an `unknown` outcome with attempts left, or a person's retry; otherwise exactly once. With `once` a
call that may have gone out is never repeated.
"""


def test_the_guarantee_stands_in_the_readme_word_for_word() -> None:
    assert " ".join(GUARANTEE.split()) in " ".join(README.split())
