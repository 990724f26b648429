"""Making every index anew from the jobs, in a copy of the store that nobody else has."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from struct import pack, unpack
from typing import Any

import lmdb
import msgspec

from ..errors import StoreUnreadable
from ..job import Job, State, from_record
from .check import DECODERS, Told, go_beyond, is_kept
from .layout import TABLES
from .lmdb import MAP_SIZE
from .numbers import LaneNumbers
from .rows import DERIVED, OutOfRange, rows_of

CHUNK = 10_000  # rows read for one transaction
BESIDE = ("bodies", "results", "attempts")

Txn = Any
SetAside = Callable[[str, bytes, bytes], None]  # table, key, value


def rebuild(path: Path, aside: SetAside | None, told: Told) -> None:
    """Make the indexes of the store at `path` anew, and remove what belongs to no job.

    What can't be read is left, or given to `aside` and removed. Raises lmdb.Error; the copy is useless then.
    """
    map_size = max(MAP_SIZE, 4 * sum(file.stat().st_size for file in path.iterdir()))
    env = lmdb.open(
        str(path), map_size=map_size, max_dbs=len(TABLES) + 8, lock=False, mode=0o700, lib_version=0
    )
    try:
        Rebuild(env, aside, told).run()
    finally:
        env.close()


class Rebuild:
    def __init__(self, env: Any, aside: SetAside | None, told: Told) -> None:
        self._env, self._aside, self._told = env, aside, told
        self._counts: Counter[tuple[State, str]] = Counter()
        self._seq = self._epoch = self._done = 0

    def run(self) -> None:
        with self._env.begin(write=True) as txn:
            self._db = {name: self._env.open_db(name.encode(), txn=txn, create=True) for name in TABLES}
            for name in DERIVED:
                txn.drop(self._db[name], delete=False)
            self._total = sum(txn.stat(self._db[name])["entries"] for name in ("jobs", *BESIDE))
        self._numbers = LaneNumbers(self._db["names"], self._db["meta"])
        self._each("rules", self._rule)
        self._each("jobs", self._job)
        for table in BESIDE:
            self._each(table, partial(self._beside, table))
        with self._env.begin(write=True) as txn:
            self._finish(txn)

    def _each(self, table: str, look: Callable[[Txn, bytes, bytes], None]) -> None:
        """Let `look` see every row, so many a transaction; it may delete that row."""
        after: bytes | None = None
        while True:
            with self._env.begin(write=True) as txn:
                cursor = txn.cursor(self._db[table])
                for _ in range(CHUNK):
                    if not go_beyond(cursor, after):
                        return
                    after, value = cursor.item()
                    look(txn, after, value)
                    self._done += 1
            self._told(min(self._done, self._total), self._total)

    # ---- jobs -------------------------------------------------------------------------------------

    def _job(self, txn: Txn, uid: bytes, record: bytes) -> None:
        try:
            job = from_record(record)
        except StoreUnreadable:
            self._leave(txn, "jobs", uid, record)
            return
        try:
            rows = rows_of(uid, job, lambda lane: self._numbers.key(txn, lane))
        except OutOfRange:
            rows = []
            if self._leave(txn, "jobs", uid, record):
                return
        for table, key, value in rows:
            txn.put(key, value, overwrite=False, db=self._db[table])
        self._counts[job.state, job.queue] += 1
        self._seq = max(self._seq, job.seq)
        self._epoch = max(self._epoch, job.claim >> 32)

    def _finish(self, txn: Txn) -> None:
        for (state, queue), count in self._counts.items():
            key = bytes((tuple(State).index(state),)) + self._numbers.key(txn, (queue, ""))
            txn.put(key, pack(">Q", count), db=self._db["counts"])
        self._raise_to(txn, b"seq", ">Q", self._seq)
        self._raise_to(txn, b"epoch", ">I", self._epoch)

    def _raise_to(self, txn: Txn, name: bytes, form: str, least: int) -> None:
        meta = self._db["meta"]
        if least > unpack(form, txn.get(name, pack(form, 0), db=meta))[0]:
            txn.put(name, pack(form, least), db=meta)

    # ---- what is kept beside ----------------------------------------------------------------------

    def _beside(self, table: str, txn: Txn, key: bytes, value: bytes) -> None:
        record = txn.get(key[:16], db=self._db["jobs"])
        if record is None:
            txn.delete(key, db=self._db[table])
        elif table != "bodies" and not _decodes(table, value):
            self._leave(txn, table, key, value)
        elif table == "attempts" and not _belongs(key, record):
            txn.delete(key, db=self._db[table])

    def _rule(self, txn: Txn, key: bytes, value: bytes) -> None:
        if not _decodes("rules", value):
            self._leave(txn, "rules", key, value)

    def _leave(self, txn: Txn, table: str, key: bytes, value: bytes) -> bool:
        """Set aside what can't be read, a job's with all it has, if that was asked for; whether it was."""
        if self._aside is None:
            return False
        self._aside(table, key, value)
        txn.delete(key, db=self._db[table])
        if table == "jobs":
            for beside in BESIDE:
                cursor = txn.cursor(self._db[beside])
                while cursor.set_range(key) and cursor.key().startswith(key):
                    self._aside(beside, *cursor.item())
                    cursor.delete()
        return True


def _decodes(table: str, value: bytes) -> bool:
    try:
        DECODERS[table](value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


def _belongs(key: bytes, record: bytes) -> bool:
    """Whether the job may have that attempt; one that can't be read may have any."""
    try:
        job: Job = from_record(record)
    except StoreUnreadable:
        return True
    return is_kept(int.from_bytes(key[16:], "big"), job.attempt)
