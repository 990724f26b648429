"""A store with a job in every situation, and every way to damage it that a check has to find."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any, NamedTuple

import lmdb
from msgspec.structs import replace

from taskpusher.job import (
    AttemptRecord,
    ErrorClass,
    Job,
    State,
    canceled,
    expired,
    from_record,
    paused,
    to_record,
)
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Add, Edit, Note, QueueRule
from taskpusher.stores.findings import Fault
from taskpusher.stores.layout import NOTE, TABLES, encode, uid_key
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.numbers import short_hash
from taskpusher.stores.rows import rows_of
from taskpusher.testing import NOW, OK, a_job, settled

FAILED = Failure(ErrorClass.NOT_SENT, "nobody there", final=True)


# ---- the store ----------------------------------------------------------------------------------------


def make_store(path: Path) -> dict[str, str]:
    """Jobs by what they are; the uids."""
    return asyncio.run(_make_store(path))


async def _make_store(path: Path) -> dict[str, str]:
    store = LmdbStore(path)
    await store.open("node", lambda job: ((f"host:{job.host}", 1),) if job.host == "slow" else ())

    await store.write(Note("a/1", b"kept"), Note("a/2", b""))

    async def pushed(**fields: Any) -> Job:
        body = fields.pop("body", b"")
        (written,) = await store.write(Add(a_job(body_size=len(body), **fields), body))
        assert written.job is not None
        return written.job

    async def claimed() -> Job:
        (held,) = (await store.claim(1, NOW)).jobs
        return held.job

    jobs = {"completed": await pushed(body=b"done"), "error": await pushed(queue="mail"), "running": None}
    for _ in range(2):
        job = await claimed()
        await store.write(settled(job, OK if job.queue == "default" else FAILED))
    jobs["running"] = await pushed(host="slow", body=b"half done", key="running")
    assert (await claimed()).uid == jobs["running"].uid
    jobs["blocked"] = await pushed(host="slow")
    assert not (await store.claim(1, NOW)).jobs
    jobs["canceled"] = await pushed()
    await store.write(Edit(canceled(jobs["canceled"], NOW)))
    jobs["paused"] = await pushed(key="paused", expires_ms=NOW + 5)
    await store.write(Edit(paused(jobs["paused"])))
    jobs["late"] = await pushed(expires_ms=NOW + 1)
    await store.write(Edit(expired(jobs["late"], NOW + 1)))
    jobs["waiting"] = await pushed(body=b"x" * 5000, key="waiting", queue="mail", expires_ms=NOW + 9)
    jobs["later"] = await pushed(due_ms=NOW + 3_600_000, priority=0)
    await store.write(QueueRule("mail", concurrency=2))
    await store.close()
    return {name: job.uid for name, job in jobs.items() if job is not None}


class Spoiler:
    """A store opened to be damaged; `uids` tells its jobs by what they are."""

    def __init__(self, env: Any, txn: Any, uids: dict[str, str]) -> None:
        self.txn, self.uids = txn, uids
        self.db = {name: env.open_db(name.encode(), txn=txn) for name in TABLES}

    def key(self, name: str) -> bytes:
        return uid_key(self.uids[name])

    def job(self, name: str) -> Job:
        return from_record(self.txn.get(self.key(name), db=self.db["jobs"]))

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.txn.put(key, value, db=self.db[table])

    def delete(self, table: str, key: bytes) -> None:
        assert self.txn.delete(key, db=self.db[table])

    def rows(self, job: Job) -> list[tuple[str, bytes, bytes]]:
        def number(lane: tuple[str, str]) -> bytes:
            return bytes(self.txn.get(short_hash("\0".join(lane)), db=self.db["names"]))

        return rows_of(uid_key(job.uid), job, number)

    def row(self, name: str, table: str) -> tuple[bytes, bytes]:
        ((key, value),) = [row[1:] for row in self.rows(self.job(name)) if row[0] == table]
        return key, value

    def change(self, name: str, **fields: Any) -> None:
        """Another job in the place of that one, its rows with it."""
        before = self.job(name)
        after = replace(before, **fields)
        for table, key, _ in self.rows(before):
            self.delete(table, key)
        self.put("jobs", self.key(name), to_record(after))
        for table, key, value in self.rows(after):
            self.put(table, key, value)


@contextmanager
def spoiling(path: Path, uids: dict[str, str]) -> Iterator[Spoiler]:
    with lmdb.open(str(path), max_dbs=30) as env, env.begin(write=True) as txn:
        yield Spoiler(env, txn, uids)


def contents(path: Path) -> dict[str, Any]:
    """All tables, with lanes by name instead of by number."""
    with lmdb.open(str(path), max_dbs=30, readonly=True, lock=False) as env:
        db = {name: env.open_db(name.encode(), create=False) for name in TABLES}
        with env.begin() as txn:
            told = {name: dict(txn.cursor(db[name])) for name in TABLES}
    names = {key: value for key, value in told["names"].items() if len(key) == 4}
    told["ready"] = {(names[key[:4]], key[4:]): value for key, value in told["ready"].items()}
    told["counts"] = {(key[:1], names[key[1:]]): value for key, value in told["counts"].items()}
    told["names"] = sorted(names.values())  # type: ignore[assignment]
    told["meta"] = {key: value for key, value in told["meta"].items() if key.startswith(NOTE)}
    return told


def copied(path: Path, to: Path) -> Path:
    shutil.copytree(path, to)
    return to


# ---- the damages --------------------------------------------------------------------------------------

Found = set[tuple[str, Fault]]


class Damage(NamedTuple):
    name: str
    do: Callable[[Spoiler], None]
    found: Found  # before a rebuild
    left: Found = set()  # noqa: RUF012 - after it


def _without_a_record(spoiler: Spoiler) -> None:
    spoiler.delete("jobs", spoiler.key("waiting"))


def _row_of_a_job_that_left(table: str, of: str, to: str) -> Callable[[Spoiler], None]:
    """A row like that of `of` by the seq of another job."""

    def do(spoiler: Spoiler) -> None:
        key, _ = spoiler.row(of, table)
        spoiler.put(table, key[:-8] + pack(">Q", 999), spoiler.key(to))

    return do


def _dropped(table: str, of: str) -> Callable[[Spoiler], None]:
    return lambda spoiler: spoiler.delete(table, spoiler.row(of, table)[0])


def _changed(name: str, **fields: Any) -> Callable[[Spoiler], None]:
    return lambda spoiler: spoiler.change(name, **fields)


def _overwritten(table: str, name: str, value: bytes, suffix: bytes = b"") -> Callable[[Spoiler], None]:
    return lambda spoiler: spoiler.put(table, spoiler.key(name) + suffix, value)


def _number(spoiler: Spoiler, lane: str) -> bytes:
    return bytes(spoiler.txn.get(short_hash(lane), db=spoiler.db["names"]))


def _count(spoiler: Spoiler, state: State, queue: str) -> bytes:
    return bytes((tuple(State).index(state),)) + _number(spoiler, f"{queue}\0")


def _same_place(spoiler: Spoiler) -> None:
    later = spoiler.job("later")
    spoiler.change("waiting", seq=later.seq, due_ms=later.due_ms)


def _same_key(spoiler: Spoiler) -> None:
    """The paused job says the key of the waiting one; the index has the latter."""
    job = spoiler.job("paused")
    spoiler.delete("keys", spoiler.row("paused", "keys")[0])
    spoiler.put("jobs", spoiler.key("paused"), to_record(replace(job, key="waiting")))


def _too_old_a_note(spoiler: Spoiler) -> None:
    spoiler.change("completed", attempt=150)
    for number in (1, 50, 51, 150):
        spoiler.put(
            "attempts",
            spoiler.key("completed") + pack(">I", number),
            encode(AttemptRecord(number, NOW, 0.1)),
        )


def _note(number: int, said: int) -> Callable[[Spoiler], None]:
    return _overwritten("attempts", "error", encode(AttemptRecord(said, NOW, 0.1)), pack(">I", number))


def _no_number(spoiler: Spoiler) -> None:
    spoiler.delete("names", _number(spoiler, "mail\0"))


def _no_name(spoiler: Spoiler) -> None:
    spoiler.delete("names", short_hash("mail\0"))


def _other_name(spoiler: Spoiler) -> None:
    spoiler.put("names", _number(spoiler, "mail\0"), b"nothing\0")


def _unused_name(spoiler: Spoiler) -> None:
    spoiler.put("names", pack(">I", 77), b"gone\0")
    spoiler.put("names", short_hash("gone\0"), pack(">I", 77))


NOBODY = bytes(range(16))
MISSING, STRAY, WRONG, ORPHANED = Fault.MISSING, Fault.STRAY, Fault.WRONG, Fault.ORPHANED
UNREADABLE, INCONSISTENT, SHARED = Fault.UNREADABLE, Fault.INCONSISTENT, Fault.SHARED
BEHIND, MISCOUNTED, UNUSED = Fault.BEHIND, Fault.MISCOUNTED, Fault.UNUSED
LEFT_ROWS = {("ready", STRAY), ("due", STRAY), ("keys", STRAY), ("expires", STRAY), ("counts", MISCOUNTED)}
JOBS_ODD: Found = {("jobs", INCONSISTENT)}


def odd(name: str, do: Callable[[Spoiler], None], *more: tuple[str, Fault]) -> Damage:
    """What a rebuild leaves."""
    found: Found = set(more) or JOBS_ODD
    return Damage(name, do, found, found)


DAMAGES = [
    # records
    Damage("garbage for a record", _overwritten("jobs", "waiting", b"\x01garbage"),
           {("jobs", UNREADABLE), *LEFT_ROWS}, {("jobs", UNREADABLE)}),
    Damage("a record of a newer version", _overwritten("jobs", "waiting", b"\x07"),
           {("jobs", UNREADABLE), *LEFT_ROWS}, {("jobs", UNREADABLE)}),
    Damage("a record gone", _without_a_record, {("bodies", ORPHANED), *LEFT_ROWS}),
    # rows that are missing
    *(Damage(f"no row in {table}", _dropped(table, of), {(table, MISSING)}) for table, of in (
        ("ready", "waiting"), ("due", "later"), ("running", "running"),
        ("paused", "paused"), ("finished", "completed"), ("finished", "error"), ("expires", "paused"),
        ("expires", "waiting"), ("keys", "running"), ("keys", "waiting"))),
    Damage("the only row of a lane gone", _dropped("ready", "blocked"),
           {("ready", MISSING), ("names", UNUSED)}),
    # rows of nobody
    *(Damage(f"nobody's row in {table}", lambda s, table=table, key=key: s.put(table, key, NOBODY),
             {(table, STRAY)}) for table, key in (
        ("ready", pack(">IBQQ", 1, 5, NOW, 99)), ("ready", pack(">IBQQ", 4711, 5, NOW, 99)), ("ready", b"\0"),
        ("due", pack(">QQ", NOW, 99)), ("paused", pack(">Q", 99)), ("finished", pack(">BQQ", 3, NOW, 99)),
        ("expires", pack(">QQ", NOW, 99)), ("keys", short_hash("nobody's")))),
    Damage("nobody's row in running", lambda s: s.put("running", NOBODY, b"node/1"), {("running", STRAY)}),
    # rows of jobs that are elsewhere
    *(Damage(f"a {to} job's row in {table}", _row_of_a_job_that_left(table, of, to), {(table, STRAY)})
      for table, of, to in (
        ("ready", "waiting", "completed"), ("ready", "waiting", "later"), ("due", "later", "paused"),
        ("paused", "paused", "waiting"), ("finished", "error", "running"), ("expires", "paused", "later"))),
    Damage("a waiting job's row in running", _overwritten("running", "waiting", b"node/1"),
           {("running", STRAY)}),
    Damage("a finished job's key", lambda s: s.put("keys", short_hash("late"), s.key("late")),
           {("keys", STRAY)}),
    Damage("another job in its place",
           lambda s: s.put("paused", s.row("paused", "paused")[0], s.key("canceled")),
           {("paused", MISSING), ("paused", STRAY)}),
    Damage("another owner in running", _overwritten("running", "running", b"other/9"), {("running", WRONG)}),
    # counts and names
    Damage("a count too high", lambda s: s.put("counts", _count(s, State.WAITING, "mail"), pack(">Q", 2)),
           {("counts", MISCOUNTED)}),
    Damage("a count gone", lambda s: s.delete("counts", _count(s, State.COMPLETED, "default")),
           {("counts", MISCOUNTED)}),
    Damage("a count of nothing", lambda s: s.put("counts", _count(s, State.PAUSED, "mail"), pack(">Q", 1)),
           {("counts", MISCOUNTED)}),
    Damage("a count of no queue", lambda s: s.put("counts", pack(">BI", 0, 4711), pack(">Q", 1)),
           {("counts", STRAY)}),
    Damage("a count cut short", lambda s: s.put("counts", _count(s, State.WAITING, "mail"), b"\1"),
           {("counts", STRAY), ("counts", MISCOUNTED)}),
    Damage("a lane without its number", _no_number,
           {("names", WRONG), ("counts", STRAY), ("counts", MISCOUNTED)}),
    Damage("a number without its lane", _no_name, {("names", WRONG), ("ready", MISSING), ("ready", STRAY)}),
    Damage("a number of another lane", _other_name, {("names", WRONG), ("counts", MISCOUNTED)}),
    Damage("a lane that nobody uses", _unused_name, {("names", UNUSED)}),
    # counters
    Damage("a seq that would be given again", lambda s: s.put("meta", b"seq", pack(">Q", 3)),
           {("meta", BEHIND)}),
    Damage("an epoch that would be given again", lambda s: s.put("meta", b"epoch", pack(">I", 0)),
           {("meta", BEHIND)}),
    # what is kept beside
    *(Damage(f"{table} of nobody", lambda s, table=table, value=value, tail=tail: s.put(
        table, NOBODY + tail, value), {(table, ORPHANED)}) for table, value, tail in (
        ("bodies", b"x", b""), ("results", encode(OK.result), b""),
        ("attempts", encode(AttemptRecord(1, NOW, 0.1)), pack(">I", 1)))),
    Damage("notes that are too old", _too_old_a_note, {("attempts", ORPHANED)}),
    Damage("a note of attempt 0", _note(0, 0), {("attempts", ORPHANED)}),
    Damage("a note of an attempt to come", _note(2, 2), {("attempts", ORPHANED)}),
    odd("a note of another number", _note(1, 7), ("attempts", INCONSISTENT)),
    odd("a result of garbage", _overwritten("results", "completed", b"\xff"), ("results", UNREADABLE)),
    odd("a note of garbage", _overwritten("attempts", "error", b"\xff", pack(">I", 1)),
        ("attempts", UNREADABLE)),
    odd("a body gone", lambda s: s.delete("bodies", s.key("waiting")), ("bodies", INCONSISTENT)),
    odd("a body cut short", _overwritten("bodies", "waiting", b"x"), ("bodies", INCONSISTENT)),
    odd("a body that the job does not know of", _overwritten("bodies", "later", b"x"),
        ("bodies", INCONSISTENT)),
    odd("a rule of garbage", lambda s: s.put("rules", short_hash("other"), b"\xff"), ("rules", UNREADABLE)),
    odd("a rule in another's place", lambda s: s.put("rules", short_hash("x"), encode(QueueRule("y", True))),
        ("rules", INCONSISTENT)),
    # jobs that can't be so
    odd("another uid in the record", lambda s: s.put("jobs", s.key("later"), to_record(
        replace(s.job("later"), uid=s.uids["late"])))),
    odd("running without a claim", _changed("running", claim=0)),
    odd("running without an owner", _changed("running", owner="")),
    odd("waiting under a claim", _changed("waiting", claim=1)),
    odd("completed without a time", _changed("completed", finished_ms=0)),
    odd("waiting with a time of finishing", _changed("waiting", finished_ms=NOW)),
    odd("in error without one", _changed("error", error=None)),
    odd("completed without an attempt", _changed("canceled", state=State.COMPLETED),
        ("jobs", INCONSISTENT), ("counts", MISCOUNTED))._replace(left=JOBS_ODD),
    odd("canceled and blocked", _changed("canceled", blocked_by="host:slow")),
    odd("a job without a seq", _changed("later", seq=0)),
    odd("more failures than attempts", _changed("error", failures=2)),
    odd("a priority that has no place", lambda s: s.put("jobs", s.key("later"), to_record(
        replace(s.job("later"), priority=300))), ("jobs", UNREADABLE), ("ready", STRAY), ("due", STRAY),
        )._replace(left={("jobs", UNREADABLE)}),
    odd("two jobs in the same place", _same_place, ("due", SHARED)),
    odd("two jobs with the same key", _same_key, ("keys", SHARED)),
]  # fmt: skip
