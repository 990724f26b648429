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
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from struct import pack, unpack, unpack_from
from typing import Any
from uuid import UUID

import msgspec

from ..errors import ClaimLost, KeyTaken, StaleEdit, StoreUnreadable, UidTaken, UnknownJob
from ..job import FINISHED, LIVE, Held, Job, State, claimed, expired, from_record, to_record
from .base import Add, Caps, Change, Claimed, Edit, QueueRule, Remove, Settle, Written
from .lanes import Entry, Head, Lane, Lanes

logger = logging.getLogger("taskpusher")

Txn = Any  # lmdb.Transaction: the library has no types
Moved = tuple[Job | None, Job | None]  # a job before and after a change

TABLES = (
    "jobs", "bodies", "results", "attempts", "rules", "meta",
    "ready", "due", "running", "paused", "finished", "expires", "keys", "counts", "names",
)  # fmt: skip

ATTEMPTS_KEPT = 100
MOST_HELD_BACK = 500  # jobs that one claim may move to a blocked lane or expire before it comes up for air

STATE_CODES = {state: code for code, state in enumerate(State)}
STATES = tuple(State)

encode = msgspec.msgpack.encode
decode_rule = msgspec.msgpack.Decoder(QueueRule).decode


def uid_key(uid: str) -> bytes:
    return bytes.fromhex(uid.replace("-", ""))


def short_hash(text: str) -> bytes:
    """16 bytes that stand for a text longer than LMDB's 511-byte keys."""
    return blake2b(text.encode(), digest_size=16).digest()


def finished_key(job: Job) -> bytes:
    return pack(">BQQ", STATE_CODES[job.state], job.finished_ms, job.seq)


