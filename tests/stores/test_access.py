"""Opening a store to care for it: what can't be opened is told with the path and the way out."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import lmdb
import pytest

from taskpusher.errors import StoreUnreadable
from taskpusher.stores import access, directory
from taskpusher.stores.access import alone, look
from taskpusher.stores.directory import Directory, holder_of, take_blocks

from .damage import copied, make_store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "db"
    make_store(path)
    return path


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    return copied(sound, tmp_path / "db")


def failing(number: int) -> Any:
    def fail(*given: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnreadable, match=f"can't open the store {tmp_path}"), look(tmp_path):
        pass


def test_another_programs_database_is_told_as_such(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=2) as env:
        env.open_db(b"theirs")
    with pytest.raises(StoreUnreadable, match="empty or another program's"), look(tmp_path):
        pass


def test_a_damage_that_lmdb_meets_on_opening_is_told_in_its_words(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(found: object, path: Path) -> None:
        raise lmdb.CorruptedError("mdb_get")

    monkeypatch.setattr(access, "refuse_format", refuse)
    with pytest.raises(StoreUnreadable, match=r"no whole store .mdb_get.*put a backup back"), look(store):
        pass


def test_what_is_below_a_file_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    told = r"can't read the store .*: Not a directory"
    with pytest.raises(StoreUnreadable, match=told), look(tmp_path / "file"):
        pass


def test_a_store_whose_file_is_replaced_meanwhile_is_looked_at_anew(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []
    really = fcntl.flock

    def replace_first(handle: int, how: int) -> None:
        really(handle, how)
        if not locked:
            (store / "new").write_bytes((store / "data.mdb").read_bytes())
            (store / "new").rename(store / "data.mdb")
        locked.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(access.fcntl, "flock", replace_first)
    with look(store):
        assert locked[1:] == [(store / "data.mdb").stat().st_ino]
    assert locked[0] != locked[1]


@pytest.mark.parametrize(("opening", "what"), [(look, "data.mdb"), (alone, "")])
def test_a_file_system_without_locks_is_told(
    opening: Any, what: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with pytest.raises(StoreUnreadable, match=f"can't lock .*{what}: No locks available"), opening(store):
        pass


def test_a_directory_that_takes_no_pid_is_refused_and_let_go(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Directory(store)
    with monkeypatch.context() as patch:
        patch.setattr(directory.os, "pwrite", failing(errno.EIO))
        with pytest.raises(StoreUnreadable, match=r"can't write to .*: Input/output error"):
            owner.acquire()
    other = Directory(store)
    other.acquire()
    other.release()


def test_a_full_disk_that_takes_no_pid_is_owned_all_the_same(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Directory(store)
    with monkeypatch.context() as patch:
        patch.setattr(directory.os, "pwrite", failing(errno.ENOSPC))
        owner.acquire()
    with pytest.raises(directory.StoreLocked):
        Directory(store).acquire()
    for _ in range(2):
        owner.release()
    Directory(store).acquire()


def test_a_file_that_gets_half_its_room_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory.os, "write", lambda handle, data: len(data) // 2)
    with pytest.raises(OSError, match="No space left"):
        take_blocks(tmp_path / "lock.mdb", 4096)


def test_a_directory_that_was_never_locked_has_no_holder(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None


def test_only_root_gives_files_away(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []
    monkeypatch.setattr(access.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(access.os, "chown", lambda path, *ids: given.append(path))
    (store / "lock.mdb").unlink(missing_ok=True)
    with look(store):
        pass
    assert given == []
