"""Moves, told after their commit: logged once, counted, and handed to whoever listens."""

import logging
from collections.abc import Callable, Sequence

from .job import Held, Job
from .masking import masked_url

logger = logging.getLogger("taskpusher")

Listener = Callable[[Sequence[Job]], None]


class Events:
    """Tells of every move that was written. A listener must be quick."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._watchers: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with the jobs that moved, after the commit; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def watch(self, watcher: Listener) -> Callable[[], None]:
        """Have `watcher` called with what `listen` does not tell: the jobs whose attempts begin; and with
        none when jobs were removed. Returns how to end that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def began(self, held: Sequence[Held]) -> None:
        """Their attempts begin."""
        if self._watchers and held:
            self._tell([one.job for one in held], self._watchers)

    def removed(self) -> None:
        """Jobs have gone from the store."""
        self._tell((), self._watchers)

    def moved(self, jobs: Sequence[Job]) -> None:
        """A person moved the jobs, or pushed them."""
        self._tell(jobs, self._listeners)
        if logger.isEnabledFor(logging.DEBUG):
            for job in jobs:
                logger.debug("job %s", job.state.value, extra=_facts(job))

    def settled(self, jobs: Sequence[Job], what: str = "job failed") -> None:
        """The tasker settled the jobs: what went wrong is worth a line."""
        self._tell(jobs, self._listeners)
        debug = logger.isEnabledFor(logging.DEBUG)
        for job in jobs:
            if job.error is not None:
                logger.info(what, extra=_facts(job))
            elif debug:
                logger.debug("job %s", job.state.value, extra=_facts(job))

    def _tell(self, jobs: Sequence[Job], listeners: Sequence[Listener]) -> None:
        for listener in listeners:
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
