"""Which waiting job runs next, kept in memory as the heads of the lanes.

A lane is (queue, limit key): the jobs of a queue wait in (queue, ""), those that met a limit key at its cap
in (queue, key) for as long as that lane has jobs. Within a lane jobs are ordered by priority, due time and
order of pushing. Only the first job of each priority of each lane is known here, so memory follows the lanes
and not the jobs; and a lane that may not run is not looked at, so jobs that are held cost nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from .base import QueueRule

Lane = tuple[str, str]  # queue, limit key or ""
Head = tuple[int, int, bytes]  # due_ms, seq, uid
Entry = tuple[int, int, int, bytes, Lane]  # priority, due_ms, seq, uid, lane: the order within a queue


class _Queue:
    """What one queue may run."""

    __slots__ = ("in_turn", "ready", "rule", "running")

    def __init__(self, name: str) -> None:
        self.rule = QueueRule(name)
        self.running = 0
        self.ready: list[Entry] = []  # heap of heads that are due; stale ones are dropped when they surface
        self.in_turn = False

    def may_run(self) -> bool:
        return not self.rule.paused and (not self.rule.concurrency or self.running < self.rule.concurrency)


class Lanes:
    """The order of all waiting jobs. `peek(lane, priority)` tells the first one the store holds there."""

    def __init__(self, peek: Callable[[Lane, int], Head | None]) -> None:
        self._peek = peek
        self._heads: dict[Lane, dict[int, Head]] = {}
        self._queues: dict[str, _Queue] = {}
        self._turns: deque[_Queue] = deque()  # the queues that have a job due and may run it
        self._later: list[tuple[int, int, Entry]] = []  # heap: due_ms, seq, the entry
        self._offered: set[Entry] = set()  # what the heaps hold, so that nothing is in them twice
        self._now = 0
        self._running: Counter[str] = Counter()  # by limit key
        self._full: set[str] = set()  # the limit keys at their cap
        self._lanes_of: dict[str, set[Lane]] = {}  # by limit key
        self._emptied: list[Lane] = []  # lanes of limit keys that have no jobs any more

    # ---- jobs that wait ---------------------------------------------------------------------------

    def added(self, lane: Lane, priority: int, head: Head) -> None:
        """A job waits in `lane` now."""
        heads = self._heads.get(lane)
        if heads is None:
            heads = self._heads[lane] = {}
            if lane[1]:
                self._lanes_of.setdefault(lane[1], set()).add(lane)
        first = heads.get(priority)
        if first is None or head < first:
            heads[priority] = head
            self._offer(lane, priority, head)

    def removed(self, lane: Lane, priority: int, head: Head) -> None:
        """A job does not wait in `lane` any more."""
        heads = self._heads[lane]
        if heads.get(priority) != head:
            return
        following = self._peek(lane, priority)
        if following is not None:
            heads[priority] = following
            self._offer(lane, priority, following)
            return
        del heads[priority]
        if not heads:
            self._drop(lane)

    def _drop(self, lane: Lane) -> None:
        del self._heads[lane]
        if lane[1]:
            lanes = self._lanes_of[lane[1]]
            lanes.discard(lane)
            if not lanes:
                del self._lanes_of[lane[1]]
            self._emptied.append(lane)
        self._forget(lane[0])

    def _offer(self, lane: Lane, priority: int, head: Head) -> None:
        entry = (priority, *head, lane)
        if lane[1] in self._full or entry in self._offered:
            return
        self._offered.add(entry)
        if head[0] <= self._now:
            self._make_ready(entry)
        else:
            heappush(self._later, (head[0], head[1], entry))

    def _make_ready(self, entry: Entry) -> None:
        queue = self._queue(entry[4][0])
        heappush(queue.ready, entry)
        self._take_turn(queue)

    def _take_turn(self, queue: _Queue) -> None:
        if not queue.in_turn and queue.ready and queue.may_run():
            queue.in_turn = True
            self._turns.append(queue)

    def _valid(self, entry: Entry) -> bool:
        lane = entry[4]
        if lane[1] in self._full:
            return False
        heads = self._heads.get(lane)
        return heads is not None and heads.get(entry[0]) == entry[1:4]

    # ---- the next one -----------------------------------------------------------------------------

    def take(self, now: int) -> Entry | None:
        """The job that runs next: the caller must claim it, move it or settle it, and say so by `removed`."""
        self._promote(now)
        while self._turns:
            queue = self._turns[0]
            entry = self._first_of(queue) if queue.may_run() else None
            if entry is not None:
                self._turns.rotate(-1)
                return entry
            self._turns.popleft()
            queue.in_turn = False
        return None

    def _first_of(self, queue: _Queue) -> Entry | None:
        while queue.ready:
            entry = heappop(queue.ready)
            self._offered.discard(entry)
            if self._valid(entry):
                return entry
        return None

    def _promote(self, now: int) -> None:
        self._now = now
        later = self._later
        while later and later[0][0] <= now:
            entry = heappop(later)[2]
            if self._valid(entry):
                self._make_ready(entry)
            else:
                self._offered.discard(entry)

    def next_due(self) -> int | None:
        """The earliest moment at which a job that may run becomes due."""
        later = self._later
        while later:
            due, _, entry = later[0]
            if self._valid(entry):
                return due
            heappop(later)
            self._offered.discard(entry)
        return None

    def gone(self) -> list[Lane]:
        """The lanes of limit keys that were left without jobs since the last call."""
        if not self._emptied:
            return []
        gone = [lane for lane in self._emptied if lane not in self._heads]
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
        self._take_turn(queue)
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
            for priority, head in self._heads[lane].items():
                self._offer(lane, priority, head)

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
            and queue.rule == QueueRule(name)
            and (name, "") not in self._heads
        ):
            del self._queues[name]
