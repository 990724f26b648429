"""The writer: rests, is asked again, and answers nobody when it can't know what was kept."""

import asyncio
import os
import time
from pathlib import Path
from struct import pack
from typing import Any

import lmdb
import pytest

from taskpusher.errors import StoreBroken, StoreFull
from taskpusher.job import ErrorClass, State
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Add, Details, QueueRule, Remove
from taskpusher.stores.check import check
from taskpusher.stores.layout import uid_key
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.numbers import LaneNumbers, short_hash
from taskpusher.stores.requests import AT_ONCE
from taskpusher.testing import NOW, OK, a_job, eventually, refused, settled

from .test_lmdb import have_meta_pages_written_to, opened, with_full_disk

REST = 0.02


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpusher.stores.writer.REST", REST)


async def is_ended_by_a_write(store: LmdbStore, told: list[BaseException]) -> None:
    """It is told, and nobody is answered what nobody knows."""
    writing = asyncio.ensure_future(store.write(Add(a_job())))
    await eventually(lambda: told)
    assert isinstance(told[0], StoreBroken)
    assert not writing.done()
    writing.cancel()
    await store.close()


async def test_a_writer_without_work_lets_the_lock_go_until_it_is_asked(
    tmp_path: Path, short_rests: None
) -> None:
    store = await opened(tmp_path)
    for number in range(1, 4):
        await eventually(lambda: store._writer._resting)
        await asyncio.to_thread(lambda: store._env.begin(write=True).abort())  # as another program would
        await store.write(Add(a_job()))
        assert sum((await store.counts()).values()) == number
    await eventually(lambda: store._writer._resting)
    await store.close()


async def test_a_writer_that_is_kept_busy_does_not_rest(tmp_path: Path, short_rests: None) -> None:
    store = await opened(tmp_path)
    loop = asyncio.get_running_loop()
    until = loop.time() + 5 * REST
    while loop.time() < until:
        await asyncio.gather(store.write(Add(a_job())), store.write(Add(a_job())))
        assert not store._writer._resting
    await eventually(lambda: store._writer._resting)
    await store.close()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.close()
    with pytest.raises(StoreBroken, match="is closed"):
        await store.write(QueueRule("q"))


async def test_a_fault_in_the_middle_of_a_commit_answers_nobody_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    told: list[BaseException] = []
    store.watch(lambda: None, told.append)

    def finish() -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(store._tables, "finish", finish)
    await is_ended_by_a_write(store, told)


async def test_a_commit_that_may_be_there_after_all_ends_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta page found no room, and yet the file is not as it was before."""
    store = await opened(tmp_path)
    told: list[BaseException] = []
    store.watch(lambda: None, told.append)
    really = store._writer._reopen

    def reopen() -> Any:
        env = really()
        with env.begin(write=True) as txn:
            txn.put(b"by", b"somebody else")
        return env

    monkeypatch.setattr(store._writer, "_reopen", reopen)
    have_meta_pages_written_to(Path("/dev/full"), store)
    await is_ended_by_a_write(store, told)


async def test_an_environment_that_gives_up_by_itself_ends_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ours went wrong before: it is not for us to say that another one would do."""

    class GivenUp:
        def begin(self, write: bool) -> None:
            raise lmdb.PanicError("mdb_txn_begin")

    store = await opened(tmp_path)
    told: list[BaseException] = []
    store.watch(lambda: None, told.append)
    monkeypatch.setattr(store._writer, "_env", GivenUp())
    await is_ended_by_a_write(store, told)


# ---- a full disk --------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_at_the_door_and_keeps_turns_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()), Add(a_job()))
    disk = await with_full_disk(store, monkeypatch)
    claiming = asyncio.ensure_future(store.claim(1, NOW))
    await refused(StoreFull, store.write(Add(a_job())))
    await eventually(lambda: store._writer.full)
    with monkeypatch.context() as patch:
        patch.setattr(store._room, "_measured", time.monotonic() + 60)  # it was looked at just now
        patch.setattr(store._writer, "submit", lambda request: pytest.fail("it came in"))
        await refused(StoreFull, store.write(Add(a_job())))
    assert not claiming.done()
    disk.full = False
    assert len((await claiming).jobs) == 1
    await store.close()


