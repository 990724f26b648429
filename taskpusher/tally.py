"""What happened since the start, in plain numbers: what GET /metrics tells of moves, attempts and waits.

Every job passes here some three times, so this only counts; names and labels are given when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Sequence

from .histogram import Histogram
from .job import FINISHED, ErrorClass, Held, Job, State
from .runners.base import Outcome, Released, Success
from .stores.base import Settle

# Upper bounds of the buckets, in seconds.
DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
_WAITS_MS = tuple(round(bound * 1000) for bound in WAITS)

SUCCESS, RELEASED, CUT = "success", "released", "cut"
_CLASSES = [error_class.value for error_class in ErrorClass if error_class is not ErrorClass.EXPIRED]


class Tally:
    """Counts jobs that moved, attempts that began and attempts that ended."""

    def __init__(self) -> None:
        self.pushed = 0
        self.finished = dict.fromkeys(FINISHED, 0)
        self.expired = 0  # of those in error: they waited past their expires_at
        # attempts that ended, by what they came to
        self.attempts: dict[str, int] = dict.fromkeys([SUCCESS, *_CLASSES, RELEASED, CUT], 0)
        self.retries = 0
        self.durations = Histogram(DURATIONS)  # of attempts that ended
        self.lateness = Histogram(_WAITS_MS)  # ms from due to begun, of every attempt
        self.waits = Histogram(_WAITS_MS)  # ms from pushed to begun, of first attempts

    def moved(self, jobs: Sequence[Job]) -> None:
        """A listener of Events."""
        for job in jobs:
            state = job.state
            if state in self.finished:
                self.finished[state] += 1
                error = job.error
                if error is not None and error.error_class is ErrorClass.EXPIRED and state is State.ERROR:
                    self.expired += 1
            elif job.revision == 0:
                self.pushed += 1

    def began(self, held: Sequence[Held]) -> None:
        """Their attempts begin. What a clock that was set makes negative is no wait."""
        lateness, waits = self.lateness, self.waits
        for one in held:
            job = one.job
            started = job.started_ms
            late = started - job.due_ms
            if late <= 0:
                late = 0
            lateness.counts[bisect_left(_WAITS_MS, late)] += 1
            lateness.sum += late
            if job.attempt == 1:
                wait = started - job.created_ms
                if wait <= 0:
                    wait = 0
                waits.counts[bisect_left(_WAITS_MS, wait)] += 1
                waits.sum += wait

    def ended(self, outcome: Outcome, change: Settle) -> None:
        """An attempt has come to that, and is about to be settled so."""
        duration, durations = change.attempt.duration, self.durations
        durations.counts[bisect_left(DURATIONS, duration)] += 1
        durations.sum += duration
        if isinstance(outcome, Success):
            self.attempts[SUCCESS] += 1
        elif isinstance(outcome, Released):
            self.attempts[RELEASED] += 1
        else:
            # a runner of somebody else's may name a class that we don't expect there
            self.attempts[outcome.error_class] = self.attempts.get(outcome.error_class, 0) + 1
            self.retries += change.job.state is State.WAITING

    def cut(self) -> None:
        """An attempt was cut: its job was canceled, or given back as the tasker stops."""
        self.attempts[CUT] += 1
