"""For tests, ours and yours: the exam of every store, a clock to turn, a runner that follows a script.

    class TestMyStore(StoreContract):
        def make_store(self, path):      # path: a directory that is the test's own
            return MyStore(path)

runs the exam under pytest with anyio's plugin (`anyio_mode = "auto"`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from .attempt import cut_record, settle
from .errors import (
    ClaimLost,
    CursorGone,
    InvalidField,
    KeyTaken,
    StaleEdit,
    TaskPusherError,
    UidTaken,
    UnknownJob,
)
from .job import (
    LIVE,
    ErrorClass,
    Held,
    Job,
    JobError,
    Progress,
    Result,
    State,
    canceled,
    due_now,
    edited,
    expired,
    paused,
    resumed,
    retried,
)
from .runners.base import Failure, Outcome, Released, Success
from .shape import shape
from .stores.base import (
    LONGEST_NOTE_NAME,
    Add,
    Details,
    Edit,
    Note,
    Page,
    Query,
    QueueRule,
    Remove,
    Settle,
    Store,
    Totals,
    position,
)
from .uid import new_uid

NOW = 1_800_000_000_000  # ms: a moment in 2027


class FakeClock:
    """Time that stands still until it is turned."""

    def __init__(self, now: int = NOW) -> None:
        self.era = 0
        self._now = now
        self._set_by = 0  # ms, not followed yet
        self._monotonic = 0.0
        self._told: list[Callable[[], None]] = []

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += round(seconds * 1000)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as a person or NTP does, and tell who watches it."""
        self._set_by += round(seconds * 1000)
        self._tell()

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep: time passes, timers stand still."""
        self._now += round(seconds * 1000)
        self._tell()

    def _tell(self) -> None:
        for told in list(self._told):
            told()

    def follow(self) -> int:
        by, self._set_by = self._set_by, 0
        self._now += by
        self.era = max(self.era + 1, self._now) if by else self.era
        return by

    def watch(self, told: Callable[[], None]) -> Callable[[], None]:
        self._told.append(told)
        return lambda: self._told.remove(told)


class ScriptedRunner:
    """Answers each job with the next outcome of its script, or with what `play` makes of it."""

    def __init__(self, *script: Outcome, play: Callable[[Held], Awaitable[Outcome]] | None = None) -> None:
        self.script = list(script)
        self.ran: list[Held] = []
        self._play = play

    async def run(self, held: Held) -> Outcome:
        self.ran.append(held)
        if self._play is not None:
            return await self._play(held)
        return self.script.pop(0) if self.script else Success(Result(200, (), b"ok"))

    async def close(self) -> None:
        pass


def a_job(**fields: Any) -> Job:
    """A job to a target that does not matter."""
    given: dict[str, Any] = {"uid": new_uid(NOW), "target": "http://localhost/x", "host": "localhost"}
    given |= {"due_ms": NOW}
    return Job(**(given | {"created_ms": NOW} | fields))


def settled(job: Job, outcome: Outcome, now: int = NOW) -> Settle:
    return settle(job, outcome, now, 0.5, Random(1))


OK = Success(Result(200, (("content-type", "text/plain"),), b"done"))


def two_per_host(job: Job) -> Iterable[tuple[str, int]]:
    return ((f"host:{job.host}", 2),)


def no_limits(job: Job) -> Iterable[tuple[str, int]]:
    return ()


class StoreContract:
    """What a store must do. Override `make_store`; called twice with a path, it opens the same jobs again."""

    def make_store(self, path: Path) -> Store:
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, path: Path, caps: Any = no_limits) -> AsyncIterator[Store]:
        store = self.make_store(path)
        await store.open("node", caps)
        try:
            yield store
        finally:
            await store.close()

    async def pushed(self, store: Store, *jobs: Job) -> list[Job]:
        written = await store.write(*(Add(job) for job in jobs))
        return [one.job for one in written if one.job is not None]

    async def claimed(self, store: Store, limit: int = 1, now: int = NOW) -> list[Job]:
        return [held.job for held in (await store.claim(limit, now)).jobs]

    async def uids(self, store: Store, state: State | None = None, **filters: Any) -> list[str]:
        page = await store.page(Query(state, **filters), None, 1000)
        return [job.uid for job in page.jobs]

    # ---- pushing ----------------------------------------------------------------------------------

    async def test_a_pushed_job_is_kept_as_it_was_with_its_body(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            job = a_job(method="POST", headers=(("a", "b"),), tags=("t",), title="é", body_size=3)
            (written,) = await store.write(Add(job, b"\0\xff!"))
            details = await store.details(job.uid)
            assert details is not None and written.job is not None and not written.existing
            assert details.job == written.job == replace(job, seq=written.job.seq)
            assert details.body == b"\0\xff!" and details.result is None and details.attempts == []

    async def test_jobs_get_rising_seqs_in_the_order_of_pushing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = await self.pushed(store, a_job(), a_job()) + await self.pushed(store, a_job())
            assert sorted(job.seq for job in jobs) == [job.seq for job in jobs]
            assert len({job.seq for job in jobs}) == 3

    async def test_an_unknown_uid_is_none(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.get(new_uid(NOW)) is None
            assert await store.details(new_uid(NOW)) is None

    async def test_the_same_uid_and_request_is_found_not_added(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            job = a_job(fingerprint=b"12345678")
            await self.pushed(store, job)
            (again,) = await store.write(Add(replace(job, created_ms=NOW + 5)))
            assert again.existing and again.job is not None and again.job.created_ms == NOW
            assert len(await self.uids(store)) == 1

    async def test_the_same_uid_with_another_request_is_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            job = a_job(fingerprint=b"12345678")
            await self.pushed(store, job)
            for other in (replace(job, fingerprint=b"87654321"), replace(job, fingerprint=b"")):
                await refused(UidTaken, store.write(Add(other)))

    async def test_a_key_that_a_live_job_has_finds_that_job(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (first,) = await self.pushed(store, a_job(key="k" * 200))
            (again,) = await store.write(Add(a_job(key="k" * 200)))
            assert again.existing and again.job == first
            (running,) = await self.claimed(store)
            (again,) = await store.write(Add(a_job(key="k" * 200)))
            assert again.existing and again.job == running
            await store.write(settled(running, OK))
            (anew,) = await store.write(Add(a_job(key="k" * 200)))
            assert not anew.existing

    async def test_a_push_that_comes_too_late_is_found_or_else_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            known, keyed = a_job(fingerprint=b"12345678"), a_job(key="k")
            late = InvalidField("expires_at", "has passed")
            for job in (known, keyed):
                await refused(InvalidField, store.write(Add(job, b"body", late)))
            assert await self.uids(store) == []
            await self.pushed(store, known, keyed)
            (again,) = await store.write(Add(known, b"body", late))
            assert again.existing and again.job is not None and again.job.uid == known.uid
            (again,) = await store.write(Add(a_job(key="k"), b"body", late))
            assert again.existing and again.job is not None and again.job.uid == keyed.uid
            await refused(InvalidField, store.write(Add(a_job()), Add(a_job(key="other"), b"", late)))
            assert sorted(await self.uids(store)) == sorted([known.uid, keyed.uid])

    async def test_a_retry_is_refused_while_another_live_job_has_the_key(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (first,) = await self.pushed(store, a_job(key="k"))
            gone = canceled(first, NOW)
            await store.write(Edit(gone))
            await self.pushed(store, a_job(key="k"))
            await refused(KeyTaken, store.write(Edit(retried(gone, NOW))))

    async def test_a_write_is_all_or_nothing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (known,) = await self.pushed(store, a_job())
            others = [Add(a_job(queue="fresh"), b"body") for _ in range(5)]
            await refused(UidTaken, store.write(*others, Add(replace(known, target="http://other/"))))
            assert await self.uids(store) == [known.uid]
            assert await store.counts() == {(State.WAITING, "default"): 1}
            assert [job.uid for job in await self.claimed(store, 10)] == [known.uid]
            assert await store.write(*others)
            assert len(await self.claimed(store, 10)) == 5

    async def test_one_write_may_take_all_that_waits(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b, c, d = await self.pushed(store, *(a_job() for _ in range(4)))
            await store.write(
                Edit(paused(b)), Edit(canceled(a, NOW)), Remove(d.uid, d.revision), Edit(paused(c))
            )
            assert await store.counts() == {(State.PAUSED, "default"): 2, (State.CANCELED, "default"): 1}
            assert await self.claimed(store, 9) == []
            await store.write(Edit(resumed(paused(c))), Edit(resumed(paused(b))), Add(a_job()))
            assert [job.uid for job in await self.claimed(store, 2)] == [b.uid, c.uid]
            assert len(await self.claimed(store, 9)) == 1

    async def test_a_queue_rule_beside_a_refused_change_is_not_kept(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            await refused(StaleEdit, store.write(QueueRule("default", paused=True), Remove(job.uid, 9)))
            assert [figures.rule for figures in await store.queues()] == [QueueRule("default")]
            assert [found.uid for found in await self.claimed(store)] == [job.uid]

    async def test_a_key_has_one_live_job_within_a_write_too(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            gone = []
            for _ in range(2):
                (job,) = await self.pushed(store, a_job(key="k"))
                gone.append(canceled(job, NOW))
                await store.write(Edit(gone[-1]))
            back = [Edit(retried(job, NOW)) for job in gone]
            await refused(KeyTaken, store.write(*back))
            await store.write(back[0])
            await refused(KeyTaken, store.write(Edit(edited(back[0].job, title="t")), back[1]))
            await store.write(Edit(canceled(back[0].job, NOW)), back[1])
            (again,) = await store.write(Add(a_job(key="k")))
            assert again.existing and again.job is not None and again.job.uid == gone[1].uid

    async def test_a_refused_write_takes_no_neighbour_with_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (known,) = await self.pushed(store, a_job())
            before = store.write(Add(a_job()))
            bad = store.write(Add(replace(known, target="http://other/")))
            after = store.write(Add(a_job()))
            await before
            await refused(UidTaken, bad)
            await after
            assert len(await self.uids(store)) == 3

    # ---- the order of claims ----------------------------------------------------------------------

    async def test_jobs_run_by_priority_then_due_time_then_order_of_pushing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b, c, d, e = (a_job(), a_job(), a_job(due_ms=NOW - 5), a_job(priority=0), a_job(priority=9))
            await self.pushed(store, e, a, b, c, d)
            order = [job.uid for job in await self.claimed(store, 9)]
            assert order == [d.uid, c.uid, a.uid, b.uid, e.uid]

    async def test_a_job_is_not_claimed_before_it_is_due(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            later = a_job(due_ms=NOW + 1000, priority=0)
            soon = a_job()
            await self.pushed(store, later, soon)
            claimed = await store.claim(2, NOW)
            assert [held.job.uid for held in claimed.jobs] == [soon.uid]
            assert claimed.next_due == NOW + 1000
            assert [job.uid for job in await self.claimed(store, 2, NOW + 1000)] == [later.uid]

    async def test_what_was_due_at_a_moment_can_be_claimed_later(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            due, _, late = await self.pushed(
                store, a_job(), a_job(due_ms=NOW + 1), a_job(expires_ms=NOW + 500)
            )
            claimed = await store.claim(9, NOW + 1000, NOW)
            assert [held.job.uid for held in claimed.jobs] == [due.uid] and claimed.next_due == NOW + 1
            assert claimed.jobs[0].job.started_ms == NOW + 1000
            assert [(job.uid, job.finished_ms) for job in claimed.expired] == [(late.uid, NOW + 1000)]

    async def test_nothing_to_claim_tells_that_nothing_is_due(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            claimed = await store.claim(3, NOW)
            assert claimed.jobs == [] and claimed.next_due is None

    async def test_a_claim_counts_the_attempt_and_carries_the_body(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Add(a_job(body_size=4), b"body"))
            (held,) = (await store.claim(1, NOW)).jobs
            assert held.body == b"body"
            assert held.job.state is State.RUNNING and held.job.attempt == 1 and held.job.claim
            assert held.job.owner.startswith("node/") and held.job.started_ms == NOW
            assert await store.get(held.job.uid) == held.job

    async def test_every_claim_has_a_token_of_its_own(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job() for _ in range(20)))
            tokens = {job.claim for job in await self.claimed(store, 10) + await self.claimed(store, 10)}
            assert len(tokens) == 20

    async def test_a_claim_called_after_a_write_sees_what_it_wrote(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            job = a_job()
            writing = store.write(Add(job))
            claiming = store.claim(1, NOW)
            await writing
            assert [held.job.uid for held in (await claiming).jobs] == [job.uid]

    async def test_queues_take_turns(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job(queue=name) for name in [*["big"] * 6, "a", "b"]))
            queues = [job.queue for job in await self.claimed(store, 8)]
            assert sorted(queues[:3]) == ["a", "b", "big"] and queues[3:] == ["big"] * 5

    async def test_queue_names_may_be_odd(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            names = ["a/b", "100%", " ", "💌" * 200, "default"]
            await self.pushed(store, *(a_job(queue=name) for name in names))
            assert {job.queue for job in await self.claimed(store, 9)} == set(names)
            assert set(await store.counts()) == {(State.RUNNING, name) for name in names}

    # ---- totals -----------------------------------------------------------------------------------

    async def test_totals_count_every_state_and_the_queues_that_are_asked_for(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            assert await store.totals(9) == Totals({}, {}, None)
            due = [NOW + 7, NOW + 3, NOW + 5, NOW + 9]
            jobs = [a_job(queue=name, due_ms=at) for name, at in zip("aabb", due, strict=True)]
            a, _, _, b = await self.pushed(store, *jobs)
            await store.write(Edit(canceled(b, NOW)))
            await self.pushed(store, a_job(queue="c"))
            await self.claimed(store)
            totals = await store.totals(9)
            states = {State.WAITING: 3, State.RUNNING: 1, State.CANCELED: 1}
            assert {state: n for state, n in totals.states.items() if n} == states
            assert totals.queues == {
                "a": {State.WAITING: 2},
                "b": {State.WAITING: 1, State.CANCELED: 1},
                "c": {State.RUNNING: 1},
            }
            assert totals.oldest_due == NOW + 3
            await store.write(Edit(canceled(a, NOW)))
            assert (await store.totals(0)).queues == {}
            few = await store.totals(2)
            assert len(few.queues) == 2 and sum(few.states.values()) == 5

    async def test_totals_are_the_same_after_a_restart(self, tmp_path: Path) -> None:
        found = []
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job(queue=name) for name in "dcba"))
            found.append(await store.totals(2))
        async with self.opened(tmp_path) as store:
            found.append(await store.totals(2))
        assert found[0] == found[1] and sum(found[1].states.values()) == 4

    # ---- jobs pushed along with a change ------------------------------------------------------------

    async def ended(self, store: Store, way: str, change: Settle) -> None:
        """Settle by a write of its own, with others, or in a claim."""
        match way:
            case "write":
                await store.write(change)
            case "several":
                await store.write(QueueRule("q", concurrency=3), change)
            case _:
                (became,) = (await store.claim(0, NOW, None, [change])).settled
                if isinstance(became, Exception):
                    raise became

    WAYS = ("write", "several", "claim")

    async def test_what_goes_with_a_settlement_is_pushed_in_its_commit(self, tmp_path: Path) -> None:
        followers: list[str] = []
        async with self.opened(tmp_path) as store:
            for way in self.WAYS:
                await self.pushed(store, a_job())
                (job,) = await self.claimed(store)
                then = (Add(a_job(queue=way, body_size=4), b"body"), Add(a_job(queue=way)))
                await self.ended(store, way, replace(settled(job, OK), then=then))
                assert (await store.counts())[State.WAITING, way] == 2
                held = (await store.claim(9, NOW)).jobs
                assert [one.job.uid for one in held] == [add.job.uid for add in then]
                assert held[0].body == b"body" and 0 < held[0].job.seq < held[1].job.seq
                followers += [one.job.uid for one in held]
            assert (await store.counts())[State.COMPLETED, "default"] == len(self.WAYS)
        async with self.opened(tmp_path) as store:
            assert sorted(await self.uids(store, State.RUNNING)) == sorted(followers)

    async def test_a_claim_may_take_what_goes_with_its_settlements(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job())
            (job,) = await self.claimed(store)
            follower = a_job()
            change = replace(settled(job, OK), then=(Add(follower),))
            claimed = await store.claim(1, NOW, None, [change])
            assert [held.job.uid for held in claimed.jobs] == [follower.uid]

    async def test_a_refused_settlement_pushes_nothing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for number, way in enumerate(self.WAYS, 1):
                await self.pushed(store, a_job())
                (job,) = await self.claimed(store)
                await store.write(Edit(canceled(job, NOW)))
                change = replace(settled(job, OK), then=(Add(a_job()),))
                await refused(ClaimLost, self.ended(store, way, change))
                assert await store.counts() == {(State.CANCELED, "default"): number}
                assert await self.claimed(store, 9) == []

    async def test_what_can_not_be_added_keeps_no_settlement_from_being_written(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for way in self.WAYS:
                await self.pushed(store, a_job())
                (job,) = await self.claimed(store)
                (there,) = await self.pushed(store, a_job(key=way))
                taken, held, free = replace(there, target="http://other/"), a_job(key=way), a_job(queue=way)
                then = tuple(Add(one) for one in (taken, held, free))
                await self.ended(store, way, replace(settled(job, OK), then=then))
                assert (await self.uids(store, State.COMPLETED))[0] == job.uid
                assert await self.uids(store, State.WAITING) == [there.uid, free.uid]
                assert await store.get(there.uid) == there
                assert len(await self.claimed(store, 9)) == 2

    async def test_what_goes_with_an_edit_is_pushed_in_its_commit_or_not_at_all(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            follower = a_job()
            edit = Edit(expired(job, NOW), then=(Add(follower, b"body"),))
            await store.write(edit)
            assert await self.uids(store, State.WAITING) == [follower.uid]
            await refused(StaleEdit, store.write(replace(edit, then=(Add(a_job()),))))
            assert await store.counts() == {(State.ERROR, "default"): 1, (State.WAITING, "default"): 1}

    async def test_a_claim_pushes_what_goes_with_the_jobs_that_it_expires(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Add(a_job(expires_ms=NOW + 5, max_attempts=2, body_size=4), b"body"))
            (job,) = await self.claimed(store)
            await store.write(settled(job, Failure(ErrorClass.UNKNOWN, "cut", Result(500))))
            told: list[Details] = []

            def then(details: Details) -> tuple[Add, ...]:
                told.append(details)
                return (Add(a_job(queue="then")), Add(a_job(uid=job.uid)))

            claimed = await store.claim(9, NOW + 60_000, then=then)
            (details,) = told
            assert details == await store.details(job.uid)
            assert details.job.state is State.ERROR and details.body == b"body"
            assert details.result == Result(500) and len(details.attempts) == 1
            assert [one.uid for one in claimed.expired] == [job.uid]
            assert [one.queue for one in claimed.pushed] == ["then"]
            pushed = [held.job.uid for held in claimed.jobs]  # it may be claimed at once, or later
            pushed += [one.uid for one in await self.claimed(store, 9, NOW + 60_000)]
            assert pushed == [claimed.pushed[0].uid]

    # ---- what may not run -------------------------------------------------------------------------

    async def test_a_paused_queue_gives_no_jobs_until_it_is_resumed(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(queue="q"), a_job(queue="other"), a_job(queue="q", due_ms=NOW + 9))
            await store.write(QueueRule("q", paused=True))
            assert [job.queue for job in await self.claimed(store, 9, NOW + 10)] == ["other"]
            await store.write(QueueRule("q"))
            assert len(await self.claimed(store, 9, NOW + 10)) == 2

    async def test_a_queue_runs_no_more_than_its_concurrency(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job(queue="q") for _ in range(5)))
            await store.write(QueueRule("q", concurrency=2))
            first, _ = await self.claimed(store, 9)
            assert await self.claimed(store, 9) == []
            settling = store.write(settled(first, OK))
            assert len((await store.claim(9, NOW)).jobs) == 1
            await settling
            await store.write(QueueRule("q", concurrency=3))
            assert len(await self.claimed(store, 9)) == 1
            await store.write(QueueRule("q"))
            assert len(await self.claimed(store, 9)) == 1

    async def test_queue_rules_and_what_runs_are_known_after_reopening(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job(queue="q") for _ in range(3)), a_job(queue="p"))
            await store.write(QueueRule("q", concurrency=1), QueueRule("p", paused=True))
            assert len(await self.claimed(store, 9)) == 1
        async with self.opened(tmp_path) as store:
            assert await self.claimed(store, 9) == []
            ((orphan,), _) = await store.orphans(NOW)
            await store.write(settled(orphan, Released("crashed", crashed=True)))
            assert [job.uid for job in await self.claimed(store, 9)] == [orphan.uid]
            rules = {figures.rule.name: figures.rule for figures in await store.queues()}
            assert rules == {"q": QueueRule("q", concurrency=1), "p": QueueRule("p", paused=True)}

    async def test_a_limit_key_at_its_cap_holds_its_jobs_back_and_no_others(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path, two_per_host) as store:
            await self.pushed(store, *(a_job(host="slow") for _ in range(50)), a_job(host="fast"))
            claimed = await self.claimed(store, 9)
            assert sorted(job.host for job in claimed) == ["fast", "slow", "slow"]
            slow = [job for job in claimed if job.host == "slow"]
            await store.write(settled(slow[0], OK))
            (third,) = await self.claimed(store, 9)
            assert third.host == "slow" and third.seq == slow[1].seq + 1

    async def test_held_back_jobs_all_run_in_their_order(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path, two_per_host) as store:
            hosts = ["a", "a", "a", "b", "a", "b", "b", "b", "c", "a"]
            await self.pushed(store, *(a_job(host=host) for host in hosts))
            ran: list[Job] = []
            while jobs := await self.claimed(store, 20):
                ran += jobs
                assert all(sum(job.host == host for job in jobs) <= 2 for host in hosts)
                for job in jobs:
                    await store.write(settled(job, OK))
            assert len(ran) == len(hosts)
            for host in set(hosts):
                seqs = [job.seq for job in ran if job.host == host]
                assert seqs == sorted(seqs)

    async def test_held_back_jobs_are_found_after_reopening(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path, two_per_host) as store:
            await self.pushed(store, *(a_job(host="a") for _ in range(6)))
            assert len(await self.claimed(store, 9)) == 2
        async with self.opened(tmp_path, two_per_host) as store:
            assert await self.claimed(store, 9) == []
            for job in (await store.orphans(NOW))[0]:
                await store.write(settled(job, Released("crashed", crashed=True)))
            assert [job.attempt for job in await self.claimed(store, 9)] == [2, 2]

    async def test_a_held_back_job_can_be_canceled_and_edited(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path, two_per_host) as store:
            jobs = await self.pushed(store, *(a_job(host="a") for _ in range(5)))
            running = await self.claimed(store, 9)
            third, fourth = await store.get(jobs[2].uid), await store.get(jobs[3].uid)
            assert third is not None and fourth is not None
            await store.write(Edit(canceled(third, NOW)))
            await store.write(Edit(edited(fourth, queue="other", host="b")))
            assert [job.uid for job in await self.claimed(store, 9)] == [fourth.uid]
            for job in running:
                await store.write(settled(job, OK))
            assert [job.uid for job in await self.claimed(store, 9)] == [jobs[4].uid]

    async def test_a_claim_settles_expired_jobs_instead_of_giving_them(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            late, good = await self.pushed(store, a_job(expires_ms=NOW - 1), a_job(expires_ms=NOW + 1))
            claimed = await store.claim(5, NOW)
            assert [held.job.uid for held in claimed.jobs] == [good.uid]
            job = await store.get(late.uid)
            assert (
                job is not None
                and claimed.expired == [job]
                and job.state is State.ERROR
                and job.error is not None
            )
            assert job.error.error_class is ErrorClass.EXPIRED and job.attempt == 0

    # ---- settling ---------------------------------------------------------------------------------

    async def test_success_is_kept_with_result_and_attempt(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job())
            (job,) = await self.claimed(store)
            change = settled(job, OK)
            await store.write(change)
            details = await store.details(job.uid)
            assert details is not None and details.job == change.job and details.result == OK.result
            assert details.attempts == [change.attempt]
            assert await self.uids(store, State.COMPLETED) == [job.uid]

    async def test_a_settlement_under_another_claim_is_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job())
            (first,) = await self.claimed(store)
            await store.write(settled(first, Released("stopped")))
            (second,) = await self.claimed(store)
            await refused(ClaimLost, store.write(settled(first, OK)))
            assert await store.get(first.uid) == second
            await store.write(settled(second, OK))
            await refused(ClaimLost, store.write(settled(second, OK)))

    async def test_a_settlement_after_a_cancel_or_a_removal_is_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job())
            (job,) = await self.claimed(store)
            gone = canceled(job, NOW)
            await store.write(Edit(gone, attempt=cut_record(job, NOW)))
            await refused(ClaimLost, store.write(settled(job, OK)))
            details = await store.details(job.uid)
            assert details is not None and details.job == gone and len(details.attempts) == 1
            await store.write(Remove(job.uid, gone.revision))
            await refused(ClaimLost, store.write(settled(job, OK)))

    async def test_a_wish_or_progress_does_not_touch_the_claim(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(kind="command"))
            (job,) = await self.claimed(store)
            wished = canceled(job, NOW)
            assert wished.state is State.RUNNING and wished.wish
            await store.write(Edit(wished))
            await store.write(Edit(replace(wished, progress=Progress(50.0), revision=wished.revision + 1)))
            await store.write(settled(job, OK))
            done = await store.get(job.uid)
            assert done is not None and done.state is State.COMPLETED and done.progress == Progress(50.0)
            assert done.revision == wished.revision + 2

    async def test_a_failed_job_waits_until_its_backoff_is_over(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(max_attempts=2))
            (job,) = await self.claimed(store)
            change = settled(job, Failure(ErrorClass.UNKNOWN, "reset"))
            await store.write(change)
            claimed = await store.claim(1, NOW)
            assert claimed.jobs == [] and claimed.next_due == change.job.due_ms > NOW
            (again,) = await self.claimed(store, 1, change.job.due_ms)
            assert again.attempt == 2 and again.failures == 1

    async def test_only_the_newest_hundred_attempts_are_kept(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            for _ in range(105):
                (held,) = await self.claimed(store)
                await store.write(settled(held, Released("again")))
            details = await store.details(job.uid)
            assert details is not None
            assert [attempt.number for attempt in details.attempts] == list(range(6, 106))

    async def test_a_wish_the_settlement_did_not_know_stays_on_a_job_that_waits_again(
        self, tmp_path: Path
    ) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(kind="command", max_attempts=2), a_job(kind="command"))
            again, done = await self.claimed(store, 2)
            failed = settled(again, Failure(ErrorClass.FAILED, "exit 1"))
            completed = settled(done, OK)
            for job in (again, done):
                await store.write(Edit(canceled(job, NOW)))
            await store.write(failed)
            await store.write(completed)
            waiting, finished = await store.get(again.uid), await store.get(done.uid)
            assert waiting is not None and waiting.state is State.WAITING and waiting.wish
            assert finished is not None and finished.state is State.COMPLETED and finished.wish is None

    # ---- edits and removals -----------------------------------------------------------------------

    # settling with the next claim

    async def test_a_settlement_may_ride_with_the_next_claim(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            _, second = await self.pushed(store, a_job(), a_job(key="k"))
            (job,) = await self.claimed(store)
            claimed = await store.claim(1, NOW, None, [settled(job, OK)])
            assert [held.job.uid for held in claimed.jobs] == [second.uid]
            (done,) = claimed.settled
            assert done == await store.get(job.uid) and done.state is State.COMPLETED
            details = await store.details(job.uid)
            assert details is not None and details.result == OK.result and len(details.attempts) == 1
            claimed = await store.claim(0, NOW, None, [settled(claimed.jobs[0].job, OK)])
            assert claimed.jobs == [] and len(claimed.settled) == 1
            await self.pushed(store, a_job(key="k"))
            assert await store.counts() == {(State.COMPLETED, "default"): 2, (State.WAITING, "default"): 1}
            assert await self.uids(store, State.COMPLETED) == [second.uid, job.uid]
            assert await self.uids(store, State.RUNNING) == []

    async def test_a_refused_settlement_does_not_take_the_others_with_it(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(), a_job(), a_job())
            first, lost, last = await self.claimed(store, 3)
            await store.write(Edit(canceled(lost, NOW)))
            twice = [settled(first, OK), settled(lost, OK), settled(last, OK), settled(first, OK)]
            became = (await store.claim(1, NOW, None, twice)).settled
            assert [type(one) for one in became] == [Job, ClaimLost, Job, ClaimLost]
            assert len(await self.uids(store, State.COMPLETED)) == 2
            assert await self.uids(store, State.CANCELED) == [lost.uid]

    async def test_a_settlement_makes_room_for_the_claim_it_rides_with(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(QueueRule("default", concurrency=1))
            _, second = await self.pushed(store, a_job(), a_job())
            (job,) = await self.claimed(store, 2)
            claimed = await store.claim(1, NOW, None, [settled(job, OK)])
            assert [held.job.uid for held in claimed.jobs] == [second.uid]

    async def test_a_failed_job_that_rides_waits_and_keeps_what_came_in(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(max_attempts=3))
            (job,) = await self.claimed(store)
            await store.write(Edit(replace(job, progress=Progress(percent=40), revision=job.revision + 1)))
            change = settled(job, Failure(ErrorClass.NOT_SENT, "refused"))
            claimed = await store.claim(1, NOW, None, [change])
            (again,) = claimed.settled
            assert isinstance(again, Job) and again.state is State.WAITING
            assert again.progress == Progress(percent=40) and again.revision == job.revision + 2
            assert claimed.jobs == [] and claimed.next_due == again.due_ms
            (held,) = (await store.claim(1, again.due_ms)).jobs
            assert held.job.attempt == 2

    async def test_an_edit_of_a_stale_revision_is_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            await store.write(Edit(edited(job, title="first")))
            await refused(StaleEdit, store.write(Edit(edited(job, title="second"))))
            await refused(StaleEdit, store.write(Remove(job.uid, job.revision)))
            kept = await store.get(job.uid)
            assert kept is not None and kept.title == "first"

    async def test_an_edit_of_a_job_that_is_gone_is_refused(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await refused(UnknownJob, store.write(Edit(edited(a_job()))))
            await refused(UnknownJob, store.write(Remove(new_uid(NOW), 0)))

    async def test_an_edit_that_does_not_move_a_job_leaves_it_in_its_place(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = await self.pushed(store, *(a_job(due_ms=due) for due in (NOW, NOW, NOW + 50, NOW + 50)))
            for title in ("one", "two"):
                for number, job in enumerate(jobs):
                    jobs[number] = edited(job, title=title)
                    await store.write(Edit(jobs[number]))
                assert await self.claimed(store, 1, NOW - 1) == []
            ran = await self.claimed(store, 9) + await self.claimed(store, 9, NOW + 50)
            assert [job.uid for job in ran] == [job.uid for job in jobs]

    async def test_edits_move_a_job_in_the_order(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b, c = await self.pushed(store, a_job(), a_job(), a_job(due_ms=NOW + 100))
            await store.write(Edit(edited(b, priority=1)), Edit(due_now(c, NOW - 1)))
            assert [job.uid for job in await self.claimed(store, 3)] == [b.uid, c.uid, a.uid]

    async def test_an_edit_may_change_or_drop_the_body(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (written,) = await store.write(Add(a_job(body_size=3), b"one"))
            assert written.job is not None
            second = edited(written.job, body_size=5)
            await store.write(Edit(second, body=b"three"))
            third = edited(second, body_size=0)
            await store.write(Edit(third, body=b""))
            (held,) = (await store.claim(1, NOW)).jobs
            assert held.body == b""

    async def test_pausing_takes_a_job_out_and_resuming_puts_it_back(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b = await self.pushed(store, a_job(), a_job())
            still = paused(a)
            await store.write(Edit(still))
            assert await self.uids(store, State.PAUSED) == [a.uid]
            assert [job.uid for job in await self.claimed(store, 2)] == [b.uid]
            await store.write(Edit(resumed(still)))
            assert [job.uid for job in await self.claimed(store, 2)] == [a.uid]

    async def test_a_removed_job_leaves_nothing(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Add(a_job(body_size=1, key="k", expires_ms=NOW + 5), b"b"))
            (job,) = await self.claimed(store)
            change = settled(job, OK)
            await store.write(change)
            await store.write(Remove(job.uid, change.job.revision))
            assert await store.details(job.uid) is None and await self.uids(store) == []
            assert await store.counts() == {} and await store.queues() == []
            assert await store.expiring(NOW + 10, 5) == ([], None)
            (anew,) = await store.write(Add(replace(job, state=State.WAITING, claim=0, attempt=0)))
            details = await store.details(job.uid)
            assert not anew.existing
            assert details is not None and details.attempts == [] and details.body == b""

    # ---- lists ------------------------------------------------------------------------------------

    async def test_waiting_jobs_are_listed_by_due_time_finished_newest_first(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            dues = [NOW, NOW - 5, NOW + 5]
            a, b, c = await self.pushed(store, *(a_job(due_ms=due) for due in dues))
            assert await self.uids(store, State.WAITING) == [b.uid, a.uid, c.uid]
            for job, moment in zip(await self.claimed(store, 3, NOW + 9), (7, 9, 8), strict=True):
                await store.write(settled(job, OK, NOW + moment))
            assert await self.uids(store, State.COMPLETED) == [a.uid, c.uid, b.uid]

    async def test_pages_hold_every_job_once_while_more_complete(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = await self.pushed(store, *(a_job() for _ in range(300)))
            held = await self.claimed(store, 250)
            await store.write(*(settled(job, OK, NOW + i // 7) for i, job in enumerate(held)))
            seen: list[str] = []
            cursor, pages = None, 0
            while pages == 0 or cursor is not None:
                page: Page = await store.page(Query(State.COMPLETED), cursor, 100)
                seen += [job.uid for job in page.jobs]
                cursor, pages = page.cursor, pages + 1
                for job in await self.claimed(store, 5):
                    await store.write(settled(job, OK, NOW + 1000))
                assert page.total == 250 + 5 * (pages - 1)
            assert pages == 3 and sorted(seen) == sorted(job.uid for job in jobs[:250])

    async def test_pages_of_every_state_go_on_after_a_job(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for state in (State.WAITING, State.PAUSED, State.RUNNING, State.COMPLETED, State.CANCELED, None):
                jobs = [await self.brought_to(store, state) for _ in range(5)]
                whole = await self.uids(store, state)
                assert {job.uid for job in jobs} <= set(whole)
                page = await store.page(Query(state), None, 2)
                assert page.cursor == position(state, page.jobs[-1])
                rest = await store.page(Query(state), page.cursor, 1000)
                assert [job.uid for job in page.jobs + rest.jobs] == whole and rest.cursor is None

    async def brought_to(self, store: Store, state: State | None, **fields: Any) -> Job:
        (job,) = await self.pushed(store, a_job(priority=0, **fields))
        if state is State.PAUSED:
            job = paused(job)
            await store.write(Edit(job))
        elif state is State.CANCELED:
            job = canceled(job, NOW)
            await store.write(Edit(job))
        elif state in (State.RUNNING, State.COMPLETED):
            await store.write(Edit(job := edited(job, due_ms=1)))
            (job,) = await self.claimed(store)
            if state is State.COMPLETED:
                await store.write(change := settled(job, OK))
                job = change.job
        return job

    async def test_filters_find_what_matches_and_count_it(self, tmp_path: Path) -> None:
        error = JobError(ErrorClass.ANSWERED, "answered 503 to http://h/a after 1.5 s")
        fields = {
            "queue": "q",
            "kind": "command",
            "host": "h",
            "tags": ("x", "y"),
            "target": "http://h/a?b",
            "key": "k-1",
            "title": "Überweisung für Kim",
            "status": 503,
            "attempt": 4,
            "error": error,
            "created_ms": NOW - 5000,
        }
        wanted: list[dict[str, Any]] = [
            {"queue": "q"},
            {"kind": "command"},
            {"host": "h"},
            {"tag": "y"},
            {"url": "http://h/"},
            {"key": "k-1"},
            {"error": "answered"},
            {"shape": shape("answered 500 to http://h/other after 20 s")},
            {"status": (503, 503)},
            {"status": (500, 599), "attempts": (4, 0)},
            {"attempts": (2, 4), "error": "answered"},
            {"created": (0, NOW - 4999)},
            {"created": (NOW - 5000, NOW - 4000)},
            {"text": "ÜBERWEISUNG kim"},
            {"text": '"für Kim" HTTP://H/A?B'},
            {"text": "k-1 503"},
        ]
        missed: list[dict[str, Any]] = [
            {"queue": "q", "tag": "z"},
            {"key": "k"},
            {"error": "unknown"},
            {"shape": "00000000"},
            {"status": (500, 502)},
            {"attempts": (5, 0)},
            {"attempts": (1, 3), "queue": "q"},
            {"created": (0, NOW - 5000)},
            {"created": (NOW - 4999, NOW - 1)},
            {"text": "überweisung nobody"},
            {"text": '"Kim für"'},
            {"text": "k-1", "masked": True},
        ]
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job(**fields))
            await self.pushed(store, *(a_job() for _ in range(1200)))
            for state in (State.WAITING, None):
                for query in wanted:
                    page = await store.page(Query(state, **query), None, 100)
                    assert [found.uid for found in page.jobs] == [job.uid], query
                    assert page.total == 1 and page.cursor is None and page.complete
                for query in missed:
                    page = await store.page(Query(state, **query), None, 100)
                    assert (page.jobs, page.total, page.cursor) == ([], 0, None), query
            for one in (Query(status=(-1, 0)), Query(attempts=(0, -1)), Query(created=(NOW, 0))):
                assert (await store.page(one, None, 1)).total == 1200

    async def test_a_bounded_look_says_how_far_it_came_and_goes_on(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            for made in (State.COMPLETED, State.WAITING):  # those that wait last: a claim might take them
                for number in range(30):
                    await self.brought_to(store, made, queue="odd" if number % 7 == 3 else "default")
            for state in (State.WAITING, State.COMPLETED, None):
                jobs = (await store.page(Query(state), None, 100)).jobs
                for query in (Query(state, tag="none"), Query(state, queue="odd", kind="http")):
                    want = [job.uid for job in jobs if query.matches(job)]
                    assert bool(want) == bool(query.queue)
                    for most, limit in ((1, 2), (5, 1), (7, 3), (29, 2), (30, 2), (31, 9), (60, 4), (0, 3)):
                        found = await self.read_bounded(store, query, limit, most, len(jobs), len(want))
                        assert found == want, (query, most, limit)

    async def read_bounded(
        self, store: Store, query: Query, limit: int, most: int, length: int, total: int
    ) -> list[str]:
        """What all pages hold together, of a list of that length."""
        read: list[str] = []
        cursor: bytes | None = None
        while True:
            page = await store.page(query, cursor, limit, most)
            assert page.complete == (not most or most >= length)
            assert page.looked == min(most or length, length)
            assert page.total == total if page.complete else len(page.jobs) <= page.total <= total
            assert len(page.jobs) == limit or page.cursor is None or most
            read += [job.uid for job in page.jobs]
            if page.cursor is None:
                return read
            assert page.cursor != cursor
            cursor = page.cursor

    async def test_expiring_and_finished_jobs_are_found_by_time(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = await self.pushed(store, *(a_job(expires_ms=NOW + n, due_ms=NOW + 50) for n in (3, 1, 2)))
            found, following = await store.expiring(NOW + 2, 10)
            assert [job.uid for job in found] == [jobs[1].uid, jobs[2].uid] and following == NOW + 3
            held = await self.claimed(store, 3, NOW)
            assert held == []
            for number, job in enumerate(jobs):
                await store.write(Edit(canceled(job, NOW + number)))
            assert await store.expiring(NOW + 9, 10) == ([], None)
            found, following = await store.finished(State.CANCELED, NOW + 1, 10)
            assert [job.uid for job in found] == [jobs[0].uid] and following == NOW + 1
            found, following = await store.finished(State.CANCELED, NOW + 9, 2)
            assert len(found) == 2 and following == NOW + 2

    # ---- figures ----------------------------------------------------------------------------------

    async def test_counts_follow_every_move(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, *(a_job(queue=queue) for queue in "aab"))
            for job in await self.claimed(store, 2):
                await store.write(settled(job, OK))
            found = await store.counts()
            assert sum(found.values()) == 3
            assert sum(n for (state, _), n in found.items() if state is State.COMPLETED) == 2
            assert sum(n for (state, _), n in found.items() if state is State.WAITING) == 1

    async def test_queues_tell_depth_and_oldest(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(queue="q", due_ms=NOW - 7), a_job(queue="q", priority=1), a_job())
            await self.pushed(store, a_job(queue="q", priority=0))
            assert len(await self.claimed(store, 1)) == 1
            figures = {figures.rule.name: figures for figures in await store.queues()}
            assert set(figures) == {"q", "default"}
            assert figures["q"].waiting + figures["q"].running == 3
            assert figures["q"].oldest_due == NOW - 7

    async def test_a_job_is_not_claimed_before_its_time_when_time_goes_back(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(QueueRule("q", paused=True))
            (early,) = await self.pushed(store, a_job(queue="q"))
            assert await self.claimed(store, 9, NOW + 100) == []
            (late,) = await self.pushed(store, a_job(queue="q", due_ms=NOW + 50, priority=0))
            await store.write(QueueRule("q"))
            assert [job.uid for job in await self.claimed(store, 9, NOW + 10)] == [early.uid]
            assert (await store.claim(9, NOW + 20)).next_due == NOW + 50
            assert [job.uid for job in await self.claimed(store, 9, NOW + 50)] == [late.uid]

    # ---- owners -----------------------------------------------------------------------------------

    async def test_jobs_of_an_earlier_epoch_go_back_to_their_place(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            a, b, c = await self.pushed(store, a_job(), a_job(), a_job())
            held = await self.claimed(store, 2)
            assert await store.orphans(NOW) == ([], None)
        async with self.opened(tmp_path) as store:
            orphans, _ = await store.orphans(NOW)
            assert orphans == held
            for job in orphans:
                await store.write(settled(job, Released("crashed", crashed=True)))
            again = await self.claimed(store, 3)
            assert [job.uid for job in again] == [a.uid, b.uid, c.uid]
            assert [job.attempt for job in again] == [2, 2, 1] and again[0].failures == 0
            assert not {job.claim for job in held} & {job.claim for job in again}
            await refused(ClaimLost, store.write(settled(held[0], OK)))

    async def test_a_leased_job_is_nobodys_orphan_until_its_lease_ends(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job(), a_job())
            leased, plain = await self.claimed(store, 2)
            until = replace(leased, lease_until=NOW + 600, revision=leased.revision + 1)
            await store.write(Edit(until))
            assert await store.orphans(NOW) == ([], NOW + 600)
            assert await store.orphans(NOW + 600) == ([until], None)
        async with self.opened(tmp_path) as store:
            assert await store.orphans(NOW) == ([plain], NOW + 600)
            await store.write(done := settled(until, OK))
            assert done.job.lease_until == 0
            assert await store.orphans(NOW + 600) == ([plain], None)

    async def test_a_store_of_one_process_has_nothing_to_tell_of_other_nodes(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await self.pushed(store, a_job())
            (job,) = await self.claimed(store)
            assert job.uid not in await store.renew()

    async def test_a_job_that_has_not_finished_has_no_place_among_the_finished(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            try:
                await store.page(Query(State.COMPLETED), position(State.COMPLETED, job), 5)
            except CursorGone:
                return
            raise AssertionError("CursorGone was expected")

    async def test_another_nodes_name_gives_no_token_again(self, tmp_path: Path) -> None:
        tokens: list[int] = []
        for node in ("one", "two", "one"):
            store = self.make_store(tmp_path)
            await store.open(node, no_limits)
            await self.pushed(store, *(a_job() for _ in range(3)))
            tokens += [job.claim for job in await self.claimed(store, 3)]
            await store.close()
        assert len(set(tokens)) == 9

    async def test_everything_is_there_after_reopening(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            jobs = await self.pushed(store, *(a_job(key=str(n), expires_ms=NOW + 99) for n in range(20)))
            for job in (await self.claimed(store, 10))[:5]:
                await store.write(settled(job, OK))
            before = [await store.details(job.uid) for job in jobs]
            counts = await store.counts()
        async with self.opened(tmp_path) as store:
            assert [await store.details(job.uid) for job in jobs] == before
            assert await store.counts() == counts
            (again,) = await store.write(Add(a_job(key="19")))
            assert again.existing and again.job is not None and again.job.state in LIVE
            (new,) = await self.pushed(store, a_job())
            assert new.seq > jobs[-1].seq

    # ---- notes ------------------------------------------------------------------------------------

    async def test_notes_come_by_the_bytes_of_their_names(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            names = ["a/1", "a/10", "a/2", "a/", "a", "b/1", "a/\u00e9", "a/\U0001f600", "a/\uffee"]
            await store.write(*(Note(name, name.encode()) for name in names))
            listed = sorted((name for name in names if name.startswith("a/")), key=str.encode)
            for backwards in (False, True):
                in_order = listed[::-1] if backwards else listed
                found = await store.notes("a/", newest_first=backwards)
                assert found == [(name, name.encode()) for name in in_order]
                seen, after = [], ""
                while part := await store.notes("a/", after=after, limit=2, newest_first=backwards):
                    seen += [name for name, _ in part]
                    after = seen[-1]
                assert seen == in_order
            assert [name for name, _ in await store.notes("")] == sorted(names, key=str.encode)
            assert await store.notes("c") == await store.notes("a/", limit=0) == []

    async def test_notes_go_on_beyond_a_name_that_nothing_has(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Note("a/1", b""), Note("a/3", b""), Note("b", b""))
            for after, forward, back in (
                ("a/2", ["a/3"], ["a/1"]),
                ("a", ["a/1", "a/3"], []),
                ("z", [], ["a/3", "a/1"]),
            ):
                assert [name for name, _ in await store.notes("a/", after=after)] == forward
                assert [name for name, _ in await store.notes("a/", after=after, newest_first=True)] == back

    async def test_a_note_takes_the_place_of_the_one_before_until_it_is_removed(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Note("n", b"old"), Note("m", b""))
            (written,) = await store.write(Note("n", b"new" * 5000))
            assert written.job is None
            assert await store.notes("") == [("m", b""), ("n", b"new" * 5000)]
            await store.write(Note("n", None), Note("nothing", None))
            assert await store.notes("") == [("m", b"")]

    async def test_notes_are_written_with_other_changes_or_not_at_all(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            (job,) = await self.pushed(store, a_job())
            await store.write(Note("kept", b"1"))
            notes = (Note("kept", None), Note("new", b"2"))
            await refused(StaleEdit, store.write(*notes, Remove(job.uid, 9)))
            assert await store.notes("") == [("kept", b"1")]
            await store.write(*notes, Remove(job.uid, job.revision))
            assert await store.notes("") == [("new", b"2")]
            assert await self.uids(store) == []

    async def test_a_note_may_not_have_a_name_that_is_too_long(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            longest = "\u00e9" * (LONGEST_NOTE_NAME // 2)
            await store.write(Note(longest, b"1"))
            assert await store.notes("") == [(longest, b"1")]
            try:
                Note(longest + "x", b"1")
            except InvalidField:
                return
            raise AssertionError("InvalidField was expected")

    async def test_notes_are_there_after_reopening(self, tmp_path: Path) -> None:
        async with self.opened(tmp_path) as store:
            await store.write(Add(a_job()), Note("a", b"1"), Note("b", b"2"))
            await store.write(Note("b", None))
        async with self.opened(tmp_path) as store:
            assert await store.notes("") == [("a", b"1")]


async def refused(error: type[TaskPusherError], writing: Awaitable[Any]) -> None:
    """Assert that the store refuses."""
    try:
        await writing
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


async def eventually(check: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Poll `check` (it may be async) until it is true; its value. Raises AssertionError after `timeout` s."""
    async with asyncio.timeout(timeout):
        while True:
            value = check()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.005)
