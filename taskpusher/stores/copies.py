"""Copies of a store: a backup beside a tasker that works, and a new file in the place of the old one.

LMDB copies one moment of the file. A copy takes its name only when it has been synced and checked, so that a
power cut leaves the old state or the new one and never a half.
"""

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from ..errors import InvalidField, StoreBroken, StoreFull
from .access import LOCK_MDB, alone, give, look, reading
from .check import Told, check_copy, damaged_pages, open_tables, quietly, room_of
from .directory import DATA, Directory, sync_directory, sync_file
from .findings import REBUILT, Report
from .rebuild import SetAside, rebuild

MARGIN = 16 << 20  # bytes that a copy may take more than the pages in use
LOST = "lost"  # below the store: what could not be read and was set aside


class Copied(msgspec.Struct):
    """`bytes` of the copy's file; before it, of the store's."""

    store: str
    copy: str
    jobs: int
    before: int
    bytes: int
    seconds: float
    report: Report


# ---- backup -------------------------------------------------------------------------------------------


def backup(path: Path, to: Path, told: Told = quietly) -> Copied:
    """Copy the store as it is now to the new directory `to`, and check the copy.

    A tasker may run. What is wrong with the store is so in the copy, and told in its report.
    Raises InvalidField, StoreFull, StoreLocked, StoreUnreadable, StoreBroken.
    """
    began = time.monotonic()
    path, to = path.absolute(), to.absolute()
    _refuse_place(path, to)
    with look(path) as env, _in_the_making(to.parent, f"{to.name}.new-", to) as making:
        before = os.stat(path / DATA).st_size
        _copy(env, making, told)
        report = check_copy(making, told)
        sync_directory(making)
        os.rename(making, to)
        sync_directory(to.parent)
    size = (to / DATA).stat().st_size
    report.store = str(to)
    return Copied(str(path), str(to), report.jobs, before, size, time.monotonic() - began, report)


def _refuse_place(path: Path, to: Path) -> None:
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise InvalidField("DIR", f"{to} is there already: name a new directory, so that no backup is lost")
    if not to.parent.is_dir():
        raise InvalidField("DIR", f"there is no directory {to.parent}: make it first")
    if path.resolve() in (to.parent.resolve(), *to.parent.resolve().parents):
        raise InvalidField("DIR", f"{to} is inside the store: name a directory elsewhere")


# ---- a new file in the place of the old one -----------------------------------------------------------


def compact(path: Path, told: Told = quietly) -> Copied:
    """Give back to the disk what the file does not use. Raises as `backup` does.

    A store in which something is wrong is left as it is: StoreBroken.
    """

    def make(making: Path) -> Report:
        report = check_copy(making, told)
        if report.wrong:
            raise StoreBroken(
                f"{report.wrong} wrong in the store {path}, which was left as it is: "
                "see what tasker check says of it"
            )
        return report

    return _replace(path, make, told)


def rebuilt(path: Path, set_aside: bool = False, told: Told = quietly) -> Report:
    """Make every index anew; what was mended, and what is left wrong. Raises as `backup` does."""

    def make(making: Path) -> Report:
        before = check_copy(making, told)
        rebuild(making, _to_files(path) if set_aside else None, told)
        report = check_copy(making, told)
        if left := [one for one in report.findings if one.fault in REBUILT]:
            raise StoreBroken(
                f"the store {path} could not be mended ({left[0].table}: {left[0].examples[0].what}), "
                "and was left as it is: put a backup back"
            )
        kept = {(one.table, one.fault) for one in report.findings}
        report.mended = [one for one in before.findings if (one.table, one.fault) not in kept]
        return report

    return _replace(path, make, told).report


