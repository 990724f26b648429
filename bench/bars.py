"""The bars: what must be reached, in one table."""

from typing import NamedTuple

from .results import Figures, figure


class Bar(NamedTuple):
    what: str
    part: str
    path: tuple[str, ...]  # where its figure is among those of the part
    limit: float
    at_most: bool
    unit: str

    def measured(self, results: Figures) -> float | None:
        """None: not measured."""
        return figure(results, self.part, *self.path)

    def reached(self, results: Figures) -> bool | None:
        found = self.measured(results)
        if found is None:
            return None
        return found <= self.limit if self.at_most else found >= self.limit


def _million(field: str) -> tuple[str, ...]:
    return ("waiting", "1000000", field, "median")


BARS = (
    Bar("drain, 50 in flight", "drain", ("in_flight", "50", "tasker", "median"), 15_000, False, "jobs/s"),
    Bar("of the bare pipeline", "drain", ("in_flight", "50", "ratio", "median"), 0.6, False, ""),
    Bar("times the best of the peers", "peers", ("to_best",), 2.0, False, "times"),
    Bar("`POST /add`, 32 connections", "add", ("tasker", "rate", "median"), 11_000, False, "pushes/s"),
    Bar("of a bare handler that stores nothing", "add", ("ratio", "median"), 0.5, False, ""),
    Bar("`POST /add`, p99", "add", ("tasker", "p99_ms", "median"), 10, True, "ms"),
    Bar("NDJSON, 1,000 a request", "bulk", ("rate", "median"), 100_000, False, "jobs/s"),
    Bar("another client's `/add` meanwhile, p99", "bulk", ("p99_ms", "median"), 15, True, "ms"),
    Bar("push to hit at 500/s, p50", "latency", ("p50_ms", "median"), 2, True, "ms"),
    Bar("push to hit at 500/s, p99", "latency", ("p99_ms", "median"), 6, True, "ms"),
    Bar("anonymous memory, a million waiting", "growth", _million("memory_mb"), 60, True, "MB"),
    Bar("first call after a start, with a million", "growth", _million("first_call_s"), 1, True, "s"),
    Bar("drain of a million, of that of 10,000", "growth", _million("drain_share"), 0.9, False, ""),
    Bar("disk for a waiting job, of a million", "growth", _million("bytes_a_job"), 400, True, "bytes"),
    Bar("file late, of the file early, few live jobs", "churn", ("late_to_early",), 3, True, "times"),
    Bar("the slowest page, median, a million jobs", "pages", ("slowest_ms",), 100, True, "ms"),
    Bar("the largest page", "pages", ("largest_kb",), 200, True, "kB"),
    Bar("an open tab on an idle tasker, of a core", "pages", ("tab_percent",), 1, True, "%"),
    Bar("wake-ups while nothing is due", "idle", ("wake_ups",), 0, True, "wake-ups"),
)  # fmt: skip
