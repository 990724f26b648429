"""A pusher and its store against a dictionary: whatever is asked in whatever order, every job is where the
moves of the README take it. Hypothesis finds the order, and shrinks what diverges to a short one.

    python -m tests.proof model --size night --minutes 30

The machine asks the pusher as users do, plays the runner, and turns the clock. A store of another kind joins
by a line in `STORES`.
"""

import asyncio
import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from msgspec import structs

from taskpusher.errors import InvalidField, KeyTaken, MoveRefused, UidTaken, UnknownJob
from taskpusher.job import ErrorClass, Held, Job, Result, State
from taskpusher.push import new_job
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Failure, Outcome, Success
from taskpusher.stores.base import Add, Query, QueueRule, Store
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import FakeClock
from taskpusher.uid import new_uid

from . import Proof, Size

KEEP = 100.0  # seconds
CONCURRENCY = 3
CRASHES = 3


def _memory(where: Path) -> Callable[[], Store]:
    kept = MemoryStore()
    return lambda: kept


def _lmdb(where: Path) -> Callable[[], Store]:
    return lambda: LmdbStore(where / "tasker.db", map_size=1 << 20)


# By name: what makes, in a directory of its own, the way to open the same store again and again.
STORES: dict[str, Callable[[Path], Callable[[], Store]]] = {"memory": _memory, "lmdb": _lmdb}


@dataclass(frozen=True)
class Known:
    """What the model knows of a job."""

    uid: str
    kind: str
    queue: str
    host: str
    key: str
    priority: int
    due: int
    delayed: bool
    expires: int
    max_attempts: int
    once: bool
    body: bytes
    order: int
    request: tuple[Any, ...] = ()
    state: str = "waiting"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    run: int = 1
    wish: str | None = None
    heeded: str | None = None  # the wish as its worker knows it: that of the claim
    finished: int = 0
    error: str = ""

    @property
    def live(self) -> bool:
        return self.state in ("waiting", "running", "paused")

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.priority, self.due, self.order


# What a person's move makes of a job of a state: "wish" leaves it running. What is not here is refused.
PERSON = {
    ("cancel", "waiting"): "canceled",
    ("cancel", "paused"): "canceled",
    ("cancel", "running"): "canceled",
    ("pause", "waiting"): "paused",
    ("resume", "paused"): "waiting",
    ("retry", "error"): "waiting",
    ("retry", "canceled"): "waiting",
    ("run", "waiting"): "waiting",
}


