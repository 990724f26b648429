"""Looking through the lists of LMDB for the jobs that match a query."""

from collections.abc import Iterator

from ..job import Job
from .base import Query, newest_first
from .layout import Row, Txn, readable
from .pages import Look, beyond
from .sieve import sieve_of
from .tables import Tables
from .walks import list_of, rows_from


class Looker:
    """Looks for the jobs that match the query, beyond `cursor`."""

    def __init__(self, tables: Tables, query: Query, cursor: bytes | None) -> None:
        self._tables, self._query, self._cursor = tables, query, cursor
        self._sieve = sieve_of(query)
        self._table, self._prefix = list_of(query.state)
        self._backwards = newest_first(query.state)

    def look(self, after: bytes | None, size: int, room: int, txn: Txn) -> Look:
        """At the next `size` rows of the list, for `room` jobs at most."""
        cursor = txn.cursor(self._tables.db(self._table))
        rows = rows_from(cursor, self._prefix, after, self._backwards, size)
        found: list[tuple[bytes, Job]] = []
        number = 0
        for place, job in self._matching(txn, rows):
            number += 1
            if len(found) < room and beyond(self._query, place, self._cursor):
                found.append((place, job))
        return Look(found, number, len(rows), rows[-1][0][len(self._prefix) :] if rows else after)

    def _matching(self, txn: Txn, rows: list[Row]) -> Iterator[tuple[bytes, Job]]:
        sieve, matches, start = self._sieve, self._query.matches, len(self._prefix)
        for place, uid, record in self._records(txn, rows):
            if sieve is None or sieve(record):
                job = readable(uid, record)
                if job is not None and matches(job):
                    yield place[start:], job

    def _records(self, txn: Txn, rows: list[Row]) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Place, uid and record of the jobs that those rows are of."""
        if self._table == "jobs":
            return ((uid, uid, record) for uid, record in rows)
        uids = [place if self._table == "running" else value for place, value in rows]
        # all at once: one by one takes four times as long
        records = dict(txn.cursor(self._tables.db("jobs")).getmulti(uids))
        pairs = zip(rows, uids, strict=True)
        return ((row[0], uid, records[uid]) for row, uid in pairs if uid in records)
