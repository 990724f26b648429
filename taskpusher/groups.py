"""Jobs gathered for people: errors that are alike, and how each host does. Pure functions over jobs."""

from collections.abc import Iterable
from math import ceil

import msgspec

from .filters import term
from .job import FINISHED, ErrorClass, Job, State
from .shape import LONGEST, shape, wording

SPARKS = 24  # bins of time


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Errors that are alike. Times are ms since 1970."""

    error: ErrorClass
    status: int  # HTTP status of the latest answer; 0: none came
    host: str
    kind: str
    message: str  # with placeholders where they differ
    shape: str
    count: int
    first_ms: int
    last_ms: int
    spark: tuple[int, ...]  # how many in each of equal times, of all groups the same
    uid: str  # of the latest
    q: str  # the filter that finds these jobs and no others


class HostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the finished jobs of a host did. Durations in seconds, of the latest attempt."""

    host: str
    ended: int  # completed or in error
    errors: int
    rate: float  # of errors: 0 to 1
    p50: float
    p95: float
    longest: float


def group(jobs: Iterable[Job], *, since: int = 0, until: int = 0, bins: int = SPARKS) -> list[Group]:
    """The errors of the jobs by kind, class, status, host and shape of their message; the most first.

    The sparks reach from `since` to `until`, ms; 0: from the first error to the last one of all.
    """
    found: dict[tuple[str, str, int, str, str], list[Job]] = {}
    for job in jobs:
        if (error := job.error) is not None:
            alike = (job.kind, error.error_class, job.status, job.host, shape(error.message))
            found.setdefault(alike, []).append(job)
    moments = [moment(job) for jobs in found.values() for job in jobs]
    span = since or min(moments, default=0), until or max(moments, default=0)
    groups = [_group(alike, span, bins) for alike in found.values()]
    return sorted(groups, key=lambda one: (-one.count, -one.last_ms, one.q))


def moment(job: Job) -> int:
    """When the job's error came, as near as its record tells."""
    return job.finished_ms or job.started_ms + round(job.duration * 1000) or job.created_ms


def _group(jobs: list[Job], span: tuple[int, int], bins: int) -> Group:
    moments = [moment(job) for job in jobs]
    last = max(jobs, key=lambda job: (moment(job), job.seq))
    assert last.error is not None
    return Group(
        error=last.error.error_class,
        status=last.status,
        host=last.host,
        kind=last.kind,
        message=_message(jobs, last.error.message),
        shape=shape(last.error.message),
        count=len(jobs),
        first_ms=min(moments),
        last_ms=max(moments),
        spark=spark(moments, *span, bins),
        uid=last.uid,
        q=_filter(last),
    )


def _message(jobs: list[Job], last: str) -> str:
    """With placeholders for values only where the jobs do not all say the same."""
    same = all(job.error is not None and job.error.message == last for job in jobs)
    return last[:LONGEST] if same else wording(last)


def _filter(job: Job) -> str:
    """What finds the jobs whose error is like this one's. Jobs without a host are of another kind."""
    assert job.error is not None
    terms = [
        term("error", job.error.error_class),
        term("status", str(job.status) if job.status else "none"),
        term("host", job.host) if job.host else "",
        term("kind", job.kind),
        term("shape", shape(job.error.message)),
    ]
    return " ".join(filter(None, terms))


def spark(moments: Iterable[int], since: int, until: int, bins: int) -> tuple[int, ...]:
    """How many of the moments are in each of `bins` equal times from `since` to `until`."""
    counts = [0] * bins
    for at in moments:
        if since <= at <= until:
            counts[min((at - since) * bins // max(until - since, 1), bins - 1)] += 1
    return tuple(counts)


def hosts(jobs: Iterable[Job]) -> list[HostFigures]:
    """The figures of each host among the jobs that completed or ended in error; the most errors first."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if job.host and job.state in FINISHED and job.state is not State.CANCELED:
            found.setdefault(job.host, []).append(job)
    figures = [_host(host, ended) for host, ended in found.items()]
    return sorted(figures, key=lambda one: (-one.errors, -one.ended, one.host))


def _host(host: str, jobs: list[Job]) -> HostFigures:
    durations = sorted(job.duration for job in jobs)
    errors = sum(job.state is State.ERROR for job in jobs)
    return HostFigures(
        host=host,
        ended=len(jobs),
        errors=errors,
        rate=errors / len(jobs),
        p50=_quantile(durations, 0.5),
        p95=_quantile(durations, 0.95),
        longest=durations[-1],
    )


def _quantile(ordered: list[float], part: float) -> float:
    """The least value that so great a part of them do not exceed."""
    return ordered[max(ceil(len(ordered) * part) - 1, 0)]
