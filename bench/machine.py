"""The machine that is measured, and what runs on it."""

import importlib.metadata
import os
import platform
import re
import statistics
import time
from pathlib import Path
from typing import Any

from . import programs

PACKAGES = ("taskpusher", "lmdb", "uvloop", "httptools", "msgspec", "starlette", "uvicorn")
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
SYNCS = 200


def facts(directory: Path) -> dict[str, Any]:
    """What decides the figures. Raises ValueError for a directory that is not on a disk."""
    kind = file_system(directory)
    if kind in IN_MEMORY:
        raise ValueError(f"--dir: {directory} is {kind}, which syncs nothing; name a directory on a disk")
    return {
        "cpu": _first(r"model name\s*: (.*)", Path("/proc/cpuinfo")) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_first(r"MemTotal:\s*(\d+)", Path("/proc/meminfo")) or 0) / (1 << 20), 1),
        "system": f"{_system()}, Linux {platform.release()}",
        "file_system": kind,
        "sync_ms": round(sync_time(directory) * 1000, 3),
    }


def file_system(directory: Path) -> str:
    """The kind of the mount that the directory is on."""
    best, kind = "", "unknown"
    where = str(directory.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, found, *_ = line.split(" ")
        inside = point == "/" or where == point or where.startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind


def sync_time(directory: Path) -> float:
    """Seconds that one synced write of 4 KiB takes: the median of some."""
    path, took = directory / "synced", []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    path.unlink()
    return statistics.median(took)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in PACKAGES}
    return found | {name: programs.version(name) or "missing" for name in programs.VERSION_OPTIONS}


def load() -> float:
    """How many programs wanted to run in the last minute, those of the part before included."""
    return round(os.getloadavg()[0], 2)


def others(seconds: float = 1.0) -> float:
    """How many cores are busy while the bench does nothing: with what else runs here, or on its host."""
    before = _busy()
    time.sleep(seconds)
    return round(max(0.0, _busy() - before) / seconds, 2)


def _busy() -> float:
    """Seconds of all cores that were not idle."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    values = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    spent = dict(zip(names, values, strict=False))
    return sum(spent.values(), -spent["idle"] - spent["iowait"]) / os.sysconf("SC_CLK_TCK")


def _system() -> str:
    return (_first(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release")) or "Linux").strip()


def _first(pattern: str, path: Path) -> str | None:
    found = re.search(pattern, path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else None
