"""Stores that can't be used, disks without room, and who may read what is kept."""

import os
import shutil
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from .program import Tasker, failing, until
from .target import Target

ANYWHERE = "--address=127.0.0.1:0"
MIB = 1 << 20


# ---- stores that can't be used ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with some jobs in it; copy it, then spoil the copy."""
    directory = tmp_path_factory.mktemp("sound")
    tasker = Tasker(f"--store=lmdb:{directory / 'db'}", ANYWHERE, log=directory / "log").ready()
    try:
        tasker.push_many([{"url": "http://localhost:1/", "delay": "1h", "body": "x" * 3000}] * 100)
        tasker.stop()
    finally:
        tasker.kill()
    return directory / "db"


def garbage(db: Path) -> None:
    (db / "data.mdb").write_bytes(b"no such thing as LMDB " * 1000)


def scrambled_pages(db: Path) -> None:
    with (db / "data.mdb").open("r+b") as data:
        data.seek(8192)
        data.write(b"\xa5" * (db / "data.mdb").stat().st_size)


def cut_short(db: Path) -> None:
    os.truncate(db / "data.mdb", 8192)


def emptied(db: Path) -> None:
    os.truncate(db / "data.mdb", 0)


def of_a_newer_format(db: Path) -> None:
    with lmdb.open(str(db), max_dbs=30) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"format", struct.pack(">I", 2), db=meta)


def of_another_program(db: Path) -> None:
    shutil.rmtree(db)
    with lmdb.open(str(db), max_dbs=5) as env:
        env.open_db(b"accounts")


def a_file(db: Path) -> None:
    shutil.rmtree(db)
    db.write_text("x")


def below_a_file(db: Path) -> None:
    shutil.rmtree(db.parent)
    db.parent.write_text("x")


def a_dangling_link(db: Path) -> None:
    shutil.rmtree(db)
    db.symlink_to("nowhere")


def its_data_a_directory(db: Path) -> None:
    (db / "data.mdb").unlink()
    (db / "data.mdb").mkdir()


def its_lock_a_directory(db: Path) -> None:
    (db / "tasker.lock").unlink()
    (db / "tasker.lock").mkdir()


TROUBLES: dict[Callable[[Path], None], str] = {
    garbage: "not an LMDB file",
    scrambled_pages: "MDB_",
    cut_short: "cut short",
    emptied: "empty",
    of_a_newer_format: "format 2",
    of_another_program: "another program's",
    a_file: "Not a directory",
    below_a_file: "Not a directory",
    a_dangling_link: "File exists",
    its_data_a_directory: "Is a directory",
    its_lock_a_directory: "Is a directory",
}


@pytest.mark.parametrize("spoil", TROUBLES, ids=lambda spoil: spoil.__name__)
def test_a_store_that_cant_be_used_is_told_in_a_sentence_with_exit_3(
    spoil: Callable[[Path], None], sound: Path, tmp_path: Path
) -> None:
    db = tmp_path / "parent" / "db"
    shutil.copytree(sound, db)
    spoil(db)
    code, told, _ = failing(f"--store=lmdb:{db}", ANYWHERE)
    assert code == 3
    assert str(db) in told
    assert TROUBLES[spoil].lower() in told.lower()


