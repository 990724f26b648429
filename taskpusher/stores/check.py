"""Every index held against the jobs, and the jobs against themselves.

Rows are compared where they lie: each job's rows are looked up, and each row's job, so memory holds one row
and no list. Most of it is read in slices, each a read transaction of its own: whatever a tasker commits
meanwhile, all that belongs to one job is seen at one moment, and no old reader keeps pages from being used
again. The counts alone need one moment for all jobs: one pass over their records.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import unpack
from typing import Any

import lmdb
import lmdb.verify
import msgspec

from ..errors import StoreUnreadable
from ..job import FINISHED, AttemptRecord, Job, Result, State, from_record
from .access import look, reading
from .base import ATTEMPTS_KEPT, QueueRule
from .directory import DATA
from .findings import Fault, Findings, Report, named
from .layout import TABLES
from .numbers import short_hash
from .rows import BY_JOB, OutOfRange, rows_of, uid_in

SLICE = 1000  # rows read in one transaction
NO_LANE = b""  # of a lane without a number: no key begins like that and is as long

Txn = Any
Told = Callable[[int, int], None]  # rows done, rows in all

DECODERS = {
    "results": msgspec.msgpack.Decoder(Result).decode,
    "attempts": msgspec.msgpack.Decoder(AttemptRecord).decode,
    "rules": msgspec.msgpack.Decoder(QueueRule).decode,
}


def quietly(done: int, total: int) -> None:
    """For who does not want to be told."""


def check(path: Path, told: Told = quietly) -> Report:
    """The store at `path`, whether a tasker runs or not. Raises StoreLocked, StoreUnreadable."""
    with look(path) as env:
        before = env.info()["last_txnid"]
        damage = damaged_pages(path)
        if env.info()["last_txnid"] != before:  # what was read is of several moments
            return _report(env, path, [], "not looked at: a tasker was writing", told)
        return _report(env, path, damage, "sound", told)


def check_copy(path: Path, told: Told = quietly) -> Report:
    """The same for a store in the making, which nobody else knows of."""
    damage = damaged_pages(path)
    with reading(path, lock=False) as env:
        return _report(env, path, damage, "sound", told)


def damaged_pages(path: Path) -> list[str]:
    """What is wrong with the pages of the file, read without LMDB, which may crash on them."""
    try:
        return [str(one) for one in lmdb.verify.verify(str(path))]  # type: ignore[no-untyped-call]
    except (lmdb.verify.VerifyError, OSError) as error:
        return [str(error)]


def _report(env: Any, path: Path, damage: list[str], pages: str, told: Told) -> Report:
    if damage:
        found = Findings()
        for one in damage:
            found.add(DATA, Fault.DAMAGED, "page", one)
        return Report(str(path), 0, 0, (path / DATA).stat().st_size, 0, "damaged", found.all())
    seen = Check(env, told)
    seen.run()
    size, free = room_of(env)
    return Report(str(path), seen.jobs, seen.rows, size, free, pages, seen.found.all())


def room_of(env: Any) -> tuple[int, int]:
    """Bytes of the file, and how many of them nothing uses."""
    tables = open_tables(env)
    with env.begin() as txn:
        whole = env.info()["last_pgno"] + 1
        stats = [env.stat(), *(txn.stat(db) for db in tables.values())]
    taken = sum(one["branch_pages"] + one["leaf_pages"] + one["overflow_pages"] for one in stats)
    return whole * stats[0]["psize"], max(0, whole - taken) * stats[0]["psize"]


def open_tables(env: Any) -> dict[str, Any]:
    """The tables that are there."""
    tables = {}
    for name in TABLES:
        try:
            tables[name] = env.open_db(name.encode(), create=False)
        except lmdb.NotFoundError:
            continue
    return tables


class Check:
    """One look at everything."""

    def __init__(self, env: Any, told: Told) -> None:
        self._env, self._told = env, told
        self.found = Findings()
        self.jobs = self.rows = 0
        self._db = open_tables(env)
        with env.begin() as txn:
            walked = [db for name, db in self._db.items() if name != "meta"]
            self._total = sum(txn.stat(db)["entries"] for db in walked)
            self._total += txn.stat(self._db["jobs"])["entries"]
        self._lanes: dict[tuple[str, str], bytes] = {}  # their numbers, in this transaction

    def run(self) -> None:
        parts = [
            ("jobs", self._jobs), *((table, lambda table=table: self._index(table)) for table in BY_JOB),
            ("bodies", self._bodies), ("results", self._results), ("attempts", self._attempts),
            ("rules", self._rules), ("names", self._names), ("counts", self._counts),
        ]  # fmt: skip
        for table, part in parts:
            try:
                part()
            except (lmdb.CorruptedError, lmdb.PageNotFoundError) as error:
                self.found.add(table, Fault.DAMAGED, "page", f"the rest of the table can't be read: {error}")

    # ---- reading ----------------------------------------------------------------------------------

    def _walk(self, table: str) -> Iterator[tuple[Txn, bytes, bytes]]:
        """Every row, with a transaction in which to look at what belongs to it."""
        if table not in self._db:
            return
        after: bytes | None = None
        while True:
            with self._begin() as txn:
                self._lanes.clear()
                cursor = txn.cursor(self._db[table])
                for _ in range(SLICE):
                    if not go_beyond(cursor, after):
                        return
                    after, value = cursor.item()
                    self.rows += 1
                    yield txn, after, value
            self._told(self.rows, self._total)

    def _begin(self) -> Txn:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:  # the tasker has made its map bigger
            self._env.set_mapsize(0)
            return self._env.begin()

    def _get(self, txn: Txn, table: str, key: bytes) -> bytes | None:
        value: bytes | None = txn.get(key, db=self._db[table]) if table in self._db else None
        return value

    def _job(self, txn: Txn, uid: bytes) -> Job | str:
        """The job; or why there is none."""
        record = self._get(txn, "jobs", uid) if len(uid) == 16 else None
        if record is None:
            return "there is no such job"
        try:
            return from_record(record)
        except StoreUnreadable as error:
            return str(error)

    def _number(self, txn: Txn) -> Callable[[tuple[str, str]], bytes]:
        def number(lane: tuple[str, str]) -> bytes:
            found = self._lanes.get(lane)
            if found is None:
                found = self._get(txn, "names", short_hash("\0".join(lane))) or NO_LANE
                self._lanes[lane] = found
            return found

        return number

    # ---- jobs and their rows ----------------------------------------------------------------------

    def _jobs(self) -> None:
        for txn, uid, record in self._walk("jobs"):
            self.jobs += 1
            try:
                job = from_record(record)
                rows = rows_of(uid, job, self._number(txn))
            except (StoreUnreadable, OutOfRange) as error:
                self.found.add("jobs", Fault.UNREADABLE, uid, str(error))
                continue
            for odd in contradictions(uid, job):
                self.found.add("jobs", Fault.INCONSISTENT, uid, odd)
            if job.body_size and "bodies" in self._db and not txn.cursor(self._db["bodies"]).set_key(uid):
                self.found.add("bodies", Fault.INCONSISTENT, uid, f"its {job.body_size} bytes are gone")
            for table, key, value in rows:
                self._row(txn, job, uid, table, key, value)
            self._counters(txn, uid, job)

    def _row(self, txn: Txn, job: Job, uid: bytes, table: str, key: bytes, value: bytes) -> None:
        there = self._get(txn, table, key)
        if there == value:
            return
        if table == "running" and there is not None:
            told = there.decode(errors="replace")
            self.found.add(table, Fault.WRONG, uid, f"it says {told!r} owns it, the job {job.owner!r}")
            return
        if there is not None and self._has(txn, there, self._job(txn, there), table, key):
            what = "key" if table == "keys" else "place"
            self.found.add(table, Fault.SHARED, uid, f"job {named(there)} has the same {what}")
        else:
            self.found.add(table, Fault.MISSING, uid, f"the job is {job.state} and not in it")

    def _has(self, txn: Txn, uid: bytes, job: Job | str, table: str, key: bytes) -> bool:
        """Whether that job has that row."""
        try:
            return isinstance(job, Job) and any(
                row[:2] == (table, key) for row in rows_of(uid, job, self._number(txn))
            )
        except OutOfRange:
            return False

    def _counters(self, txn: Txn, uid: bytes, job: Job) -> None:
        """What the store gives next must be new."""
        seq = unpack(">Q", self._get(txn, "meta", b"seq") or bytes(8))[0]
        epoch = unpack(">I", self._get(txn, "meta", b"epoch") or bytes(4))[0]
        if job.seq > seq:
            self.found.add("meta", Fault.BEHIND, uid, f"seq is {seq}, the job's is {job.seq}")
        if job.claim >> 32 > epoch:
            self.found.add("meta", Fault.BEHIND, uid, f"epoch is {epoch}, the job's claim {job.claim >> 32}")

    def _index(self, table: str) -> None:
        for txn, key, value in self._walk(table):
            uid = uid_in(table, key, value)
            job = self._job(txn, uid)
            if isinstance(job, str):
                self.found.add(table, Fault.STRAY, uid, job)
            elif not self._has(txn, uid, job, table, key):
                self.found.add(table, Fault.STRAY, uid, f"the job is {job.state} and has no such row")

    # ---- what is kept beside ----------------------------------------------------------------------

    def _bodies(self) -> None:
        for txn, uid, body in self._walk("bodies"):
            job = self._beside(txn, "bodies", uid)
            if job is not None and job.body_size != len(body):
                told = f"it has {len(body)} bytes, the job says {job.body_size}"
                self.found.add("bodies", Fault.INCONSISTENT, uid, told)

    def _results(self) -> None:
        for txn, uid, value in self._walk("results"):
            self._beside(txn, "results", uid)
            self._readable("results", uid, value)

    def _attempts(self) -> None:
        for txn, key, value in self._walk("attempts"):
            job = self._beside(txn, "attempts", key[:16])
            note = self._readable("attempts", key, value)
            if job is None or note is None:
                continue
            number = int.from_bytes(key[16:], "big")
            if not is_kept(number, job.attempt):
                told = f"number {number}, of a job at its attempt {job.attempt}"
                self.found.add("attempts", Fault.ORPHANED, key[:16], told)
            elif note.number != number:
                told = f"the note at number {number} says {note.number}"
                self.found.add("attempts", Fault.INCONSISTENT, key[:16], told)

    def _beside(self, txn: Txn, table: str, uid: bytes) -> Job | None:
        if self._get(txn, "jobs", uid) is None:
            self.found.add(table, Fault.ORPHANED, uid, "there is no such job")
            return None
        job = self._job(txn, uid)
        return job if isinstance(job, Job) else None

    def _readable(self, table: str, key: bytes, value: bytes) -> Any:
        try:
            return DECODERS[table](value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.found.add(table, Fault.UNREADABLE, key[:16], str(error))
            return None

    def _rules(self) -> None:
        for _, key, value in self._walk("rules"):
            rule = self._readable("rules", key, value)
            if rule is not None and short_hash(rule.name) != key:
                self.found.add("rules", Fault.INCONSISTENT, key, f"it is kept where {rule.name!r} is not")

    # ---- names and counts -------------------------------------------------------------------------

    def _names(self) -> None:
        for txn, key, value in self._walk("names"):
            if len(key) == 4:
                text = value.decode(errors="replace")
                if self._get(txn, "names", short_hash(text)) != key:
                    self.found.add("names", Fault.WRONG, key, f"{text!r} has another number, or none")
                elif not self._is_used(txn, key):
                    self.found.add("names", Fault.UNUSED, key, f"no job waits or counts under {text!r}")
            else:
                there = self._get(txn, "names", value)
                if there is None or short_hash(there.decode(errors="replace")) != key:
                    self.found.add(
                        "names", Fault.WRONG, key, f"number {value.hex()} has another name, or none"
                    )

    def _is_used(self, txn: Txn, number: bytes) -> bool:
        cursor = txn.cursor(self._db["ready"])
        if cursor.set_range(number) and cursor.key().startswith(number):
            return True
        return any(self._get(txn, "counts", bytes((code,)) + number) for code in range(len(State)))

    def _counts(self) -> None:
        """Of one moment; but for records that can't be read, which nobody can count."""
        counted: Counter[tuple[State, str]] = Counter()
        kept: dict[tuple[State, str], int] = {}
        with self._begin() as txn:
            for number, (_, record) in enumerate(txn.cursor(self._db["jobs"])):
                try:
                    job = from_record(record)
                    counted[job.state, job.queue] += 1
                except StoreUnreadable:
                    continue
                if number % SLICE == 0:
                    self._told(self.rows + number, self._total)
            for key, value in txn.cursor(self._db["counts"]) if "counts" in self._db else ():
                self.rows += 1
                slot = self._slot(txn, key)
                if slot is None or len(value) != 8:
                    self.found.add("counts", Fault.STRAY, key, "it is no queue's count")
                else:
                    kept[slot] = unpack(">Q", value)[0]
        for slot in sorted(counted.keys() | kept.keys()):
            if kept.get(slot, 0) != counted[slot]:
                told = f"{kept.get(slot, 0)} are told, {counted[slot]} are there"
                self.found.add("counts", Fault.MISCOUNTED, f"{slot[0]} in {slot[1]}", told)
        self._told(self._total, self._total)

    def _slot(self, txn: Txn, key: bytes) -> tuple[State, str] | None:
        name = self._get(txn, "names", key[1:]) if len(key) == 5 and key[0] < len(State) else None
        return (
            None if name is None else (tuple(State)[key[0]], name.decode(errors="replace").partition("\0")[0])
        )


