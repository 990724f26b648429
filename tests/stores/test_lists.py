"""How LMDB's lists are read: in turns, and to the end though the store is being closed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskpusher.job import State
from taskpusher.stores import pages
from taskpusher.stores.base import Add, Page, Query
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.testing import a_job, no_limits

JOBS = 400
NOBODY = Query(State.WAITING, host="nobody")


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LmdbStore:
    """Its lists are read in turns of 10 rows."""
    monkeypatch.setattr(pages, "TURN", 10)
    store = LmdbStore(tmp_path / "tasker.db")
    await store.open("node", no_limits)
    await store.write(*(Add(a_job(queue="odd" if number % 2 else "even")) for number in range(JOBS)))
    return store


async def test_a_short_look_does_not_wait_for_the_end_of_long_ones(store: LmdbStore) -> None:
    ended: list[str] = []

    async def page(name: str, most: int) -> None:
        await store.page(NOBODY, None, 10, most)
        ended.append(name)

    await asyncio.gather(*(page("long", 0) for _ in range(4)), page("short", 20))
    assert ended[0] == "short"
    await store.close()


async def test_a_page_that_is_being_read_is_given_though_the_store_is_closed(store: LmdbStore) -> None:
    page: asyncio.Future[Page] = asyncio.ensure_future(store.page(NOBODY, None, 10))
    await asyncio.sleep(0)
    await store.close()
    assert (await page).looked == JOBS


async def test_who_gives_up_a_long_look_ends_it(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = store._look

    def counted(*args: Any) -> pages.Look:
        nonlocal looks
        looks += 1
        return look(*args)

    monkeypatch.setattr(store, "_look", counted)
    page = asyncio.ensure_future(store.page(NOBODY, None, 10))
    while not looks:
        await asyncio.sleep(0)
    page.cancel()
    with pytest.raises(asyncio.CancelledError):
        await page
    await store.close()
    assert looks < JOBS / 10


async def test_totals_by_state_and_queue_come_from_the_counts(store: LmdbStore) -> None:
    for query, total in (
        (Query(), JOBS),
        (Query(State.WAITING), JOBS),
        (Query(State.ERROR), 0),
        (Query(queue="odd"), JOBS // 2),
        (Query(State.WAITING, "even"), JOBS // 2),
        (Query(State.PAUSED, "even"), 0),
        (Query(queue="none"), 0),
        (Query(queue="\ud800"), 0),
    ):
        page = await store.page(query, None, 3, 5)
        assert (page.total, page.looked, page.complete) == (total, 0, True), query
    await store.close()