def _replace(path: Path, make: Callable[[Path], Report], told: Told) -> Copied:
    """Let `make` finish a copy that then takes the store's place, and check it."""
    began = time.monotonic()
    path = path.absolute()
    with alone(path) as directory, _in_the_making(path, "new-", path) as making:
        if damage := damaged_pages(path):  # on which LMDB may crash
            raise StoreBroken(f"pages of {path / DATA} are damaged ({damage[0]}): put a backup back")
        before = os.stat(path / DATA).st_size
        with reading(path, lock=True) as env:
            _copy(env, making, told)
        report = make(making)
        size = (making / DATA).stat().st_size
        _swap(directory, making)
    report.store = str(path)
    return Copied(str(path), str(path), report.jobs, before, size, time.monotonic() - began, report)


def _swap(directory: Directory, making: Path) -> None:
    """The old file or the new one is there at every moment, each of them whole.

    LMDB's lock.mdb is of the old one, and is made anew with the next opening.
    """
    new, old = making / DATA, directory.path / DATA
    give(new, os.stat(old))
    sync_file(new)
    (directory.path / LOCK_MDB).unlink(missing_ok=True)
    os.rename(new, old)
    sync_directory(directory.path)


def _to_files(path: Path) -> SetAside:
    """Keeps rows as files lost/TABLE-KEY, with what they held and nothing else."""

    def aside(table: str, key: bytes, value: bytes) -> None:
        folder = path / LOST
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"{table}-{key.hex()}"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(value)
            out.flush()
            os.fsync(out.fileno())
        for made in (file, folder):
            give(made, os.stat(path / DATA))
        sync_directory(folder)
        sync_directory(path)

    return aside


# ---- copying ------------------------------------------------------------------------------------------


@contextmanager
def _in_the_making(where: Path, prefix: str, what: Path) -> Iterator[Path]:
    """A directory for its owner alone that is gone in the end, unless it was given its name."""
    making: Path | None = None
    try:
        making = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        yield making
    except (OSError, lmdb.Error) as error:
        if _no_space(error):
            raise StoreFull(f"no room on the disk for {what}; nothing was changed") from error
        raise StoreBroken(f"can't make {what}: {error}; nothing was changed") from error
    finally:
        if making is not None:
            shutil.rmtree(making, ignore_errors=True)


def _no_space(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left" in str(error) or "quota" in str(error)


def _copy(env: Any, making: Path, told: Told) -> None:
    """One moment of the store as `making`/data.mdb, without what nothing uses. Raises StoreError, OSError."""
    size, free = room_of(env)
    disk, needed = os.statvfs(making), size - free + MARGIN
    if (room := disk.f_bavail * disk.f_frsize) < needed:
        raise StoreFull(f"{making.parent} has room for {room} bytes, a copy takes {needed}: make room first")
    tables = open_tables(env)
    handle = os.open(making / DATA, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with env.begin() as txn:
            rows = _entries(tables, txn)
            _stream(env, txn, handle, lambda done: told(min(done, size - free), size - free))
        os.fsync(handle)
    finally:
        os.close(handle)
    with reading(making, lock=False) as copy:
        tables = open_tables(copy)
        with copy.begin() as txn:
            if _entries(tables, txn) != rows:
                raise StoreBroken(f"the copy of {env.path()} came out short: the disk may be failing")


def _entries(tables: dict[str, Any], txn: Any) -> dict[str, int]:
    return {name: txn.stat(db)["entries"] for name, db in tables.items()}


def _stream(env: Any, txn: Any, handle: int, tell: Callable[[int], None]) -> None:
    """LMDB copies in a thread, through a pipe: so it can be told how far it is, and be cut short."""
    ours, theirs = os.pipe()
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            env.copyfd(theirs, compact=True, txn=txn)
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(theirs)

    thread = threading.Thread(target=copy, name="taskpusher-copy")
    thread.start()
    done = 0
    try:
        while part := os.read(ours, 1 << 20):
            done += _write(handle, part)
            tell(done)
    finally:
        os.close(ours)
        thread.join()
    if failed:
        raise failed[0]


def _write(handle: int, part: bytes) -> int:
    rest = memoryview(part)
    while rest:
        rest = rest[os.write(handle, rest) :]
    return len(part)
