"""The entries of the audit, in a store."""

import asyncio
import logging

import pytest

from taskpusher.audit import Audit, Entry
from taskpusher.stores.base import Change, Note
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import FakeClock


def entry(number: int) -> Entry:
    return Entry(number, "boss", "127.0.0.1", "cancel", job=str(number))


def jobs(entries: list[Entry]) -> list[str]:
    return [one.job for one in entries]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_the_newest_come_first_also_those_of_one_millisecond(
    store: MemoryStore, clock: FakeClock
) -> None:
    audit = Audit(store, clock)
    await asyncio.gather(*(audit.write(entry(n)) for n in range(15)))
    found = await audit.entries()
    assert jobs(found) == [str(n) for n in reversed(range(15))]
    assert jobs(await audit.entries(3, before=found[4].id)) == ["9", "8", "7"]


async def test_they_keep_their_order_while_the_clock_is_set_back(
    store: MemoryStore, clock: FakeClock
) -> None:
    audit = Audit(store, clock)
    await audit.write(entry(1))
    clock.jump(-86_400)
    clock.follow()
    await audit.write(entry(2))
    assert jobs(await audit.entries()) == ["2", "1"]
    assert jobs(await Audit(store, clock).entries()) == ["2", "1"]


async def test_the_oldest_go_when_there_are_too_many(store: MemoryStore, clock: FakeClock) -> None:
    audit = Audit(store, clock, kept=10)
    await asyncio.gather(*(audit.write(entry(n)) for n in range(35)))
    assert jobs(await audit.entries()) == [str(n) for n in reversed(range(25, 35))]
    assert len(await store.notes("")) == 10


async def test_what_failed_to_be_written_loses_no_others(
    store: MemoryStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Audit(store, clock, kept=3)
    for n in range(3):
        await audit.write(entry(n))
    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "taskpusher"):
        broken.setattr(store, "write", lambda *changes: 1 / 0)
        await audit.write(entry(99))
    assert "could not be noted" in caplog.text
    assert jobs(await audit.entries()) == ["2", "1", "0"]
    for n in range(3, 6):
        await audit.write(entry(n))
    assert jobs(await audit.entries()) == ["5", "4", "3"]
    assert len(await store.notes("")) == 3


async def test_who_asks_right_after_a_change_is_shown_it(
    store: MemoryStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit, synced, write = Audit(store, clock), asyncio.Event(), store.write

    async def slowly(*changes: Change) -> object:
        await synced.wait()
        return await write(*changes)

    monkeypatch.setattr(store, "write", slowly)
    writing = asyncio.create_task(audit.write(entry(1)))
    await asyncio.sleep(0)
    asked = asyncio.create_task(audit.entries())
    asyncio.get_running_loop().call_soon(synced.set)
    assert jobs(await asked) == ["1"]
    await writing


async def test_an_entry_that_can_not_be_read_is_shown_as_one(store: MemoryStore, clock: FakeClock) -> None:
    audit = Audit(store, clock)
    await store.write(Note("audit/1700000000000-0000", b"\xff"))
    await audit.write(entry(1))
    assert [(one.action, one.at) for one in await audit.entries()] == [("cancel", 1), ("?", 1700000000000)]
