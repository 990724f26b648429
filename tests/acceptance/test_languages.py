"""The programs of examples/: each pushes a job whose URL is in the same app, and sees it called.

PHP and Ruby are asked for where CI is set; elsewhere these tests are skipped without them.
"""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .program import Tasker, free_port, installed, until

EXAMPLES = Path(__file__).parents[2] / "examples"
LOGIN = "app:p:a s/s%22"  # what a password may hold
KEY = "k3y"


class App:
    """A program of examples/ that listens."""

    def __init__(self, line: Callable[[int], list[str]], tasker: Tasker, directory: Path) -> None:
        auth = directory / "tasker.auth"
        self.log = directory / "app.log"
        for _ in range(5):
            self.port = free_port()
            environ = os.environ | {
                "APP_URL": f"http://localhost:{self.port}",
                "APP_KEY": KEY,
                "PORT": str(self.port),
                "TASKER_URL": f"http://localhost:{tasker.port}",
                "TASKER_AUTH_FILE": str(auth),
            }
            with self.log.open("wb") as said:
                self.process = subprocess.Popen(line(self.port), stdout=said, stderr=said, env=environ)
            until(lambda: self._answers() or self.process.poll() is not None)
            if self.process.poll() is None:  # the port may have been taken meanwhile
                return
        raise AssertionError(self.said)

    def _answers(self) -> bool:
        """It listens. What it is asked is nothing that pushes a job."""
        try:
            with socket.create_connection(("localhost", self.port), 1):
                return True
        except OSError:
            return False

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def tasker(start: Callable[..., Tasker], tmp_path: Path) -> Tasker:
    auth = tmp_path / "tasker.auth"
    auth.write_text(LOGIN + "\n")
    auth.chmod(0o600)
    return start(f"--basicauth=@{auth}", auth=LOGIN, env={"TASKER_HEADER": f"X-App-Key: {KEY}"})


@pytest.fixture
def run(tasker: Tasker, tmp_path: Path) -> Iterator[Callable[[Callable[[int], list[str]]], App]]:
    apps: list[App] = []

    def begin(line: Callable[[int], list[str]]) -> App:
        apps.append(App(line, tasker, tmp_path))
        return apps[-1]

    yield begin
    for app in apps:
        app.process.kill()
        app.process.wait()


def seen(app: App, tasker: Tasker, path: str) -> None:
    """The page at `path` pushes a job; the app is called and the job completed."""
    status, body = app.get(path)
    assert status == 200, (body, app.said)
    uid = body.strip()
    job = tasker.completed(uid)
    assert (job["attempt"], job["max_attempts"], job["title"]) == (1, 5, "Send a mail")
    assert (job["result"]["status"], job["result"]["body"]) == (200, "sent to ann@example.org\n")
    assert until(lambda: app.said.count(f"job {uid}: a mail to ann@example.org")) == 1


@pytest.mark.parametrize("path", ["/", "/?by_stream"], ids=["curl_multipart", "http_build_query"])
def test_a_php_page_pushes_a_job_that_calls_the_same_app(
    path: str, run: Callable[..., App], tasker: Tasker
) -> None:
    php = installed("php")
    modules = subprocess.run([php, "-m"], capture_output=True, text=True, check=True).stdout
    if "curl" not in modules.split() and not os.environ.get("CI"):
        pytest.skip("php's curl extension is not installed")
    app = run(lambda port: [php, "-S", f"localhost:{port}", "-t", str(EXAMPLES / "php")])
    seen(app, tasker, path)
    status, body = app.get("/work.php?to=eve")  # not from the tasker
    assert (status, body) == (403, "only the tasker may call this\n")


def test_a_ruby_app_pushes_a_job_that_calls_the_same_app(run: Callable[..., App], tasker: Tasker) -> None:
    ruby = installed("ruby")
    app = run(lambda port: [ruby, "-W2", str(EXAMPLES / "ruby" / "push.rb")])
    seen(app, tasker, "/")
    assert "warn" not in app.said


def test_a_python_app_pushes_a_job_that_calls_the_same_app(run: Callable[..., App], tasker: Tasker) -> None:
    app = run(lambda port: [sys.executable, "-W", "error", str(EXAMPLES / "python" / "push.py")])
    seen(app, tasker, "/")


def test_no_example_has_a_password_on_a_command_line_or_in_its_code() -> None:
    for file in (file for language in ("php", "python", "ruby") for file in (EXAMPLES / language).iterdir()):
        text = file.read_text()
        for line in text.splitlines():
            assert "--basicauth" not in line or "--basicauth @" in line, file
            assert "curl -u" not in line, file
        assert "max_attempts" in text or file.name == "work.php", file
