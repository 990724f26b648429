"""How jobs lie in LMDB: the tables, their keys, and what each change does to them.

Truth:     jobs      uid -> record (no bodies)           bodies    uid -> request body
           results   uid -> Result                       attempts  uid, number u32 -> AttemptRecord
           rules     queue -> QueueRule                  meta      name -> value
Derived:   ready     lane u32, priority u8, due_ms u64, seq u64 -> uid
           due       due_ms, seq -> uid                  paused    seq -> uid
           running   uid -> owner                        finished  state u8, finished_ms, seq -> uid
           expires   expires_ms, seq -> uid              keys      hash of key -> uid
           counts    state u8, queue u32 -> n            names     hash of lane -> u32, u32 -> lane

All of it is used by the writer thread alone; readers have transactions of their own (see lmdb.py).
"""

import logging
from collections.abc import Sequence
from struct import pack, unpack
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from ..errors import ClaimLost, KeyTaken, StaleEdit, StoreUnreadable, UidTaken, UnknownJob
from ..job import FINISHED, LIVE, Held, Job, State, claimed, expired, from_record, to_record
from .base import ATTEMPTS_KEPT, Add, Caps, Change, Claimed, Edit, QueueRule, Remove, Settle, Written
from .lanes import Head, Lane, Lanes, Taken
from .numbers import LaneNumbers, short_hash

logger = logging.getLogger("taskpusher")

Txn = Any  # lmdb.Transaction: the library has no types
Moved = tuple[Job | None, Job | None, bytes]  # a job before and after a change, and its key

TABLES = (
    "jobs", "bodies", "results", "attempts", "rules", "meta",
    "ready", "due", "running", "paused", "finished", "expires", "keys", "counts", "names",
)  # fmt: skip

MOST_HELD_BACK = 500  # jobs that one claim may move to a blocked lane or expire before it comes up for air

STATE_CODES = {state: code for code, state in enumerate(State)}
STATES = tuple(State)

encode = msgspec.msgpack.encode
decode_rule = msgspec.msgpack.Decoder(QueueRule).decode


def uid_key(uid: str) -> bytes:
    return bytes.fromhex(uid.replace("-", ""))


def readable(uid: bytes, record: bytes | None) -> Job | None:
    """The job in a record; None, and a line in the log, for one that is damaged: the others go on."""
    try:
        return None if record is None else from_record(record)
    except StoreUnreadable as error:
        logger.error("left a job out that can't be read", extra={"uid": UUID(bytes=uid), "error": error})
        return None


def finished_key(job: Job) -> bytes:
    return pack(">BQQ", STATE_CODES[job.state], job.finished_ms, job.seq)


