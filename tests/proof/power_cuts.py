"""Power cuts: the disk of a tasker under load is recorded, and opened as any moment of it may have left it.

    python -m tests.proof power-cuts --size night --seed 1

What was answered before the cut must be there, once and whole; what was told as completed stays so; a call
that went out has its attempt's number on the disk; no index, count or page is wrong. The same is tried
without each of the syncs: where that loses nothing, the proof proves nothing.
"""

import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from taskpusher.job import Job, State, from_record
from taskpusher.stores.check import check, open_tables
from taskpusher.stores.lmdb import LmdbStore
from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target

from . import Proof
from .load import Load
from .program import ROOT, command
from .recorder import Event, events, recording
from .replay import Replay

SMALL_MAP = 1 << 17  # bytes; it grows several times under the load
KEEP = 1.0  # seconds that the second tasker keeps what has ended
WORKERS = os.cpu_count() or 1
PROMISE = re.compile(rb"^HTTP/1.1 201|\r\nTasker-Attempt: ")  # an answered push, or a call
SHM, ENOUGH = Path("/dev/shm"), 1 << 29  # where files that need not last are, if it has so many bytes
OUR_FAULT = 99  # exit code of a judge that could not judge


@dataclass(frozen=True)
class Size:
    jobs: int  # that a recorded tasker is sent, before and after a restart
    images: int  # of each recording
    controls: int  # images of each control
    recordings: int
    resumed: int  # images of each recording on which a tasker is started
    bars: dict[str, float]  # kinds of syncs, and the share of images that must be bad without each


SIZES = {
    "short": Size(150, 40, 20, 1, 1, {"metasync": 0.1, "sync": 0.7, "directories": 0.2}),  # the tests'
    "quick": Size(250, 300, 30, 1, 1, {"metasync": 0.1, "sync": 0.7, "directories": 0.2}),  # of so few
    "night": Size(700, 500, 300, 10, 5, {"metasync": 0.3, "sync": 0.9, "directories": 0.5}),
}


def memory() -> Path | None:
    """A directory in memory, with room enough; None: where other temporary files are."""
    return SHM if SHM.is_dir() and shutil.disk_usage(SHM).free > ENOUGH else None


# ---- recording ----------------------------------------------------------------------------------------


def record(where: Path, target: Target, seed: int, jobs: int, **flags: object) -> None:
    """Leaves in `where`: the log, the disk as it was at the end, what was sent."""
    root, log = where / "disk", where / "log"
    root.mkdir(parents=True)
    more: dict[str, Any] = {
        "command": command(map_size=SMALL_MAP, **flags),
        "env": recording(root, log),
        "cwd": ROOT,
    }
    options = (
        f"--store=lmdb:{root / 'new' / 'db'}",
        "--address=127.0.0.1:0",
        "--grace=0.2",
        "--concurrency=10",
    )
    load = Load(target, seed)
    serve(where, load, jobs, options, more)
    time.sleep(KEEP)  # so that there is something to prune
    serve(where, load, 2 * jobs, (*options, f"--keep={KEEP}s"), more)
    assert not load.refused, load.refused[:3]
    told = {"sent": load.sent, "batches": load.batches, "answered": load.answered}
    (where / "sent.json").write_text(json.dumps(told))


def serve(where: Path, load: Load, jobs: int, options: tuple[str, ...], more: dict[str, Any]) -> None:
    tasker = Tasker(*options, log=where / "said", **more)
    try:
        tasker.ready()
        with load.going_on(tasker, load.push_one, load.push_one, load.push_batch, load.look):
            until(lambda: len(load.answered) >= jobs or load.refused, 60)
        tasker.stop()
    finally:
        tasker.kill()


# ---- what was promised ----------------------------------------------------------------------------------


