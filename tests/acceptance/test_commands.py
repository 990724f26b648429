"""The subcommands, each against a tasker that runs."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from .program import COMMAND, PATIENCE, Tasker, free_port, until
from .target import Target

Start = Callable[..., Tasker]
USER = "app:secret"


class Done(NamedTuple):
    code: int
    out: str
    err: str


def environment(tasker: Tasker, **more: str) -> dict[str, str]:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("TASKER_", "COLUMNS"))
    }
    return {**environ, "TASKER_SERVER": tasker.url, "TASKER_BASICAUTH": USER, **more}


def told(tasker: Tasker, *words: str, stdin: str = "", **more: str) -> Done:
    """What a subcommand says, and its exit code."""
    done = subprocess.run(
        [*COMMAND, *words],
        input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=environment(tasker, **more),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def tasker(start: Start) -> Tasker:
    return start("--basicauth", USER, auth=USER)


# ---- pushing and looking ------------------------------------------------------------------------------


def test_what_is_added_runs_as_it_was_told(tasker: Tasker, target: Target) -> None:
    done = told(
        tasker, "add", f"{target.url}/work", "--wait", "--queue=mail", "--priority=2", "--title=Hällo",
        "--tag=a", "--tag=b", "--key=k", "--delay=10ms", "--expires-at=2099-01-01T00:00:00Z",
        "--max-attempts=3", "--timeout=20s", "--success=2xx", "--once", "--method=PUT", "--header=X-A: 1",
        "--json-body=[1]",
    )  # fmt: skip
    uid = done.out.strip()
    assert (done.code, done.out) == (0, f"{uid}\n")
    assert re.fullmatch(rf"{uid} completed answered 200 in [\d.]+m?s\n", done.err)
    job = tasker.job(uid)
    fields = {
        "queue": "mail", "priority": 2, "title": "Hällo", "tags": ["a", "b"], "key": "k", "max_attempts": 3,
        "expires_at": "2099-01-01T00:00:00.000Z", "timeout": 20, "success": "2xx", "once": True,
        "method": "PUT", "headers": {"X-A": "1", "Content-Type": "application/json"}, "body": "[1]",
    }  # fmt: skip
    assert {name: job[name] for name in fields} == fields
    assert job["due_at"] > job["created_at"]
    assert [(call.uid, call.body) for call in target.calls] == [(uid, b"[1]")]

    shown = told(tasker, "job", uid).out
    for part in (f"{uid}  completed\nPUT {target.url}/work\n", "title         Hällo\n", "\nanswer: 200\n"):
        assert part in shown
    assert re.search(r"timeline\n.*\n.* pushed\n.* attempt +200 +[\d.]+m?s +success\n.* completed\n", shown)
    assert json.loads(told(tasker, "job", uid, "--json").out) == job
    assert told(tasker, "job", uid, "--result") == (0, "ok", "")


def test_a_failure_is_exit_1_and_its_story_is_told(tasker: Tasker, target: Target) -> None:
    done = told(tasker, "add", f"{target.url}/fail/404", "--wait")
    assert done.code == 1
    assert "error in" in done.err
    assert "(answered 404" in done.err
    uid = done.out.strip()
    assert re.search(r"attempt +404 .* answered 404", told(tasker, "job", uid).out)
    listed = told(tasker, "jobs", "errors", COLUMNS="80").out.splitlines()
    assert listed[0].split() == ["uid", "when", "error", "url"]
    assert listed[1].startswith(uid)
    assert listed[1].endswith("/fail/404")
    assert max(map(len, listed)) <= 80


def test_thousands_come_from_stdin_and_go_to_lists(tasker: Tasker, target: Target) -> None:
    urls = "".join(f"{target.url}/{number}\n" for number in range(1250))
    done = told(tasker, "add", "-", "--delay=1h", "--queue=bulk", stdin=urls)
    uids = done.out.split()
    assert (done.code, done.err, len(set(uids))) == (0, "", 1250)
    every = told(tasker, "jobs", "waiting", "--all", "--json", "--queue=bulk").out.splitlines()
    assert [json.loads(line)["uid"] for line in every] == uids
    first = told(tasker, "jobs", "waiting", "--limit=120")
    assert [line.split()[0] for line in first.out.splitlines()] == ["uid", *uids[:120]]
    assert first.err == "the first 120; --all lists them all\n"
    assert told(tasker, "jobs", "waiting", "--queue=other") == (0, "", "there are none\n")
    assert len(told(tasker, "jobs", f"--url={target.url}/77").out.splitlines()) == 1 + 11


def test_moves_go_from_job_to_job_and_tell_what_is_refused(tasker: Tasker, target: Target) -> None:
    told(tasker, "queue", "held", "--pause")
    uid, other = told(tasker, "add", *[f"{target.url}/work"] * 2, "--queue=held", "--delay=1h").out.split()
    for move, state in (
        ("pause", "paused"),
        ("resume", "waiting"),
        ("cancel", "canceled"),
        ("retry", "waiting"),
    ):
        assert told(tasker, move, uid) == (0, f"{uid} {state}\n", "")
    done = told(tasker, "retry", uid, "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4", "nonsense", other)
    assert (done.code, done.out) == (1, "")
    assert [line.partition(": ")[2].split(":")[0] for line in done.err.splitlines()] == [
        uid, "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4", "nonsense", other,
    ]  # fmt: skip
    assert "can't retry a job that is waiting" in done.err.splitlines()[0]
    done = told(tasker, "run", uid, other, "--json")
    assert [json.loads(line)["uid"] for line in done.out.splitlines()] == [uid, other]
    told(tasker, "queue", "held", "--resume")
    tasker.completed(uid)
    copy = told(tasker, "duplicate", uid).out.split()[0]
    assert copy != uid
    tasker.completed(copy)


def test_queues_are_shown_paused_resumed_and_limited(tasker: Tasker, target: Target) -> None:
    told(tasker, "add", f"{target.url}/work", "--queue=a b/c", "--delay=1h")
    done = told(tasker, "queue", "a b/c", "--pause", "--concurrency=3", "--json")
    assert json.loads(done.out)["paused"] is True
    assert re.search(r"^a b/c +1 +0 +0 +3 +in \d+m +paused$", told(tasker, "queues").out, re.MULTILINE)
    assert "paused\n" not in told(tasker, "queue", "a b/c", "-resume", "--concurrency=0").out
    queue = json.loads(told(tasker, "queue", "a b/c", "--json").out)
    assert (queue["paused"], queue["concurrency"]) == (False, None)
    assert json.loads(told(tasker, "queues", "--json").out) == tasker.get("/queues")[1]
    assert told(tasker, "queue", "other").code == 1


def test_stats_are_those_of_the_api(tasker: Tasker, target: Target) -> None:
    told(tasker, "add", f"{target.url}/work", "--delay=1h")
    asked, found = json.loads(told(tasker, "stats", "--json").out), tasker.get("/stats")[1]
    assert asked.keys() == found.keys()
    assert (asked["states"], asked["queues"]) == (found["states"], found["queues"])
    assert re.search(r"^waiting +1 +pushed +[\d.]+ ", told(tasker, "stats").out, re.MULTILINE)


# ---- who asks, and where ------------------------------------------------------------------------------


def test_without_the_password_it_says_which_option_gives_it(tasker: Tasker, tmp_path: Path) -> None:
    done = told(tasker, "stats", TASKER_BASICAUTH="")
    assert done == (1, "", f"tasker: {tasker.url} asks for a user and a password: "
                    "give --basicauth user:password, or --basicauth @FILE\n")  # fmt: skip
    assert told(tasker, "stats", "--basicauth=app:wrong").code == 1
    (tmp_path / "passwords").write_text(f"{USER}\nother:one\n")
    assert told(tasker, "stats", f"-basicauth=@{tmp_path / 'passwords'}", TASKER_BASICAUTH="").code == 0
    assert (
        told(tasker, "stats", f"--server=http://{USER}@127.0.0.1:{tasker.port}", TASKER_BASICAUTH="").code
        == 0
    )


def test_who_may_only_push_pushes_and_is_told_what_he_may_not(start: Start, target: Target) -> None:
    tasker = start("--basicauth-add", USER)
    assert told(tasker, "add", f"{target.url}/work").code == 0
    done = told(tasker, "add", f"{target.url}/work", "--wait")
    assert done.code == 1
    assert "may only push jobs" in done.err


def test_below_a_path_lists_are_followed(start: Start, target: Target) -> None:
    tasker = start("--root-path=/inner/tasker")
    below = f"{tasker.url}/inner/tasker/"
    told(tasker, "add", *[f"{target.url}/{n}" for n in range(130)], "--delay=1h", TASKER_SERVER=below)
    assert len(told(tasker, "jobs", "--all", "--json", TASKER_SERVER=below).out.splitlines()) == 130


def test_a_tasker_started_anew_is_waited_for(start: Start, target: Target) -> None:
    port = free_port()
    first = start(f"--address=127.0.0.1:{port}", "--grace=0")
    line = [*COMMAND, "add", f"{target.url}/hold/1", "--wait"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(first))
    until(lambda: target.calls)
    first.stop()
    target.release()
    start(f"--address=127.0.0.1:{port}")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"completed answered 200" in err


# ---- how they end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["jobs", "--all", "--json"], ["jobs", "--all"], ["stats"], ["top", "--once"]]
)
def test_a_reader_that_has_seen_enough_costs_no_word(words: list[str], tasker: Tasker) -> None:
    told(tasker, "add", "-", "--delay=1h", stdin="http://127.0.0.1:1/\n" * 300)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, *words], stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE, check=False,
        env=environment(tasker),
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_while_waiting_ends_it_without_a_word(tasker: Tasker, target: Target) -> None:
    line = [*COMMAND, "add", f"{target.url}/hang/1", "--wait"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tasker))
    until(lambda: target.calls)
    assert process.stdout is not None
    uid = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 1
    assert tasker.state(uid.decode().strip()) == "running"


# ---- at a terminal ------------------------------------------------------------------------------------


class Terminal:
    """A subcommand in a terminal of so many columns and lines; what it has written there."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int) -> None:
        self.process, self._end = process, end
        self.written = ""

    def look(self) -> str:
        while select.select([self._end], [], [], 0.01)[0]:
            try:
                self.written += os.read(self._end, 65536).decode(errors="replace")
            except OSError:  # nobody writes any more
                break
        return self.written

    def press(self, key: bytes) -> None:
        os.write(self._end, key)

    def shows(self, text: str) -> None:
        until(lambda: text in self.look(), PATIENCE, lambda: self.written)

    def end(self) -> int:
        until(lambda: (self.look() or True) and self.process.poll() is not None)
        return self.process.returncode