async def test_a_turn_that_finds_no_room_for_its_settlement_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job(max_attempts=2)))
    (held,) = (await store.claim(1, NOW)).jobs
    disk = await with_full_disk(store, monkeypatch, at="put")
    change = settled(held.job, Failure(ErrorClass.UNKNOWN, "reset"))
    assert change.job.state is State.WAITING
    turn = asyncio.ensure_future(store.claim(1, NOW, settles=[change]))
    await eventually(lambda: store._writer.full)
    disk.full = False
    (settlement,) = (await turn).settled
    assert settlement == change.job
    await store.close()


# ---- many, and bad ones -------------------------------------------------------------------------------


async def test_a_turn_of_many_settlements_settles_them_all(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    number = 2 * AT_ONCE + 1
    await store.write(*(Add(a_job()) for _ in range(number)))
    held = (await store.claim(number, NOW)).jobs
    turn = await store.claim(0, NOW, settles=[settled(one.job, OK) for one in held])
    assert [job.state for job in turn.settled if not isinstance(job, Exception)] == [State.COMPLETED] * number
    await store.close()


async def test_an_expired_job_whose_notes_cannot_be_read_is_told_without_them(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    job = a_job(expires_ms=NOW + 1)
    await store.write(Add(job, b"body"))
    await store.close()
    with lmdb_of(store.path) as env:
        attempts = env.open_db(b"attempts")
        with env.begin(write=True) as txn:
            txn.put(uid_key(job.uid) + bytes(4), b"\xff", db=attempts)
    store = await opened(tmp_path)
    told: list[Details] = []

    def then(details: Details) -> list[Add]:
        told.append(details)
        return []

    turn = await store.claim(1, NOW + 2, then=then)
    assert [(late.uid, late.state) for late in turn.expired] == [(job.uid, State.ERROR)]
    assert [(details.job.uid, details.body, details.attempts) for details in told] == [(job.uid, b"", [])]
    await store.close()


async def test_a_finished_job_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    bad, good = a_job(), a_job()
    await store.write(Add(bad), Add(good))
    held = (await store.claim(2, NOW)).jobs
    await store.write(*(settled(one.job, OK) for one in held))
    await store.close()
    with lmdb_of(store.path) as env:
        jobs = env.open_db(b"jobs")
        with env.begin(write=True) as txn:
            txn.put(uid_key(bad.uid), b"\x01garbage", db=jobs)
    store = await opened(tmp_path)
    found, _ = await store.finished(State.COMPLETED, NOW + 1, 10)
    assert [job.uid for job in found] == [good.uid]
    await store.close()


async def test_pages_that_nothing_uses_and_the_disk_has_lost_are_added(tmp_path: Path) -> None:
    """A power cut may leave a file without its last pages, where the last commits had freed them."""
    store = await opened(tmp_path)
    (written,) = await store.write(Add(a_job(body_size=1 << 18), os.urandom(1 << 18)))
    assert written.job is not None
    await store.write(Remove(written.job.uid, written.job.revision))
    for _ in range(5):
        await store.write(Add(a_job()))
    await store.close()
    data = store.path / "data.mdb"
    whole = data.stat().st_size
    os.truncate(data, whole - 4096)
    store = await opened(tmp_path)
    assert data.stat().st_size == whole
    assert await store.counts() == {(State.WAITING, "default"): 5}
    await store.close()
    assert check(store.path).findings == []


async def test_a_lane_that_nobody_used_has_its_number_again(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()))
    await store.close()
    with lmdb_of(store.path) as env:
        names = env.open_db(b"names")
        with env.begin(write=True) as txn:
            txn.put(short_hash("mail\0"), pack(">I", 7), db=names)
            txn.put(pack(">I", 7), b"mail\0", db=names)
    store = await opened(tmp_path)
    await store.write(Add(a_job(queue="mail")))
    await store.close()
    assert check(store.path).findings == []
    with lmdb_of(store.path) as env:
        names = env.open_db(b"names")
        with env.begin() as txn:
            assert txn.get(short_hash("mail\0"), db=names) == pack(">I", 7)
            numbers = LaneNumbers(names, env.open_db(b"meta", txn))
        with env.begin(write=True) as txn:
            numbers.remove(txn, ("none", ""))  # of a lane that never was: nothing goes
            assert txn.stat(names)["entries"] == 4


def lmdb_of(path: Path) -> Any:
    return lmdb.open(str(path), max_dbs=30)
