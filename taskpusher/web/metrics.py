"""`GET /metrics`: the figures for Prometheus, in its text format or OpenMetrics.

Names and labels are given here, at the scrape; until then there are plain numbers. No label holds a URL, a
host or a uid, and only so many queues get one of their own: each value of a label is a series that Prometheus
keeps.
"""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.responses import Response

from .. import __version__
from ..histogram import Histogram
from ..job import State
from ..pusher import TaskPusher
from ..stats import Measures
from ..stores.base import StoreFigures, Totals
from ..tally import Tally

MOST_QUEUES = 100  # queues with a label of their own, those that came first; the others are "other"
OTHER = "other"
MS = 1000  # a second


class Metrics:
    """Answers scrapes. `answers`: how many of our HTTP answers had a status of 1xx, 2xx and so on."""

    def __init__(self, pusher: TaskPusher, answers: Sequence[int]) -> None:
        self._pusher, self._answers = pusher, answers
        self._process = ProcessCollector(registry=None)

    async def scrape(self, accept: str) -> Response:
        """The answer to who accepts that."""
        measures = await self._pusher.measures(MOST_QUEUES)
        registry = CollectorRegistry()
        registry.register(_Snapshot(measures, self._answers))
        registry.register(self._process)
        encode, content_type = choose_encoder(accept)
        return Response(encode(registry), media_type=content_type)


class _Snapshot(Collector):
    """The figures of one moment, as families."""

    def __init__(self, measures: Measures, answers: Sequence[int]) -> None:
        self._measures, self._answers = measures, answers

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        measures = self._measures
        yield _info("taskpusher_build", "What runs.", version=__version__, python=platform.python_version())
        yield from _jobs(measures.totals, measures.now)
        yield from _moves(measures.tally)
        yield from _attempts(measures.tally)
        yield _gauge("taskpusher_workers", "The most jobs that run at once.", measures.workers)
        yield _gauge("taskpusher_workers_busy", "Workers at work.", measures.busy)
        lag = "How late the event loop came to its latest tick; it ticks while there is work."
        yield _gauge("taskpusher_event_loop_lag_seconds", lag, measures.lag)
        yield from _store(measures.store)
        classes = {f"{number}xx": n for number, n in enumerate(self._answers) if number}
        yield _counter("taskpusher_http_responses", "Answers of the HTTP API, by status.", "code", classes)


def _jobs(totals: Totals, now: int) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "taskpusher_jobs",
        f'Jobs in the store. Beyond {MOST_QUEUES} queues the rest are in queue="{OTHER}".',
        labels=("state", "queue"),
    )
    for name, states in _labelled(totals).items():
        for state in State:
            jobs.add_metric((state.value, name), states[state])
    yield jobs
    late = 0.0 if totals.oldest_due is None else max(0, now - totals.oldest_due) / 1000
    age = "How long the job that waits longest has been due, whatever its queue; 0: none is."
    yield _gauge("taskpusher_oldest_due_age_seconds", age, late)


def _labelled(totals: Totals) -> dict[str, Counter[State]]:
    """The counts by the queue's label; with zeros, since a series should not come and go."""
    labelled: dict[str, Counter[State]] = {"default": Counter()}
    labelled |= {name: Counter(states) for name, states in totals.queues.items()}
    rest = Counter(totals.states)
    for states in labelled.values():
        rest.subtract(states)
    if len(totals.queues) >= MOST_QUEUES:
        labelled[OTHER] = labelled.get(OTHER, Counter()) + rest  # a queue may be called that
    return labelled


def _moves(tally: Tally) -> Iterator[Metric]:
    yield _total("taskpusher_jobs_pushed", "Jobs pushed.", tally.pushed)
    finished = {state.value: n for state, n in tally.finished.items()}
    yield _counter("taskpusher_jobs_finished", "Jobs that ended, by the state in which.", "state", finished)
    yield _total(
        "taskpusher_jobs_expired",
        "Jobs that ended in error, still waiting at their expires_at.",
        tally.expired,
    )


def _attempts(tally: Tally) -> Iterator[Metric]:
    ended = "Attempts that ended: success, the class of the failure, released, or cut (canceled or stopped)."
    yield _counter("taskpusher_attempts", ended, "outcome", tally.attempts)
    yield _total("taskpusher_retries", "Failed attempts that are followed by another one.", tally.retries)
    yield _histogram("taskpusher_attempt_duration_seconds", "How long attempts took.", tally.durations)
    late = "From the moment a job was due to the beginning of its attempt."
    yield _histogram("taskpusher_job_lateness_seconds", late, tally.lateness, MS)
    wait = "From the push of a job to its first attempt, a delay of its own included."
    yield _histogram("taskpusher_job_wait_seconds", wait, tally.waits, MS)


def _store(store: StoreFigures) -> Iterator[Metric]:
    yield _gauge("taskpusher_store_size_bytes", "The store's file.", store.size)
    free = "Room inside the file that is used again before it grows."
    yield _gauge("taskpusher_store_free_bytes", free, store.free)
    yield _gauge("taskpusher_store_disk_free_bytes", "What the disk has left.", store.disk_free)
    yield _gauge("taskpusher_store_full", "1 while new jobs are refused, for want of room.", int(store.full))
    if (commits := store.commits) is not None:
        yield _histogram("taskpusher_commit_duration_seconds", "How long commits took.", commits.seconds)
        yield _histogram("taskpusher_commit_changes", "Changes to jobs in one commit.", commits.changes)


# ---- families -----------------------------------------------------------------------------------------


def _info(name: str, text: str, **labels: str) -> Metric:
    return InfoMetricFamily(name, text, labels)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _counter(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, n in values.items():
        family.add_metric((value,), n)
    return family


def _histogram(name: str, text: str, histogram: Histogram, unit: float = 1) -> Metric:
    """`unit`: what the unit of the name is in that of the values."""
    bounds = [*(str(bound / unit) for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets, histogram.sum / unit)
