"""Backups and what takes the place of a store's file: whole or not at all, and nobody else's."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb.verify
import pytest

from taskpusher.errors import InvalidField, StoreBroken, StoreFull, StoreLocked, StoreUnreadable
from taskpusher.job import State
from taskpusher.stores import copies
from taskpusher.stores.access import look
from taskpusher.stores.base import Add, Remove
from taskpusher.stores.check import check
from taskpusher.stores.copies import backup, compact, rebuilt
from taskpusher.stores.directory import Directory
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.testing import NOW, a_job, no_limits

from .damage import contents, copied, make_store, spoiling

Sound = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = tmp_path_factory.mktemp("sound") / "db"
    return path, make_store(path)


@pytest.fixture
def store(sound: Sound, tmp_path: Path) -> Path:
    return copied(sound[0], tmp_path / "db")


def modes(path: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in (path, *path.iterdir())}


def leftovers(path: Path) -> list[Path]:
    return [one for one in (*path.iterdir(), *path.parent.iterdir()) if "new-" in one.name]


# ---- backup -------------------------------------------------------------------------------------------


def test_a_backup_holds_all_that_the_store_holds_for_its_owner_alone(store: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        told = backup(store, tmp_path / "copy")
    finally:
        os.umask(before)
    assert contents(tmp_path / "copy") == contents(store)
    assert len(contents(store)["meta"]) == 2, "notes"
    assert modes(tmp_path / "copy") == {"copy": 0o700, "data.mdb": 0o600}
    assert told.bytes == (tmp_path / "copy" / "data.mdb").stat().st_size
    assert (told.jobs, told.report.wrong, told.report.pages) == (9, 0, "sound")
    assert lmdb.verify.verify(str(tmp_path / "copy")) == []
    assert not leftovers(store)


async def test_a_restored_backup_is_a_store_that_goes_on(sound: Sound, tmp_path: Path) -> None:
    backup(sound[0], tmp_path / "copy")
    store = LmdbStore(tmp_path / "copy")
    await store.open("node", no_limits)
    orphans, _ = await store.orphans(NOW)
    assert [job.uid for job in orphans] == [sound[1]["running"]]
    (held, *_) = (await store.claim(1, NOW)).jobs
    assert held.job.claim >> 32 == 2, "claims of the epoch after that of the store"
    (added,) = await store.write(Add(a_job()))
    assert added.job is not None and added.job.seq == 10
    await store.close()
    assert check(tmp_path / "copy").wrong == 0


def test_a_backup_may_fill_an_empty_directory_and_no_other(store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    backup(store, tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "a-file").write_text("mine")
    for there in ("empty", "full", "a-file"):
        with pytest.raises(InvalidField, match="there already"):
            backup(store, tmp_path / there)
    assert (tmp_path / "full" / "file").read_text() == "mine"
    with pytest.raises(InvalidField, match="no directory"):
        backup(store, tmp_path / "none" / "copy")
    for inside in (store / "copy", store / "new-copy"):
        with pytest.raises(InvalidField, match="inside the store"):
            backup(store, inside)


def test_a_store_with_faults_is_backed_up_as_it_is_and_the_faults_are_told(
    sound: Sound, store: Path, tmp_path: Path
) -> None:
    with spoiling(store, sound[1]) as spoiler:
        spoiler.put("jobs", spoiler.key("waiting"), b"\x01garbage")
    told = backup(store, tmp_path / "copy")
    assert told.report.wrong
    assert check(tmp_path / "copy").findings == check(store).findings


def test_no_room_for_a_copy_is_told_before_it_is_begun(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "MARGIN", 1 << 60)
    before = (store / "data.mdb").read_bytes()
    for work in (lambda: backup(store, tmp_path / "copy"), lambda: compact(store), lambda: rebuilt(store)):
        with pytest.raises(StoreFull, match="make room first"):
            work()
    assert (store / "data.mdb").read_bytes() == before
    assert not leftovers(store)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_no_more_leaves_the_store_and_nothing_half(
    number: int, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, part: bytes) -> int:
        raise OSError(number, os.strerror(number))

    before = contents(store)
    monkeypatch.setattr(copies, "_write", refuse)
    for work in (lambda: backup(store, tmp_path / "copy"), lambda: compact(store), lambda: rebuilt(store)):
        with pytest.raises(StoreFull if number == errno.ENOSPC else StoreBroken, match="nothing was changed"):
            work()
        assert threading.active_count() == 1 or "taskpusher-copy" not in {
            thread.name for thread in threading.enumerate()
        }
    assert contents(store) == before
    assert not leftovers(store)
    assert not (tmp_path / "copy").exists()


def test_a_disk_without_room_for_a_directory_is_told(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**where: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copies.tempfile, "mkdtemp", refuse)
    for work in (lambda: backup(store, tmp_path / "copy"), lambda: compact(store), lambda: rebuilt(store)):
        with pytest.raises(StoreFull, match="nothing was changed"):
            work()


def test_a_copy_that_lmdb_breaks_off_is_told_and_leaves_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB itself copies in a thread: what it meets there must come out."""

    class Breaking:
        def __init__(self, env: Any) -> None:
            self._env = env

        def __getattr__(self, name: str) -> Any:
            return getattr(self._env, name)

        def copyfd(self, handle: int, **options: object) -> None:
            os.write(handle, b"some of it")
            raise lmdb.DiskError("mdb_env_copyfd2: Input/output error")

    really = copies._stream
    monkeypatch.setattr(copies, "_stream", lambda env, *more: really(Breaking(env), *more))
    with pytest.raises(StoreBroken, match=r"Input/output error; nothing was changed"):
        backup(store, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not leftovers(store)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (lmdb.DiskError("mdb_txn_commit: No space left on device"), StoreFull),
        (lmdb.MapFullError("mdb_put"), StoreBroken),
    ],
)
def test_a_rebuild_that_finds_no_room_leaves_the_store(
    error: lmdb.Error, told: type[Exception], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store)

    def rebuild(*args: Any) -> None:
        raise error

    monkeypatch.setattr(copies, "rebuild", rebuild)
    with pytest.raises(told, match="nothing was changed"):
        rebuilt(store)
    assert contents(store) == before
    assert not leftovers(store)