class Tables:
    """The tables and what is derived from them in memory; `load` makes the latter anew after an abort."""

    def __init__(self, env: Any, caps: Caps, owner: str, epoch: int) -> None:
        self._env = env
        self._db = {name: env.open_db(name.encode(), create=True) for name in TABLES}
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
        self._lane_ids: dict[Lane, int] = {}
        self._lane_names: dict[int, Lane] = {}
        self._new_lanes: list[Lane] = []  # numbered in the present child transaction
        self._counts: Counter[tuple[State, str]] = Counter()
        self._dirty: set[tuple[State, str]] = set()
        self.lanes = Lanes(self._peek)
        self._seq = self._saved_seq = unpack(">Q", txn.get(b"seq", pack(">Q", 0), db=self._db["meta"]))[0]
        for _, value in txn.cursor(self._db["rules"]):
            self.lanes.ruled(decode_rule(value))
        for key, n in txn.cursor(self._db["counts"]):
            code, queue = unpack(">BI", key)
            self._counts[STATES[code], self._lane(queue)[0]] = unpack(">Q", n)[0]
        for uid, _ in txn.cursor(self._db["running"]):
            job = self._job(uid)
            if job is not None:
                self.lanes.started(job.queue, self._caps(job))
        self._load_heads(txn)

    def _load_heads(self, txn: Txn) -> None:
        cursor = txn.cursor(self._db["ready"])
        found = cursor.first()
        while found:
            lane, priority, due, seq = unpack(">IBQQ", cursor.key())
            self.lanes.added(self._lane(lane), priority, (due, seq))
            found = cursor.set_range(pack(">IB", lane, priority + 1))

    def _peek(self, lane: Lane, priority: int) -> Head | None:
        prefix = pack(">IB", self._lane_id(lane), priority)
        cursor = self._txn.cursor(self._db["ready"])
        if cursor.set_range(prefix) and (key := cursor.key()).startswith(prefix):
            due, seq = unpack_from(">QQ", key, 5)
            return due, seq
        return None

    def _lane_id(self, lane: Lane) -> int:
        """The number of a lane, given at its first use."""
        number = self._lane_ids.get(lane)
        if number is None:
            names = self._db["names"]
            text = "\0".join(lane)
            found = self._txn.get(short_hash(text), db=names)
            if found is None:
                found = pack(">I", self._next_lane_id())
                self._txn.put(short_hash(text), found, db=names)
                self._txn.put(found, text.encode(), db=names)
            number = unpack(">I", found)[0]
            self._lane_ids[lane], self._lane_names[number] = number, lane
            self._new_lanes.append(lane)
        return number

    def _next_lane_id(self) -> int:
        meta = self._db["meta"]
        number = unpack(">I", self._txn.get(b"lanes", pack(">I", 0), db=meta))[0] + 1
        self._txn.put(b"lanes", pack(">I", number), db=meta)
        return int(number)

    def _lane(self, number: int) -> Lane:
        lane = self._lane_names.get(number)
        if lane is None:
            queue, _, key = self._txn.get(pack(">I", number), db=self._db["names"]).decode().partition("\0")
            lane = (queue, key)
            self._lane_ids[lane], self._lane_names[number] = number, lane
        return lane

    def _forget_lanes(self) -> None:
        txn = self._txn
        for lane in self.lanes.emptied:
            number = self._lane_ids.get(lane)
            if number is None or self._peek_any(number):
                continue
            txn.delete(short_hash("\0".join(lane)), db=self._db["names"])
            txn.delete(pack(">I", number), db=self._db["names"])
            del self._lane_ids[lane], self._lane_names[number]
        self.lanes.emptied.clear()

    def _peek_any(self, number: int) -> bool:
        cursor = self._txn.cursor(self._db["ready"])
        prefix = pack(">I", number)
        return bool(cursor.set_range(prefix) and cursor.key().startswith(prefix))

    # ---- one batch --------------------------------------------------------------------------------

    def begin(self, txn: Txn) -> None:
        self._txn = txn

    def finish(self) -> None:
        """Write what the batch changed in memory; the last step before its commit."""
        for state, queue in self._dirty:
            key = pack(">BI", STATE_CODES[state], self._lane_id((queue, "")))
            n = self._counts[state, queue]
            if n:
                self._txn.put(key, pack(">Q", n), db=self._db["counts"])
            else:
                self._txn.delete(key, db=self._db["counts"])
                del self._counts[state, queue]
        self._dirty.clear()
        if self._seq != self._saved_seq:
            self._txn.put(b"seq", pack(">Q", self._seq), db=self._db["meta"])
            self._saved_seq = self._seq
        if self.lanes.emptied:
            self._forget_lanes()

    def write(self, changes: Sequence[Change]) -> list[Written]:
        """Make all of the changes, or raise and leave none of them."""
        moved: list[Moved] = []
        rules: list[QueueRule] = []
        with self._child():
            written = [self._apply(change, moved, rules) for change in changes]
        for before, after in moved:
            self._moved(before, after)
        for rule in rules:
            self.lanes.ruled(rule)
        return written

    @contextmanager
    def _child(self) -> Iterator[None]:
        """A transaction in the batch's own, so that a change that fails takes nothing with it."""
        outer = self._txn
        self._new_lanes.clear()
        try:
            with self._env.begin(write=True, parent=outer) as self._txn:
                yield
        except BaseException:
            for lane in self._new_lanes:
                del self._lane_names[self._lane_ids.pop(lane)]
            raise
        finally:
            self._txn = outer

    def _apply(self, change: Change, moved: list[Moved], rules: list[QueueRule]) -> Written:
        match change:
            case Add():
                return self._add(change, moved)
            case Settle():
                return self._settle(change, moved)
            case Edit():
                return self._edit(change, moved)
            case Remove():
                return self._remove(change, moved)
        rules.append(change)
        if change == QueueRule(change.name):
            self._txn.delete(short_hash(change.name), db=self._db["rules"])
        else:
            self._txn.put(short_hash(change.name), encode(change), db=self._db["rules"])
        return Written(None)

    # ---- the changes ------------------------------------------------------------------------------

    def _add(self, change: Add, moved: list[Moved]) -> Written:
        job = change.job
        uid = uid_key(job.uid)
        if found := self._job(uid):
            if found.fingerprint and found.fingerprint == job.fingerprint:
                return Written(found, existing=True)
            raise UidTaken(job.uid)
        if job.key and (holder := self._txn.get(short_hash(job.key), db=self._db["keys"])):
            return Written(self._job(holder), existing=True)
        self._seq += 1
        job = msgspec.structs.replace(job, seq=self._seq)
        if change.body:
            self._txn.put(uid, change.body, db=self._db["bodies"])
        self._replace(uid, None, job)
        moved.append((None, job))
        return Written(job)

    def _settle(self, change: Settle, moved: list[Moved]) -> Written:
        uid = uid_key(change.job.uid)
        before = self._job(uid)
        if before is None or before.state is not State.RUNNING or before.claim != change.claim:
            raise ClaimLost(change.job.uid)
        job = change.job
        if before.revision != job.revision - 1:  # progress or a wish came in while it ran
            job = msgspec.structs.replace(job, revision=before.revision + 1, progress=before.progress)
        self._note_attempt(uid, change)
        if change.result is not None:
            self._txn.put(uid, encode(change.result), db=self._db["results"])
        self._replace(uid, before, job)
        moved.append((before, job))
        return Written(job)

    def _edit(self, change: Edit, moved: list[Moved]) -> Written:
        uid = uid_key(change.job.uid)
        before = self._job(uid)
        if before is None:
            raise UnknownJob(change.job.uid)
        if before.revision != change.job.revision - 1:
            raise StaleEdit(change.job.uid)
        if change.body is not None:
            if change.body:
                self._txn.put(uid, change.body, db=self._db["bodies"])
            else:
                self._txn.delete(uid, db=self._db["bodies"])
        self._note_attempt(uid, change)
        self._replace(uid, before, change.job)
        moved.append((before, change.job))
        return Written(change.job)

    def _remove(self, change: Remove, moved: list[Moved]) -> Written:
        uid = uid_key(change.uid)
        before = self._job(uid)
        if before is None:
            raise UnknownJob(change.uid)
        if before.revision != change.revision:
            raise StaleEdit(change.uid)
        self._replace(uid, before, None)
        for table in ("bodies", "results"):
            self._txn.delete(uid, db=self._db[table])
        for number in range(max(1, before.attempt - ATTEMPTS_KEPT + 1), before.attempt + 1):
            self._txn.delete(uid + pack(">I", number), db=self._db["attempts"])
        moved.append((before, None))
        return Written(None)

    def _note_attempt(self, uid: bytes, change: Settle | Edit) -> None:
        attempt = change.attempt
        if attempt is None:
            return
        attempts = self._db["attempts"]
        self._txn.put(uid + pack(">I", attempt.number), encode(attempt), db=attempts)
        if attempt.number > ATTEMPTS_KEPT:
            self._txn.delete(uid + pack(">I", attempt.number - ATTEMPTS_KEPT), db=attempts)

    # ---- claiming ---------------------------------------------------------------------------------

    def claim(self, limit: int, now: int) -> tuple[Claimed, bool]:
        """The next jobs; and whether it stopped early, with more to look at."""
        held: list[Held] = []
        held_back = 0
        while len(held) < limit:
            if held_back >= MOST_HELD_BACK:
                return Claimed(held, now), True
            entry = self.lanes.take(now)
            if entry is None:
                return Claimed(held, self.lanes.next_due()), False
            one = self._claim_one(entry, now)
            if one is None:
                held_back += 1
            else:
                held.append(one)
        return Claimed(held, None), False

    def _claim_one(self, entry: Entry, now: int) -> Held | None:
        job = self._at(entry)
        if job is None:
            return None
        caps = tuple(self._caps(job))
        if job.expires_ms and job.expires_ms <= now:
            after = expired(job, now)
        elif full := self.lanes.full_key(caps):
            after = msgspec.structs.replace(job, blocked_by=full)
        else:
            self._last_claim += 1
            after = claimed(job, self._last_claim, self._owner, now)
        uid = uid_key(job.uid)
        self._replace(uid, job, after)
        self._moved(job, after)
        if after.state is not State.RUNNING:
            return None
        return Held(after, self._txn.get(uid, db=self._db["bodies"]) if job.body_size else b"")

    def _at(self, entry: Entry) -> Job | None:
        """The job that waits there. One that can't be read is left out, so that the others go on."""
        priority, due, seq, lane = entry
        key = pack(">IBQQ", self._lane_id(lane), priority, due, seq)
        uid = self._txn.get(key, db=self._db["ready"])
        try:
            job = self._job(uid)
        except StoreUnreadable as error:
            logger.error("set a job aside that can't be read", extra={"uid": UUID(bytes=uid), "error": error})
            job = None
        if job is None:
            self._txn.delete(key, db=self._db["ready"])
            self._txn.delete(pack(">QQ", due, seq), db=self._db["due"])
            self.lanes.removed(lane, priority, (due, seq))
        return job

    # ---- the record and its indexes ---------------------------------------------------------------

    def _job(self, uid: bytes) -> Job | None:
        record = self._txn.get(uid, db=self._db["jobs"])
        return None if record is None else from_record(record)

    def _replace(self, uid: bytes, before: Job | None, after: Job | None) -> None:
        self._replace_key(uid, before, after)
        if before is not None:
            for table, key, _ in self._rows(uid, before):
                self._txn.delete(key, db=self._db[table])
        if after is None:
            self._txn.delete(uid, db=self._db["jobs"])
            return
        self._txn.put(uid, to_record(after), db=self._db["jobs"])
        for table, key, value in self._rows(uid, after):
            self._txn.put(key, value, db=self._db[table])

    def _replace_key(self, uid: bytes, before: Job | None, after: Job | None) -> None:
        old = before.key if before is not None and before.state in LIVE else ""
        new = after.key if after is not None and after.state in LIVE else ""
        if old == new:
            return
        keys = self._db["keys"]
        if old:
            self._txn.delete(short_hash(old), db=keys)
        if new and after is not None:
            if holder := self._txn.get(short_hash(new), db=keys):
                raise KeyTaken(new, str(self._job(holder).uid))  # type: ignore[union-attr]
            self._txn.put(short_hash(new), uid, db=keys)

    def _rows(self, uid: bytes, job: Job) -> list[tuple[str, bytes, bytes]]:
        """What the indexes hold of a job: table, key, value."""
        if job.state is State.RUNNING:
            return [("running", uid, job.owner.encode())]
        if job.state in FINISHED:
            return [("finished", finished_key(job), uid)]
        if job.state is State.PAUSED:
            rows = [("paused", pack(">Q", job.seq), uid)]
        else:
            lane = self._lane_id((job.queue, job.blocked_by))
            rows = [
                ("ready", pack(">IBQQ", lane, job.priority, job.due_ms, job.seq), uid),
                ("due", pack(">QQ", job.due_ms, job.seq), uid),
            ]
        if job.expires_ms:
            rows.append(("expires", pack(">QQ", job.expires_ms, job.seq), uid))
        return rows

    def _moved(self, before: Job | None, after: Job | None) -> None:
        """Tell memory what the tables hold now."""
        if before is not None and after is not None and before.state is after.state is State.RUNNING:
            return
        if before is not None:
            self._count(before, -1)
            if before.state is State.WAITING:
                lane = (before.queue, before.blocked_by)
                self.lanes.removed(lane, before.priority, (before.due_ms, before.seq))
            elif before.state is State.RUNNING:
                self.lanes.ended(before.queue, self._caps(before))
        if after is not None:
            self._count(after, 1)
            if after.state is State.WAITING:
                lane = (after.queue, after.blocked_by)
                self.lanes.added(lane, after.priority, (after.due_ms, after.seq))
            elif after.state is State.RUNNING:
                self.lanes.started(after.queue, self._caps(after))

    def _count(self, job: Job, by: int) -> None:
        slot = (job.state, job.queue)
        self._counts[slot] += by
        self._dirty.add(slot)
