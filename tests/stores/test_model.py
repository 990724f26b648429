"""Random walks over a store, held against the plain list of its jobs after every step.

Writes of several changes are refused now and then, batches are aborted and run again, the store is reopened.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import lmdb
import pytest
from msgspec.structs import replace

from taskpusher.errors import MoveRefused, TaskPusherError
from taskpusher.job import (
    LIVE,
    ErrorClass,
    Job,
    State,
    canceled,
    due_now,
    edited,
    expired,
    paused,
    resumed,
    retried,
)
from taskpusher.runners.base import Failure, Released
from taskpusher.stores.base import Add, Change, Edit, Note, Query, QueueRule, Remove, Settle
from taskpusher.stores.check import check
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.stores.tables import Tables
from taskpusher.testing import NOW, OK, a_job, settled

STEPS = 100


class Walk:
    def __init__(self, seed: int, path: Path) -> None:
        self.random = Random(seed)
        self.cap = self.random.choice([0, 1, 2])
        self.now = NOW
        self.jobs: dict[str, Job] = {}
        self.notes: dict[str, bytes] = {}
        self.path = path if seed % 3 else None  # every third walk is over the memory store
        self.memory = MemoryStore()
        self.store: Any = None

    def caps(self, job: Job) -> Iterable[tuple[str, int]]:
        return ((f"host:{job.host}", self.cap),) if self.cap and job.host else ()

    async def reopen(self) -> None:
        if self.store is not None:
            await self.store.close()
            if self.path:
                assert check(self.path / "tasker.db").findings == []
        self.store = LmdbStore(self.path / "tasker.db") if self.path else self.memory
        self.cap = self.random.choice([self.cap, 0, 1, 2])
        await self.store.open("node", self.caps)
        if isinstance(self.store, LmdbStore):
            self.abort_some(self.store._tables)

    def abort_some(self, tables: Tables) -> None:
        finish = tables.finish

        def finish_or_not() -> None:
            finish()
            if self.random.random() < 0.1:
                raise lmdb.MapFullError("aborted")

        tables.finish = finish_or_not  # type: ignore[method-assign]
        self.store._writer._resize = lambda: None

    # ---- steps ------------------------------------------------------------------------------------

    async def step(self) -> None:
        roll = self.random.random()
        if roll < 0.55:
            await self.write()
        elif roll < 0.85:
            await self.claim()
        elif roll < 0.95:
            self.now += self.random.choice([1, 10, 6000])
        else:
            await self.reopen()
            for job in (await self.store.orphans(NOW))[0]:
                await self.store.write(settled(job, Released("crashed", crashed=True), self.now))
        page = await self.store.page(Query(), None, 100_000)
        self.jobs = {job.uid: job for job in page.jobs}
        assert page.total == len(self.jobs) == len(page.jobs)

    async def write(self) -> None:
        before = dict(self.jobs)
        changes = [self.change() for _ in range(self.random.choice([1, 1, 2, 5]))]
        if self.random.random() < 0.1:  # as a person does who clears a queue
            changes = [Edit(canceled(job, self.now)) for job in before.values() if is_ready(job, self.now)]
        try:
            await self.store.write(*changes)
            self.note(change for change in changes if isinstance(change, Note))
        except TaskPusherError:
            for uid in {uid for change in changes if (uid := uid_of(change))}:
                assert await self.store.get(uid) == before.get(uid)
            followers = [add.job for change in changes for add in getattr(change, "then", ())]
            assert [await self.store.get(job.uid) for job in followers] == [
                before.get(job.uid) for job in followers
            ]

    def note(self, notes: Iterable[Note]) -> None:
        for note in notes:
            self.notes.pop(note.name, None)
            if note.value is not None:
                self.notes[note.name] = note.value

    def change(self) -> Change:
        pick, roll = self.random.choice, self.random.random()
        if roll < 0.4 or not self.jobs:
            fields: dict[str, Any] = {
                "queue": pick("ab"),
                "host": pick(["x", "y", ""]),
                "key": pick(["", "", "k"]),
            }
            due, ends = self.now + pick([0, 0, -5, 20]), pick([0, 0, self.now + 15])
            return Add(a_job(**fields, due_ms=due, expires_ms=ends, max_attempts=2))
        if roll < 0.45:
            return QueueRule(pick("ab"), pick([True, False, False]), pick([0, 1, 2]))
        if roll < 0.47:
            return Note(pick(["a/1", "a/2", "b"]), pick([None, b"", b"1", b"2" * 3000]))
        job = pick(list(self.jobs.values()))
        if roll < 0.5 and job.state is not State.RUNNING:
            return Remove(job.uid, job.revision)
        if roll < 0.55:
            job = replace(job, revision=job.revision - 1)
        try:
            return pick(MOVES)(self, job)
        except MoveRefused:
            return self.change()

    async def claim(self) -> None:
        limit = self.random.choice([1, 3, 50])
        done = [settled(job, OK, self.now) for job in self.some_running()]
        claimed = await self.store.claim(limit, self.now, None, done)
        for change, job in zip(done, claimed.settled, strict=True):
            assert job == change.job
        self.jobs |= {job.uid: job for job in claimed.settled}
        rules = {figures.rule.name: figures.rule for figures in await self.store.queues()}
        queues = Counter(job.queue for job in self.jobs.values() if job.state is State.RUNNING)
        hosts = Counter(job.host for job in self.jobs.values() if job.state is State.RUNNING)
        ready = {job.uid: job for job in self.jobs.values() if is_ready(job, self.now)}

        def may_run(job: Job) -> bool:
            rule = rules.get(job.queue, QueueRule(job.queue))
            room = not rule.concurrency or queues[job.queue] < rule.concurrency
            return room and not rule.paused and (not self.cap or not job.host or hosts[job.host] < self.cap)

        for held in claimed.jobs:
            job = ready.pop(held.job.uid)
            assert may_run(job)
            ahead = [one for one in ready.values() if one.queue == job.queue and rank(one) < rank(job)]
            assert not [one for one in ahead if may_run(one)], "another one was first"
            queues[job.queue] += 1
            hosts[job.host] += 1
        if len(claimed.jobs) < limit:
            assert not [job for job in ready.values() if may_run(job)], "a job that may run was left"

    def followers(self, job: Job) -> tuple[Add, ...]:
        """Jobs to go with a change: one that can't be added, and one whose key may be taken."""
        fields = {"queue": self.random.choice("ab"), "key": self.random.choice(["", "k"])}
        return Add(replace(job, fingerprint=b"another")), Add(a_job(**fields, due_ms=self.now))

    def some_running(self) -> list[Job]:
        running = [job for job in self.jobs.values() if job.state is State.RUNNING]
        return self.random.sample(running, self.random.randint(0, len(running)))

    # ---- what must hold ---------------------------------------------------------------------------

    async def check(self) -> None:
        jobs = self.jobs.values()
        assert await self.store.counts() == Counter((job.state, job.queue) for job in jobs)
        assert await self.store.notes("") == sorted(self.notes.items())
        assert await self.store.notes("a", newest_first=True) == sorted(
            (item for item in self.notes.items() if item[0] != "b"), reverse=True
        )
        for state in State:
            uids, cursor = [], None
            while not uids or cursor is not None:
                page = await self.store.page(Query(state), cursor, 3)
                uids += [job.uid for job in page.jobs]
                if (cursor := page.cursor) is None:
                    break
            assert sorted(uids) == sorted(job.uid for job in jobs if job.state is state)
        keys = [job.key for job in jobs if job.key and job.state in LIVE]
        assert len(keys) == len(set(keys))
        if isinstance(self.store, LmdbStore):
            self.check_memory(self.store, len(keys))

    def check_memory(self, store: LmdbStore, keys: int) -> None:
        """What is in memory is what a new start would read; nothing is left in an index."""
        tables, fresh = store._tables, Tables.__new__(Tables)
        fresh.__dict__.update(tables.__dict__)
        with store._env.begin() as txn:
            fresh.load(txn)
            entries = {
                name: txn.stat(tables.db(name))["entries"] for name in ("keys", "ready", "due", "names")
            }
        assert derived(tables) == derived(fresh)
        waiting = [job for job in self.jobs.values() if job.state is State.WAITING]
        lanes = {(job.queue, job.blocked_by) for job in waiting} | {
            (job.queue, "") for job in self.jobs.values()
        }
        assert entries == {"keys": keys, "ready": len(waiting), "due": len(waiting), "names": 2 * len(lanes)}


