"""What happened in the last hours, days and months: counted by the minute, kept in the store, for charts.

The tally counts. When a minute ends in which something moved, what the tally has counted since becomes a
bucket, and is added to those of its hour and its day; the three are written as notes, in one commit. So a job
costs nothing here, nothing wakes for a minute in which nothing moves, and a kill loses a minute at most.

Times are wall-clock, UTC. A clock that was set only makes a bucket longer or shorter: a minute that comes
twice is counted twice into the same bucket.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from .buckets import Bucket, Point, plus, point, since, spaced, total, with_depths
from .clock import Clock
from .job import Job, State
from .stores.base import Note, Store
from .tally import Tally

__all__ = ["SPANS", "Bucket", "History", "Point", "Series", "Span"]

logger = logging.getLogger("taskpusher")

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
MOST_QUEUES = 50  # with a depth of their own
MOST_UNWRITTEN = 60  # buckets of a level that wait for the store to have room
MOST_REMOVED = 2  # old buckets of a level, in one commit: more than come

Span = Literal["hour", "day", "month"]
SPANS: tuple[Span, ...] = get_args(Span)


class Level(NamedTuple):
    """Buckets of one length, in seconds, and how long they are kept."""

    name: str
    length: int
    kept: int

    def start(self, moment: int) -> int:
        return moment - moment % self.length

    def note(self, start: int) -> str:
        return f"{self.notes}{max(0, start):012d}"

    @property
    def notes(self) -> str:
        return f"history/{self.name}/"


MINUTES = Level("m", MINUTE, DAY)
HOURS = Level("h", HOUR, 30 * DAY)
DAYS = Level("d", DAY, 730 * DAY)
LEVELS = (MINUTES, HOURS, DAYS)


class Chart(NamedTuple):
    """So many points, so many seconds apart, from buckets of that level."""

    level: Level
    step: int
    points: int


CHARTS: dict[str, Chart] = {
    "hour": Chart(MINUTES, MINUTE, 60),
    "day": Chart(MINUTES, 15 * MINUTE, 96),
    "month": Chart(DAYS, DAY, 30),
}


class Series(msgspec.Struct, frozen=True):
    """Points `step` seconds apart, oldest first; the last one is not over."""

    span: Span
    step: int
    points: list[Point]


class Past(NamedTuple):
    """A minute that is over, for the rates: by the monotonic clock, since no one sets that."""

    ended: float
    bucket: Bucket


class History:
    """Listens to moves, keeps what `tally` counts."""

    def __init__(self, store: Store, clock: Clock, tally: Tally) -> None:
        self._store, self._clock, self._tally = store, clock, tally
        self._began = clock.monotonic()
        self._seen = total(tally)  # what has gone into buckets
        self._timer: asyncio.TimerHandle | None = None  # to the end of the minute, if something moved
        self._minute = self._era = 0  # that minute, and the clock's era
        self._past: deque[Past] = deque(maxlen=61)
        self._ended: list[Bucket] = []  # minutes that no bucket of the store has yet
        self._unwritten: dict[str, Bucket] = {}  # by note
        self._turns = 0  # how often those two changed
        self._rows: dict[Chart, tuple[int, int, list[Bucket]]] = {}  # turns and start that they are of
        self._keeping: asyncio.Task[None] | None = None
        self._failed = False

    # ---- minutes ----------------------------------------------------------------------------------

    def moved(self, jobs: Sequence[Job]) -> None:
        """A listener of Events."""
        if self._timer is None:
            self._open()

    def _open(self) -> None:
        """A minute in which something moves: have it end."""
        now = self._clock.now()
        self._minute, self._era = MINUTES.start(now // 1000), self._clock.era
        left = MINUTE - now / 1000 % MINUTE
        self._timer = asyncio.get_running_loop().call_later(left, self._tick)

    def _tick(self) -> None:
        if self._minute == MINUTES.start(self._now()):
            self._open()  # a timer may be early, or the clock was set back
            return
        self._end_minute()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep(), name="history")

    def _end_minute(self) -> None:
        bucket = self._present()
        self._timer, self._seen = None, total(self._tally)
        self._ended = [*self._ended[1 - MOST_UNWRITTEN :], bucket]
        self._past.append(Past(self._clock.monotonic(), bucket))

    def _present(self) -> Bucket:
        """The minute that is not over."""
        is_open = self._timer is not None and self._era == self._clock.era
        start = self._minute if is_open else MINUTES.start(self._now())
        return since(self._seen, total(self._tally), start)

    def _now(self) -> int:
        return self._clock.now() // 1000

    async def stop(self) -> None:
        """Keep the minute that is not over too; the next start goes on with it."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_minute()
        keeping = self._keeping
        try:
            if keeping is not None:
                await asyncio.wait([keeping])
            if self._ended or self._unwritten:
                await self._keep()
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait([keeping])

    # ---- keeping ----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Write what has ended. What fails is tried again when the next minute ends."""
        try:
            await self._add_up()
            await self._write()
        except Exception as error:
            if not self._failed:
                logger.warning("the history can't be kept for now: %s", error)
            self._failed = True
        else:
            self._failed = False
        finally:
            self._keeping = None

    async def _add_up(self) -> None:
        """Add the minutes that have ended to the buckets that they belong to."""
        ended, depths = self._ended, await self._depths()
        found = dict(self._unwritten)
        for minute in ended:
            for level in LEVELS:
                start = level.start(minute.start)
                name = level.note(start)
                before = found.get(name) or await self._read(name) or Bucket(start)
                found[name] = plus(before, with_depths(minute, *depths))
        self._unwritten = _newest(found)
        self._ended = [minute for minute in self._ended if not any(minute is one for one in ended)]
        self._turns += 1

    async def _read(self, name: str) -> Bucket | None:
        buckets = _decoded(await self._store.notes(name, limit=1))
        return buckets.get(name)

    async def _depths(self) -> tuple[int, dict[str, int]]:
        """Jobs that wait: all, and those of some queues."""
        totals = await self._store.totals(MOST_QUEUES)
        queues = {name: n for name, states in totals.queues.items() if (n := states.get(State.WAITING, 0))}
        return totals.states.get(State.WAITING, 0), queues

    async def _write(self) -> None:
        notes = [Note(name, _encode(bucket)) for name, bucket in self._unwritten.items()]
        await self._store.write(*notes, *await self._old())
        self._unwritten = {}
        self._turns += 1

    async def _old(self) -> list[Note]:
        """What is past its keeping, or as far ahead, since the clock was wrong then. A few at a time: a clock
        that is wrong for a minute must not take all."""
        now, names = self._now(), list[str]()
        for level in LEVELS:
            first, last = level.note(now - level.kept), level.note(now + level.kept)
            oldest = await self._store.notes(level.notes, limit=MOST_REMOVED)
            newest = await self._store.notes(level.notes, limit=MOST_REMOVED, newest_first=True)
            names += [name for name, _ in oldest if name < first]
            names += [name for name, _ in newest if name > last]
        return [Note(name, None) for name in names if name not in self._unwritten]

    # ---- looking ----------------------------------------------------------------------------------

    async def series(self, span: Span) -> Series:
        """The last hour by the minute, day by the quarter, month by the day, up to this moment."""
        row = await self._row(CHARTS[span])
        return Series(span, CHARTS[span].step, [point(bucket) for bucket in row])

    async def queues(self, span: Span) -> dict[str, list[int]]:
        """How many jobs waited at the end of each point of `series`, by queue; 50 queues at most by now."""
        row = await self._row(CHARTS[span])
        names = sorted({name for bucket in row for name in bucket.queues})
        return {name: [bucket.queues.get(name, 0) for bucket in row] for name in names}

    async def _row(self, chart: Chart) -> list[Bucket]:
        now = self._now()
        first = now - now % chart.step - chart.step * (chart.points - 1)
        depths = await self._depths()
        kept = await self._kept_row(chart, first)
        fresh = [with_depths(minute, *depths) for minute in (*self._ended, self._present())]
        return spaced([*kept, *fresh], first, chart.step, chart.points)

    async def _kept_row(self, chart: Chart, first: int) -> list[Bucket]:
        """What is kept, as a row; read once a minute, however often a page asks."""
        known = self._rows.get(chart)
        if known is None or known[:2] != (self._turns, first):
            level, step, count = chart
            kept = await self._kept(level, first, step * count // level.length)
            known = self._rows[chart] = (self._turns, first, spaced(kept.values(), first, step, count))
        return known[2]

    async def _kept(self, level: Level, first: int, most: int) -> dict[str, Bucket]:
        """The buckets from `first` on, and the one before, by note."""
        while True:
            turns, name = self._turns, level.note(first)
            before = await self._store.notes(level.notes, after=name, limit=1, newest_first=True)
            notes = await self._store.notes(level.notes, after=level.note(first - 1), limit=most)
            if turns == self._turns:  # else a minute went from here to there meanwhile
                break
        fresh = {name: one for name, one in self._unwritten.items() if name.startswith(level.notes)}
        return _decoded([*before, *notes]) | fresh

    def rates(self) -> dict[str, dict[str, float]]:
        """Jobs a second over the last minute, five minutes and hour, by what happened to them."""
        return {name: self._rate(span) for name, span in (("1m", 1), ("5m", 5), ("60m", 60))}

    def _rate(self, span: int) -> dict[str, float]:
        now = self._clock.monotonic()
        # the present minute is not over: count it and the `span` before it
        seconds = span * MINUTE + self._clock.now() / 1000 % MINUTE
        begun = now - seconds + MINUTE / 2  # between two minutes' ends: timers are late
        window = [past.bucket for past in self._past if past.ended > begun] + [self._present()]
        seconds = max(1.0, min(now - self._began, seconds))
        sums = {name: sum(getattr(one, name) for one in window) for name in ("pushed", "completed", "errors")}
        return {name: round(n / seconds, 3) for name, n in sums.items()}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Bucket).decode


def _decoded(notes: Sequence[tuple[str, bytes]]) -> dict[str, Bucket]:
    """Those that can be read: the others are as good as lost."""
    buckets = {}
    for name, value in notes:
        try:
            buckets[name] = _decode(value)
        except msgspec.MsgspecError:
            logger.warning("left out a bucket of the history that can't be read", extra={"note": name})
    return buckets


def _newest(buckets: dict[str, Bucket]) -> dict[str, Bucket]:
    """At most so many of each level."""
    kept: dict[str, Any] = {}
    for level in LEVELS:
        names = sorted(name for name in buckets if name.startswith(level.notes))
        kept |= {name: buckets[name] for name in names[-MOST_UNWRITTEN:]}
    return kept
