"""A small shop that has used a tasker for a month: its jobs, what came of them, and the history of it.

All that is random comes of one seed; all moments are counted back from now.
"""

import json
import math
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import replace

from taskpusher.buckets import Bucket, Spread
from taskpusher.history import LEVELS, MINUTES
from taskpusher.job import AttemptRecord, ErrorClass, Job, JobError, Result, State
from taskpusher.push import Defaults, new_job
from taskpusher.stores.base import Add, Edit, Note, QueueRule, Settle
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.tally import DURATIONS, WAITS

RATE = 24  # jobs a minute, on average
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # ms
APP, IMAGES, HOOKS, BILLING = (
    "app.shop.example",
    "images.shop.example",
    "hooks.partner.example",
    "billing.shop.example",
)
SUPPLIER, SEARCH = "erp.supplier.example", "search.shop.example"
COMPLETED = 30_000  # jobs of the last day
TROUBLE = (12, 31)  # minutes ago: the partner's hooks failed from then to then
JSON = (("Content-Type", "application/json"),)


class Work(NamedTuple):
    """One thing that the shop pushes: how often beside the others, and seconds that it mostly takes."""

    often: int
    queue: str
    host: str
    path: str
    title: str
    tags: tuple[str, ...]
    took: float
    body: dict[str, Any]


WORKS = (
    Work(
        30,
        "mail",
        APP,
        "/tasks/mail",
        "Order confirmed: {n}",
        ("order",),
        0.14,
        {"template": "order-confirmed", "order": "{n}"},
    ),
    Work(
        12,
        "mail",
        APP,
        "/tasks/mail",
        "Parcel on its way: {n}",
        ("order", "parcel"),
        0.12,
        {"template": "sent", "order": "{n}"},
    ),
    Work(
        22, "images", IMAGES, "/resize?sku=SKU-{n}", "Resize the pictures of SKU-{n}", ("catalogue",), 1.6, {}
    ),
    Work(16, "search", SEARCH, "/index/products/{n}", "", (), 0.05, {"id": "{n}"}),
    Work(
        10, "webhooks", HOOKS, "/v2/orders", "", ("partner",), 0.31, {"event": "order.paid", "order": "{n}"}
    ),
    Work(6, "invoices", BILLING, "/invoices/{n}/pdf", "Invoice 2026-{n}", ("finance",), 0.9, {}),
    Work(2, "imports", SUPPLIER, "/stock.csv?since={n}", "Stock of the supplier", ("nightly",), 14.0, {}),
    Work(
        1,
        "reports",
        APP,
        "/tasks/reports/sales?day={n}",
        "Sales report {n}",
        ("finance", "nightly"),
        42.0,
        {},
    ),
)


class Failure(NamedTuple):
    """A kind of error: of which work, how many jobs, minutes ago from and to, how its attempts ended."""

    work: int
    jobs: int
    ago: tuple[int, int]
    attempts: int
    error_class: ErrorClass
    status: int
    message: str
    answer: str = ""


FAILURES = (
    Failure(
        4, 34, TROUBLE, 4, ErrorClass.ANSWERED, 503, "answered 503 Service Unavailable", "upstream is down"
    ),
    Failure(6, 7, (60, 1300), 3, ErrorClass.UNKNOWN, 0, "no answer within 30 s"),
    Failure(
        2, 9, (40, 900), 1, ErrorClass.ANSWERED, 404, "answered 404 Not Found", '{"error": "no such SKU"}'
    ),
    Failure(
        5, 3, (200, 260), 3, ErrorClass.NOT_SENT, 0, "can't connect to 192.0.2.17:80: connection refused"
    ),
    Failure(
        0,
        2,
        (500, 800),
        3,
        ErrorClass.ANSWERED,
        500,
        "answered 500 Internal Server Error",
        "Template sent.html is missing",
    ),
)


