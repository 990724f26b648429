"""check, backup and compact beside the real program, which works meanwhile."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import lmdb.verify
import pytest

from taskpusher.job import State, from_record

from .program import COMMAND, Tasker, failing, until
from .target import Target

MIB = 1 << 20


def care(*line: object, code: int = 0) -> str:
    """What a command says that ends by itself."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TASKER_")}
    done = subprocess.run(
        [*COMMAND, *map(str, line)], capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    return done.stdout


class Load:
    """Two clients that push as fast as they are answered; what was answered, by uid."""

    def __init__(self, tasker: Tasker, target: Target) -> None:
        self.answered: dict[str, tuple[str, str]] = {}  # url, body
        self.failed: list[BaseException] = []
        self._tasker, self._url = tasker, target.url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(2)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        assert not self.failed, self.failed

    def _push(self, client: int) -> None:
        try:
            number = 0
            while not self._stop.is_set():
                jobs = [
                    {"url": f"{self._url}/{client}/{number}/{n}", "body": f"{client} {number} {n} " * n}
                    for n in range(25)
                ]
                for uid, job in zip(self._tasker.push_many(jobs), jobs, strict=True):  # type: ignore[arg-type]
                    self.answered[uid] = (job["url"], job["body"])
                number += 1
        except BaseException as error:
            self.failed.append(error)


def stored(path: Path) -> dict[str, tuple[str, str, State]]:
    """url, body and state of every job in a copy, read without a tasker."""
    found = {}
    with lmdb.open(str(path), max_dbs=30, readonly=True, lock=False) as env:
        jobs, bodies = (env.open_db(name, create=False) for name in (b"jobs", b"bodies"))
        with env.begin() as txn:
            for uid, record in txn.cursor(jobs):
                job = from_record(record)
                found[job.uid] = (job.target, txn.get(uid, b"", db=bodies).decode(), job.state)
    return found


# ---- beside a tasker that works -----------------------------------------------------------------------


def test_a_backup_under_load_holds_every_job_that_was_answered_before_it_began(
    start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    tasker = start("--concurrency=8")
    with Load(tasker, target).running() as load:
        until(lambda: len(load.answered) > 3000)
        before = dict(load.answered)
        began = time.monotonic()
        told = json.loads(care("backup", f"--store=lmdb:{tmp_path / 'db'}", "--json", tmp_path / "copy"))
        took = time.monotonic() - began
        assert len(load.answered) > len(before), "it went on answering meanwhile"
    assert took < 20
    copy = stored(tmp_path / "copy")
    assert {uid: job[:2] for uid, job in copy.items() if uid in before} == before
    assert (told["jobs"], told["report"]["wrong"], told["report"]["pages"]) == (len(copy), 0, "sound")
    assert lmdb.verify.verify(str(tmp_path / "copy")) == []
    tasker.stop()

    called = {call.uid for call in target.calls}
    restored = start(f"--store=lmdb:{tmp_path / 'copy'}", "--concurrency=8")
    until(lambda: restored.number("completed") == len(copy), within=60)
    for uid, (_, _, state) in copy.items():
        if state is not State.COMPLETED:
            called.discard(uid)
    again = {call.uid for call in target.calls} - called
    assert again == {uid for uid, job in copy.items() if job[2] is not State.COMPLETED}
    restored.stop()
    care("check", f"--store=lmdb:{tmp_path / 'copy'}")


def test_a_check_under_load_finds_nothing_and_stops_nothing(
    start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    tasker = start("--concurrency=8", "--per-host=4")
    with Load(tasker, target).running() as load:
        until(lambda: len(load.answered) > 500)
        for _ in range(4):
            before = len(load.answered)
            report = json.loads(care("check", f"--store=lmdb:{tmp_path / 'db'}", "--json"))
            assert report["findings"] == []
            assert report["jobs"] >= before
            assert len(load.answered) > before
    tasker.stop()
    assert "pages sound" in care("check", f"--store=lmdb:{tmp_path / 'db'}")


def test_what_changes_the_file_is_refused_while_a_tasker_runs_with_its_pid(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    tasker = start()
    uid = tasker.push("http://localhost:1/", delay="1h")
    for line in (["check", "--rebuild"], ["compact"]):
        code, told, _ = failing(*line, f"--store=lmdb:{tmp_path / 'db'}")
        assert code == 3
        assert f"in use by process {tasker.pid}" in told
    assert tasker.state(uid) == "waiting"
    tasker.stop()
    for line in (["check", "--rebuild"], ["compact"]):
        care(*line, f"--store=lmdb:{tmp_path / 'db'}")
    assert start().state(uid) == "waiting"


def test_a_killed_backup_leaves_the_tasker_nothing_that_holds_its_pages(
    start: Callable[..., Tasker], tmp_path: Path
) -> None:
    """A reader that was killed is found by the next push, or no freed page would be used again."""
    tasker = start()
    tasker.push("http://localhost:1/", delay="1h")
    script = (
        "import os, sys; from pathlib import Path; from taskpusher.stores.access import look\n"
        "with look(Path(sys.argv[1])) as env, env.begin() as txn:\n"
        "    txn.get(b'x', db=env.open_db(b'jobs', txn=txn, create=False)); os.kill(os.getpid(), 9)"
    )
    reader = subprocess.Popen([COMMAND[0], "-c", script, str(tmp_path / "db")])
    assert reader.wait() == -9
    with lmdb.open(str(tmp_path / "db"), readonly=True) as env:
        assert f"{reader.pid} " in env.readers()

        def gone() -> bool:
            tasker.push("http://localhost:1/", delay="1h")
            return f"{reader.pid} " not in env.readers()

        until(gone)


# ---- disks --------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(start: Callable[..., Tasker], tmp_path: Path) -> tuple[Path, list[str]]:
    """A store of 3 MiB that nobody has open, and its jobs."""
    tasker = start()
    jobs: list[dict[str, object]] = [{"url": "http://localhost:1/", "delay": "1h", "body": "x" * 3000}]
    uids = tasker.push_many(jobs * 600)
    tasker.stop()
    return tmp_path / "db", uids


@pytest.mark.parametrize("line", [["check", "--rebuild"], ["compact"], ["backup"]])
def test_a_disk_without_room_for_a_copy_is_told_and_the_store_left(
    line: list[str], waiting: tuple[Path, list[str]], disk: Path
) -> None:
    path, uids = waiting
    shutil.copytree(path, disk / "db")
    more: list[Any] = [disk / "copy"] if line == ["backup"] else []
    code, told, _ = failing(*line, f"--store=lmdb:{disk / 'db'}", *more)
    assert code == 1
    assert "make room first" in told
    assert {one.name for one in (disk / "db").iterdir()} <= {"data.mdb", "lock.mdb", "tasker.lock"}
    assert not (disk / "copy").exists()
    assert stored(disk / "db").keys() == set(uids)
    care("check", f"--store=lmdb:{disk / 'db'}")


def test_a_backup_goes_to_another_disk(waiting: tuple[Path, list[str]], disk: Path) -> None:
    path, uids = waiting
    code, told, _ = failing("backup", f"--store=lmdb:{path}", disk / "copy")
    assert (code, "make room first" in told) == (1, True)
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    care("backup", f"--store=lmdb:{path}", disk / "copy")
    assert stored(disk / "copy").keys() == set(uids)
