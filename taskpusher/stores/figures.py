"""How many jobs there are and what they take, read from LMDB."""

from collections import Counter
from itertools import islice
from struct import unpack
from typing import Any

from ..job import LIVE, State
from .base import QueueFigures, QueueRule, Totals
from .layout import STATE_CODES, STATES, TABLES, Txn, decode_rule
from .numbers import lane_in, short_hash
from .tables import Tables
from .walks import prefixed


def counts(txn: Txn, tables: Tables) -> dict[tuple[State, str], int]:
    """By state and queue."""
    names = tables.db("names")
    return {
        (STATES[key[0]], lane_in(txn, names, key[1:])[0]): unpack(">Q", n)[0]
        for key, n in txn.cursor(tables.db("counts"))
    }


def total(txn: Txn, tables: Tables, state: State | None, queue: str) -> int:
    """Of one state or all, of one queue or all; it does not read the names of the others."""
    codes = [STATE_CODES[state]] if state else list(STATE_CODES.values())
    counts = tables.db("counts")
    if not queue:
        return sum(unpack(">Q", n)[0] for key, n in txn.cursor(counts) if key[0] in codes)
    try:
        number = txn.get(short_hash(f"{queue}\0"), db=tables.db("names"))
    except UnicodeEncodeError:  # half a character is in no name
        number = None
    if number is None:
        return 0
    return sum(unpack(">Q", txn.get(bytes([code]) + number, bytes(8), db=counts))[0] for code in codes)


def totals(txn: Txn, tables: Tables, most: int) -> Totals:
    """By state; and of the `most` queues that came first, since those keep their place while they last."""
    found: dict[bytes, dict[State, int]] = {}
    for state, code in STATE_CODES.items():
        # The first of all queues are among the first of each state.
        for key, n in islice(prefixed(txn.cursor(tables.db("counts")), bytes([code])), most):
            found.setdefault(key[1:], {})[state] = unpack(">Q", n)[0]
    names = tables.db("names")
    queues = {lane_in(txn, names, number)[0]: found[number] for number in sorted(found)[:most]}
    due = txn.cursor(tables.db("due"))
    oldest = unpack(">Q", due.key()[:8])[0] if due.first() else None
    return Totals(dict(tables.counts.totals), queues, oldest)


def queues(txn: Txn, tables: Tables) -> list[QueueFigures]:
    """Every queue that has live jobs or a rule."""
    rules = {rule.name: rule for _, value in txn.cursor(tables.db("rules")) if (rule := decode_rule(value))}
    found: Counter[tuple[State, str]] = Counter(counts(txn, tables))
    oldest = _oldest(txn, tables)
    live = {queue for state, queue in found if state in LIVE}
    return [
        QueueFigures(
            rules.get(name, QueueRule(name)),
            found[State.WAITING, name],
            found[State.RUNNING, name],
            found[State.PAUSED, name],
            oldest.get(name),
        )
        for name in sorted(live | set(rules))
    ]


def _oldest(txn: Txn, tables: Tables) -> dict[str, int]:
    """The earliest due_ms of each queue: one look for each priority of each lane."""
    oldest: dict[str, int] = {}
    cursor = txn.cursor(tables.db("ready"))
    found = cursor.first()
    while found:
        key = cursor.key()
        queue, _ = lane_in(txn, tables.db("names"), key[:4])
        due = unpack(">Q", key[5:13])[0]
        oldest[queue] = min(due, oldest.get(queue, due))
        found = cursor.set_range(key[:4] + bytes([key[4] + 1]))
    return oldest


def free_bytes(env: Any, txn: Txn, tables: Tables) -> int:
    """Pages of the file that nothing uses, in bytes."""
    stats = [env.stat(), *(txn.stat(tables.db(name)) for name in TABLES)]
    used = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
    return int(max(0, env.info()["last_pgno"] + 1 - used) * stats[0]["psize"])