@contextmanager
def terminal(
    tasker: Tasker, *words: str, lines: int = 24, stdout: int | None = None, **more: str
) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
    environ = environment(tasker, TERM="xterm-256color", **more)
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs if stdout is None else stdout, stderr=theirs,
        env=environ, start_new_session=True,
    )  # fmt: skip
    before = termios.tcgetattr(theirs)
    try:
        yield (shown := Terminal(process, ours))
        assert termios.tcgetattr(theirs) == before or process.poll() is None, shown.written
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_top_watches_through_a_restart_until_q(start: Start, target: Target) -> None:
    port = free_port()
    first = start(f"--address=127.0.0.1:{port}")
    first.push(f"{target.url}/hang/1", queue="nightly")
    until(lambda: target.calls)
    with terminal(first, "top", "--interval=0.1") as screen:
        screen.shows("nightly")
        screen.shows("…")
        first.kill()
        screen.shows("no tasker answers at")
        seen = len(screen.written)
        start(f"--address=127.0.0.1:{port}")
        until(lambda: "up " in screen.look()[seen:] and "no tasker" not in screen.written[-2000:])
        screen.press(b"q")
        assert screen.end() == 0
        assert "Traceback" not in screen.written
        assert screen.written.rstrip().endswith("\x1b[?25h\x1b[?1049l"), (
            "the screen and the cursor are given back"
        )


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM"])
def test_top_gives_the_terminal_back(how: str, tasker: Tasker) -> None:
    with terminal(tasker, "top") as screen:
        screen.shows("waiting")
        screen.process.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        assert screen.end() == 0
        assert "\x1b[?1049l" in screen.written


