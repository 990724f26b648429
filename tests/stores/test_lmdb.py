"""What only the LMDB store does: own its directory, grow, survive a full disk, refuse what it can't read."""

import asyncio
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Any

import lmdb
import pytest

from taskpusher.errors import StoreBroken, StoreFull, StoreLocked, StoreUnreadable
from taskpusher.job import ErrorClass, State, canceled
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Add, Edit, Query, QueueRule
from taskpusher.stores.check import check
from taskpusher.stores.layout import uid_key
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.writer import FEW
from taskpusher.testing import NOW, OK, a_job, eventually, no_limits, refused, settled


async def opened(path: Path, **settings: Any) -> LmdbStore:
    store = LmdbStore(path / "tasker.db", **settings)
    await store.open("node", no_limits)
    return store


async def test_a_second_owner_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    with pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
        await opened(tmp_path)
    await store.close()
    await (await opened(tmp_path)).close()


async def test_a_refused_open_leaves_the_owner_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    for _ in range(3):
        with pytest.raises(StoreLocked):
            await opened(tmp_path)
    await store.write(Add(a_job()))
    assert (await store.page(Query(), None, 10)).total == 1
    await store.close()


async def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = await opened(tmp_path)
        assert os.umask(0) == 0, "the process's umask is as it was"
    finally:
        os.umask(before)
    await store.write(Add(a_job()))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()}
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert modes == {"data.mdb": 0o600, "lock.mdb": 0o600, "tasker.lock": 0o600}
    await store.close()


async def test_a_creation_cut_short_is_begun_anew(tmp_path: Path) -> None:
    directory = tmp_path / "tasker.db"
    (directory / "new-abc").mkdir(parents=True)
    (directory / "new-abc" / "data.mdb").write_bytes(b"half a page")
    store = await opened(tmp_path)
    await store.write(Add(a_job()))
    assert not list(directory.glob("new-*"))
    await store.close()


async def test_an_empty_directory_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "tasker.db").mkdir()
    await (await opened(tmp_path)).close()


async def test_what_is_no_store_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "data.mdb").write_bytes(b"not a database" * 1000)
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "garbage"):
        with pytest.raises(StoreUnreadable, match=str(path)):
            await LmdbStore(path).open("node", no_limits)


async def test_a_store_of_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.close()
    with lmdb.open(str(store.path), max_dbs=2) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"format", struct.pack(">I", 99), db=meta)
    before = (store.path / "data.mdb").read_bytes()
    with pytest.raises(StoreUnreadable, match="format 99"):
        await opened(tmp_path)
    assert (store.path / "data.mdb").read_bytes() == before


async def test_the_map_grows_while_jobs_come_and_go(tmp_path: Path) -> None:
    store = await opened(tmp_path, map_size=256 << 10)
    writes = [
        store.write(*(Add(a_job(body_size=500), os.urandom(500)) for _ in range(100))) for _ in range(30)
    ]
    reads = [store.page(Query(), None, 100) for _ in range(10)]
    await asyncio.gather(*writes, *reads)
    claimed = await store.claim(3000, NOW)
    await asyncio.gather(*(store.write(settled(held.job, OK)) for held in claimed.jobs))
    assert await store.counts() == {(State.COMPLETED, "default"): 3000}
    assert (await store.figures()).size > 1 << 20
    await store.close()


class FullDisk:
    """An environment whose transactions of the writer find no room, while `full`: at their commit, or at a
    put, when a transaction is so big that LMDB writes some of its pages before the end."""

    def __init__(self, env: Any, error: str, at: str) -> None:
        self._env = env
        self.full = False
        self.error = error
        self.at = at

    def refuse(self, at: str) -> None:
        if self.full and self.at == at:
            raise lmdb.DiskError(f"mdb_{at}: {self.error}")

    def begin(self, write: bool) -> Any:
        return Doomed(self, self._env.begin(write=write))


class Doomed:
    def __init__(self, disk: FullDisk, txn: Any) -> None:
        self._disk, self._txn = disk, txn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def put(self, *given: Any, **more: Any) -> Any:
        self._disk.refuse("put")
        return self._txn.put(*given, **more)

    def commit(self) -> None:
        try:
            self._disk.refuse("commit")
        except lmdb.DiskError:
            self._txn.abort()
            raise
        self._txn.commit()


async def with_full_disk(
    store: LmdbStore,
    monkeypatch: pytest.MonkeyPatch,
    error: str = "No space left on device",
    at: str = "commit",
) -> FullDisk:
    disk = FullDisk(store._env, error, at)
    monkeypatch.setattr(store._writer, "_env", disk)
    monkeypatch.setattr("taskpusher.stores.writer.FULL_PAUSE", 0.01)
    await store.write()  # in the transaction that was begun before
    disk.full = True
    return disk


