"""Many new jobs in one write: the store is as if they had come one by one."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from taskpusher.errors import UidTaken
from taskpusher.job import State
from taskpusher.stores.base import Add, Query
from taskpusher.stores.check import check
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.requests import AT_ONCE
from taskpusher.testing import NOW, a_job, no_limits, refused


async def opened(path: Path) -> LmdbStore:
    store = LmdbStore(path / "tasker.db")
    await store.open("node", no_limits)
    return store


def some_jobs(random: Random, count: int) -> list[Add]:
    adds = []
    for number in range(count):
        fields: dict[str, Any] = {"queue": random.choice(["default", "mail", "video"])}
        fields["priority"] = random.randrange(10)
        fields["due_ms"] = NOW + random.choice([0, 0, -5, 7, 60_000])
        if random.random() < 0.2:
            fields["expires_ms"] = NOW + 100_000 + random.randrange(100)
        if random.random() < 0.2:
            fields["key"] = f"key {number}"
        body = b"x" * random.choice([0, 0, 3, 5000])
        adds.append(Add(a_job(body_size=len(body), **fields), body))
    return adds


async def all_of(store: LmdbStore) -> list[Any]:
    """Every job with what is kept beside it, as listed; then all as they are claimed."""
    listed = [job.uid for job in (await store.page(Query(State.WAITING), None, 10_000)).jobs]
    details = [await store.details(uid) for uid in listed]
    counts = await store.counts()
    claimed = await store.claim(10_000, NOW)
    return [details, counts, [held.job.uid for held in claimed.jobs], claimed.next_due]


@pytest.mark.parametrize("seed", range(5))
async def test_many_jobs_in_one_write_are_as_if_they_had_come_one_by_one(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    first, many = some_jobs(random, 3), some_jobs(random, 2 * AT_ONCE + 30)
    together, apart = await opened(tmp_path / "a"), await opened(tmp_path / "b")
    for store in (together, apart):
        await store.write(*first)
    written = await together.write(*many)
    one_by_one = [(await apart.write(change))[0] for change in many]
    assert written == one_by_one
    assert await all_of(together) == await all_of(apart)
    await together.close()
    await apart.close()
    assert check(together.path).findings == []


@pytest.mark.parametrize("field", ["uid", "key"])
async def test_what_is_there_already_is_found_among_many(tmp_path: Path, field: str) -> None:
    store = await opened(tmp_path)
    known = a_job(fingerprint=b"as before", key="known")
    await store.write(Add(known))
    many = [Add(a_job()) for _ in range(3 * AT_ONCE)]
    again = known if field == "uid" else a_job(key="known")
    many[5], many[-5] = Add(replace(again, queue="another")), Add(again)
    written = await store.write(*many)
    assert [number for number, one in enumerate(written) if one.existing] == [5, len(many) - 5]
    assert {one.job.uid for one in written if one.existing and one.job} == {known.uid}
    assert await store.counts() == {(State.WAITING, "default"): len(many) - 1}
    await store.close()
    assert check(store.path).findings == []


async def test_a_uid_that_is_taken_leaves_nothing_of_many(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    known = a_job()
    await store.write(Add(known))
    many = [Add(a_job(queue="new")) for _ in range(2 * AT_ONCE)]
    await refused(UidTaken, store.write(*many, Add(known)))
    twice = a_job(queue="new")
    await refused(UidTaken, store.write(*many, Add(twice), Add(twice)))
    assert await store.counts() == {(State.WAITING, "default"): 1}
    assert [held.job.uid for held in (await store.claim(10, NOW)).jobs] == [known.uid]
    await store.close()
    assert check(store.path).findings == []