def test_another_programs_data_are_left_as_they_were(sound: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    shutil.copytree(sound, db)
    of_another_program(db)
    before = (db / "data.mdb").read_bytes()
    assert failing(f"--store=lmdb:{db}", ANYWHERE)[0] == 3
    assert (db / "data.mdb").read_bytes() == before


# ---- disks --------------------------------------------------------------------------------------------


def room(disk: Path) -> int:
    told = os.statvfs(disk)
    return told.f_bavail * told.f_frsize


def fill(disk: Path) -> Path:
    """Somebody else takes all that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            assert room(disk) == 0
    return filler


def test_a_read_only_disk_is_told_with_exit_3(disk: Path, sound: Path) -> None:
    shutil.copytree(sound, disk / "db")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for store in (disk / "db", disk / "new"):
        code, told, _ = failing(f"--store=lmdb:{store}", ANYWHERE)
        assert code == 3
        assert f"{store}" in told
        assert "Read-only file system" in told


def test_adds_that_fill_the_disk_are_refused_in_time_for_the_rest_to_be_settled(
    start: Callable[..., Tasker], target: Target, disk: Path
) -> None:
    tasker = start(f"--store=lmdb:{disk / 'db'}")
    held = [tasker.push(f"{target.url}/hold/{n}") for n in range(4)]
    until(lambda: target.in_flight == 4)
    answered, status, problem = [], 0, {}
    with tasker.connection() as client:
        while status != 507:
            assert len(answered) < 1000, "8 MiB hold 20 MB?"
            job = {"url": f"{target.url}/{len(answered)}", "body": "x" * 20_000}
            status, problem = client.ask("POST", "/add", job)
            assert status in (201, 507), problem
            if status == 201:
                answered.append(problem["uid"])
    assert problem["title"] == "No room on the disk"
    assert len(answered) > 100
    target.release()
    until(lambda: tasker.number("completed") == len(held + answered), within=60)
    assert len(target.calls) == len(held + answered)

    def taken() -> bool:
        status, answer = tasker.ask("POST", "/add", {"url": f"{target.url}/new", "body": "x" * 20_000})
        assert status in (201, 507), answer
        return status == 201

    for uid in answered[: len(answered) // 2]:  # what has finished makes room
        assert tasker.ask("DELETE", f"/job/{uid}")[0] == 204
    until(taken)
    tasker.stop()
    assert "Traceback" not in tasker.said, tasker.said


def test_a_body_bigger_than_the_disk_has_room_for_is_refused(
    start: Callable[..., Tasker], target: Target, disk: Path
) -> None:
    tasker = start(f"--store=lmdb:{disk / 'db'}")
    for size, expected in ((3, 201), (6, 507), (9, 507), (1, 201)):
        body = "x" * (size * MIB)
        assert tasker.ask("POST", "/add", {"url": target.url, "body": body})[0] == expected, size
    until(lambda: tasker.number("completed") == 2)
    assert [len(call.body) for call in target.calls] == [3 * MIB, 1 * MIB]


def test_a_disk_filled_by_others_refuses_adds_loses_nothing_and_goes_on(
    start: Callable[..., Tasker], target: Target, disk: Path
) -> None:
    tasker = start(f"--store=lmdb:{disk / 'db'}")
    jobs = [tasker.push(f"{target.url}/hold/{n}") for n in range(50)]
    until(lambda: target.in_flight == 4)
    filler = fill(disk)
    for _ in range(3):
        began = time.monotonic()
        status, problem = tasker.ask("POST", "/add", {"url": target.url, "body": "x" * 20_000})
        assert status == 507, problem
        assert time.monotonic() - began < 2
    target.release()
    until(lambda: tasker.get("/stats")[1]["store"]["full"])
    assert tasker.get("/healthz")[0] == 200
    filler.unlink()
    until(lambda: tasker.number("completed") == len(jobs))
    until(lambda: tasker.ask("POST", "/add", {"url": target.url})[0] == 201)
    assert sorted(call.uid for call in target.calls if call.uid in jobs) == sorted(jobs)
    assert "Traceback" not in tasker.said, tasker.said


def test_a_new_store_on_a_full_disk_is_told_with_exit_3_and_made_when_there_is_room(
    start: Callable[..., Tasker], disk: Path
) -> None:
    filler = fill(disk)
    store = disk / "new" / "db"
    code, told, _ = failing(f"--store=lmdb:{store}", ANYWHERE)
    assert (code, str(store) in told, "No space left" in told) == (3, True, True)
    filler.unlink()
    start(f"--store=lmdb:{store}").push("http://localhost:1/", delay="1h")
    assert not list(store.glob("new-*"))


def test_a_tasker_started_on_a_full_disk_answers_and_goes_on_when_there_is_room(
    start: Callable[..., Tasker], target: Target, disk: Path
) -> None:
    tasker = start(f"--store=lmdb:{disk / 'db'}")
    jobs = tasker.push_many([{"url": f"{target.url}/hold/{n}", "body": "x" * 5000} for n in range(100)])
    until(lambda: target.in_flight == 4)
    tasker.kill()
    filler = fill(disk)
    again = start(f"--store=lmdb:{disk / 'db'}")
    target.release()
    status, problem = again.ask("POST", "/add", {"url": target.url, "body": "x" * 20_000})
    assert status == 507, problem
    filler.unlink()
    until(lambda: again.number("completed") == len(jobs))


@pytest.mark.parametrize("signals", [1, 2])
def test_a_stop_ends_in_time_on_a_full_disk_too(
    signals: int, start: Callable[..., Tasker], target: Target, disk: Path
) -> None:
    grace = 0.5 if signals == 1 else 3600
    tasker = start(f"--store=lmdb:{disk / 'db'}", f"--grace={grace}", "--concurrency=2")
    jobs = [tasker.push(f"{target.url}/hold/{n}") for n in range(20)]
    until(lambda: target.in_flight == 2)
    filler = fill(disk)
    assert tasker.ask("POST", "/add", {"url": target.url, "body": "x" * 20_000})[0] == 507
    told = tasker.tell_and_see()
    if signals == 2:
        tasker.tell()
    assert tasker.end() == 0, tasker.said
    assert time.monotonic() - told < (grace if signals == 1 else 0) + 1.5
    assert "Traceback" not in tasker.said, tasker.said
    filler.unlink()
    target.release()
    again = start(f"--store=lmdb:{disk / 'db'}")
    until(lambda: again.number("completed") == len(jobs))
    assert {again.job(uid)["failures"] for uid in jobs[:3]} == {0}


# ---- who may read it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_directory_is_0700_and_its_files_0600_whatever_the_umask(
    umask: int, start: Callable[..., Tasker], tmp_path: Path
) -> None:
    db = tmp_path / "above" / "db"
    tasker = start(f"--store=lmdb:{db}", umask=umask)
    tasker.push("http://localhost:1/", delay="1h")

    def modes() -> dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (db.parent, db, *db.iterdir())}

    kept = {"above": 0o700, "db": 0o700, "data.mdb": 0o600, "lock.mdb": 0o600, "tasker.lock": 0o600}
    assert modes() == kept
    tasker.stop()
    assert modes() == kept
