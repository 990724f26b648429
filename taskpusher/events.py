"""Moves, told after their commit: logged once, counted, and handed to whoever listens."""

import logging
from collections.abc import Callable, Sequence

from .job import Job
from .masking import masked_url

logger = logging.getLogger("taskpusher")

Listener = Callable[[Sequence[Job]], None]


class Events:
    """Tells of every move that was written. A listener must be quick."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with the jobs that moved, after the commit; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def moved(self, jobs: Sequence[Job]) -> None:
        """A person moved the jobs, or pushed them."""
        self._tell(jobs)
        if logger.isEnabledFor(logging.DEBUG):
            for job in jobs:
                logger.debug("job %s", job.state.value, extra=_facts(job))

    def settled(self, jobs: Sequence[Job], what: str = "job failed") -> None:
        """The tasker settled the jobs: what went wrong is worth a line."""
        self._tell(jobs)
        debug = logger.isEnabledFor(logging.DEBUG)
        for job in jobs:
            if job.error is not None:
                logger.info(what, extra=_facts(job))
            elif debug:
                logger.debug("job %s", job.state.value, extra=_facts(job))

    def _tell(self, jobs: Sequence[Job]) -> None:
        for listener in self._listeners:
            try:
                listener(jobs)
            except Exception:  # the jobs go on, and the others hear of them
                logger.exception("a listener failed")


def _facts(job: Job) -> dict[str, object]:
    facts: dict[str, object] = {
        "uid": job.uid,
        "state": job.state.value,
        "queue": job.queue,
        "url": masked_url(job.target),
    }
    if job.attempt:
        facts |= {"attempt": job.attempt, "failures": f"{job.failures}/{job.max_attempts}"}
    if job.duration:
        facts["duration"] = round(job.duration, 3)
    if job.status:
        facts["status"] = job.status
    if job.error is not None:
        facts |= {"class": job.error.error_class.value, "error": job.error.message}
    return facts
