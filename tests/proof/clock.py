"""The wall clock is set again and again, the machine sleeps, and every delay ends when it would have ended.

    python -m tests.proof clock --size night --seed 7

Half of the jobs have a delay: they start in the minute in which it is over by the time that has passed. Half
have a date: they start in the minute in which the wall clock, as it was set, first told it.
"""

import asyncio
import logging
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from taskpusher.job import Held, State
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Outcome
from taskpusher.stores.base import Store
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import OK, FakeClock, ScriptedRunner

from . import Proof, Size

STEP = 60.0  # seconds between two looks
HOUR, DAY = 3600.0, 86_400.0
SETS = (DAY, -DAY, HOUR, -HOUR, 2.5, -2.5)  # a day, summer time on a clock that should be UTC, NTP
LONGEST = 6 * HOUR
CONCURRENCY = 50


class Timed:
    """A pusher whose clock is set, and when each of its jobs may start."""

    def __init__(self, store: Store, seed: int) -> None:
        self.clock, self.random = FakeClock(), Random(seed)
        self.passed = 0.0  # seconds, the machine's sleep included
        self.ends: dict[str, float] = {}  # uid -> when its delay is over, in seconds passed
        self.dates: dict[str, int] = {}  # uid -> its date, ms
        self.latest = self.clock.now()  # the latest time that the wall clock has told
        self.wrong: list[str] = []
        self.started = 0
        self.pusher = TaskPusher(
            store,
            {"http": ScriptedRunner(play=self._play)},
            clock=self.clock,
            concurrency=CONCURRENCY,
            keep=1000 * DAY,
        )

    async def _play(self, held: Held) -> Outcome:
        uid = held.job.uid
        self.started += 1
        if uid in self.ends and self.passed < (end := self.ends.pop(uid)):
            self.wrong.append(f"{uid} started {end - self.passed:.0f} s early")
        if uid in self.dates and self.latest < (date := self.dates.pop(uid)):
            self.wrong.append(f"{uid} started {(date - self.latest) / 1000:.0f} s before its date")
        return OK

    async def push(self, jobs: int) -> None:
        for number in range(jobs):
            after = self.random.uniform(STEP, LONGEST)
            if number % 2:
                job = await self.pusher.push("http://localhost/", delay=after)
                self.ends[job.uid] = self.passed + after
            else:
                date = round(self.clock.now() + after * 1000)
                told = datetime.fromtimestamp(date / 1000, UTC).isoformat(timespec="milliseconds")
                job = await self.pusher.push("http://localhost/", due_at=told)
                self.dates[job.uid] = date

    async def set_or_sleep(self) -> None:
        if self.random.random() < 0.2:
            self._pass(nap := self.random.uniform(1, HOUR))
            self.clock.sleep(nap)
        else:
            by = self.random.choice(SETS)
            self.latest = max(self.latest, self.clock.now() + round(by * 1000))
            self.clock.jump(by)
        await self.quiet()

    async def go_on(self) -> None:
        self._pass(STEP)
        self.clock.advance(STEP)
        self.pusher._workers.feed.wake()
        await self.quiet()

    def _pass(self, seconds: float) -> None:
        self.passed += seconds
        self.latest = max(self.latest, self.clock.now() + round(seconds * 1000))

    async def quiet(self) -> None:
        """Until due times have been moved and what is due has run; then what has not is late."""
        feed = self.pusher._workers.feed
        while self.pusher._shift._task or feed._claims or len(feed._waiters) < CONCURRENCY:
            await asyncio.sleep(0)
        now = self.clock.now()
        self.wrong += [f"{uid} is late" for uid, end in self.ends.items() if end < self.passed - 0.01]
        self.wrong += [f"{uid} is late for its date" for uid, date in self.dates.items() if date < now]


async def timed(store: Store, seed: int, jobs: int) -> Timed:
    world = Timed(store, seed)
    await world.pusher.start()
    await world.push(jobs)
    while world.ends and not world.wrong:
        if world.random.random() < 0.1:
            await world.set_or_sleep()
        await world.go_on()
    world.clock.jump(60 * DAY)  # a date may have gone far ahead
    world.latest += round(120 * DAY * 1000)
    await world.quiet()
    done = (await world.pusher.counts()).get((State.COMPLETED, "default"), 0)
    if done != jobs or world.started != jobs:
        world.wrong.append(f"of {jobs} jobs {done} are completed, after {world.started} calls")
    await world.pusher.stop()
    await world.pusher.close()
    return world


JOBS = {"quick": 60, "night": 2000}
ROUNDS = {"quick": 3, "night": 1000}


def prove(size: Size, seed: int, deadline: float) -> Proof:
    rounds, wrong, began = 0, list[str](), time.monotonic()
    logging.disable(logging.CRITICAL)
    try:
        while rounds < ROUNDS[size] and not wrong and (time.monotonic() < deadline or not rounds):
            for name in ("memory", "lmdb"):
                with tempfile.TemporaryDirectory() as where:
                    store: Any = MemoryStore() if name == "memory" else LmdbStore(Path(where) / "tasker.db")
                    world = asyncio.run(timed(store, seed + rounds, JOBS[size]))
                    wrong += [f"{name}, seed {seed + rounds}: {what}" for what in world.wrong]
            rounds += 1
    finally:
        logging.disable(logging.NOTSET)
    took = time.monotonic() - began
    figure = f"{2 * rounds * JOBS[size]} jobs in {took:.0f} s, {len(wrong)} early, late or lost"
    return Proof(figure, not wrong, [f"{rounds} rounds over each of memory and lmdb", *wrong[:20]])