def go_beyond(cursor: Any, after: bytes | None) -> bool:
    """The first row, or the one behind `after`, which may have gone."""
    if after is None:
        return bool(cursor.first())
    if cursor.key() == after:
        return bool(cursor.next())
    return bool(cursor.set_range(after + b"\0"))


def is_kept(number: int, attempt: int) -> bool:
    """Whether a job at that attempt has a note of that number."""
    return max(0, attempt - ATTEMPTS_KEPT) < number <= attempt


def contradictions(uid: bytes, job: Job) -> Iterator[str]:
    """What can't be so by the moves of job.py."""
    running, finished = job.state is State.RUNNING, job.state in FINISHED
    if job.uid != named(uid):
        yield f"it says its uid is {job.uid}"
    if running and not (job.claim and job.owner and job.attempt):
        yield "it runs without a claim, an owner or an attempt"
    if not running and job.claim:
        yield f"it is {job.state} and claimed"
    if finished and not job.finished_ms:
        yield f"it is {job.state} and has no time of finishing"
    if not finished and job.finished_ms:
        yield f"it is {job.state} and has a time of finishing"
    if job.state is State.ERROR and job.error is None:
        yield "it is in error without one"
    if job.state is State.COMPLETED and not job.attempt:
        yield "it is completed without an attempt"
    if job.blocked_by and job.state is not State.WAITING:
        yield f"it is {job.state} and waits for {job.blocked_by}"
    if not job.seq:
        yield "it has no seq"
    if job.failures > job.attempt or job.crashes > job.attempt:
        yield f"it has more failures or crashes than its {job.attempt} attempts"
