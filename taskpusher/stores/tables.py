"""What each change does to the tables of LMDB (see layout.py), and what memory keeps of them.

All of it is used in the one transaction that writes; readers have transactions of their own (see lmdb.py).
"""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from struct import pack, unpack
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from ..errors import ClaimLost, KeyTaken, StaleEdit, UidTaken, UnknownJob
from ..job import FINISHED, LIVE, AttemptRecord, Job, State, from_record, to_record
from .base import ATTEMPTS_KEPT, Add, Caps, Change, Details, Edit, Note, QueueRule, Remove, Settle, Written
from .counts import Counts
from .lanes import Head, Lane, Lanes, Taken
from .layout import (
    NOTE,
    TABLES,
    Txn,
    decode_attempt,
    decode_result,
    decode_rule,
    encode,
    finished_key,
    pack_place,
    readable,
    uid_key,
    unpack_place,
)
from .numbers import LaneNumbers, short_hash
from .walks import prefixed

logger = logging.getLogger("taskpusher")

Moved = tuple[Job | None, Job | None, bytes]  # a job before and after a change, and its key


class Tables:
    """The tables and what is derived from them in memory; `load` makes the latter anew after an abort."""

    def __init__(self, env: Any, caps: Caps, owner: str, epoch: int) -> None:
        self.attach(env)
        self.caps = caps
        self.owner = owner
        self._last_claim = epoch << 32
        self.txn: Txn = None

    def attach(self, env: Any) -> None:
        """Use that environment from now on; `load` has to follow."""
        self._env = env
        with env.begin(write=True) as txn:
            self._db = {name: env.open_db(name.encode(), txn=txn, create=True) for name in TABLES}
        self._jobs, self._ready, self._due = self._db["jobs"], self._db["ready"], self._db["due"]

    def db(self, name: str) -> Any:
        return self._db[name]

    # ---- what is kept in memory -------------------------------------------------------------------

    def load(self, txn: Txn) -> None:
        """Read what memory derives from the tables: costs what runs and the number of lanes."""
        self.txn = txn
        self.numbers = LaneNumbers(self._db["names"], self._db["meta"])
        self.counts = Counts(txn, self._db["counts"], self.numbers)
        self.running: dict[str, tuple[bytes, Job]] = {}  # by uid: key, as stored; settling need not read
        self.lanes = Lanes(self._peek)
        self._seq = self._saved_seq = int(unpack(">Q", txn.get(b"seq", bytes(8), db=self._db["meta"]))[0])
        for _, value in txn.cursor(self._db["rules"]):
            self.lanes.ruled(decode_rule(value))
        for uid, _ in txn.cursor(self._db["running"]):
            if (job := readable(uid, txn.get(uid, db=self._jobs))) is not None:
                self.running[job.uid] = (uid, job)
                self.lanes.started(job.queue, self.caps(job))
        self._load_heads(txn)

    def _load_heads(self, txn: Txn) -> None:
        cursor = txn.cursor(self._ready)
        found = cursor.first()
        while found:
            key, uid = cursor.item()
            lane = self.numbers.lane(txn, key[:4])
            self.lanes.added(lane, key[4], (*unpack_place(key[5:]), uid))
            found = cursor.set_range(key[:4] + bytes([key[4] + 1]))

    def _peek(self, lane: Lane, priority: int, count: int) -> list[Head]:
        """The first jobs that wait in that lane with that priority."""
        prefix = self.numbers.key(self.txn, lane) + bytes((priority,))
        heads: list[Head] = []
        for key, uid in prefixed(self.txn.cursor(self._ready), prefix):
            heads.append((*unpack_place(key, 5), uid))
            if len(heads) == count:
                break
        return heads

    # ---- one batch --------------------------------------------------------------------------------

    def begin(self, txn: Txn) -> None:
        self.txn = txn
        self.numbers.begin()

    def finish(self) -> None:
        """Write what the batch changed in memory; the last step before its commit."""
        txn = self.txn
        self.counts.save(txn)
        if self._seq != self._saved_seq:
            txn.put(b"seq", pack(">Q", self._seq), db=self._db["meta"])
            self._saved_seq = self._seq
        for lane in self.lanes.gone():
            self.numbers.remove(txn, lane)

    def write(self, changes: Sequence[Change], at_once: int) -> Generator[None, None, list[Written]]:
        """Make all of the changes, or raise and leave none of them; comes up for air after `at_once` each.

        A single change is refused, if at all, before it has put anything; several run in a child transaction.
        """
        moved: list[Moved] = []
        if len(changes) == 1:
            written = [self._apply(changes[0], moved)]
        else:
            written = yield from self._write_several(changes, moved, at_once)
        for number, (before, after, uid) in enumerate(moved, 1):
            self.moved(before, after, uid)
            if number % at_once == 0:
                yield
        for change in changes:
            if isinstance(change, QueueRule):
                self.lanes.ruled(change)
        return written

    def _write_several(
        self, changes: Sequence[Change], moved: list[Moved], at_once: int
    ) -> Generator[None, None, list[Written]]:
        written: list[Written] = []
        with self.apart():
            for change in changes:
                written.append(self._apply(change, moved))
                if len(written) % at_once == 0:
                    yield
        return written

    @contextmanager
    def apart(self) -> Iterator[None]:
        """In a transaction within that of the batch: an error leaves nothing of what was put in it."""
        outer = self.txn
        self.numbers.begin()
        try:
            with self._env.begin(write=True, parent=outer) as self.txn:
                yield
        except BaseException:
            self.numbers.forget_new()
            raise
        finally:
            self.txn = outer

    def _apply(self, change: Change, moved: list[Moved]) -> Written:
        if isinstance(change, Settle):
            return self._settle(change, moved)
        if isinstance(change, Add):
            return self._add(change, moved)
        if isinstance(change, Edit):
            return self._edit(change, moved)
        if isinstance(change, Remove):
            return self._remove(change, moved)
        if isinstance(change, Note):
            return self._note(change)
        if change == QueueRule(change.name):
            self.txn.delete(short_hash(change.name), db=self._db["rules"])
        else:
            self.txn.put(short_hash(change.name), encode(change), db=self._db["rules"])
        return Written(None)

    # ---- the changes ------------------------------------------------------------------------------

    def _add(self, change: Add, moved: list[Moved]) -> Written:
        uid = uid_key(change.job.uid)
        if (found := self._job(uid)) is not None:
            if found.fingerprint and found.fingerprint == change.job.fingerprint:
                return Written(found, existing=True)
            raise UidTaken(found.uid)
        key = change.job.key
        if key and (holder := self.txn.get(short_hash(key), db=self._db["keys"])):
            return Written(self._job(holder), existing=True)
        if change.refusal is not None:
            raise change.refusal
        job = replace(change.job, seq=self.new_seq())
        self.put(uid, None, job)
        if change.body:
            self.txn.put(uid, change.body, db=self._db["bodies"])
        moved.append((None, job, uid))
        return Written(job)

    def _settle(self, change: Settle, moved: list[Moved]) -> Written:
        job = change.job
        uid = uid_key(job.uid)
        # what an earlier change of the same write did is not in memory yet
        before = self._job(uid) if moved else self.running.get(job.uid, (uid, None))[1]
        if before is None or before.state is not State.RUNNING or before.claim != change.claim:
            raise ClaimLost(job.uid)
        if before.revision != job.revision - 1:  # progress or a wish came in while it ran
            wish = before.wish if job.state is State.WAITING else None
            job = replace(job, revision=before.revision + 1, progress=before.progress, wish=wish)
        result = None if change.result is None else encode(change.result)
        attempt = None if change.attempt is None else encode(change.attempt)  # what may raise, before puts
        self.put(uid, before, job)
        self._note_attempt(uid, change.attempt, attempt)
        if result is not None:
            self.txn.put(uid, result, db=self._db["results"])
        moved.append((before, job, uid))
        self._push(change.then, moved)
        return Written(job)

    def _edit(self, change: Edit, moved: list[Moved]) -> Written:
        job = change.job
        uid = uid_key(job.uid)
        before = self._unchanged(uid, job.uid, job.revision - 1)
        attempt = None if change.attempt is None else encode(change.attempt)
        self.put(uid, before, job)
        if change.body is not None:
            if change.body:
                self.txn.put(uid, change.body, db=self._db["bodies"])
            else:
                self.txn.delete(uid, db=self._db["bodies"])
        self._note_attempt(uid, change.attempt, attempt)
        moved.append((before, job, uid))
        self._push(change.then, moved)
        return Written(job)

    def _push(self, adds: Sequence[Add], moved: list[Moved]) -> list[Job]:
        """Add what goes with a change that has been made; what can't be added is left out."""
        pushed = []
        for add in adds:
            try:
                written = self._add(add, moved)
            except UidTaken as error:
                logger.warning("left out a job that goes with another one: %s", error)
                continue
            if written.job is not None and not written.existing:
                pushed.append(written.job)
        return pushed

    def _remove(self, change: Remove, moved: list[Moved]) -> Written:
        uid = uid_key(change.uid)
        before = self._unchanged(uid, change.uid, change.revision)
        self.put(uid, before, None)
        for table in ("bodies", "results"):
            self.txn.delete(uid, db=self._db[table])
        for number in range(max(1, before.attempt - ATTEMPTS_KEPT + 1), before.attempt + 1):
            self.txn.delete(uid + pack(">I", number), db=self._db["attempts"])
        moved.append((before, None, uid))
        return Written(None)

    def _note(self, change: Note) -> Written:
        key = NOTE + change.name.encode()
        if change.value is None:
            self.txn.delete(key, db=self._db["meta"])
        else:
            self.txn.put(key, change.value, db=self._db["meta"])
        return Written(None)

    def _unchanged(self, uid: bytes, name: str, revision: int) -> Job:
        job = self._job(uid)
        if job is None:
            raise UnknownJob(name)
        if job.revision != revision:
            raise StaleEdit(name)
        return job

    def _note_attempt(self, uid: bytes, attempt: AttemptRecord | None, record: bytes | None) -> None:
        if attempt is None:
            return
        attempts = self._db["attempts"]
        self.txn.put(uid + pack(">I", attempt.number), record, db=attempts)
        if attempt.number > ATTEMPTS_KEPT:
            self.txn.delete(uid + pack(">I", attempt.number - ATTEMPTS_KEPT), db=attempts)

    # ---- for many new jobs, and for a worker's turn (see adding.py, turns.py) ---------------------

    def new_seq(self) -> int:
        """The place of one more job in the order of pushing."""
        self._seq += 1
        return self._seq

    def new_claim(self) -> int:
        """A token that no other claim has."""
        self._last_claim += 1
        return self._last_claim

    def settle(self, change: Settle) -> Job:
        """A settlement by itself; the job as it now stands. Raises ClaimLost."""
        moved: list[Moved] = []
        job = self._settle(change, moved).job
        assert job is not None
        for one in moved:
            self.moved(*one)
        return job

    def push(self, adds: Sequence[Add]) -> list[Job]:
        """Jobs that go with another one: those that could be added."""
        moved: list[Moved] = []
        pushed = self._push(adds, moved)
        for one in moved:
            self.moved(*one)
        return pushed

    def unwait(self, taken: Taken, expires_ms: int) -> None:
        """Delete what the indexes hold of a job that waits."""
        lane, priority, (due, seq, _) = taken
        key = self.numbers.key(self.txn, lane) + pack(">BQQ", priority, due, seq)
        self.txn.delete(key, db=self._ready)
        self.txn.delete(key[5:], db=self._due)
        if expires_ms:
            self.txn.delete(pack_place(expires_ms, seq), db=self._db["expires"])

    # ---- the record and its indexes ---------------------------------------------------------------

    def details(self, txn: Txn, uid: bytes, job: Job) -> Details:
        """The job with all that is kept beside it."""
        result = txn.get(uid, db=self._db["results"])
        return Details(
            job,
            txn.get(uid, b"", db=self._db["bodies"]),
            None if result is None else decode_result(result),
            [decode_attempt(value) for _, value in prefixed(txn.cursor(self._db["attempts"]), uid)],
        )

    def _job(self, uid: bytes) -> Job | None:
        record = self.txn.get(uid, db=self._jobs)
        return None if record is None else from_record(record)

    def put(self, uid: bytes, before: Job | None, after: Job | None) -> None:
        """The record and its indexes. KeyTaken, or whatever it raises, comes before anything has been put."""
        record = None if after is None else to_record(after)
        gone = [] if before is None else self._rows(uid, before)
        come = [] if after is None else self._rows(uid, after)
        old = before.key if before is not None and before.state in LIVE else ""
        new = after.key if after is not None and after.state in LIVE else ""
        if old != new:
            self._replace_key(uid, old, new)
        for table, key, _ in gone:
            self.txn.delete(key, db=table)
        if record is None:
            self.txn.delete(uid, db=self._jobs)
            return
        self.txn.put(uid, record, db=self._jobs)
        for table, key, value in come:
            self.txn.put(key, value, db=table)

    def _replace_key(self, uid: bytes, old: str, new: str) -> None:
        keys = self._db["keys"]
        if new:
            if holder := self.txn.get(short_hash(new), db=keys):
                raise KeyTaken(new, str(UUID(bytes=holder)))
            self.txn.put(short_hash(new), uid, db=keys)
        if old:
            self.txn.delete(short_hash(old), db=keys)

    def _rows(self, uid: bytes, job: Job) -> list[tuple[Any, bytes, bytes]]:
        """What the indexes hold of a job: table, key, value."""
        state = job.state
        if state is State.RUNNING:
            return [(self._db["running"], uid, job.owner.encode())]
        if state in FINISHED:
            return [(self._db["finished"], finished_key(job), uid)]
        if state is State.PAUSED:
            rows = [(self._db["paused"], pack(">Q", job.seq), uid)]
        else:
            place = pack_place(job.due_ms, job.seq)
            lane = self.numbers.key(self.txn, (job.queue, job.blocked_by))
            rows = [(self._ready, lane + bytes((job.priority,)) + place, uid), (self._due, place, uid)]
        if job.expires_ms:
            rows.append((self._db["expires"], pack_place(job.expires_ms, job.seq), uid))
        return rows

    def moved(self, before: Job | None, after: Job | None, uid: bytes) -> None:
        """Tell memory what the tables hold now. What begins to run is a turn's to tell."""
        if before is not None and after is not None and before.state is after.state is State.RUNNING:
            self.running[after.uid] = (uid, after)
            return
        if before is not None:
            self.counts.shift(before.state, before.queue, -1)
            if before.state is State.WAITING:
                head = (before.due_ms, before.seq, uid)
                self.lanes.removed((before.queue, before.blocked_by), before.priority, head)
            elif before.state is State.RUNNING:
                del self.running[before.uid]
                self.lanes.ended(before.queue, self.caps(before))
        if after is not None:
            self.counts.shift(after.state, after.queue, 1)
            if after.state is State.WAITING:
                head = (after.due_ms, after.seq, uid)
                self.lanes.added((after.queue, after.blocked_by), after.priority, head)
