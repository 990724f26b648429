"""What happened in a minute, an hour, a day: figures that add up, and the points of a chart made of them."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest

import msgspec
from msgspec.structs import replace

from .histogram import Histogram, quantile
from .job import State
from .tally import DURATIONS, WAITS, Tally


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """Counts by bucket, as in Histogram; zeros at the end are left out. `sum` in seconds."""

    counts: tuple[int, ...] = ()
    sum: float = 0.0


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """From `start`, in seconds since 1970, to the next one. A new field goes to the end, with a default."""

    start: int
    pushed: int = 0
    completed: int = 0
    errors: int = 0
    canceled: int = 0
    attempts: dict[str, int] = {}  # those that ended, by what they came to
    durations: Spread = Spread()  # of attempts that ended, over tally.DURATIONS
    lateness: Spread = Spread()  # of attempts that began, over tally.WAITS
    waiting: int = 0  # jobs at its end
    queues: dict[str, int] = {}  # of some queues: jobs that wait at its end


class Point(msgspec.Struct, frozen=True):
    """A bucket as a chart shows it. Durations and lateness in seconds, 0 where no attempt was made."""

    start: int  # seconds since 1970
    pushed: int
    completed: int
    errors: int
    canceled: int
    attempts: int
    error_rate: float  # of the jobs that ended by themselves, 0 to 1
    p50: float
    p95: float
    p99: float
    lateness_p95: float
    waiting: int


def total(tally: Tally) -> Bucket:
    """All that it has counted."""
    finished = tally.finished
    return Bucket(
        0,
        tally.pushed,
        finished[State.COMPLETED],
        finished[State.ERROR],
        finished[State.CANCELED],
        dict(tally.attempts),
        _spread(tally.durations),
        _spread(tally.lateness, 1000),
    )


def _spread(histogram: Histogram, unit: float = 1) -> Spread:
    return Spread(tuple(histogram.counts), histogram.sum / unit)


def since(before: Bucket, after: Bucket, start: int) -> Bucket:
    """What came between two totals, as a bucket; without depths."""
    attempts = {name: n - before.attempts.get(name, 0) for name, n in after.attempts.items()}
    return Bucket(
        start,
        after.pushed - before.pushed,
        after.completed - before.completed,
        after.errors - before.errors,
        after.canceled - before.canceled,
        {name: n for name, n in attempts.items() if n},
        _plus(after.durations, before.durations, -1),
        _plus(after.lateness, before.lateness, -1),
    )


def plus(one: Bucket, later: Bucket) -> Bucket:
    """Both together: the start of the one, the depths of the later one."""
    names = {**one.attempts, **later.attempts}
    return Bucket(
        one.start,
        one.pushed + later.pushed,
        one.completed + later.completed,
        one.errors + later.errors,
        one.canceled + later.canceled,
        {name: one.attempts.get(name, 0) + later.attempts.get(name, 0) for name in names},
        _plus(one.durations, later.durations),
        _plus(one.lateness, later.lateness),
        later.waiting,
        later.queues,
    )


def _plus(one: Spread, other: Spread, times: int = 1) -> Spread:
    counts = [a + times * b for a, b in zip_longest(one.counts, other.counts, fillvalue=0)]
    while counts and not counts[-1]:
        counts.pop()
    return Spread(tuple(counts), round(max(0.0, one.sum + times * other.sum), 6))


def with_depths(bucket: Bucket, waiting: int, queues: Mapping[str, int]) -> Bucket:
    return replace(bucket, waiting=waiting, queues=dict(queues))


def summed(buckets: Iterable[Bucket], first: int, step: int) -> list[Bucket]:
    """The last bucket before `first`, then one for each `step` seconds that there are any of."""
    before, found = list[Bucket](), dict[int, Bucket]()
    for bucket in sorted(buckets, key=lambda bucket: bucket.start):
        slot = bucket.start - bucket.start % step
        if slot < first:
            before = [bucket]
        else:
            found[slot] = plus(found.get(slot, Bucket(slot)), bucket)
    return [*before, *found.values()]


def spaced(buckets: Iterable[Bucket], first: int, step: int, count: int) -> list[Bucket]:
    """One bucket each `step` seconds from `first` on. Where there is none nothing moved: depths stay."""
    last, found = Bucket(0), dict[int, Bucket]()
    for bucket in summed(buckets, first, step):
        if bucket.start < first:
            last = bucket
        else:
            found[bucket.start] = bucket
    row: list[Bucket] = []
    for start in range(first, first + step * count, step):
        last = found.get(start) or Bucket(start, waiting=last.waiting, queues=last.queues)
        row.append(last)
    return row


def point(bucket: Bucket) -> Point:
    ended = bucket.completed + bucket.errors
    p50, p95, p99 = (quantile(DURATIONS, bucket.durations.counts, share) for share in (0.5, 0.95, 0.99))
    return Point(
        bucket.start,
        bucket.pushed,
        bucket.completed,
        bucket.errors,
        bucket.canceled,
        sum(bucket.attempts.values()),
        bucket.errors / ended if ended else 0.0,
        p50,
        p95,
        p99,
        quantile(WAITS, bucket.lateness.counts, 0.95),
        bucket.waiting,
    )