@dataclass
class Promises:
    """What people and targets had been told when the power went."""

    answered: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    called: dict[str, int] = field(default_factory=dict)  # attempts, by uid
    called_at: dict[str, float] = field(default_factory=dict)  # first
    deleted: set[str] = field(default_factory=set)  # on purpose, or about to be
    now: float = 0.0

    def hear(self, event: Event) -> None:
        self.now = event.at
        if event.kind == "I" and (found := re.match(rb"DELETE /job/(\S+) ", event.data)):
            self.deleted.add(found[1].decode())
        elif event.kind == "O" and event.data.startswith(b"HTTP/1.1 20"):
            self._answered(event.data)
        elif event.kind == "O" and (found := re.search(rb"\r\nTasker-Uid: (\S+)\r\n", event.data)):
            attempt = re.search(rb"\r\nTasker-Attempt: (\d+)\r\n", event.data)
            assert attempt
            uid = found[1].decode()
            self.called[uid] = int(attempt[1])
            self.called_at.setdefault(uid, event.at)

    def _answered(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        if b"application/json" not in head:
            return
        told = json.loads(body)
        if head.startswith(b"HTTP/1.1 201"):
            self.answered |= {told["uid"]} if "uid" in told else set(told["uids"])
        elif told.get("state") == "completed" and "uid" in told:
            self.completed.add(told["uid"])

    def may_be_gone(self, uid: str) -> bool:
        return uid in self.deleted or self.called_at.get(uid, self.now) <= self.now - KEEP


# ---- one image ----------------------------------------------------------------------------------------


def build(image: dict[str, bytes | None], root: Path, where: Path) -> None:
    where.mkdir()
    for name, content in sorted(image.items()):
        path = where / Path(name).relative_to(root)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


def recovered(path: Path) -> dict[str, tuple[Job, str]]:
    """Every job with its body, by uid, after a tasker's own opening of the store."""

    async def open_and_close() -> None:
        store = LmdbStore(path, map_size=1 << 26)
        await store.open("node", lambda job: ())
        await store.close()

    asyncio.run(open_and_close())
    with lmdb.open(str(path), max_dbs=32, readonly=True, lib_version=0) as env:
        tables = open_tables(env)
        with env.begin() as txn:
            return {
                job.uid: (job, txn.get(uid, b"", db=tables["bodies"]).decode())
                for uid, record in txn.cursor(tables["jobs"])
                if (job := from_record(record))
            }


def faults(path: Path, promises: Promises, sent: dict[str, Any], batches: list[list[str]]) -> list[str]:
    """What is wrong with a store after a power cut."""
    try:
        jobs = recovered(path)
        found = [f"{finding}" for finding in check(path).findings]
    except Exception as error:
        return [f"refused: {error!r}"]
    there = jobs.keys()
    lost = {uid for uid in promises.answered - there if not promises.may_be_gone(uid)}
    found += [f"lost: {uid}" for uid in lost]
    found += [f"invented: {uid}" for uid in there - sent.keys()]
    for uid, (job, body) in jobs.items():
        if uid in sent and [job.target, body] != sent[uid]:
            found.append(f"changed: {uid}")
        if uid in promises.completed and job.state is not State.COMPLETED:
            found.append(f"no longer completed: {uid} is {job.state}")
        if job.attempt < promises.called.get(uid, 0):
            found.append(f"called before it was claimed: {uid}")
    for batch in batches:
        kept = {uid for uid in batch if uid in there}
        gone = {uid for uid in batch if uid not in there and not promises.may_be_gone(uid)}
        if kept and gone:
            found.append(f"half a batch: {len(kept)} of {len(batch)}")
    return found


def judged_apart(judge: Callable[[], list[str]]) -> list[str]:
    """The faults, found by a process of its own: LMDB may end it over a file that is damaged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(30)
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.write(json.dumps(judge()))
        except BaseException:
            traceback.print_exc()
            os._exit(OUR_FAULT)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code != OUR_FAULT
    return [f"died: {code}"] if code else list(json.loads(told))


# ---- many images --------------------------------------------------------------------------------------


def moments(recorded: list[Event], count: int, seed: int, control: bool) -> list[int]:
    """Where to cut: a quarter while the store is first made, half right after something was promised, the
    others at any time. A control is cut where something was promised."""
    chance = random.Random(seed)
    told = [n + 1 for n, event in enumerate(recorded) if event.kind == "O" and PROMISE.search(event.data)]
    soon = count if control else count // 2
    early = (count - soon) // 2
    return sorted(
        [
            *(chance.randint(0, told[0]) for _ in range(early)),
            *(chance.choice(told) for _ in range(soon)),
            *(chance.randint(told[0], len(recorded)) for _ in range(count - early - soon)),
        ]
    )


def judge_all(where: Path, count: int, seed: int, part: int, control: bool, deadline: float) -> None:
    """Judge every WORKERS-th image; prints a line of JSON for each."""
    recorded, told = list(events(where / "log")), json.loads((where / "sent.json").read_text())
    root = (where / "disk").resolve()
    replay, promises = Replay(recorded, root), Promises()
    locks = (root / "new" / "db" / "lock.mdb").read_bytes()
    for number, cut in enumerate(moments(recorded, count, seed, control)):
        if number % WORKERS != part:
            continue
        if time.monotonic() > deadline:
            return
        for event in recorded[replay.at : cut]:
            promises.hear(event)
        replay.advance(cut)
        chance = random.Random(f"{seed}/{number}")
        image = replay.cut(chance)
        for name in image:
            if name.endswith("db/lock.mdb") and chance.random() < 0.5:
                image[name] = locks  # which is mapped memory: it may be there as it was at any time
        at = where / f"image-{part}"
        build(image, root, at)
        store = at / "new" / "db"
        bad = judged_apart(lambda store=store: faults(store, promises, told["sent"], told["batches"]))  # type: ignore[misc]
        print(json.dumps([number, cut, bad]), flush=True)
        shutil.rmtree(at)


def judge_images(where: Path, count: int, seed: int, control: bool, deadline: float) -> list[Any]:
    line = [sys.executable, "-m", __name__, str(where), str(count), str(seed)]
    judges = [
        subprocess.Popen(
            [*line, str(part), str(int(control)), str(deadline)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if control else None,  # LMDB tells of what it dies of
            cwd=ROOT,
        )
        for part in range(WORKERS)
    ]
    said = [judge.communicate()[0] for judge in judges]
    assert not any(judge.returncode for judge in judges), "a judge failed"
    return [json.loads(line) for part in said for line in part.splitlines()]


def incomplete(where: Path) -> list[str]:
    """What a replay of everything does not make as it is; the recorder must be complete."""
    recorded = list(events(where / "log"))
    root = (where / "disk").resolve()
    replay, promises = Replay(recorded, root), Promises()
    replay.advance(len(recorded))
    for event in recorded:
        promises.hear(event)
    made = replay.whole()
    real = {str(path): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}
    wrong = sorted(made.keys() ^ real.keys())
    wrong += [
        name for name in made if made[name] != real.get(name) and not name.endswith("lock.mdb")
    ]  # which is mapped memory
    answered = set(json.loads((where / "sent.json").read_text())["answered"])
    wrong += sorted(answered ^ promises.answered)
    return wrong


def counted(where: Path) -> str:
    recorded = list(events(where / "log"))
    kinds = Counter(event.kind for event in recorded)
    metas = sum(event.dsync and event.kind == "W" for event in recorded)
    return (
        f"{len(recorded)} events: {kinds['W']} writes, {metas} of them through O_DSYNC, {kinds['s']} syncs, "
        f"{sum(kinds[kind] for kind in 'CMRUT')} changes of names and sizes"
    )


def unfinished(where: Path, target: Target, seed: int, plan: Size) -> list[str]:
    """Jobs that a tasker started after a power cut does not bring to their end."""
    recorded, root = list(events(where / "log")), (where / "disk").resolve()
    wrong: list[str] = []
    for number in range(plan.resumed):
        chance = random.Random(f"{seed}/{number}/resumed")
        cut = chance.randrange(len(recorded) // 2, len(recorded))
        replay, promises = Replay(recorded, root), Promises()
        replay.advance(cut)
        for event in recorded[:cut]:
            promises.hear(event)
        at = where / f"resumed-{number}"
        build(replay.cut(chance), root, at)
        called = len(target.calls)
        options = (f"--store=lmdb:{at / 'new' / 'db'}", "--address=127.0.0.1:0", "--concurrency=50")
        tasker = Tasker(*options, log=where / "said").ready()
        try:
            until(lambda tasker=tasker: not tasker.get("/jobs/running")[1]["total"] and not due(tasker))  # type: ignore[misc]
            paused, later = set(tasker.uids("paused")), set(tasker.uids("waiting"))
            tasker.stop()
        finally:
            tasker.kill()
        left = {call.uid for call in target.calls[called:]} | promises.called.keys() | paused | later
        wrong += sorted(promises.answered - promises.deleted - left)
        shutil.rmtree(at)
    return wrong


def due(tasker: Tasker) -> bool:
    """Whether a job waits that has not been tried yet, and may be."""
    jobs = [job for page in tasker.pages("/jobs/waiting") for job in page]
    return any(job["attempt"] == 0 and job["queue"] == "default" for job in jobs)


def prove(size: str, seed: int, deadline: float) -> Proof:
    plan = SIZES[size]
    details: list[str] = []
    bad: list[str] = []
    images = resumed = 0
    with tempfile.TemporaryDirectory(dir=memory()) as name, Target() as target:
        for number in range(seed, seed + plan.recordings):
            if images and time.monotonic() > deadline:
                break
            where = Path(name) / f"{number}"
            record(where, target, number, plan.jobs)
            assert not (wrong := incomplete(where)), f"the recorder missed something: {wrong[:5]}"
            details.append(f"recording {number}: {counted(where)}; replayed, it is the disk byte for byte")
            verdicts = judge_images(where, plan.images, number, False, deadline)
            images += len(verdicts)
            bad += [f"seed {number}, image {n}, cut {cut}: {told[:3]}" for n, cut, told in verdicts if told]
            bad += [f"seed {number}: never called: {uid}" for uid in unfinished(where, target, number, plan)]
            resumed += plan.resumed
            shutil.rmtree(where)
        for flag, bar in plan.bars.items():
            where = Path(name) / flag
            record(where, target, seed, plan.jobs, **{flag: False})
            verdicts = judge_images(where, plan.controls, seed, True, time.monotonic() + 120)
            share = sum(bool(told) for _, _, told in verdicts) / len(verdicts)
            details.append(f"{flag}=False: {share:.0%} of {len(verdicts)} images bad (bar: {bar:.0%})")
            if share < bar:
                bad.append(f"the control {flag}=False was not found out: {share:.0%} bad")
            shutil.rmtree(where)
    figure = f"{images} images after a power cut, {resumed} of them worked off by a tasker: {len(bad)} bad"
    return Proof(figure, not bad, details + bad[:10])


if __name__ == "__main__":
    directory, *numbers, until_when = sys.argv[1:]
    count, seed, part, after = map(int, numbers)
    judge_all(Path(directory), count, seed, part, bool(after), float(until_when))
