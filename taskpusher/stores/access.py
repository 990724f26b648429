"""Opening the directory of a store to care for it: to look, whoever else uses it, or to have it alone.

Who looks holds a shared flock on data.mdb; who puts another file in its place, an exclusive one. LMDB's
lock.mdb speaks of one data file: nobody may have the old one open when the new one comes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from ..errors import StoreLocked, StoreUnreadable
from .directory import DATA, LOCK, Directory, holder_of
from .layout import TABLES, refuse_format
from .lmdb import MAP_SIZE, READERS, refuse_cut_short

LOCK_MDB = "lock.mdb"


@contextmanager
def look(path: Path) -> Iterator[Any]:
    """An environment for reading, beside a tasker that may run. Raises StoreLocked, StoreUnreadable."""
    with _held(path, fcntl.LOCK_SH) as owner:
        existed = (path / LOCK_MDB).exists()
        with reading(path, lock=True) as env:
            if not existed:
                give(path / LOCK_MDB, owner)
            env.reader_check()  # what a killed reader left would keep its pages from being used again
            yield env


@contextmanager
def alone(path: Path) -> Iterator[Directory]:
    """The directory, its lock held as a tasker would. Raises StoreLocked, StoreUnreadable."""
    _data(path)  # acquiring would make a directory that is not there
    existed = (path / LOCK).exists()
    directory = Directory(path)
    directory.acquire()
    try:
        with _held(path, fcntl.LOCK_EX) as owner:
            if not existed:
                give(path / LOCK, owner)
            directory.sweep()
            yield directory
    finally:
        directory.release()


@contextmanager
def reading(path: Path, *, lock: bool) -> Iterator[Any]:
    """A read-only environment; `lock=False` for a copy that nobody else knows of. Raises StoreUnreadable."""
    try:
        env = lmdb.open(
            str(path),
            map_size=MAP_SIZE,
            max_dbs=len(TABLES) + 8,
            max_readers=READERS,
            mode=0o700,
            readonly=True,
            create=False,
            lock=lock,
            lib_version=0,
        )
    except (lmdb.Error, OSError) as error:
        raise StoreUnreadable(f"can't open the store {path}: {error}") from error
    try:
        refuse_cut_short(env, path)
        _refuse_other_formats(env, path)
        yield env
    except lmdb.Error as error:
        raise StoreUnreadable(f"can't read the store {path} ({error}): put a backup back") from error
    finally:
        env.close()


def _refuse_other_formats(env: Any, path: Path) -> None:
    try:
        env.open_db(b"jobs", create=False)
        meta = env.open_db(b"meta", create=False)
        with env.begin() as txn:
            refuse_format(txn.get(b"format", db=meta), path)
    except lmdb.Error as error:
        told = "empty or another program's" if isinstance(error, lmdb.NotFoundError) else str(error)
        raise StoreUnreadable(f"{path / DATA} is no whole store ({told}): put a backup back") from error


def give(path: Path, owner: os.stat_result) -> None:
    """Let the store's owner have what root has made there: the tasker has to open it."""
    if os.geteuid() == 0 and path.exists():
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _held(path: Path, how: int) -> Iterator[os.stat_result]:
    """data.mdb locked, and what its owner is."""
    while True:
        handle = _data(path)
        try:
            _lock(handle, how, path)
            owner = os.fstat(handle)
            if not os.path.samestat(owner, os.stat(path / DATA)):
                continue  # replaced meanwhile
            yield owner
            return
        finally:
            os.close(handle)


def _data(path: Path) -> int:
    try:
        return os.open(path / DATA, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreUnreadable(f"there is no store at {path}: check --store") from None
    except OSError as error:
        raise StoreUnreadable(f"can't read the store {path}: {error.strerror}") from error


def _lock(handle: int, how: int, path: Path) -> None:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if how == fcntl.LOCK_SH:
            raise StoreLocked(str(path), holder_of(path)) from None
        raise StoreUnreadable(
            f"the store {path} is being read by a check or a backup: wait until it has ended"
        ) from None
    except OSError as error:
        raise StoreUnreadable(f"can't lock {path / DATA}: {error.strerror}") from error
