"""How many jobs there are, by state and queue: kept in memory, written down with every commit."""

from collections import Counter
from struct import pack, unpack
from typing import Any

from ..job import State
from .layout import STATE_CODES, STATES, Txn
from .numbers import LaneNumbers

Slot = tuple[State, str]  # state, queue


class Counts:
    """The table `counts`; read when made, written by `save`."""

    def __init__(self, txn: Txn, table: Any, numbers: LaneNumbers) -> None:
        self._table, self._numbers = table, numbers
        self._counts: dict[Slot, int] = {}
        self.totals: Counter[State] = Counter()  # of all queues
        self._changed: set[Slot] = set()
        for key, n in txn.cursor(table):
            queue, _ = numbers.lane(txn, key[1:])
            state = STATES[key[0]]
            self._counts[state, queue] = unpack(">Q", n)[0]
            self.totals[state] += self._counts[state, queue]

    def shift(self, state: State, queue: str, by: int) -> None:
        slot = (state, queue)
        self._counts[slot] = self._counts.get(slot, 0) + by
        self.totals[state] += by
        self._changed.add(slot)

    def save(self, txn: Txn) -> None:
        emptied: set[str] = set()
        for slot in self._changed:
            state, queue = slot
            key = bytes((STATE_CODES[state],)) + self._numbers.key(txn, (queue, ""))
            if n := self._counts[slot]:
                txn.put(key, pack(">Q", n), db=self._table)
            else:
                txn.delete(key, db=self._table)
                del self._counts[slot]
                emptied.add(queue)
        self._changed.clear()
        for queue in emptied:
            if not any((state, queue) in self._counts for state in STATES):  # its last job has gone
                self._numbers.remove(txn, (queue, ""))