class Tables:
    """The tables and what is derived from them in memory; `load` makes the latter anew after an abort."""

    def __init__(self, env: Any, caps: Caps, owner: str, epoch: int) -> None:
        self._env = env
        with env.begin(write=True) as txn:
            self._db = {name: env.open_db(name.encode(), txn=txn, create=True) for name in TABLES}
        self._jobs, self._ready, self._due = self._db["jobs"], self._db["ready"], self._db["due"]
        self._caps = caps
        self._owner = owner
        self._last_claim = epoch << 32
        self._txn: Txn = None

    def db(self, name: str) -> Any:
        return self._db[name]

    # ---- what is kept in memory -------------------------------------------------------------------

    def load(self, txn: Txn) -> None:
        """Read what memory derives from the tables: costs what runs and the number of lanes."""
        self._txn = txn
        self._numbers = LaneNumbers(self._db["names"], self._db["meta"])
        self._counts: dict[tuple[State, str], int] = {}
        self._dirty: set[tuple[State, str]] = set()
        self._running: dict[str, Job] = {}  # as stored, so that settling need not read
        self.lanes = Lanes(self._peek)
        self._seq = self._saved_seq = unpack(">Q", txn.get(b"seq", bytes(8), db=self._db["meta"]))[0]
        for _, value in txn.cursor(self._db["rules"]):
            self.lanes.ruled(decode_rule(value))
        for key, n in txn.cursor(self._db["counts"]):
            queue, _ = self._numbers.lane(txn, key[1:])
            self._counts[STATES[key[0]], queue] = unpack(">Q", n)[0]
        for uid, _ in txn.cursor(self._db["running"]):
            if (job := readable(uid, txn.get(uid, db=self._jobs))) is not None:
                self._running[job.uid] = job
                self.lanes.started(job.queue, self._caps(job))
        self._load_heads(txn)

    def _load_heads(self, txn: Txn) -> None:
        cursor = txn.cursor(self._ready)
        found = cursor.first()
        while found:
            key, uid = cursor.item()
            lane = self._numbers.lane(txn, key[:4])
            self.lanes.added(lane, key[4], (*unpack(">QQ", key[5:]), uid))
            found = cursor.set_range(key[:4] + bytes([key[4] + 1]))

    def _peek(self, lane: Lane, priority: int) -> Head | None:
        """The first job that waits in that lane with that priority."""
        prefix = self._numbers.key(self._txn, lane) + bytes((priority,))
        cursor = self._txn.cursor(self._ready)
        if cursor.set_range(prefix):
            key, uid = cursor.item()
            if key.startswith(prefix):
                return (*unpack(">QQ", key[5:]), uid)
        return None

    # ---- one batch --------------------------------------------------------------------------------

    def begin(self, txn: Txn) -> None:
        self._txn = txn
        self._numbers.begin()

    def finish(self) -> None:
        """Write what the batch changed in memory; the last step before its commit."""
        txn, counts = self._txn, self._db["counts"]
        fewer: set[str] = set()
        for slot in self._dirty:
            key = bytes((STATE_CODES[slot[0]],)) + self._numbers.key(txn, (slot[1], ""))
            if n := self._counts[slot]:
                txn.put(key, pack(">Q", n), db=counts)
            else:
                txn.delete(key, db=counts)
                del self._counts[slot]
                fewer.add(slot[1])
        self._dirty.clear()
        for queue in fewer:
            if not any((state, queue) in self._counts for state in STATES):  # its last job has gone
                self._numbers.remove(txn, (queue, ""))
        if self._seq != self._saved_seq:
            txn.put(b"seq", pack(">Q", self._seq), db=self._db["meta"])
            self._saved_seq = self._seq
        for lane in self.lanes.gone():
            self._numbers.remove(txn, lane)

    def write(self, changes: Sequence[Change]) -> list[Written]:
        """Make all of the changes, or raise and leave none of them.

        A single change is refused, if at all, before it has put anything; several run in a child transaction.
        """
        moved: list[Moved] = []
        if len(changes) == 1:
            written = [self._apply(changes[0], moved)]
        else:
            written = self._write_several(changes, moved)
        for before, after, uid in moved:
            self._moved(before, after, uid)
        for change in changes:
            if isinstance(change, QueueRule):
                self.lanes.ruled(change)
        return written

    def _write_several(self, changes: Sequence[Change], moved: list[Moved]) -> list[Written]:
        outer = self._txn
        self._numbers.begin()
        try:
            with self._env.begin(write=True, parent=outer) as self._txn:
                return [self._apply(change, moved) for change in changes]
        except BaseException:
            self._numbers.forget_new()
            raise
        finally:
            self._txn = outer

    def _apply(self, change: Change, moved: list[Moved]) -> Written:
        if isinstance(change, Settle):
            return self._settle(change, moved)
        if isinstance(change, Add):
            return self._add(change, moved)
        if isinstance(change, Edit):
            return self._edit(change, moved)
        if isinstance(change, Remove):
            return self._remove(change, moved)
        if change == QueueRule(change.name):
            self._txn.delete(short_hash(change.name), db=self._db["rules"])
        else:
            self._txn.put(short_hash(change.name), encode(change), db=self._db["rules"])
        return Written(None)

    # ---- the changes ------------------------------------------------------------------------------

    def _add(self, change: Add, moved: list[Moved]) -> Written:
        uid = uid_key(change.job.uid)
        if (found := self._job(uid)) is not None:
            if found.fingerprint and found.fingerprint == change.job.fingerprint:
                return Written(found, existing=True)
            raise UidTaken(found.uid)
        key = change.job.key
        if key and (holder := self._txn.get(short_hash(key), db=self._db["keys"])):
            return Written(self._job(holder), existing=True)
        self._seq += 1
        job = replace(change.job, seq=self._seq)
        self._replace(uid, None, job)
        if change.body:
            self._txn.put(uid, change.body, db=self._db["bodies"])
        moved.append((None, job, uid))
        return Written(job)

    def _settle(self, change: Settle, moved: list[Moved]) -> Written:
        job = change.job
        uid = uid_key(job.uid)
        # what an earlier change of the same write did is not in memory yet
        before = self._job(uid) if moved else self._running.get(job.uid)
        if before is None or before.state is not State.RUNNING or before.claim != change.claim:
            raise ClaimLost(job.uid)
        if before.revision != job.revision - 1:  # progress or a wish came in while it ran
            wish = before.wish if job.state is State.WAITING else None
            job = replace(job, revision=before.revision + 1, progress=before.progress, wish=wish)
        result = None if change.result is None else encode(change.result)
        self._replace(uid, before, job)
        self._note_attempt(uid, change)
        if result is not None:
            self._txn.put(uid, result, db=self._db["results"])
        moved.append((before, job, uid))
        return Written(job)

    def _edit(self, change: Edit, moved: list[Moved]) -> Written:
        job = change.job
        uid = uid_key(job.uid)
        before = self._unchanged(uid, job.uid, job.revision - 1)
        self._replace(uid, before, job)
        if change.body is not None:
            if change.body:
                self._txn.put(uid, change.body, db=self._db["bodies"])
            else:
                self._txn.delete(uid, db=self._db["bodies"])
        self._note_attempt(uid, change)
        moved.append((before, job, uid))
        return Written(job)

    def _remove(self, change: Remove, moved: list[Moved]) -> Written:
        uid = uid_key(change.uid)
        before = self._unchanged(uid, change.uid, change.revision)
        self._replace(uid, before, None)
        for table in ("bodies", "results"):
            self._txn.delete(uid, db=self._db[table])
        for number in range(max(1, before.attempt - ATTEMPTS_KEPT + 1), before.attempt + 1):
            self._txn.delete(uid + pack(">I", number), db=self._db["attempts"])
        moved.append((before, None, uid))
        return Written(None)

    def _unchanged(self, uid: bytes, name: str, revision: int) -> Job:
        job = self._job(uid)
        if job is None:
            raise UnknownJob(name)
        if job.revision != revision:
            raise StaleEdit(name)
        return job

    def _note_attempt(self, uid: bytes, change: Settle | Edit) -> None:
        attempt = change.attempt
        if attempt is None:
            return
        attempts = self._db["attempts"]
        self._txn.put(uid + pack(">I", attempt.number), encode(attempt), db=attempts)
        if attempt.number > ATTEMPTS_KEPT:
            self._txn.delete(uid + pack(">I", attempt.number - ATTEMPTS_KEPT), db=attempts)

    # ---- claiming ---------------------------------------------------------------------------------

    def claim(self, limit: int, now: int, due: int) -> tuple[Claimed, bool]:
        """The next jobs; and whether it stopped early, with more to look at."""
        held: list[Held] = []
        late: list[Job] = []
        held_back = 0
        while len(held) < limit:
            if held_back >= MOST_HELD_BACK:
                return Claimed(held, due, late), True
            taken = self.lanes.take(due)
            if taken is None:
                return Claimed(held, self.lanes.next_due(), late), False
            job = self._claim_one(taken, now)
            if job is not None and job.state is State.RUNNING:
                held.append(Held(job, self._body(taken[2][2]) if job.body_size else b""))
                continue
            held_back += 1
            if job is not None and job.state is State.ERROR:
                late.append(job)
        return Claimed(held, None, late), False

    def _claim_one(self, taken: Taken, now: int) -> Job | None:
        """What became of that job: it runs, waits in the lane of a full limit key, or has expired."""
        uid = taken[2][2]
        job = self._waiting(taken)
        if job is None:
            return None
        if job.expires_ms and job.expires_ms <= now:
            after = expired(job, now)
        elif full := self.lanes.full_key(self._caps(job)):
            after = replace(job, blocked_by=full)
        else:
            self._last_claim += 1
            after = claimed(job, self._last_claim, self._owner, now)
        self._replace(uid, job, after)
        self._moved(job, after, uid)
        return after

    def _body(self, uid: bytes) -> bytes:
        body: bytes = self._txn.get(uid, b"", db=self._db["bodies"])
        return body

    def _waiting(self, taken: Taken) -> Job | None:
        """The job at that head. One that can't be read is left out, so that the others go on."""
        lane, priority, head = taken
        due, seq, uid = head
        job = readable(uid, self._txn.get(uid, db=self._jobs))
        if job is None:
            key = self._numbers.key(self._txn, lane) + pack(">BQQ", priority, due, seq)
            self._txn.delete(key, db=self._ready)
            self._txn.delete(pack(">QQ", due, seq), db=self._due)
            self._count(State.WAITING, lane[0], -1)
            self.lanes.removed(lane, priority, head)
        return job

    # ---- the record and its indexes ---------------------------------------------------------------

    def _job(self, uid: bytes) -> Job | None:
        record = self._txn.get(uid, db=self._jobs)
        return None if record is None else from_record(record)

    def _replace(self, uid: bytes, before: Job | None, after: Job | None) -> None:
        """The record and its indexes. KeyTaken, or whatever it raises, comes before anything has been put."""
        record = None if after is None else to_record(after)
        gone = [] if before is None else self._rows(uid, before)
        come = [] if after is None else self._rows(uid, after)
        old = before.key if before is not None and before.state in LIVE else ""
        new = after.key if after is not None and after.state in LIVE else ""
        if old != new:
            self._replace_key(uid, old, new)
        for table, key, _ in gone:
            self._txn.delete(key, db=table)
        if record is None:
            self._txn.delete(uid, db=self._jobs)
            return
        self._txn.put(uid, record, db=self._jobs)
        for table, key, value in come:
            self._txn.put(key, value, db=table)

    def _replace_key(self, uid: bytes, old: str, new: str) -> None:
        keys = self._db["keys"]
        if new:
            if holder := self._txn.get(short_hash(new), db=keys):
                raise KeyTaken(new, str(UUID(bytes=holder)))
            self._txn.put(short_hash(new), uid, db=keys)
        if old:
            self._txn.delete(short_hash(old), db=keys)

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
            place = pack(">QQ", job.due_ms, job.seq)
            lane = self._numbers.key(self._txn, (job.queue, job.blocked_by))
            rows = [(self._ready, lane + bytes((job.priority,)) + place, uid), (self._due, place, uid)]
        if job.expires_ms:
            rows.append((self._db["expires"], pack(">QQ", job.expires_ms, job.seq), uid))
        return rows

    def _moved(self, before: Job | None, after: Job | None, uid: bytes) -> None:
        """Tell memory what the tables hold now."""
        if before is not None and after is not None and before.state is after.state is State.RUNNING:
            self._running[after.uid] = after
            return
        if before is not None:
            self._count(before.state, before.queue, -1)
            if before.state is State.WAITING:
                head = (before.due_ms, before.seq, uid)
                self.lanes.removed((before.queue, before.blocked_by), before.priority, head)
            elif before.state is State.RUNNING:
                del self._running[before.uid]
                self.lanes.ended(before.queue, self._caps(before))
        if after is not None:
            self._count(after.state, after.queue, 1)
            if after.state is State.WAITING:
                head = (after.due_ms, after.seq, uid)
                self.lanes.added((after.queue, after.blocked_by), after.priority, head)
            elif after.state is State.RUNNING:
                self._running[after.uid] = after
                self.lanes.started(after.queue, self._caps(after))

    def _count(self, state: State, queue: str, by: int) -> None:
        slot = (state, queue)
        self._counts[slot] = self._counts.get(slot, 0) + by
        self._dirty.add(slot)
