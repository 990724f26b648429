"""The directory of an LMDB store: made safely, owned by one process, watched for room."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import StoreLocked, StoreUnreadable

LOCK = "tasker.lock"
DATA = "data.mdb"
RESERVE = 64 << 20  # bytes of the disk left free, so that running jobs can still be settled …
RESERVE_SHARE = 10  # … but no more than a tenth of a small disk


class Directory:
    """A directory with one owner at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def acquire(self) -> None:
        """Make the directory if need be and own it. Raises StoreLocked, StoreUnreadable."""
        try:
            self._make()
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnreadable(f"can't use {self.path} as a store: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _pid_in(lock)
            os.close(lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreLocked(str(self.path), holder) from error
            raise StoreUnreadable(f"can't lock {self.path}: {error.strerror}") from error
        self._lock = lock
        try:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            if error.errno != errno.ENOSPC:  # a full disk must not keep the queue from being drained
                self.release()
                raise StoreUnreadable(f"can't write to {self.path}: {error.strerror}") from error

    def _make(self) -> None:
        """The directory and those above it, for nobody but us, and so that a power cut leaves them there."""
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        if not missing:
            return
        before = os.umask(0o077)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        finally:
            os.umask(before)
        for path in missing:
            sync_directory(path.parent)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def create(self, make: Callable[[Path], None]) -> None:
        """Let `make` fill a new database if there is none yet.

        LMDB refuses the file that a power cut leaves in the middle of its creation, so it is made beside,
        synced, and moved to its name as a whole.
        """
        self.sweep()
        if (self.path / DATA).exists():
            return
        making = Path(tempfile.mkdtemp(prefix="new-", dir=self.path))
        make(making)
        sync_file(making / DATA)
        os.rename(making / DATA, self.path / DATA)
        sync_directory(self.path)
        shutil.rmtree(making, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a power cut left of a file in the making."""
        for leftover in self.path.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def free(self) -> tuple[int, int]:
        """Bytes free on the disk for us, and how many of them to leave free."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize, min(RESERVE, disk.f_blocks * disk.f_frsize // RESERVE_SHARE)


def take_blocks(file: Path, size: int) -> None:
    """Have the disk give that file its room now: a page of a mapped file that it has no room for later would
    end the process by SIGBUS. Raises OSError."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        missing = size - os.fstat(handle).st_size
        if missing > 0 and os.write(handle, bytes(missing)) < missing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(handle)


def holder_of(path: Path) -> int | None:
    """The pid in the directory's lock file."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _pid_in(lock)
    finally:
        os.close(lock)


def _pid_in(lock: int) -> int | None:
    text = os.pread(lock, 20, 0).strip()
    return int(text) if text.isdigit() else None


def sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Make a rename or a new name in it survive a power cut."""
    sync_file(path)
