"""I/O errors: the disk of a tasker fails at its Nth write or sync, for every N.

    python -m tests.proof io-errors --size night --seed 1

EIO: what was under way is not answered, the process ends at once with a failure, and the next one has all
that was answered. ENOSPC, until there is room again: pushes are refused, who looks at jobs sees them, nothing
ends, and the work goes on by itself.
"""

import errno
import http.client
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskpusher.stores.check import check
from tests.acceptance.program import STARTED, Tasker, until
from tests.acceptance.target import Target

from . import Proof
from .load import Load
from .power_cuts import SMALL_MAP, WORKERS, memory, recovered
from .program import ROOT, command
from .recorder import Event, events, recording

LAST = 300  # the highest N
PUSHES = 400  # enough to come to it
ENDS_WITHIN = 1.0  # seconds from EIO to the end of the process
QUICK = {errno.EIO: 9, errno.ENOSPC: 7}  # numbers tried of each error


@dataclass
class Trial:
    """One tasker, one fault."""

    error: int
    at: int
    wrong: list[str] = field(default_factory=list)
    hit: Event | None = None
    took: float = 0.0  # seconds from EIO to the end
    statuses: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        hit = f"{Path(self.hit.name).name} {self.hit.other}" if self.hit else "nothing"
        return f"{errno.errorcode[self.error]} at {self.at} ({hit}): {self.wrong[:3]}"

    def kind(self) -> str:
        assert self.hit
        if Path(self.hit.name).name != "data.mdb":
            return "name or lock"
        return "meta write" if self.hit.dsync else f"data {self.hit.other}"


class Trials:
    """Tries faults below a directory, each on a store of its own."""

    def __init__(self, where: Path, target: Target, seed: int) -> None:
        self.where, self.target, self.seed = where, target, seed

    def try_one(self, error: int, at: int) -> Trial:
        trial = Trial(error, at)
        place = self.where / f"{error}-{at}"
        (place / "disk").mkdir(parents=True)
        load = Load(self.target, hash((self.seed, at)))
        try:
            if error == errno.EIO:
                self._broken(trial, place, load)
            else:
                self._full(trial, place, load)
        except (AssertionError, OSError) as failure:
            trial.wrong.append(f"{failure!r} {(place / 'said').read_text()[-2000:]}")
        return trial

    def _start(self, place: Path, env: dict[str, str]) -> Tasker:
        return Tasker(
            f"--store=lmdb:{place / 'disk' / 'new' / 'db'}", "--address=127.0.0.1:0", "--concurrency=10",
            log=place / "said", command=command(map_size=SMALL_MAP), env=env, cwd=ROOT,
        )  # fmt: skip

    def _faulty(self, trial: Trial, place: Path) -> dict[str, str]:
        fault = {"DISK_FAULT": str(trial.error), "DISK_FAULT_AT": str(trial.at)}
        if trial.error == errno.ENOSPC:
            fault["DISK_FAULT_UNTIL"] = str(place / "room")
        return recording(place / "disk", place / "log") | fault

    # ---- EIO ----------------------------------------------------------------------------------------

    def _broken(self, trial: Trial, place: Path, load: Load) -> None:
        tasker = self._start(place, self._faulty(trial, place))
        try:
            if started(tasker):
                push(tasker, load)
            code = tasker.process.wait(10)
            ended = time.monotonic()
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs: {tasker.said}") from None
        finally:
            tasker.kill()
        trial.hit = next(event for event in events(place / "log") if event.kind == "F")
        trial.took = ended - trial.hit.at
        if code <= 0:
            trial.wrong.append(f"it ended with {code}")
        if trial.took > ENDS_WITHIN:
            trial.wrong.append(f"it ended after {trial.took:.2f} s")
        self._go_on(trial, place, load)

    def _go_on(self, trial: Trial, place: Path, load: Load) -> None:
        """The disk is well again: start, and find everything there."""
        tasker = self._start(place, {})
        try:
            tasker.ready()
            until(lambda: not load.uncalled(), what=lambda: f"never called: {len(load.uncalled())}")
            tasker.stop()
        finally:
            tasker.kill()
        self._look(trial, place, load)

    def _look(self, trial: Trial, place: Path, load: Load) -> None:
        store = place / "disk" / "new" / "db"
        trial.wrong += map(str, check(store).findings)
        there = recovered(store).keys()
        trial.wrong += [f"lost: {uid}" for uid in set(load.answered) - there]
        trial.wrong += [f"invented: {uid}" for uid in there - load.sent.keys()]

    # ---- ENOSPC -------------------------------------------------------------------------------------

    def _full(self, trial: Trial, place: Path, load: Load) -> None:
        tasker = self._start(place, self._faulty(trial, place))
        try:
            served = started(tasker)
            if served:
                with looking(tasker, trial):
                    push(tasker, load)
            trial.hit = next(event for event in events(place / "log") if event.kind == "F")
            if served:
                self._until_there_is_room(tasker, trial, place, load)
            else:
                assert tasker.end() == 3, tasker.said
                (place / "room").touch()
        finally:
            tasker.kill()
        if "Traceback" in tasker.said:
            trial.wrong.append("Traceback")
        self._go_on(trial, place, load)

    def _until_there_is_room(self, tasker: Tasker, trial: Trial, place: Path, load: Load) -> None:
        trial.statuses = {status for status, _ in load.refused}
        assert trial.statuses <= {503, 507}, load.refused
        assert tasker.get("/healthz")[0] == 200
        (place / "room").touch()
        with tasker.connection() as client:
            until(lambda: load.push_one(client), what=lambda: tasker.said)
        until(lambda: not load.uncalled(), what=lambda: tasker.said)
        tasker.stop()