class ByHand:
    """A runner whose jobs end when the machine says so."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[Outcome]] = {}

    async def run(self, held: Held) -> Outcome:
        uid = held.job.uid
        assert uid not in self.waiting, "it runs twice at once"
        self.waiting[uid] = asyncio.get_running_loop().create_future()
        try:
            return await self.waiting[uid]
        finally:
            del self.waiting[uid]

    async def close(self) -> None:
        pass


class Machine(RuleBasedStateMachine):
    store_name = "memory"
    uids: Bundle[str] = Bundle("uids")

    def __init__(self) -> None:
        super().__init__()
        shared = Path("/dev/shm")
        self.where = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.new_store = STORES[self.store_name](self.where)
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.known: dict[str, Known] = {}
        self.rules: dict[str, QueueRule] = {}
        self.per_host = 0
        self.pusher: TaskPusher | None = None

    def do(self, doing: Awaitable[Any]) -> Any:
        async def alone() -> Any:
            try:
                return await doing
            finally:
                await self._quiet()
                if self.pusher is not None:
                    await self.pusher._upkeep._expire()  # what waits again may be past its end
                    await self._quiet()

        return self.loop.run_until_complete(alone())

    async def _quiet(self) -> None:
        """Until all that was begun has been written, and every worker runs a job or waits for one."""
        feed = self.pusher._workers.feed if self.pusher else None
        while feed:
            busy = len(self.runner.waiting) + len(feed._waiters)
            under_way = feed._claims or feed._gathering or feed._settling or self.pusher._workers._cut
            if not under_way and busy == CONCURRENCY:
                return
            if feed._claims:
                await asyncio.wait(feed._claims)
            await asyncio.sleep(0)

    # ---- its life ---------------------------------------------------------------------------------

    @initialize(per_host=st.sampled_from((0, 1, 2)))
    def start(self, per_host: int) -> None:
        self.per_host = per_host
        self.do(self._start())

    async def _start(self) -> None:
        self.runner = ByHand()
        self.pusher = TaskPusher(
            self.new_store(),
            {"http": self.runner, "work": self.runner},
            concurrency=CONCURRENCY,
            per_host=self.per_host,
            keep=KEEP,
            keep_errors=KEEP,
            clock=self.clock,
            random=Random(0),
        )
        await self.pusher.start()

    @rule(per_host=st.sampled_from((0, 1, 2)), crash=st.booleans())
    def end_and_start(self, per_host: int, crash: bool) -> None:
        """What ran goes back to its place, unless it may not be repeated or was in too many crashes."""
        self.per_host = per_host
        pusher, self.pusher = self.pusher, None
        assert pusher is not None
        self.do(self._crash(pusher) if crash else self._stop(pusher))
        for job in self.in_state("running"):
            self.give_back(job, crash)
        self.expire()
        self.do(self._start())

    async def _stop(self, pusher: TaskPusher) -> None:
        await pusher.stop(grace=0)
        await pusher.close()

    async def _crash(self, pusher: TaskPusher) -> None:
        """Nothing is given back and nothing told; what was committed is there."""
        here = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not here]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.clock._told.clear()
        await pusher.store.close()

    def give_back(self, job: Known, crash: bool) -> None:
        crashes = job.crashes + crash
        wish = job.wish if crash else job.heeded  # a start reads the wish, a stop has it from the claim
        if job.once:
            self.end(job, "error", failures=job.failures + 1, error="unknown")
        elif job.kind != "http" and crashes >= CRASHES:
            self.end(job, "error", failures=job.failures + 1, error="crashed")
        elif wish:
            self.heed(job, wish)
        else:
            self.put(job, state="waiting", crashes=crashes, due=min(job.due, self.clock.now()), error="")

    def heed(self, job: Known, wish: str) -> None:
        if wish == "pause":
            self.put(job, state="paused", wish=None, due=min(job.due, self.clock.now()))
        else:
            self.end(job, "canceled")

    def teardown(self) -> None:
        try:
            if self.pusher is not None:
                self.lists_agree()
                pusher, self.pusher = self.pusher, None
                self.do(self._stop(pusher))
        finally:
            if self.pusher is not None:
                self.loop.run_until_complete(self._crash(self.pusher))
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.where)

    # ---- the model --------------------------------------------------------------------------------

    def put(self, job: Known, **changes: Any) -> None:
        self.known[job.uid] = replace(job, **changes)

    def end(self, job: Known, state: str, **changes: Any) -> None:
        self.put(job, state=state, finished=self.clock.now(), wish=None, **changes)

    def in_state(self, state: str) -> list[Known]:
        return [job for job in self.known.values() if job.state == state]

    def holder(self, key: str) -> Known | None:
        return next((job for job in self.known.values() if key and job.key == key and job.live), None)

    def expire(self) -> None:
        for job in list(self.known.values()):
            if job.state in ("waiting", "paused") and job.expires and job.expires <= self.clock.now():
                self.end(job, "error", error="expired")

    # ---- pushes -----------------------------------------------------------------------------------

    @rule(
        target=uids,
        queue=st.sampled_from("ab"),
        host=st.sampled_from("xy"),
        key=st.sampled_from(("", "", "k")),
        priority=st.sampled_from((5, 5, 0)),
        when=st.sampled_from(("now", "now", "delay", "date")),
        expires=st.sampled_from((0, 0, 60)),
        max_attempts=st.sampled_from((1, 2)),
        once=st.booleans(),
        kind=st.sampled_from(("http", "http", "work")),
        body=st.sampled_from((b"", b"body")),
    )
    def add(
        self,
        queue: str,
        host: str,
        key: str,
        priority: int,
        when: str,
        expires: int,
        max_attempts: int,
        once: bool,
        kind: str,
        body: bytes,
    ) -> str:
        now, uid = self.clock.now(), new_uid(self.clock.now())
        request = {"url": f"http://{host}/", "queue": queue, "priority": priority, "once": once, "uid": uid}
        request |= {"max_attempts": max_attempts, "method": "POST", "key": key or None}
        request |= {"delay": {"delay": 20}, "date": {"due_at": _rfc3339(now + 20_000)}, "now": {}}[when]
        request |= {"body": body.decode()} if body else {}
        request |= {"expires_at": _rfc3339(now + 1000 * expires)} if expires else {}
        if (found := self.holder(key)) is None:
            due = now if when == "now" else now + 20_000
            self.known[uid] = Known(
                uid=uid,
                kind=kind,
                queue=queue,
                host=host,
                key=key,
                priority=priority,
                due=due,
                delayed=when == "delay",
                expires=now + 1000 * expires if expires else 0,
                max_attempts=max_attempts,
                once=once,
                body=body,
                order=self.next_order(),
                request=tuple(request.items()),
            )
        (written,) = self.do(self._add(request, kind))
        assert written.existing is (found is not None)
        assert written.job.uid == (found.uid if found else uid)
        return str(written.job.uid)

    orders = 0

    def next_order(self) -> int:
        self.orders += 1
        return self.orders

    async def _add(self, request: dict[str, Any], kind: str = "http") -> Any:
        assert self.pusher is not None
        add = new_job(request, self.pusher.defaults, self.clock.now())
        if kind != "http":
            add = Add(structs.replace(add.job, kind=kind), add.body)
        return await self.pusher.add(add)

    @rule(uid=uids, other=st.booleans())
    def push_the_same_uid_again(self, uid: str, other: bool) -> None:
        job = self.known.get(uid)
        if job is None or not job.request:
            return
        request = dict(job.request) | ({"title": "other"} if other else {})
        request = {name: value for name, value in request.items() if not _past(name, value, self.clock.now())}
        if len(request) < len(job.request):
            return  # a date that has passed is another request
        try:
            (written,) = self.do(self._add(request))
        except UidTaken:
            assert other
        except InvalidField:
            assert job.expires  # it is nearer by now than the delay is long
        else:
            assert not other and written.existing and written.job.uid == uid

    @rule(target=uids, uid=uids)
    def duplicate(self, uid: str) -> str:
        assert self.pusher is not None
        job = self.known.get(uid)
        if job is None:
            self.is_unknown(self.pusher.duplicate(uid))
            return uid
        order, now = self.next_order(), self.clock.now()
        copy: Job = self.do(self.pusher.duplicate(uid))
        self.known[copy.uid] = replace(
            job, uid=copy.uid, key="", order=order, due=now, delayed=False, expires=0, request=(),
            state="waiting", attempt=0, failures=0, crashes=0, run=1, wish=None, heeded=None,
            finished=0, error="",
        )  # fmt: skip
        return copy.uid

    # ---- a person's moves -------------------------------------------------------------------------

    @rule(uid=uids, move=st.sampled_from(("cancel", "pause", "resume", "retry", "run")))
    def person(self, uid: str, move: str) -> None:
        assert self.pusher is not None
        doing = getattr(self.pusher, move)
        job = self.known.get(uid)
        if job is None:
            self.is_unknown(doing(uid))
            return
        goes = PERSON.get((move, job.state))
        if job.kind != "http" and job.state == "running" and move in ("cancel", "pause"):
            self.put(job, wish=move)
        elif goes is None:
            self.is_refused(MoveRefused, doing(uid))
            return
        elif move == "retry" and self.holder(job.key):
            self.is_refused(KeyTaken, doing(uid))
            return
        elif goes == "canceled":
            self.end(job, goes)
        elif move == "retry":
            self.put(
                job, state=goes, run=job.run + 1, failures=0, crashes=0, due=self.clock.now(), delayed=False,
                expires=0, finished=0, error="",
            )  # fmt: skip
        elif move == "run":
            self.put(job, due=min(job.due, self.clock.now()), delayed=False)
        else:
            self.put(job, state=goes)
        self.do(doing(uid))

    @rule(uid=uids, what=st.sampled_from(("priority", "queue", "delay", "body", "url", "nonsense")))
    def edit(self, uid: str, what: str) -> None:
        assert self.pusher is not None
        fields: dict[str, Any] = {
            "priority": {"priority": 1},
            "queue": {"queue": "b"},
            "delay": {"delay": 5},
            "body": {"body": "other"},
            "url": {"url": "http://y/"},
            "nonsense": {"priority": 11},
        }[what]
        job = self.known.get(uid)
        if job is None:
            self.is_unknown(self.pusher.edit(uid, fields))
        elif job.state not in ("waiting", "paused"):
            self.is_refused(MoveRefused, self.pusher.edit(uid, fields))
        elif what == "nonsense":
            self.is_refused(InvalidField, self.pusher.edit(uid, fields))
        else:
            due = self.clock.now() + 5000
            if what == "delay" and job.expires and job.expires <= due:
                self.is_refused(InvalidField, self.pusher.edit(uid, fields))
                return
            changed = {
                "delay": {"due": due, "delayed": True},
                "body": {"body": b"other"},
                "url": {"host": "y"},
            }
            self.put(job, **changed.get(what, fields))
            self.do(self.pusher.edit(uid, fields))

    @rule(uid=uids)
    def remove(self, uid: str) -> None:
        assert self.pusher is not None
        job = self.known.get(uid)
        if job is None:
            self.is_unknown(self.pusher.remove(uid))
        elif job.state == "running":
            self.is_refused(MoveRefused, self.pusher.remove(uid))
        else:
            del self.known[uid]
            self.do(self.pusher.remove(uid))

    def is_unknown(self, doing: Awaitable[Any]) -> None:
        self.is_refused(UnknownJob, doing)

    def is_refused(self, error: type[Exception], doing: Awaitable[Any]) -> None:
        try:
            self.do(doing)
        except error:
            return
        raise AssertionError(f"{error.__name__} was expected")

    # ---- queues, time, outcomes -------------------------------------------------------------------

    @rule(name=st.sampled_from("ab"), paused=st.booleans(), concurrency=st.sampled_from((0, 0, 1)))
    def rule_a_queue(self, name: str, paused: bool, concurrency: int) -> None:
        assert self.pusher is not None
        self.rules[name] = QueueRule(name, paused, concurrency)
        self.do(self.pusher.set_queue(name, paused=paused, concurrency=concurrency))

    @rule(seconds=st.sampled_from((0.001, 5, 20, 60, KEEP)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.expire()
        self.prune()
        self.do(self._look())

    async def _look(self) -> None:
        """What timers of the loop would do: they do not turn with the clock."""
        assert self.pusher is not None
        upkeep = self.pusher._upkeep
        upkeep._next_prune = 0
        await upkeep._expire()
        await upkeep._prune()
        self.pusher._workers.feed.wake()

    def prune(self) -> None:
        before = self.clock.now() - round(KEEP * 1000)
        for job in list(self.known.values()):
            if not job.live and job.finished < before:
                del self.known[job.uid]

    @rule(seconds=st.sampled_from((-86_400, -10, 10, 86_400)))
    def the_clock_is_set(self, seconds: int) -> None:
        """Delays go on, what was due stays due, dates stay."""
        old = self.clock.now()
        now = old + seconds * 1000
        for job in [*self.in_state("waiting"), *self.in_state("paused")]:
            if job.due <= min(old, now):
                continue
            if job.delayed:
                self.put(job, due=job.due + seconds * 1000)
            elif job.due <= old:
                self.put(job, due=now)
        self.do(self._set(seconds))
        self.expire()
        self.prune()
        self.do(self._look())

    async def _set(self, seconds: int) -> None:
        assert self.pusher is not None
        self.pusher._upkeep._wake_at = -1  # it looks when it is told to, below
        self.clock.jump(seconds)
        while (task := self.pusher._shift._task) is not None:
            await asyncio.wait([task])

    @precondition(lambda self: self.in_state("running"))
    @rule(data=st.data(), how=st.sampled_from(("ok", "ok", "not_sent", "unknown", "final", "404", "503")))
    def an_attempt_ends(self, data: st.DataObject, how: str) -> None:
        uid = data.draw(st.sampled_from(sorted(job.uid for job in self.in_state("running"))))
        job = self.known[uid]
        outcome = OUTCOMES[how]
        if isinstance(outcome, Success):
            self.end(job, "completed", error="")
        else:
            self.failed(job, outcome)
        self.do(self._end(uid, outcome))

    def failed(self, job: Known, outcome: Failure) -> None:
        error, failures = outcome.error_class, job.failures + 1
        left = failures < job.max_attempts and not outcome.final
        status = outcome.result.status if outcome.result else 0
        again = error is ErrorClass.NOT_SENT or (
            not job.once and (error is ErrorClass.UNKNOWN or status in (503,))
        )
        if left and job.heeded:
            self.heed(job, job.heeded)
        elif left and again:
            # the wait is the pusher's to say: `agrees` takes it over, in its bounds
            self.put(job, state="waiting", failures=failures, due=-1, delayed=True, error=str(error))
        else:
            self.end(job, "error", failures=failures, error=str(error))

    async def _end(self, uid: str, outcome: Outcome) -> None:
        self.runner.waiting[uid].set_result(outcome)
        while uid in self.runner.waiting:
            await asyncio.sleep(0)

    # ---- what must hold ---------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        if self.pusher is None:
            return
        self.expire()
        page = self.loop.run_until_complete(self.pusher.page(Query(), None, 10_000))
        found = {job.uid: job for job in page.jobs}
        assert found.keys() == self.known.keys()
        assert page.total == len(found)
        for uid, job in found.items():
            if self.known[uid].due == -1:
                wait = job.due_ms - self.clock.now()
                assert 4000 * 2 ** (job.failures - 1) <= wait <= 6000 * 2 ** (job.failures - 1)
                self.put(self.known[uid], due=job.due_ms)
        self.claims_are_right(found)
        for uid, job in found.items():
            told, expected = self.told(job), self.expected(self.known[uid])
            assert told == expected, f"{told} is not {expected}"
        counts = Counter((job.state, job.queue) for job in self.known.values())
        assert self.loop.run_until_complete(self.pusher.counts()) == counts

    def claims_are_right(self, found: dict[str, Job]) -> None:
        """What runs now and did not before might run, and was the first that might."""
        new = [job for job in found.values() if job.state == "running" and self.is_waiting(job.uid)]
        for job in sorted(new, key=lambda job: job.claim):
            known = self.known[job.uid]
            assert self.may_run(known), f"{known} may not run"
            ahead = [one for one in self.in_state("waiting") if one.queue == known.queue]
            assert not [one for one in ahead if one.rank < known.rank and self.may_run(one)]
            self.put(known, state="running", attempt=known.attempt + 1, heeded=known.wish)
        if len(self.in_state("running")) < CONCURRENCY:
            left = [job for job in self.in_state("waiting") if self.may_run(job)]
            assert not left, f"{left} may run and do not"

    def is_waiting(self, uid: str) -> bool:
        return self.known[uid].state == "waiting"

    def may_run(self, job: Known) -> bool:
        running = self.in_state("running")
        queue = self.rules.get(job.queue, QueueRule(job.queue))
        in_queue = sum(one.queue == job.queue for one in running)
        at_host = sum(one.host == job.host for one in running)
        return (
            job.due <= self.clock.now()
            and not queue.paused
            and (not queue.concurrency or in_queue < queue.concurrency)
            and (not self.per_host or at_host < self.per_host)
        )

    def told(self, job: Job) -> tuple[Any, ...]:
        wish = str(job.wish) if job.wish else None
        error = job.error.error_class if job.error and job.state == "error" else ""
        due = max(job.due_ms, self.clock.now()) if job.state in ("waiting", "paused") else 0
        return (
            job.state, job.queue, job.host, job.key, job.priority, due, job.expires_ms, job.attempt,
            job.failures, job.run, wish, error, job.body_size,
        )  # fmt: skip

    def expected(self, job: Known) -> tuple[Any, ...]:
        due = max(job.due, self.clock.now()) if job.state in ("waiting", "paused") else 0
        error = job.error if job.state == "error" else ""
        return (
            job.state, job.queue, job.host, job.key, job.priority, due, job.expires, job.attempt,
            job.failures, job.run, job.wish, error, len(job.body),
        )  # fmt: skip

    def lists_agree(self) -> None:
        """Each list has the jobs of its state, each once, and each job its body."""
        assert self.pusher is not None
        for state in ("waiting", "running", "paused", "completed", "error", "canceled"):
            uids, cursor = [], None
            while not uids or cursor is not None:
                page = self.do(self.pusher.page(Query(State(state)), cursor, 3))
                uids += [job.uid for job in page.jobs]
                if (cursor := page.cursor) is None:
                    break
            assert sorted(uids) == sorted(job.uid for job in self.in_state(state))
        for uid, job in self.known.items():
            details = self.do(self.pusher.details(uid))
            assert details.body == job.body
            assert len(details.attempts) == job.attempt - (job.state == "running")


OUTCOMES: dict[str, Success | Failure] = {
    "ok": Success(Result(200, (), b"ok")),
    "not_sent": Failure(ErrorClass.NOT_SENT, "refused"),
    "unknown": Failure(ErrorClass.UNKNOWN, "reset"),
    "final": Failure(ErrorClass.NOT_SENT, "not allowed", final=True),
    "404": Failure(ErrorClass.ANSWERED, "404", Result(404)),
    "503": Failure(ErrorClass.ANSWERED, "503", Result(503)),
}


def _past(name: str, value: Any, now: int) -> bool:
    return name in ("due_at", "expires_at") and value <= _rfc3339(now)


def _rfc3339(moment: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 1000)) + f".{moment % 1000:03d}Z"


# ---- the row ------------------------------------------------------------------------------------------

EXAMPLES = {"quick": {"memory": 250, "lmdb": 100}, "night": {"memory": 10_000, "lmdb": 10_000}}
STEPS = {"quick": 50, "night": 100}
PHASES = (Phase.generate, Phase.shrink)  # a night only generates: shrinking may take minutes
ROUND = 100  # examples between two looks at the time


def walked(name: str, examples: int, steps: int, number: int | None = None, phases: Any = None) -> None:
    """So many walks over that store, without a number the same each time. Raises what diverged, shrunk."""
    machine = type(f"Machine_{name}", (Machine,), {"store_name": name})
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=number is None,
        suppress_health_check=list(HealthCheck),
        phases=phases or PHASES,
    )
    logging.disable(logging.CRITICAL)
    try:
        run_machine(seed(number)(machine) if number is not None else machine, settings=wanted)
    finally:
        logging.disable(logging.NOTSET)


def prove(size: Size, seed: int, deadline: float) -> Proof:
    done: Counter[str] = Counter()
    diverged: list[str] = []
    rounds = 0
    phases = PHASES if size == "quick" else (Phase.generate,)
    while time.monotonic() < deadline and not diverged and any(done[n] < EXAMPLES[size][n] for n in STORES):
        for name in STORES:
            left = min(ROUND, EXAMPLES[size][name] - done[name])
            if left <= 0 or time.monotonic() >= deadline:
                continue
            try:
                walked(name, left, STEPS[size], seed + rounds, phases)
            except Exception as error:
                diverged.append(f"{name}, seed {seed + rounds}: {type(error).__name__}: {error}")
            done[name] += left
        rounds += 1
    figure = f"{sum(done.values())} walks of {STEPS[size]} steps, {len(diverged)} diverged"
    return Proof(
        figure, not diverged and bool(done), [f"{n} over {name}" for name, n in done.items()] + diverged
    )