def test_a_rebuild_that_mends_nothing_leaves_the_store(
    sound: Sound, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiling(store, sound[1]) as spoiler:
        spoiler.delete("due", spoiler.row("later", "due")[0])
    before = contents(store)
    monkeypatch.setattr(copies, "rebuild", lambda *args: None)
    with pytest.raises(StoreBroken, match="could not be mended"):
        rebuilt(store)
    assert contents(store) == before


def test_a_copy_that_came_out_short_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([{"jobs": 9}, {"jobs": 8}])
    monkeypatch.setattr(copies, "_entries", lambda tables, txn: next(counts))
    with pytest.raises(StoreBroken, match="came out short"):
        backup(store, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# ---- compact ------------------------------------------------------------------------------------------


async def with_much_removed(path: Path) -> None:
    store = LmdbStore(path)
    await store.open("node", no_limits)
    jobs = [a_job(body_size=2000) for _ in range(500)]
    written = await store.write(*(Add(job, os.urandom(2000)) for job in jobs))
    await store.write(*(Remove(one.job.uid, one.job.revision) for one in written[10:] if one.job))
    await store.close()


async def test_compacting_gives_room_back_and_changes_nothing_else(tmp_path: Path) -> None:
    await with_much_removed(tmp_path / "db")
    expected, before = contents(tmp_path / "db"), (tmp_path / "db" / "data.mdb").stat().st_size
    told = compact(tmp_path / "db")
    assert (told.before, told.jobs) == (before, 10)
    assert told.bytes == (tmp_path / "db" / "data.mdb").stat().st_size < before / 5
    assert contents(tmp_path / "db") == expected
    assert modes(tmp_path / "db") == {"db": 0o700, "data.mdb": 0o600, "tasker.lock": 0o600}
    store = LmdbStore(tmp_path / "db")
    await store.open("node", no_limits)
    assert len((await store.claim(20, NOW)).jobs) == 10
    assert await store.counts() == {(State.RUNNING, "default"): 10}
    await store.close()


def test_a_store_with_faults_is_not_compacted(sound: Sound, store: Path) -> None:
    with spoiling(store, sound[1]) as spoiler:
        spoiler.delete("due", spoiler.row("later", "due")[0])
    before = (store / "data.mdb").read_bytes()
    with pytest.raises(StoreBroken, match="tasker check"):
        compact(store)
    assert (store / "data.mdb").read_bytes() == before
    assert not leftovers(store)


@pytest.mark.parametrize("work", [compact, rebuilt])
def test_the_new_file_is_synced_before_it_takes_the_place_and_the_name_after(
    work: Callable[[Path], Any], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str) -> None:
        real = getattr(os, name)

        def step(what: Any, *more: Any, **named: Any) -> Any:
            file = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            steps.append(f"{name} {Path(file).parent.name.partition('-')[0]}/{Path(file).name}")
            return real(what, *more, **named)

        monkeypatch.setattr(os, name, step)

    for name in ("fsync", "unlink", "rename"):
        noted(name)
    work(store)
    at = steps.index("rename new/data.mdb")
    assert steps[at - 2 : at + 2] == [
        "fsync new/data.mdb",
        "unlink db/lock.mdb",
        "rename new/data.mdb",
        f"fsync {store.parent.name.partition('-')[0]}/db",
    ]


@pytest.mark.parametrize("work", ["compact", "rebuild"])
def test_a_kill_at_any_step_leaves_a_whole_store_and_no_litter_for_the_next(
    work: str, sound: Sound, tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "stores.crashes", work, str(sound[0]), str(tmp_path)]
    done = subprocess.run(
        line, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


@pytest.mark.parametrize("work", [compact, rebuilt])
def test_who_reads_the_store_keeps_its_file_in_its_place(work: Callable[[Path], Any], store: Path) -> None:
    with look(store), pytest.raises(StoreUnreadable, match="being read by a check or a backup"):
        work(store)
    work(store)


@pytest.mark.parametrize("work", [compact, rebuilt])
def test_an_owner_keeps_others_from_replacing_the_file(work: Callable[[Path], Any], store: Path) -> None:
    owner = Directory(store)
    owner.acquire()
    with pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
        work(store)
    owner.release()
    work(store)


def test_nobody_looks_at_a_store_whose_file_is_being_replaced(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    def look_meanwhile(*args: Any) -> None:
        for attempt in (lambda: check(store), lambda: backup(store, tmp_path / "copy")):
            with pytest.raises(StoreLocked) as refused:
                attempt()
            met.append(str(refused.value))

    monkeypatch.setattr(copies, "damaged_pages", look_meanwhile)
    compact(store)
    assert len(met) == 2
    assert all(f"process {os.getpid()}" in told for told in met)


def test_an_interrupt_cuts_a_copy_short_and_leaves_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        backup(store, tmp_path / "copy", interrupted)
    assert not leftovers(store)
    assert not (tmp_path / "copy").exists()
    backup(store, tmp_path / "copy")


@pytest.mark.parametrize("work", [check, compact, rebuilt])
def test_what_root_makes_there_belongs_to_the_owner_of_the_store(
    work: Callable[[Path], Any], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    (store / "lock.mdb").unlink()
    (store / "tasker.lock").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append(Path(path).name))
    work(store)
    assert {*given} == ({"lock.mdb"} if work is check else {"tasker.lock", "data.mdb"})