class Shop:
    """Writes it all into a store; `now` in ms."""

    def __init__(self, store: LmdbStore, now: int, seed: int = 7) -> None:
        self._store, self._now, self._random = store, now, Random(seed)
        self.failed = ""  # the uid of a job whose page is worth a look

    async def fill(self) -> None:
        done = [self._completed() for _ in range(COMPLETED)]
        done.sort(key=lambda job: job.finished_ms)
        for first in range(0, len(done), 500):
            await self._end(done[first : first + 500])
        for failure in FAILURES:
            for _ in range(failure.jobs):
                await self._fail(failure)
        await self._store.write(*(Add(job) for job in self._waiting()))
        await self._store.write(QueueRule("newsletter", paused=True), QueueRule("images", concurrency=4))
        await self._store.write(*self._history())

    # ---- jobs -------------------------------------------------------------------------------------

    def _job(self, work: Work, at: int, **more: object) -> tuple[Job, bytes]:
        number = self._random.randint(10_000, 18_999)
        body = json.dumps(work.body).replace("{n}", str(number)) if work.body else ""
        fields: dict[str, object] = {
            "uid": str(UUID(int=at << 80 | 7 << 76 | 2 << 62 | self._random.getrandbits(61))),
            "url": f"http://{work.host}{work.path.format(n=number)}",
            "queue": work.queue,
            "title": work.title.format(n=number),
            "tags": list(work.tags),
            "max_attempts": 4,
            **({"body": body, "headers": dict(JSON)} if body else {}),
            **more,
        }
        add = new_job(fields, Defaults(), at)
        return add.job, add.body

    def _any(self) -> Work:
        return self._random.choices(WORKS, [work.often for work in WORKS])[0]

    def _completed(self) -> Job:
        work = self._any()
        ended = self._now - round(DAY * self._random.random() ** 1.3) - 20_000
        took = self._took(work)
        started = ended - round(took * 1000)
        job, _ = self._job(work, started - self._random.randint(2, 900))
        return replace(
            job,
            state=State.COMPLETED,
            status=200,
            attempt=1,
            started_ms=started,
            finished_ms=ended,
            duration=took,
        )

    def _took(self, work: Work) -> float:
        return round(work.took * self._random.lognormvariate(0, 0.35), 3)

    async def _end(self, jobs: list[Job]) -> None:
        running = await self._store.write(*(Add(_running(job)) for job in jobs))
        settles = []
        for job, one in zip(jobs, running, strict=True):
            assert one.job is not None
            attempt = AttemptRecord(1, job.started_ms, job.duration, 200)
            result = Result(200, (("content-type", "text/plain"),), b"done")
            ended = replace(job, seq=one.job.seq, revision=one.job.revision + 1)
            settles.append(Settle(ended, 1, attempt, result))
        await self._store.write(*settles)

    async def _fail(self, failure: Failure) -> None:
        """A job with all its attempts, each a while after the one before."""
        first, last = failure.ago
        ended = self._now - self._random.randint(first * MINUTE, last * MINUTE)
        waits = [
            round(20_000 * 2**number * self._random.uniform(0.8, 1.2)) for number in range(failure.attempts)
        ]
        begins = [ended - sum(waits[number:-1]) for number in range(failure.attempts)]
        work = WORKS[failure.work]
        job, body = self._job(work, begins[0] - 40, max_attempts=failure.attempts)
        (one,) = await self._store.write(Add(_running(job), body))
        error = JobError(failure.error_class, failure.message)
        for number, begun in enumerate(begins, 1):
            assert one.job is not None
            took = (
                30.0
                if failure.error_class is ErrorClass.UNKNOWN
                else round(self._random.uniform(0.1, 0.6), 3)
            )
            attempt = AttemptRecord(number, begun, took, failure.status, error)
            held = replace(one.job, attempt=number, revision=one.job.revision + 1, failures=number)
            if number < failure.attempts:
                (one,) = await self._store.write(Edit(held, attempt=attempt))
                continue
            finished = begun + round(took * 1000)
            settled = replace(
                held, state=State.ERROR, error=error, status=failure.status, started_ms=begun,
                duration=took, finished_ms=finished, claim=0, owner="",
            )  # fmt: skip
            headers = (("content-type", "text/plain"), ("retry-after", "60"), ("server", "nginx"))
            result = Result(failure.status, headers, failure.answer.encode()) if failure.status else None
            await self._store.write(Settle(settled, 1, attempt, result))
        self.failed = self.failed or job.uid

    def _waiting(self) -> Iterator[Job]:
        """Reports of the night, a newsletter that is held back, what was paused and canceled."""
        for hour in range(14):
            work = WORKS[7] if hour % 3 else WORKS[6]
            yield self._job(work, self._now - HOUR, delay=f"{45 + hour * 53}m")[0]
        for number in range(320):
            fields = {"title": "Newsletter November", "tags": ["newsletter"], "queue": "newsletter"}
            yield self._job(WORKS[0], self._now - 3 * HOUR + number * 40, **fields)[0]
        for work in (WORKS[5], WORKS[5], WORKS[7]):
            yield replace(self._job(work, self._now - 5 * HOUR)[0], state=State.PAUSED)
        for number in range(11):
            at = self._now - number * 37 * MINUTE
            yield replace(self._job(self._any(), at)[0], state=State.CANCELED, finished_ms=at + 4000)

    # ---- the history ------------------------------------------------------------------------------

    def _history(self) -> Iterator[Note]:
        now = self._now // 1000
        for level in LEVELS:
            last = level.start(now)
            reach = min(level.kept, 40 * 86_400)
            for start in range(last - reach, last + 1, level.length):
                yield Note(level.note(start), msgspec.msgpack.encode(self._bucket(start, level.length)))

    def _bucket(self, start: int, length: int) -> Bucket:
        """More by day than by night, less at weekends, and the trouble of half an hour ago."""
        minutes = length // MINUTES.length
        ago = (self._now // 1000 - start) / 60
        shape = _daily(start) if length <= 3600 else 1.0
        weekend = 0.55 if (start // 86_400 + 4) % 7 in (0, 6) else 1.0
        done = max(0, round(RATE * minutes * shape * weekend * self._random.uniform(0.75, 1.25)))
        in_trouble = length == 60 and TROUBLE[0] <= ago <= TROUBLE[1]
        failed = (
            self._random.choice((1, 2, 3))
            if in_trouble
            else sum(self._random.random() < 0.0008 for _ in range(done))
        )
        if in_trouble:
            done = max(1, done - failed * 2)
        attempts = done + failed
        waiting = round(330 + 14 + (46 if in_trouble else 6) * self._random.uniform(0.6, 1.4) * shape)
        slow = 1.9 if in_trouble else 1.0
        queues = {
            "mail": self._random.randint(0, 5),
            "images": round(self._random.randint(1, 9) * shape * slow),
            "webhooks": round((30 if in_trouble else 1) * self._random.random()),
            "search": self._random.randint(0, 2),
            "newsletter": 320,
            "reports": 10,
            "imports": 4,
        }
        return Bucket(
            start, attempts + 1, done, failed, int(self._random.random() < 0.02 * minutes),
            {"success": done, "answered": failed},
            self._spread(DURATIONS, attempts, 0.22 * slow), self._spread(WAITS, attempts, 0.02 * slow),
            waiting, queues,
        )  # fmt: skip

    def _spread(self, bounds: tuple[float, ...], number: int, middle: float) -> Spread:
        counts = [0] * (len(bounds) + 1)
        few = min(number, 200)
        for _ in range(few):
            took = middle * self._random.lognormvariate(0, 1.1)
            counts[sum(took > bound for bound in bounds)] += max(1, number // few)
        return Spread(tuple(counts), middle * number)


def _daily(start: int) -> float:
    """From 0.25 at night to 1.2 in the afternoon, in UTC."""
    hour = start % 86_400 / 3600
    return 0.7 + 0.5 * math.sin((hour - 9) / 24 * 2 * math.pi)


def _running(job: Job) -> Job:
    return replace(job, state=State.RUNNING, claim=1, owner="web1/1", attempt=1, finished_ms=0, status=0)