def test_top_prints_one_screen_where_there_is_no_terminal(tasker: Tasker, target: Target) -> None:
    tasker.push(f"{target.url}/hang/1")
    until(lambda: target.calls)
    for words in (["top"], ["top", "--once"]):
        done = told(tasker, *words, COLUMNS="80")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"tasker {tasker.url}\nup ")
        assert "/hang/1\n" in done.out
        assert "\x1b" not in done.out
    seen = json.loads(told(tasker, "top", "--once", "--json").out)
    assert seen["stats"]["states"]["running"] == 1
    assert seen["queues"]["queues"][0]["name"] == "default"
    assert len(seen["running"]["jobs"]) == 1


def test_top_without_the_password_ends_with_a_sentence(tasker: Tasker) -> None:
    with terminal(tasker, "top", TASKER_BASICAUTH="") as screen:
        assert screen.end() == 1
        assert "give --basicauth user:password" in screen.written


def test_colors_are_for_terminals_that_want_them(tasker: Tasker) -> None:
    with terminal(tasker, "stats") as screen:
        assert screen.end() == 0
        assert "\x1b[32mcompleted" in screen.written
    with terminal(tasker, "stats", NO_COLOR="1") as screen:
        assert screen.end() == 0
        assert "\x1b[3" not in screen.written


def test_a_kept_answer_can_not_steer_the_terminal(tasker: Tasker, target: Target) -> None:
    uid = tasker.push(f"{target.url}/work", title="plain")
    tasker.completed(uid)
    with terminal(tasker, "job", uid, "--result") as screen:
        assert screen.end() == 0
        assert screen.written.split() == ["ok"]


def test_a_progress_bar_leaves_the_uids_alone(tasker: Tasker, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text("http://127.0.0.1:1/\n" * 3000)
    with (tmp_path / "uids").open("wb") as uids:
        line = f"{' '.join(COMMAND)} add - --delay=1h < {tmp_path / 'urls'}"
        ours, theirs = pty.openpty()
        process = subprocess.Popen(["sh", "-c", line], stdout=uids, stderr=theirs, env=environment(tasker))
        screen = Terminal(process, ours)
        assert screen.end() == 0
        os.close(ours)
        os.close(theirs)
    assert "3000" in screen.written
    assert len((tmp_path / "uids").read_text().split()) == 3000
