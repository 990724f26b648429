"""Which waiting job runs next, kept in memory as the heads of the lanes.

A lane is (queue, limit key): the jobs of a queue wait in (queue, ""), those that met a limit key at its cap
in (queue, key) for as long as that lane has jobs. Within a lane jobs are ordered by priority, due time and
order of pushing. Only the first jobs of each priority of each lane are known here, so memory follows the
lanes and not the jobs; and a lane that may not run is not looked at, so jobs that are held cost nothing.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Any

from .base import QueueRule

Lane = tuple[str, str]  # queue, limit key or ""
Head = tuple[int, int, bytes]  # due_ms, seq, uid
Taken = tuple[Lane, int, Head]  # where the job waits: lane, priority, head

MOST_STALE = 64  # entries that no row needs any more, beside as many as there are of use


READ_AHEAD = 64  # most jobs of a row that are known
MOST_KNOWN = 4096  # jobs, of all rows, beside one of each


class _Row:
    """The jobs of one priority of one lane, known by the first of them."""

    __slots__ = ("ahead", "head", "lane", "offered", "priority", "queue", "reach")

    def __init__(self, lane: Lane, priority: int, queue: "_Queue") -> None:
        self.lane, self.priority, self.queue = lane, priority, queue
        self.head: Head | None = None
        self.ahead: deque[Head] = deque()  # those that follow the head, without a gap
        self.reach = 1  # how many are read at a time: more with each time, for a lane that runs
        self.offered: Head | None = None  # the head under which a heap holds it: that very object
        queue.rows += 1

    def learn(self, head: Head) -> bool:
        """A job came. What is behind the last one known, as it may be, is found when those have gone."""
        if self.head is None or head < self.head:
            if self.head is not None:
                self.ahead.appendleft(self.head)
            self.head = head
        elif self.ahead and head < self.ahead[-1]:
            place = bisect_left(self.ahead, head)
            if self.ahead[place] != head and self.head != head:
                self.ahead.insert(place, head)
        else:
            return False
        if len(self.ahead) > self.reach:
            self.ahead.pop()
        return True


class _Queue:
    """What one queue may run."""

    __slots__ = ("in_turn", "most_ready", "ready", "rows", "rule", "running")

    def __init__(self, name: str) -> None:
        self.rule = QueueRule(name)
        self.running = 0
        self.rows = 0  # how many _Rows are its
        self.ready: list[tuple[int, Head, int, _Row]] = []  # heap of the heads that are due, by priority
        self.most_ready = MOST_STALE  # entries, before it is swept
        self.in_turn = False

    def may_run(self) -> bool:
        rule = self.rule
        return not rule.paused and (not rule.concurrency or self.running < rule.concurrency)


class Lanes:
    """The order of all waiting jobs. `peek(lane, priority, n)` tells the first n that the store has there."""

    def __init__(self, peek: Callable[[Lane, int, int], list[Head]]) -> None:
        self._peek = peek
        self._rows: dict[Lane, dict[int, _Row]] = {}
        self._queues: dict[str, _Queue] = {}
        self._turns: deque[_Queue] = deque()  # the queues that have a job due and may run it
        self._later: list[tuple[Head, int, _Row]] = []  # heap of the heads that are not due yet
        self._most_later = MOST_STALE
        self._offers = 0  # numbers what goes into the heaps: an old head may equal a new one
        self._now = 0
        self._running: Counter[str] = Counter()  # by limit key
        self._full: set[str] = set()  # the limit keys at their cap
        self._lanes_of: dict[str, dict[Lane, None]] = {}  # by limit key, in the order they came
        self._emptied: list[Lane] = []  # lanes of limit keys that have no jobs any more

    # ---- jobs that wait ---------------------------------------------------------------------------

    def added(self, lane: Lane, priority: int, *heads: Head) -> None:
        """Jobs wait in `lane` now, in that order."""
        rows = self._rows.get(lane)
        if rows is None:
            rows = self._rows[lane] = {}
            if lane[1]:
                self._lanes_of.setdefault(lane[1], {})[lane] = None
        row = rows.get(priority)
        if row is None:
            row = rows[priority] = _Row(lane, priority, self._queue(lane[0]))
        known = row.head
        for head in heads:
            if not row.learn(head):
                break  # nor is one that comes after it to be known
        if row.head is not known:
            self._offer(row)

    def removed(self, lane: Lane, priority: int, head: Head) -> None:
        """A job does not wait in `lane` any more."""
        rows = self._rows.get(lane)
        row = rows.get(priority) if rows else None
        if row is None:  # a write of several jobs has taken the others too
            return
        if row.head == head:
            self._advance(row)
        elif row.ahead and head <= row.ahead[-1] and head in row.ahead:
            row.ahead.remove(head)

    def _advance(self, row: _Row) -> None:
        if not row.ahead:
            row.ahead.extend(self._peek(row.lane, row.priority, row.reach))
            row.reach = max(1, min(2 * row.reach, READ_AHEAD, MOST_KNOWN // len(self._rows)))
        if row.ahead:
            row.head = row.ahead.popleft()
            self._offer(row)
        else:
            row.head = None
            self._drop(row)

    def _drop(self, row: _Row) -> None:
        lane = row.lane
        rows = self._rows[lane]
        del rows[row.priority]
        row.queue.rows -= 1
        if rows:
            return
        del self._rows[lane]
        if lane[1]:
            lanes = self._lanes_of[lane[1]]
            lanes.pop(lane, None)
            if not lanes:
                del self._lanes_of[lane[1]]
            self._emptied.append(lane)
        self._forget(lane[0])

    def _offer(self, row: _Row) -> None:
        """Let the row's head take part, unless it does already or its limit key is at the cap."""
        head = row.head
        if head is None or row.offered is head or row.lane[1] in self._full:
            return
        row.offered = head
        if head[0] <= self._now:
            self._make_ready(row, head)
        else:
            self._offers += 1
            heappush(self._later, (head, self._offers, row))
            if len(self._later) > self._most_later:
                self._most_later = _sweep(self._later)

    def _make_ready(self, row: _Row, head: Head) -> None:
        queue = row.queue
        self._offers += 1
        heappush(queue.ready, (row.priority, head, self._offers, row))
        if len(queue.ready) > queue.most_ready:
            queue.most_ready = _sweep(queue.ready)
        if not queue.in_turn:
            self._take_turn(queue)

    def _take_turn(self, queue: _Queue) -> None:
        if not queue.in_turn and queue.ready and queue.may_run():
            queue.in_turn = True
            self._turns.append(queue)

    def _surfaced(self, row: _Row, head: Head) -> bool:
        """A heap has given it up: whether it is still the row's head, and may run."""
        if row.offered is head:
            row.offered = None
        return row.head is head and row.lane[1] not in self._full

    # ---- the next one -----------------------------------------------------------------------------

    def take(self, now: int) -> Taken | None:
        """The job that runs next: the caller must claim it, move it or settle it, and say so by `removed`."""
        self._now = now
        if self._later and self._later[0][0][0] <= now:
            self._promote(now)
        turns = self._turns
        while turns:
            queue = turns[0]
            taken = self._first_of(queue) if queue.may_run() else None
            if taken is not None:
                turns.rotate(-1)
                return taken
            turns.popleft()
            queue.in_turn = False
            self._forget(queue.rule.name)
        return None

    def _first_of(self, queue: _Queue) -> Taken | None:
        ready = queue.ready
        while ready:
            priority, head, _, row = heappop(ready)
            if not self._surfaced(row, head):
                continue
            if head[0] <= self._now:
                return row.lane, priority, head
            self._offer(row)  # the clock was set back: it is to wait again
        return None

    def _promote(self, now: int) -> None:
        later = self._later
        while later and later[0][0][0] <= now:
            head, _, row = heappop(later)
            if self._surfaced(row, head):
                row.offered = head
                self._make_ready(row, head)

    def next_due(self) -> int | None:
        """The earliest moment at which a job that may run becomes due."""
        later = self._later
        while later:
            head, _, row = later[0]
            if row.head is head and row.lane[1] not in self._full:
                return head[0]
            heappop(later)
            self._surfaced(row, head)
        return None

    def gone(self) -> list[Lane]:
        """The lanes of limit keys that were left without jobs since the last call."""
        if not self._emptied:
            return []
        gone = [lane for lane in self._emptied if lane not in self._rows]
        self._emptied.clear()
        return gone

    # ---- jobs that run ----------------------------------------------------------------------------

    def full_key(self, caps: Iterable[tuple[str, int]]) -> str:
        """The first of a job's limit keys that is at its cap, or ""."""
        for key, _ in caps:
            if key in self._full:
                return key
        return ""

    def started(self, queue_name: str, caps: Iterable[tuple[str, int]]) -> None:
        """A job of that queue, under those limit keys, runs now."""
        self._queue(queue_name).running += 1
        for key, cap in caps:
            self._running[key] += 1
            if self._running[key] >= cap:
                self._full.add(key)

    def ended(self, queue_name: str, caps: Iterable[tuple[str, int]]) -> None:
        """It runs no longer: its queue and its limit keys have room again."""
        queue = self._queue(queue_name)
        queue.running -= 1
        if queue.ready:
            self._take_turn(queue)
        elif not queue.running:
            self._forget(queue_name)
        for key, cap in caps:
            self._running[key] -= 1
            if self._running[key] < cap and key in self._full:
                self._full.discard(key)
                self._reopen(key)
            if not self._running[key]:
                del self._running[key]

    def _reopen(self, key: str) -> None:
        for lane in self._lanes_of.get(key, ()):
            for row in self._rows[lane].values():
                self._offer(row)

    # ---- rules ------------------------------------------------------------------------------------

    def ruled(self, rule: QueueRule) -> None:
        """A person paused, resumed or limited a queue."""
        queue = self._queue(rule.name)
        queue.rule = rule
        self._take_turn(queue)
        self._forget(rule.name)

    def _queue(self, name: str) -> _Queue:
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(name)
        return queue

    def _forget(self, name: str) -> None:
        """Drop a queue that says nothing any more: names may come and go by the million."""
        queue = self._queues.get(name)
        if (
            queue is not None
            and not (queue.running or queue.ready or queue.in_turn)
            and not queue.rows
            and queue.rule == QueueRule(name)
        ):
            del self._queues[name]


def _sweep(heap: list[Any]) -> int:
    """Drop what is no row's head any more; how long the heap may become before the next time.

    It would not surface by itself while its queue is paused, or for as long as it is not due.
    """
    heap[:] = {entry[-1]: entry for entry in heap if entry[-1].head is entry[-3]}.values()
    heapify(heap)
    return 2 * len(heap) + MOST_STALE
