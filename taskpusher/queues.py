"""What limits a running job: which keys it counts against, and how many of each may run at once."""

from collections.abc import Iterable

from .job import Job
from .stores.base import Caps


def caps(per_host: int) -> Caps:
    """The limit keys of a job: its host, when `per_host` (calls at once to one host) is not 0."""
    if not per_host:
        return no_caps

    def of(job: Job) -> Iterable[tuple[str, int]]:
        return ((f"host:{job.host}", per_host),) if job.host else ()

    return of


def no_caps(job: Job) -> Iterable[tuple[str, int]]:
    return ()
