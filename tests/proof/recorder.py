"""Recording what a tasker does to its disk, and making its disk fail: disk.c, compiled and read."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

SOURCE = Path(__file__).with_name("disk.c")
HEAD = Struct("<IBBHHHiiQQ")  # struct record


class Event(NamedTuple):
    """`kind`: C create, M mkdir, W write, T truncate, R rename, L link, U unlink or rmdir; S and s a sync
    begins and has ended; O and I said and heard on a socket; F a fault."""

    kind: str
    dsync: bool  # the file was open with O_DSYNC
    fd: int
    at: float  # time.monotonic()
    offset: int  # bytes; the size of a truncate
    name: str
    other: str  # the new name of a rename
    data: bytes


@functools.cache
def library() -> Path | None:
    """The compiled recorder; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    where = Path(tempfile.mkdtemp(prefix="taskpusher-disk-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    made = where / "disk.so"
    line = [compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", made, SOURCE, "-ldl", "-lpthread"]
    subprocess.run(line, check=True)
    return made


def recording(root: Path, log: Path) -> dict[str, str]:
    """The environment of a program whose work below `root` is to be recorded in `log`."""
    return {"LD_PRELOAD": str(library()), "DISK_ROOT": str(root.resolve()), "DISK_LOG": str(log)}


def events(log: Path) -> Iterator[Event]:
    told = log.read_bytes()
    at = 0
    while at < len(told):
        size, kind, dsync, name, other, _, _, fd, moment, offset = HEAD.unpack_from(told, at)
        names = told[at + HEAD.size : at + HEAD.size + name + other].decode()
        data = told[at + HEAD.size + name + other : at + size]
        yield Event(chr(kind), bool(dsync), fd, moment / 1e9, offset, names[:name], names[name:], data)
        at += size
