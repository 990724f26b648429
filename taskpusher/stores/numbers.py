"""The short numbers that lanes have in LMDB's keys, given at their first use."""

from hashlib import blake2b
from struct import pack, unpack
from typing import Any

from .lanes import Lane


def short_hash(text: str) -> bytes:
    """16 bytes that stand for a text longer than LMDB's 511-byte keys."""
    return blake2b(text.encode(), digest_size=16).digest()


class LaneNumbers:
    """Lane <-> u32, in the table `names`; the last one given is in `meta`.

    What a transaction gave is forgotten by `forget_new` when that transaction fails.
    """

    def __init__(self, names: Any, meta: Any) -> None:
        self._names, self._meta = names, meta
        self._keys: dict[Lane, bytes] = {}
        self._lanes: dict[bytes, Lane] = {}
        self._new: list[Lane] = []

    def key(self, txn: Any, lane: Lane) -> bytes:
        """The number of the lane, big-endian."""
        key = self._keys.get(lane)
        return self._look_up(txn, lane) if key is None else key

    def lane(self, txn: Any, key: bytes) -> Lane:
        """The lane that has that number."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = lane_in(txn, self._names, key)
            self._keys[lane], self._lanes[key] = key, lane
        return lane

    def _look_up(self, txn: Any, lane: Lane) -> bytes:
        text = "\0".join(lane)
        key: bytes | None = txn.get(short_hash(text), db=self._names)
        if key is None:
            key = self._free_number(txn)
            txn.put(b"lanes", key, db=self._meta)
            txn.put(short_hash(text), key, db=self._names)
            txn.put(key, text.encode(), db=self._names)
        self._keys[lane], self._lanes[key] = key, lane
        self._new.append(lane)
        return key

    def _free_number(self, txn: Any) -> bytes:
        """The next one after the last given; past the greatest, those of lanes that went come again."""
        last: bytes = txn.get(b"lanes", b"\0\0\0\0", db=self._meta)
        while True:
            last = pack(">I", (unpack(">I", last)[0] + 1) & 0xFFFFFFFF)
            if txn.get(last, db=self._names) is None:
                return last

    def begin(self) -> None:
        """What comes now may be undone by `forget_new`."""
        self._new.clear()

    def forget_new(self) -> None:
        for lane in self._new:
            del self._lanes[self._keys.pop(lane)]
        self._new.clear()

    def remove(self, txn: Any, lane: Lane) -> None:
        """No job is in that lane, and no count is kept of it."""
        if (key := self._keys.pop(lane, None)) is not None:
            del self._lanes[key]
            txn.delete(short_hash("\0".join(lane)), db=self._names)
            txn.delete(key, db=self._names)


def lane_in(txn: Any, names: Any, key: bytes) -> Lane:
    """The lane with that number as the table has it."""
    queue, _, limit_key = txn.get(key, b"", db=names).decode().partition("\0")
    return queue, limit_key
