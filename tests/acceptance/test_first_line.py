"""The line the ancestor was started with, to the letter, and curl beside it."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .program import CONSOLE_SCRIPT, Tasker, free_port, until
from .target import Target

curl = shutil.which("curl") or ""
pytestmark = pytest.mark.skipif(not curl, reason="curl is not installed")


@pytest.fixture
def tasker(tmp_path: Path) -> Iterator[Tasker]:
    """`tasker --basicauth=test:test -address=localhost:PORT`, in an empty directory."""
    for attempt in range(5):
        line = ("--basicauth=test:test", f"-address=localhost:{free_port()}")
        log = tmp_path / f"tasker-{attempt}.log"
        tasker = Tasker(*line, log=log, command=(CONSOLE_SCRIPT,), cwd=tmp_path, auth="test:test")
        until(lambda: "started" in tasker.said or tasker.process.poll() is not None)  # noqa: B023
        if tasker.process.poll() != 4:  # the port may have been taken meanwhile
            break
    try:
        yield tasker.ready()
    finally:
        tasker.kill()


def curled(*arguments: str) -> tuple[int, str]:
    """Status and body of what the real curl is answered."""
    line = [curl, "-s", "--max-time", "10", "-w", "\n%{http_code}", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=20, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_ancestors_line_and_curl_call_a_url_at_once(tasker: Tasker, target: Target) -> None:
    add = f"http://localhost:{tasker.port}/add"
    status, body = curled("-u", "test:test", "-d", f"url={target.url}/work", add)
    assert status == 201, body
    uid = json.loads(body)["uid"]
    job = tasker.completed(uid)
    assert [(call.path, call.uid, call.attempt) for call in target.calls] == [("/work", uid, 1)]
    assert job["duration"] < 1
    status, body = curled("-u", "test:test", f"http://localhost:{tasker.port}/job/{uid}")
    job, result = json.loads(body), json.loads(body)["result"]
    assert (status, job["state"], result["status"], result["body"]) == (200, "completed", 200, "ok")


def test_the_store_is_made_where_it_was_started_and_its_path_is_told(tasker: Tasker, tmp_path: Path) -> None:
    assert tasker.store == str(tmp_path / "tasker.db")
    assert (tmp_path / "tasker.db" / "data.mdb").is_file()
    assert "test" not in tasker.said.replace(tasker.store, "")


def test_without_the_right_password_nothing_is_pushed_or_shown(tasker: Tasker, target: Target) -> None:
    server = f"http://localhost:{tasker.port}"
    for credentials in ([], ["-u", "test:wrong"], ["-u", "other:test"]):
        status, body = curled(*credentials, "-d", f"url={target.url}/work", f"{server}/add")
        assert status == 401, body
        status, body = curled(*credentials, f"{server}/jobs")
        assert status == 401, body
        assert json.loads(body)["status"] == 401
    assert curled(f"{server}/healthz")[0] == 200
    assert tasker.get("/jobs")[1]["total"] == 0
    assert target.calls == []


def test_a_url_with_an_unencoded_ampersand_is_told_how_to_be_sent(tasker: Tasker, target: Target) -> None:
    server, url = f"http://localhost:{tasker.port}/add", f"{target.url}/work?a=1&b=2"
    status, body = curled("-u", "test:test", "-d", f"url={url}", server)
    assert status == 422
    assert "--data-urlencode" in body
    status, body = curled("-u", "test:test", "--data-urlencode", f"url={url}", server)
    assert status == 201
    tasker.completed(json.loads(body)["uid"])
    assert target.paths() == ["/work?a=1&b=2"]
