"""Weeks of a tasker's life in virtual time: pushes, moves, restarts, kills, a disk that is late or full,
targets that do everything, a clock that is set. The same seed gives the same life, so what went wrong can be
seen again.

    python -m tests.proof simulation --size night --seed 7 --minutes 30

After every step the world looks at what was done (see `World.moved` and `World.began`). Then the faults stop,
and all that was ever taken on must come to its end.
"""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable
from random import Random
from typing import Any
from uuid import UUID

from taskpusher.errors import TaskPusherError
from taskpusher.job import FINISHED, Job, State
from taskpusher.pusher import TaskPusher
from taskpusher.runners.call import Answer, Call, NotSent, Unknown
from taskpusher.runners.http import HttpRunner

from . import Proof, Size
from .faulty_store import Disk, FaultyStore
from .virtual import VirtualClock, VirtualLoop

DAY = 86_400.0
DAYS = 7
HOSTS = ("a", "b", "c")
QUEUES = ("default", "q", "r")
PER_HOST, CONCURRENCY = 2, 4
KEEP = 2 * DAY
LONGEST_WAIT = DAY + 3600.0  # a Retry-After is believed up to a day; the longest delay here is shorter
QUIET = 60.0  # seconds without a change or an event, after which all that may run has been begun
SLACK = 2  # ms that rounding may make of a length of time

MOVES = {
    (None, State.WAITING),
    (State.WAITING, State.WAITING),
    (State.WAITING, State.RUNNING),
    (State.WAITING, State.PAUSED),
    (State.WAITING, State.CANCELED),
    (State.WAITING, State.ERROR),
    (State.PAUSED, State.PAUSED),
    (State.PAUSED, State.WAITING),
    (State.PAUSED, State.CANCELED),
    (State.PAUSED, State.ERROR),
    (State.RUNNING, State.COMPLETED),
    (State.RUNNING, State.ERROR),
    (State.RUNNING, State.WAITING),
    (State.RUNNING, State.CANCELED),
    (State.ERROR, State.WAITING),
    (State.CANCELED, State.WAITING),
}


class Broken(AssertionError):
    """Something that was promised did not hold."""