def started(tasker: Tasker) -> bool:
    """Wait until it serves; False: it ended."""
    until(lambda: STARTED.search(tasker.said) or tasker.process.poll() is not None)
    if tasker.process.poll() is not None:
        return False
    found = STARTED.search(tasker.said)
    assert found
    tasker.port = int(found[2].rpartition(":")[2])
    return True


@contextmanager
def looking(tasker: Tasker, trial: Trial) -> Iterator[None]:
    """Somebody looks at the jobs meanwhile, all the time, and always sees them."""
    enough = threading.Event()

    def look() -> None:
        with tasker.connection(5) as client:
            while not enough.is_set():
                status, said = client.ask("GET", "/jobs/waiting?limit=1")
                if status != 200:
                    trial.wrong.append(f"a look was answered {status}: {said}")
                    return

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(look)
        try:
            yield
        finally:
            enough.set()
        seen.result()


def push(tasker: Tasker, load: Load) -> None:
    """One after the other and in batches, until one is not taken."""
    try:
        with tasker.connection(5) as client:
            for number in range(PUSHES):
                if not (load.push_batch if number % 8 == 7 else load.push_one)(client):
                    return
    except (OSError, http.client.HTTPException):
        return  # it ended, or is about to


def numbers(size: str, seed: int) -> list[tuple[int, int]]:
    if size == "night":
        return [(error, at) for at in range(1, LAST + 1) for error in QUICK]
    chance = random.Random(seed)
    return [(error, at) for error, count in QUICK.items() for at in chance.sample(range(1, LAST + 1), count)]


def prove(size: str, seed: int, deadline: float) -> Proof:
    with tempfile.TemporaryDirectory(dir=memory()) as name, Target() as target:
        trials = Trials(Path(name), target, seed)

        def in_time(number: tuple[int, int]) -> Trial | None:
            return trials.try_one(*number) if time.monotonic() < deadline else None

        with ThreadPoolExecutor(WORKERS) as pool:
            tried = [trial for trial in pool.map(in_time, numbers(size, seed)) if trial]
    bad = [trial for trial in tried if trial.wrong]
    details = []
    for error in QUICK:
        kinds: Counter[Any] = Counter(trial.kind() for trial in tried if trial.error == error and trial.hit)
        details.append(
            f"{errno.errorcode[error]}: " + ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
        )
    took = max((trial.took for trial in tried), default=0.0)
    figure = (
        f"{len(tried)} faults at a write or sync, up to the {max(trial.at for trial in tried)}th: "
        f"{len(bad)} bad; after EIO it ended in {took:.2f} s at most"
    )
    return Proof(figure, not bad, details + [str(trial) for trial in bad[:20]])
