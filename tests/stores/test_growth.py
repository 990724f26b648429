"""What a store keeps in memory and in its names follows the jobs it has, not those it ever had."""

from pathlib import Path
from struct import pack
from typing import Any

import lmdb
import pytest
from msgspec.structs import replace

from taskpusher.job import Job, canceled
from taskpusher.stores.base import Add, Edit, QueueRule, Remove
from taskpusher.stores.lanes import MOST_STALE, Lanes
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import NOW, OK, a_job, no_limits, settled

Stored = LmdbStore | MemoryStore


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    return LmdbStore(tmp_path / "tasker.db") if request.param == "lmdb" else MemoryStore()


def lanes_of(store: Stored) -> Lanes:
    return store._tables.lanes if isinstance(store, LmdbStore) else store._lanes


async def added(store: Stored, **fields: Any) -> Job:
    (written,) = await store.write(Add(a_job(**fields)))
    assert written.job is not None
    return written.job


async def test_queues_that_come_and_go_leave_nothing(store: Stored) -> None:
    await store.open("node", lambda job: ((f"host:{job.host}", 1),))
    for number in range(30):
        await added(store, queue=f"q{number}")
        await added(store, queue=f"q{number}")  # will be held back by the host's cap
        for _ in range(2):
            (held,) = (await store.claim(2, NOW)).jobs
            done = settled(held.job, OK)
            await store.write(done)
            await store.write(Remove(done.job.uid, done.job.revision))
    assert (await store.claim(1, NOW)).jobs == []
    lanes = lanes_of(store)
    assert not lanes._queues and not lanes._rows and not lanes._lanes_of and not lanes._full
    if isinstance(store, LmdbStore):
        numbers = store._tables.numbers
        assert not numbers._keys and not numbers._lanes and len(numbers._new) <= 2
        with store._env.begin() as txn:
            for table in ("names", "counts", "ready", "due"):
                assert txn.stat(store._tables.db(table))["entries"] == 0, table
    await store.close()


@pytest.mark.parametrize("due", [NOW, NOW + 3_600_000])
async def test_jobs_that_come_and_go_before_they_may_run_leave_nothing(store: Stored, due: int) -> None:
    await store.open("node", no_limits)
    await store.write(QueueRule("default", paused=True))
    await store.claim(1, NOW)
    last = await added(store, due_ms=due)
    for _ in range(5 * MOST_STALE):
        job = await added(store, due_ms=due - 1)
        await store.write(Edit(canceled(job, NOW)))
    lanes = lanes_of(store)
    assert len(lanes._later) <= 2 * MOST_STALE and len(lanes._queues["default"].ready) <= 2 * MOST_STALE
    await store.write(QueueRule("default"))
    assert [held.job.uid for held in (await store.claim(9, due)).jobs] == [last.uid]
    await store.close()


async def test_lane_numbers_begin_again_when_all_have_been_given(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "tasker.db")
    await store.open("node", no_limits)
    first = await added(store, queue="first")
    await store.close()
    with lmdb.open(str(store.path), max_dbs=30) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(b"lanes", pack(">I", 0xFFFFFFFE), db=meta)
    await store.open("node", no_limits)
    for queue in ("a", "b", "c"):
        await added(store, queue=queue)
    await store.write(Edit(replace(first, title="t", revision=1)))
    await store.close()
    await store.open("node", no_limits)
    assert {held.job.queue for held in (await store.claim(9, NOW)).jobs} == {"first", "a", "b", "c"}
    await store.close()