class World:
    """All that is outside the tasker, and what it is owed."""

    def __init__(self, seed: int, days: float = DAYS) -> None:
        self.seed, self.days = seed, days
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.disk = Disk(self.moved)
        self.calm = False
        self.owed: set[str] = set()  # what /add has answered
        self.asked: set[str] = set()  # what may be in the store
        self.removable: set[str] = set()  # what a person asked to forget
        self.canceled: set[tuple[str, int]] = set()  # attempts whose cancel was answered
        self.out: Counter[str] = Counter()  # calls under way, by host
        self.calling: dict[str, int] = {}  # uid -> attempt
        self.sent: set[tuple[str, int]] = set()  # (uid, run) of once-jobs that may have gone out
        self.not_before: dict[str, float] = {}  # uid -> elapsed time at which its delay or backoff ends
        self.timed: set[str] = set()  # what a person has given another time
        self.dates: dict[str, int] = {}  # uid -> its due_at
        self.latest_wall = 0  # the latest time that the wall clock has told
        self.stirred = 0.0  # loop time of the last change and of the last event
        self.figures: Counter[str] = Counter()
        self.broken: asyncio.Future[None] = self.loop.create_future()
        self._trace = hashlib.sha256()

    # ---- what must hold ---------------------------------------------------------------------------

    def holds(self, holds: object, what: str, job: object = None) -> None:
        if not holds:
            error = Broken(f"seed {self.seed}, day {self.clock.elapsed() / DAY:.3f}: {what}: {job}")
            if not self.broken.done():  # a runner's errors are the tasker's to catch
                self.broken.set_exception(error)
            raise error

    def moved(self, before: Job | None, after: Job | None) -> None:
        """A job was changed on the disk."""
        self.figures["steps"] += 1
        self.stirred = self.loop.time()
        for job in (before, after):
            told = (job.seq, job.state, job.attempt, job.failures, job.due_ms) if job else None
            self._trace.update(repr((self.loop.time(), told)).encode())
        if after is None:
            assert before is not None
            self._may_go(before)
            return
        self.holds(after.uid in self.asked or after.tags == ("copy",), "nobody pushed it", after)
        was = before.state if before else None
        self.holds((was, after.state) in MOVES, f"it went from {was} to {after.state}", after)
        if before is not None:
            begun = after.state is State.RUNNING and was is State.WAITING
            self.holds(after.attempt == before.attempt + begun, "attempts do not grow one by one", after)
            self.holds(not begun or after.uid not in self.calling, "it runs twice at once", after)
            if begun:
                self._may_run(before, after)
            elif was is after.state is State.WAITING and after.uid in self.timed:
                self._any_time(after.uid)  # a person's word came after a backoff had begun
            if was is State.RUNNING and after.state is State.WAITING and after.delayed:
                wait = self.clock.until(after.due_ms, after.era)  # the clock may have been set meanwhile
                self.not_before[after.uid] = self.clock.elapsed() + wait

    def _may_go(self, job: Job) -> None:
        kept = self.clock.now() - job.finished_ms
        by_age = job.state in FINISHED and kept > KEEP * 500  # half of it when the disk is full
        self.holds(job.uid in self.removable or by_age, "a job was lost", job)
        self.holds(job.state is not State.RUNNING, "a running job was forgotten", job)
        self.owed.discard(job.uid)

    def _may_run(self, before: Job, after: Job) -> None:
        rule = self.disk.rule(before.queue)
        running = [job for job in self.disk.jobs.values() if job.state is State.RUNNING]
        in_queue = sum(job.queue == before.queue for job in running)
        self.holds(not rule.paused, "its queue is paused", after)
        self.holds(not rule.concurrency or in_queue <= rule.concurrency, "its queue is full", after)
        self.holds(sum(job.host == after.host for job in running) <= PER_HOST, "its host is full", after)
        self.holds(len(running) <= CONCURRENCY, "all workers are busy", after)
        ends = self.not_before.get(after.uid, 0.0)
        self.holds(self.clock.elapsed() * 1000 + SLACK >= ends * 1000, "its delay is not over", after)
        self.latest_wall = max(self.latest_wall, self.clock.wall())
        self.holds(self.dates.get(after.uid, 0) <= self.latest_wall + SLACK, "its date has not come", after)
        self.holds(not before.expires_ms or before.expires_ms > after.started_ms, "it is past its end", after)

    def began(self, call: Call) -> tuple[str, Job]:
        """A call goes out."""
        headers = dict(call.pairs())
        uid, attempt = headers[b"Tasker-Uid"].decode(), int(headers[b"Tasker-Attempt"])
        job = self.disk.job(uid)
        self.holds(job is not None and job.attempt == attempt, "a call that is not on the disk", job)
        assert job is not None
        self.holds(uid not in self.calling, "two calls of one job", job)
        self.holds((uid, attempt) not in self.canceled, "a call of a job that is canceled", job)
        self.holds((uid, job.run) not in self.sent, "a once-job that may have gone out goes out again", job)
        self.calling[uid] = attempt
        self.out[call.host] += 1
        self.figures["calls"] += 1
        self.holds(self.out[call.host] <= PER_HOST, "more calls to a host than it may have", job)
        return uid, job

    def ended(self, uid: str, host: str) -> None:
        del self.calling[uid]
        self.out[host] -= 1

    def whole(self) -> None:
        """Nothing is lost, and the counts are those of the jobs."""
        jobs = self.disk.jobs
        lost = self.owed - jobs.keys()
        self.holds(not lost, "lost", lost)
        counts = Counter((job.state, job.queue) for job in jobs.values())
        told = {slot: n for slot, n in self.disk._counts.items() if n}
        self.holds(told == counts, "the counts are not those of the jobs", (told, counts))

    def prompt(self) -> None:
        """When nothing has happened for a while, nothing waits that may run."""
        if self.store.full or self.loop.time() - self.stirred < QUIET:
            return
        running = [job for job in self.disk.jobs.values() if job.state is State.RUNNING]
        queues, hosts = Counter(job.queue for job in running), Counter(job.host for job in running)
        late = self.clock.now() - round(QUIET * 1000)
        for job in self.disk.jobs.values():
            if job.state is not State.WAITING or job.due_ms > late or len(running) == CONCURRENCY:
                continue
            rule = self.disk.rule(job.queue)
            held = rule.paused or 0 < rule.concurrency <= queues[job.queue] or hosts[job.host] >= PER_HOST
            self.holds(held, "it waits though it may run", job)

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    # ---- its life ---------------------------------------------------------------------------------

    def live(self) -> None:
        try:
            self.loop.run_until_complete(self._live())
        finally:
            if self.broken.done():
                self.broken.exception()
            self.loop.close()

    async def _live(self) -> None:
        self.loop.set_exception_handler(self._escaped)
        await self._start()
        moments = sorted(self.random.uniform(0, self.days * DAY) for _ in range(round(40 * self.days)))
        for moment in moments:
            await self._until(moment)
            self.prompt()
            await self._event()
            self.stirred = self.loop.time()
            self.whole()
        await self._calm()
        await self.pusher.stop(grace=0)
        await self.pusher.close()
        self.whole()

    def _escaped(self, loop: Any, context: dict[str, Any]) -> None:
        if not self.broken.done():
            self.broken.set_exception(context.get("exception") or Broken(context["message"]))

    async def _until(self, moment: float) -> None:
        """What breaks meanwhile is raised at once."""
        pusher_broken = self.pusher.broken
        if (left := moment - self.loop.time()) > 0:
            sleeping = asyncio.ensure_future(asyncio.sleep(left))
            waited = [sleeping, self.broken, pusher_broken]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            sleeping.cancel()
        if self.broken.done():
            self.broken.result()
        if pusher_broken.done():
            raise pusher_broken.result()

    async def _start(self) -> None:
        self.store = FaultyStore(self.disk, self.random)
        runner = HttpRunner(_Transport(self), clock=self.clock)
        self.pusher = TaskPusher(
            self.store,  # type: ignore[arg-type]
            {"http": runner},
            concurrency=CONCURRENCY,
            per_host=PER_HOST,
            keep=KEEP,
            keep_errors=KEEP,
            node="node",
            clock=self.clock,
            random=self.random,
        )
        await self.pusher.start()

    async def _event(self) -> None:
        (event,) = self.random.choices([*EVENTS], [*EVENTS.values()])
        self.figures["events"] += 1
        self._trace.update(event.encode())
        await getattr(self, f"_{event}")()

    def _later(self, doing: Awaitable[Any]) -> None:
        """A client of its own: its answer may come late, or never."""

        async def answered() -> None:
            try:
                await doing
            except TaskPusherError:
                self.figures["refused"] += 1

        task = asyncio.ensure_future(answered())
        task.add_done_callback(lambda done: None if done.cancelled() else self._raise(done))

    def _raise(self, done: "asyncio.Future[None]") -> None:
        if (error := done.exception()) and not self.broken.done():
            self.broken.set_exception(error)

    # ---- what happens -----------------------------------------------------------------------------

    async def _add(self) -> None:
        await self._push_some(self.random.choice((1, 1, 1, 12)))

    async def _push_some(self, number: int) -> None:
        for _ in range(number):
            self._later(self._push())

    async def _push(self) -> None:
        pick = self.random.choice
        host = pick(HOSTS)
        fields: dict[str, Any] = {
            "uid": str(UUID(int=self.random.getrandbits(128), version=4)),
            "queue": pick(QUEUES),
            "priority": pick((0, 5, 5, 9)),
            "max_attempts": pick((1, 2, 5)),
            "timeout": pick((10, 60, 600)),
            "once": pick((False, False, True)),
        }
        uid = fields["uid"]
        when = self.random.random()
        if when < 0.3:
            fields["delay"] = pick((1, 60, 3600, 20_000))
            self.not_before[uid] = self.clock.elapsed() + fields["delay"]
        elif when < 0.45:
            due = self.clock.wall() + pick((1000, 600_000, 20_000_000))
            fields["due_at"] = _rfc3339(due)
            self.dates[uid] = due
        if self.random.random() < 0.15:
            fields["expires_at"] = _rfc3339(self.clock.wall() + pick((30_000_000, 90_000_000)))
        if self.random.random() < 0.1:
            fields["key"] = pick("kl")
        if self.random.random() < 0.3:
            fields |= {"method": "POST", "body": "b" * 100}
        self.asked.add(uid)
        job = await self.pusher.push(f"http://{host}/work", **fields)
        if job.uid in self.disk.jobs:
            self.owed.add(job.uid)
        else:
            self.holds(job.uid in self.removable, "it was answered and is not there", job)

    def _some(self) -> str | None:
        """Any job, rather one that runs or waits."""
        jobs = self.disk.jobs.values()
        wanted = self.random.choice(((State.RUNNING,), (State.WAITING, State.PAUSED), tuple(State)))
        some = [job.uid for job in jobs if job.state in wanted] or [job.uid for job in jobs]
        return self.random.choice(some) if some else None

    async def _person(self) -> None:
        await self._push_some(self.random.choice((0, 0, 2)))
        await self._until(self.loop.time() + self.random.random() * 0.02)
        if (uid := self._some()) is not None:
            move = self.random.choice(
                ("cancel", "pause", "resume", "retry", "run", "remove", "duplicate", "edit", "edit")
            )
            self._later(getattr(self, f"_person_{move}")(uid))

    async def _person_cancel(self, uid: str) -> None:
        job = await self.pusher.cancel(uid)
        self.canceled.add((uid, job.attempt))
        await asyncio.sleep(0.001)
        self.holds(self.calling.get(uid) != job.attempt, "the call of a canceled job goes on", job)

    async def _person_pause(self, uid: str) -> None:
        await self.pusher.pause(uid)

    async def _person_resume(self, uid: str) -> None:
        await self.pusher.resume(uid)

    async def _person_retry(self, uid: str) -> None:
        self._any_time(uid)
        await self.pusher.retry(uid)

    async def _person_run(self, uid: str) -> None:
        self._any_time(uid)
        await self.pusher.run(uid)

    async def _person_remove(self, uid: str) -> None:
        self.removable.add(uid)
        await self.pusher.remove(uid)

    async def _person_duplicate(self, uid: str) -> None:
        if (job := self.disk.job(uid)) is not None and job.tags == ("copy",):
            copy = await self.pusher.duplicate(uid)
            self.owed |= {copy.uid} & self.disk.jobs.keys()

    async def _person_edit(self, uid: str) -> None:
        self._any_time(uid)
        fields = self.random.choice(({"title": "t"}, {"delay": 60, "tags": ["copy"]}, {"priority": 1}))
        await self.pusher.edit(uid, fields)

    def _any_time(self, uid: str) -> None:
        """A person says when: it may run from now on."""
        self.timed.add(uid)
        self.not_before.pop(uid, None)
        self.dates.pop(uid, None)

    async def _rule(self) -> None:
        queue = self.random.choice(QUEUES)
        rule = {"paused": self.random.random() < 0.3, "concurrency": self.random.choice((0, 0, 1, 2))}
        self._later(self.pusher.set_queue(queue, **rule))

    async def _disk(self) -> None:
        self._fill(self.random.uniform(1, 900))

    def _fill(self, seconds: float) -> None:
        store = self.store
        store.full = True

        def room() -> None:
            store.full = False
            self.stirred = self.loop.time()

        self.loop.call_later(seconds, room)

    async def _impatience(self) -> None:
        """What runs is canceled and sent back, over and over, while the disk keeps outcomes from being
        written: one may come when its job is in another attempt."""
        await self._push_some(12)
        await self._until(self.loop.time() + 0.3)
        self._fill(self.random.uniform(5, 30))
        for _ in range(20):
            running = [job.uid for job in self.disk.jobs.values() if job.state is State.RUNNING]
            for uid in running:
                self._later(self._send_back(uid))
            await self._until(self.loop.time() + self.random.uniform(0.05, 0.5))

    async def _send_back(self, uid: str) -> None:
        await self._person_cancel(uid)
        await self._person_retry(uid)

    async def _clock(self) -> None:
        """Also while all workers are busy: nobody asks for a job by the new time before others come."""
        if self.random.random() < 0.5:
            await self._push_some(24)
            await self._until(self.loop.time() + 0.05)
        self._set_clock()
        await self._push_some(self.random.choice((0, 6)))

    def _set_clock(self) -> None:
        self.latest_wall = max(self.latest_wall, self.clock.wall())
        self.clock.jump(self.random.choice((DAY, -DAY, 3600.0, -3600.0, 2.0, -0.3)))
        self.latest_wall = max(self.latest_wall, self.clock.wall())
        self.figures["clock set"] += 1

    async def _nap(self) -> None:
        self.clock.sleep(self.random.uniform(1, 30_000))

    async def _restart(self) -> None:
        self.figures["restarts"] += 1
        self.store.full = False
        stop = self.pusher.stop(drain=self.random.random() < 0.3, grace=self.random.choice((0, 5, 30)))
        self._later(stop)
        await self._until(self.loop.time() + self.random.choice((0.5, 60)))
        if self.random.random() < 0.5:
            self.pusher.hurry()
            await self._until(self.loop.time() + 60)
        await self._end_process()

    async def _kill(self) -> None:
        self.figures["kills"] += 1
        await self._until(self.loop.time() + self.random.random() * 0.01)
        await self._end_process()

    async def _end_process(self) -> None:
        """Nothing of it is left: neither what it does nor what it waits for."""
        self.store.dead = True
        if self.pusher._shift._task is not None and not self.pusher._shift._task.done():
            self.not_before.clear()  # over a restart only the wall clock is known
        self.clock.forget_watchers()
        here = asyncio.current_task()
        others = sorted((task for task in asyncio.all_tasks() if task is not here), key=_number)
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1.0) if others else None
        if (timer := self.pusher.history._timer) is not None:  # it would outlive the process
            timer.cancel()
        self.holds(not self.calling, "a call outlived its process", self.calling)
        await asyncio.sleep(self.random.choice((0.1, 600.0)))
        await self._start()

    # ---- the end ----------------------------------------------------------------------------------

    async def _calm(self) -> None:
        """The faults stop: every job has come to its end before the longest wait is over."""
        self.calm = True
        self.store.full = False
        await asyncio.sleep(700)  # the longest timeout
        for queue in QUEUES:
            await self.pusher.set_queue(queue, paused=False, concurrency=0)
        for job in list(self.disk.jobs.values()):
            if job.state is State.PAUSED:
                await self.pusher.resume(job.uid)
        due = [job.due_ms for job in self.disk.jobs.values() if job.state is State.WAITING]
        wait = max([0, *(moment - self.clock.now() for moment in due)]) / 1000
        longest = max((ends for ends in self.not_before.values()), default=0.0) - self.clock.elapsed()
        self.holds(longest <= LONGEST_WAIT, "a delay is longer than the longest", longest)
        await self._until(self.loop.time() + wait + 3600)
        for job in self.disk.jobs.values():
            self.holds(job.state in FINISHED, "a job has not come to its end", job)
        self.whole()


