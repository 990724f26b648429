"""What the API shows, as JSON: jobs (see document.py), queues and figures."""

from typing import Any

from ..audit import Entry
from ..bulk import Bulk
from ..document import brief, headers, time, whole
from ..history import Point, Series
from ..job import State
from ..stats import Stats
from ..stores.base import QueueFigures

__all__ = ["brief", "entry", "headers", "queue", "series", "stats", "time", "whole"]


def queue(figures: QueueFigures) -> dict[str, Any]:
    """A queue: what a person said of it, how many wait, and since when the first of them is due."""
    return {
        "name": figures.rule.name,
        "paused": figures.rule.paused,
        "concurrency": figures.rule.concurrency or None,
        "depth": figures.waiting,
        "running": figures.running,
        "paused_jobs": figures.paused,
        "oldest": None if figures.oldest_due is None else time(figures.oldest_due),
    }


def bulk(found: Bulk, filters: dict[str, str]) -> dict[str, Any]:
    """How far a bulk is."""
    return {
        "id": found.uid,
        "action": found.action,
        "state": found.query.state,
        "filters": filters,
        "dry_run": found.dry_run,
        "count": found.count,
        "total": found.total,
        "skipped": found.skipped,
        "failed": found.failed,
        "done": found.done,
        "started_at": time(found.started_ms),
        "finished_at": time(found.finished_ms),
        "error": found.cut_short or found.error or None,
    }


def series(found: Series) -> dict[str, Any]:
    points = [_point(one) for one in found.points]
    return {"span": found.span, "step": found.step, "points": points}


def _point(one: Point) -> dict[str, Any]:
    return {
        "start": time(one.start * 1000),
        "pushed": one.pushed,
        "completed": one.completed,
        "errors": one.errors,
        "canceled": one.canceled,
        "attempts": one.attempts,
        "error_rate": round(one.error_rate, 4),
        "duration": {"p50": round(one.p50, 6), "p95": round(one.p95, 6), "p99": round(one.p99, 6)},
        "lateness": {"p95": round(one.lateness_p95, 6)},
        "waiting": one.waiting,
    }


def entry(found: Entry) -> dict[str, Any]:
    """Who did what."""
    return {
        "at": time(found.at),
        "user": found.user,
        "remote": found.remote or None,
        "action": found.action,
        "job": found.job or None,
        "queue": found.queue or None,
        "bulk": found.bulk or None,
        "state": found.state or None,
        "filters": found.filters,
        "count": found.count,
        "outcome": found.outcome or None,
    }


def stats(found: Stats) -> dict[str, Any]:
    queues: dict[str, dict[str, int]] = {}
    states = dict.fromkeys(State, 0)
    for (state, name), number in sorted(found.counts.items()):
        states[state] += number
        queues.setdefault(name, {})[state] = number
    store = found.store
    return {
        "states": states,
        "queues": queues,
        "rates": found.rates,
        "oldest_waiting": None if found.oldest_due is None else time(found.oldest_due),
        "uptime": round(found.uptime, 3),
        "concurrency": found.workers,
        "busy": found.busy,
        "lag": round(found.lag, 6),
        "store": {
            "kind": store.kind,
            "path": store.path,
            "size": store.size,
            "free": store.free,
            "disk_free": store.disk_free,
            "full": store.full,
        },
    }