MOVES: list[Callable[[Walk, Job], Edit | Settle]] = [
    lambda walk, job: Edit(canceled(job, walk.now)),
    lambda walk, job: Edit(paused(job)),
    lambda walk, job: Edit(resumed(job)),
    lambda walk, job: Edit(retried(job, walk.now)),
    lambda walk, job: Edit(due_now(job, walk.now)),
    lambda walk, job: Edit(expired(job, walk.now)),
    lambda walk, job: Edit(edited(job, queue=walk.random.choice("ab"), host="x", due_ms=walk.now + 9)),
    lambda walk, job: settled(job, OK, walk.now),
    lambda walk, job: settled(job, Failure(ErrorClass.UNKNOWN, "reset"), walk.now),
    lambda walk, job: settled(job, Released("stopped"), walk.now),
    lambda walk, job: replace(settled(job, OK, walk.now), then=walk.followers(job)),
    lambda walk, job: Edit(expired(job, walk.now), then=walk.followers(job)),
]


def uid_of(change: Change) -> str:
    if isinstance(change, QueueRule | Note):
        return ""
    return change.uid if isinstance(change, Remove) else change.job.uid


def is_ready(job: Job, now: int) -> bool:
    return job.state is State.WAITING and job.due_ms <= now and not (job.expires_ms and job.expires_ms <= now)


def rank(job: Job) -> tuple[int, int, int]:
    return job.priority, job.due_ms, job.seq


def derived(tables: Tables) -> dict[str, Any]:
    lanes = tables.lanes
    return {
        "counts": tables.counts._counts,
        "running": tables.running,
        "heads": {
            (row.lane, row.priority): row.head for rows in lanes._rows.values() for row in rows.values()
        },
        "queues": {name: queue.running for name, queue in lanes._queues.items() if queue.running},
        "limit keys": dict(lanes._running),
        "full": lanes._full,
        "lanes of": lanes._lanes_of,
    }


@pytest.mark.parametrize("seed", range(8))
async def test_a_store_agrees_with_the_list_of_its_jobs(seed: int, tmp_path: Path) -> None:
    walk = Walk(seed, tmp_path)
    await walk.reopen()
    for _ in range(STEPS):
        await walk.step()
        await walk.check()
    await walk.store.close()
