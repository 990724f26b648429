"""A full disk and a full map: filled by pushes, drained to nothing, grown while it works.

    python -m tests.proof full-disk --size night

On a file system of 8 MiB pushes are refused in time for all that was taken to be called and settled. A map of
64 KiB is doubled again and again under load, without a restart.
"""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskpusher.stores.check import check
from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target

from . import Proof
from .load import Load
from .power_cuts import memory, recovered
from .program import ROOT, command

SIZES = {"quick": (1_500, 2), "night": (40_000, 5)}  # jobs pushed while the map grows; times a disk is filled
MAP = 1 << 16  # bytes
GROWTH = 5  # times that the map must have doubled
MOST = 20_000  # pushes that a disk of 8 MiB can't hold


class NoMount(Exception):
    """No file system may be mounted here."""


@contextmanager
def small_disk(where: Path) -> Iterator[Path]:
    where.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(where)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoMount("no file system may be mounted here: there is no mount") from error
    if done.returncode:
        raise NoMount(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def wrong_with(store: Path, load: Load) -> list[str]:
    there = recovered(store)
    return [
        *map(str, check(store).findings),
        *(f"lost: {uid}" for uid in set(load.answered) - there.keys()),
        *(f"not completed: {uid}" for uid, (job, _) in there.items() if job.state.value != "completed"),
        *(f"invented: {uid}" for uid in there.keys() - load.sent.keys()),
    ]


def filled_and_drained(where: Path, target: Target, seed: int, times: int) -> tuple[list[str], str]:
    """Fill the disk while calls run, let them end, drain it; and again, with the room that pruning made."""
    load = Load(target, seed, plain=True)
    taken: list[int] = []
    with small_disk(where) as disk:
        options = (f"--store=lmdb:{disk / 'db'}", "--address=127.0.0.1:0", "--concurrency=20", "--keep=1s")
        tasker = Tasker(*options, log=where.with_name("said")).ready()
        try:
            for _ in range(times):
                until(lambda: tasker.number("completed") == 0, 60)  # pruned
                target.held = True
                before = len(load.answered)
                with tasker.connection() as client:
                    until(lambda client=client: load.push_one(client), what=lambda: load.refused[-1])  # type: ignore[misc]
                    while load.push_one(client):
                        assert len(load.answered) < MOST, "8 MiB hold that many?"
                assert {status for status, _ in load.refused} == {507}, load.refused[-1]
                taken.append(len(load.answered) - before)
                target.release()
                until(lambda: not load.uncalled(), 60, lambda: f"never called: {len(load.uncalled())}")
                until(lambda: tasker.number("waiting") + tasker.number("running") == 0, 60)
            tasker.stop()
        finally:
            tasker.kill()
        wrong = [str(finding) for finding in check(disk / "db").findings]
        there = recovered(disk / "db")
    wrong += [f"not completed: {uid}" for uid, (job, _) in there.items() if job.state.value != "completed"]
    wrong += [f"invented: {uid}" for uid in there.keys() - load.sent.keys()]
    calls = Counter(call.uid for call in target.calls)
    wrong += [f"called {n} times: {uid}" for uid, n in calls.items() if n > 1]  # its end was not kept
    if "Traceback" in tasker.said:
        wrong.append("Traceback")
    return wrong, f"a disk filled {times} times: {sum(taken)} pushes taken, then 507; drained to 0"


def grown(where: Path, target: Target, seed: int, jobs: int) -> tuple[list[str], str]:
    """Push and call while the map doubles, and measure how long an answer took."""
    load = Load(target, seed, plain=True)
    target.held = False
    where.mkdir()
    store = where / "db"
    tasker = Tasker(
        f"--store=lmdb:{store}", "--address=127.0.0.1:0", "--concurrency=20",
        log=where / "said", command=command(map_size=MAP), cwd=ROOT,
    ).ready()  # fmt: skip
    try:
        with load.going_on(tasker, load.push_one, load.push_one, load.push_one, load.push_batch):
            until(lambda: len(load.answered) >= jobs or load.refused, 600)
        assert not load.refused, load.refused[:3]
        until(lambda: not load.uncalled(), 120, lambda: f"never called: {len(load.uncalled())}")
        until(lambda: tasker.number("waiting") + tasker.number("running") == 0, 120)
        tasker.stop()
    finally:
        tasker.kill()
    size = (store / "data.mdb").stat().st_size
    wrong = wrong_with(store, load)
    if size < MAP << (GROWTH - 1):
        wrong.append(f"the map grew to {size} bytes alone")
    doubled = (size - 1).bit_length() - (MAP - 1).bit_length()
    told = (
        f"{len(load.answered)} pushes while the map doubled {doubled} times, "
        f"the slowest answered in {load.slowest * 1000:.0f} ms"
    )
    return wrong, told


def prove(size: str, seed: int, deadline: float) -> Proof:
    jobs, times = SIZES[size]
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        with Target() as target:
            wrong, told = grown(Path(name) / "grown", target, seed, jobs)
        with Target() as target:
            more, full = filled_and_drained(Path(name) / "disk", target, seed, times)
    figure = f"{full}; {told}: {len(wrong + more)} bad"
    return Proof(figure, not wrong and not more, (wrong + more)[:10])