@pytest.mark.parametrize("at", ["put", "commit"])
async def test_a_full_disk_refuses_pushes_keeps_settlements_and_goes_on(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()), Add(a_job()))
    first, second = (held.job for held in (await store.claim(2, NOW)).jobs)
    disk = await with_full_disk(store, monkeypatch, at=at)
    settling = store.write(settled(first, OK))
    await refused(StoreFull, store.write(Add(a_job())))
    assert (await store.figures()).full
    assert not asyncio.ensure_future(settling).done()
    disk.full = False
    await settling
    await store.write(settled(second, OK))
    await eventually(lambda: not store._writer.full)
    await store.write(Add(a_job()))
    assert await store.counts() == {(State.COMPLETED, "default"): 2, (State.WAITING, "default"): 1}
    await store.close()


async def test_commits_are_small_while_the_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit takes new pages before it frees old ones: a big one would take the last of them."""
    store = await opened(tmp_path)
    monkeypatch.setattr(store._writer, "_nearly_full", lambda: True)
    before = store._writer.commits
    await asyncio.gather(*(store.write(Add(a_job())) for _ in range(3 * FEW)))
    assert store._writer.commits - before == 3
    await store.close()


async def test_a_store_closes_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()))
    (held,) = (await store.claim(1, NOW)).jobs
    await with_full_disk(store, monkeypatch)
    settling = asyncio.ensure_future(store.write(settled(held.job, OK)))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await store.close()
    await refused(StoreFull, settling)


async def test_a_push_is_refused_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    monkeypatch.setattr(store._directory, "free", lambda: (10 << 20, 64 << 20))
    await refused(StoreFull, store.write(Add(a_job())))
    await store.close()


async def test_the_figures_tell_when_a_full_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    free = [10 << 20, 64 << 20]
    monkeypatch.setattr(store._directory, "free", lambda: tuple(free))
    await refused(StoreFull, store.write(Add(a_job())))
    assert (await store.figures()).full
    free[0] = 1 << 40
    monkeypatch.setattr(store._room, "_measured", 0.0)  # a second later
    assert not (await store.figures()).full
    await store.close()


async def test_a_disk_that_fails_answers_nobody_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await opened(tmp_path)
    told: list[BaseException] = []
    store.watch(lambda: None, told.append)
    await with_full_disk(store, monkeypatch, "Input/output error")
    writing = asyncio.ensure_future(store.write(Add(a_job())))
    await eventually(lambda: told)
    assert isinstance(told[0], StoreBroken)
    assert not writing.done()
    writing.cancel()
    await store.close()


def have_meta_pages_written_to(place: Path, store: LmdbStore) -> None:
    """Until the environment is opened anew: LMDB writes them through a file of its own."""
    for name in os.listdir("/proc/self/fd"):
        fd, data = int(name), store.path / "data.mdb"
        try:
            its = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DSYNC and os.path.samestat(os.fstat(fd), data.stat())
        except OSError:  # the one that listed them
            continue
        if its:
            other = os.open(place, os.O_RDONLY if place.is_dir() else os.O_WRONLY)
            os.dup2(other, fd)
            os.close(other)
            return
    raise AssertionError("no file of the meta pages")


async def test_reads_go_on_where_the_meta_page_found_no_room(tmp_path: Path) -> None:
    """LMDB gives the environment up then; it is opened anew, in a thread, while others read."""
    store = await opened(tmp_path)
    first, second = a_job(), a_job()
    await store.write(Add(first))
    for _ in range(10):
        env = store._env
        have_meta_pages_written_to(Path("/dev/full"), store)
        pushing = asyncio.ensure_future(store.write(Add(second)))
        pages = [asyncio.ensure_future(store.page(Query(), None, 10)) for _ in range(5)]
        while store._env is env or not pushing.done():
            assert await store.get(first.uid) is not None
            await asyncio.sleep(0)
        await refused(StoreFull, pushing)
        assert [(await page).total for page in pages] == [1] * 5
        await store.write(QueueRule("q", concurrency=1))  # there is room again
    await store.write(Add(second))
    await store.close()
    assert check(store.path).findings == []


async def test_reads_are_refused_where_the_meta_page_could_not_be_written(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    told: list[BaseException] = []
    store.watch(lambda: None, told.append)
    await store.write(Add(a_job()))
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    have_meta_pages_written_to(read_only, store)
    pushing = asyncio.ensure_future(store.write(Add(a_job())))
    await eventually(lambda: told)
    with pytest.raises(StoreBroken):
        await store.counts()
    assert not pushing.done()
    pushing.cancel()
    await store.close()


async def test_a_record_that_cannot_be_read_stops_nobody_else(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    bad, good = a_job(), a_job()
    await store.write(Add(bad), Add(good))
    await store.close()
    with lmdb.open(str(store.path), max_dbs=30) as env:
        jobs = env.open_db(b"jobs")
        with env.begin(write=True) as txn:
            txn.put(uid_key(bad.uid), b"\x01garbage", db=jobs)
    store = await opened(tmp_path)
    assert [job.uid for job in (await store.page(Query(), None, 10)).jobs] == [good.uid]
    assert [job.uid for job in (await store.page(Query(State.WAITING), None, 10)).jobs] == [good.uid]
    claimed = await store.claim(5, NOW)
    assert [held.job.uid for held in claimed.jobs] == [good.uid]
    assert await store.counts() == {(State.RUNNING, "default"): 1}
    await store.close()


async def test_a_change_that_cannot_be_encoded_fails_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    good = store.write(Add(a_job()))
    bad = store.write(Add(a_job(title="\ud800")))
    after = store.write(Add(a_job()))
    await good
    with pytest.raises(UnicodeEncodeError):
        await bad
    await after
    assert (await store.page(Query(), None, 10)).total == 2
    await store.close()


async def test_a_change_that_has_no_place_in_an_index_leaves_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    bad = a_job(priority=300)
    with pytest.raises(ValueError, match="256"):
        await store.write(Add(bad))
    assert await store.get(bad.uid) is None
    await store.close()


async def test_what_is_called_together_shares_a_commit(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = store._writer.commits
    await asyncio.gather(*(store.write(Add(a_job())) for _ in range(200)))
    assert store._writer.commits - before <= 3
    await store.close()


async def test_a_settlement_and_the_next_claim_share_a_commit(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()), Add(a_job()))
    (held,) = (await store.claim(1, NOW)).jobs
    before = store._writer.commits
    settling, claiming = store.write(settled(held.job, OK)), store.claim(1, NOW)
    await settling
    assert len((await claiming).jobs) == 1
    assert store._writer.commits == before + 1
    await store.close()


async def test_who_adds_one_job_does_not_wait_for_those_who_add_a_thousand(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    answered: list[str] = []

    async def adding(name: str, number: int) -> None:
        await store.write(*(Add(a_job(queue=name)) for _ in range(number)))
        answered.append(name)

    first = [adding("a thousand", 1000) for _ in range(3)]
    await asyncio.gather(*first, adding("one", 1))
    assert answered.index("one") <= 1, "at most the commit of one big write comes before"
    await store.close()


async def test_who_comes_while_a_thousand_are_added_shares_their_commit(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    before = store._writer.commits
    many = asyncio.gather(store.write(*(Add(a_job(queue="a thousand")) for _ in range(1000))))
    while not store._writer._batch:
        await asyncio.sleep(0)
    (written,) = await store.write(Add(a_job()))
    assert many.done()
    assert store._writer.commits == before + 1
    assert written.job is not None and await store.get(written.job.uid) == written.job
    await store.close()


async def test_small_writes_without_end_keep_no_big_one_waiting(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    big = asyncio.gather(store.write(*(Add(a_job(queue="big")) for _ in range(300))))
    for _ in range(20):
        if big.done():
            break
        await asyncio.gather(*(store.write(Add(a_job())) for _ in range(3)))
    assert big.done()
    await big
    assert (await store.counts())[State.WAITING, "big"] == 300
    await store.close()


async def test_a_claim_in_front_of_many_held_back_jobs_lets_others_in(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "tasker.db")
    await store.open("node", lambda job: ((f"host:{job.host}", 1),))
    jobs = [a_job(host="slow") for _ in range(2000)] + [a_job(host="fast")]
    await store.write(*(Add(job) for job in jobs))
    assert [held.job.host for held in (await store.claim(1, NOW)).jobs] == ["slow"]
    claimed = await store.claim(1, NOW)
    assert claimed.jobs == [] and claimed.next_due == NOW, "it comes up for air, and is to be asked again"
    while not claimed.jobs:
        claimed = await store.claim(1, NOW)
    assert [held.job.host for held in claimed.jobs] == ["fast"]
    await store.close()


async def test_a_running_record_that_cannot_be_read_keeps_no_store_closed(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job()), Add(a_job()))
    bad, good = (held.job for held in (await store.claim(2, NOW)).jobs)
    await store.close()
    with lmdb.open(str(store.path), max_dbs=30) as env:
        jobs = env.open_db(b"jobs")
        with env.begin(write=True) as txn:
            txn.put(uid_key(bad.uid), b"\x01garbage", db=jobs)
    store = await opened(tmp_path)
    assert await store.orphans(NOW) == ([good], None)
    await store.close()


async def test_a_settlement_that_cannot_be_stored_leaves_nothing_of_itself(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.write(Add(a_job(kind="command", key="k", max_attempts=3)))
    (held,) = (await store.claim(1, NOW)).jobs
    wished = canceled(held.job, NOW)
    await store.write(Edit(wished))
    change = settled(wished, Failure(ErrorClass.UNKNOWN, "half a character: \ud800"))
    (refusal,) = (await store.claim(0, NOW, None, [change])).settled
    assert isinstance(refusal, UnicodeEncodeError)
    assert await store.get(wished.uid) == wished
    assert await store.counts() == {(State.RUNNING, "default"): 1}
    await store.write(settled(wished, OK))
    await store.close()
    assert not check(store.path).findings


async def test_a_store_that_is_closed_refuses_what_comes_late(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.close()
    await refused(StoreBroken, store.write(QueueRule("default", paused=True)))