EVENTS = {
    "add": 45,
    "person": 25,
    "rule": 6,
    "disk": 5,
    "impatience": 2,
    "clock": 4,
    "nap": 2,
    "restart": 5,
    "kill": 8,
}


class _Transport:
    """A target that does all that targets do."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def call(self, call: Call) -> Answer:
        world = self._world
        uid, job = world.began(call)
        try:
            return await self._play(call, job)
        finally:
            world.ended(uid, call.host)

    async def _play(self, call: Call, job: Job) -> Answer:
        world, roll, random = self._world, self._world.random.random(), self._world.random
        await asyncio.sleep(random.uniform(0.0005, 0.01))  # connecting
        if roll < 0.1 and not world.calm:
            raise NotSent("refused")
        if job.once:
            world.sent.add((job.uid, job.run))
        if roll < 0.5 or world.calm:
            await asyncio.sleep(random.expovariate(1.0))
            return Answer(200, (), b"ok")
        if roll < 0.6:
            return Answer(503, (("retry-after", random.choice(("7", "3000", "1000000"))),), b"")
        if roll < 0.65:
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(world.clock.wall() // 1000 + 90))
            return Answer(429, (("Retry-After", date),), b"")
        if roll < 0.7:
            return Answer(random.choice((404, 301, 204)), (), b"")
        if roll < 0.8:
            await asyncio.sleep(random.uniform(0, 2))
            raise Unknown("reset")
        if roll < 0.9:
            await asyncio.sleep(call.timeout - 0.01)
            return Answer(200, (), b"late")
        await asyncio.sleep(call.timeout)
        raise Unknown("timed out")

    async def close(self) -> None:
        pass


def _rfc3339(moment: int) -> str:
    told = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 1000))
    return f"{told}.{moment % 1000:03d}Z"


def _number(task: "asyncio.Task[Any]") -> tuple[str, str]:
    return type(task.get_coro()).__name__, task.get_name()


# ---- the row ------------------------------------------------------------------------------------------


def lived(seed: int, days: float = DAYS) -> World:
    """The world after a life. Raises Broken, or whatever went wrong."""
    world = World(seed, days)
    logging.disable(logging.CRITICAL)  # faults are logged: that is tested elsewhere
    try:
        world.live()
    finally:
        logging.disable(logging.NOTSET)
    return world


SEEDS = {"quick": 8, "night": 10_000}
TWICE = {"quick": 2, "night": 100}


def prove(size: Size, seed: int, deadline: float) -> Proof:
    began, seeds, longest = time.monotonic(), 0, 0.0
    figures: Counter[str] = Counter()
    traces: dict[int, str] = {}
    failed: list[str] = []
    while seeds < SEEDS[size] and time.monotonic() < deadline and len(failed) < 5:
        before = time.monotonic()
        try:
            world = lived(seed + seeds)
            figures.update(world.figures)
            if len(traces) < TWICE[size]:
                traces[seed + seeds] = world.trace
        except Exception as error:
            failed.append(f"seed {seed + seeds}: {type(error).__name__}: {error}")
        longest = max(longest, time.monotonic() - before)
        seeds += 1
    other = [again for again, trace in traces.items() if lived(again).trace != trace]
    took = time.monotonic() - began
    figure = f"{seeds} seeds, {seeds * DAYS} days in {took:.0f} s, {len(failed)} broken"
    return Proof(
        figure,
        not failed and not other and seeds > 0,
        [
            ", ".join(f"{n} {what}" for what, n in sorted(figures.items())),
            f"the longest seed took {longest:.2f} s",
            f"same seed, same trace: {len(traces) - len(other)} of {len(traces)} {other or ''}",
            *failed,
        ],
    )
