"""The newest finished jobs."""

from typing import Any

from taskpusher.job import Job, State
from taskpusher.stores.base import Page, Query
from taskpusher.testing import FakeClock, a_job
from taskpusher.web.pages import samples
from taskpusher.web.pages.samples import Samples


class Finished:
    """A pusher that knows finished jobs."""

    def __init__(self, completed: list[int], errors: list[int]) -> None:
        self.clock = FakeClock()
        self.asked = 0
        self._jobs = {State.COMPLETED: completed, State.ERROR: errors}

    async def page(self, query: Query, cursor: bytes | None, limit: int) -> Page:
        self.asked += 1
        assert query.state is not None
        jobs = [a_job(state=query.state, finished_ms=at) for at in self._jobs[query.state][:limit]]
        return Page(jobs, None, len(jobs))


def moments(jobs: list[Job]) -> list[int]:
    return [job.finished_ms for job in jobs]


async def test_it_is_read_every_few_seconds_at_most() -> None:
    pusher: Any = Finished([3, 2], [1])
    found = Samples(pusher)
    sample = await found.newest()
    assert (moments(sample.ended), moments(sample.errors)) == ([3, 2, 1], [1])
    pusher.clock.advance(1.9)
    assert await found.newest() is sample
    assert pusher.asked == 2
    pusher.clock.advance(0.1)
    assert await found.newest() is not sample
    assert pusher.asked == 4


async def test_both_states_go_back_to_the_same_moment(monkeypatch: Any) -> None:
    monkeypatch.setattr(samples, "FEW", 3)
    pusher: Any = Finished([30, 20, 10, 5], [25, 9])
    sample = await Samples(pusher).newest()
    assert moments(sample.ended) == [30, 20, 10, 25]
    assert moments(sample.errors) == [25, 9]
