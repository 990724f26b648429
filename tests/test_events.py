"""What is logged of a move."""

import logging
from collections.abc import Callable, Sequence

import pytest

from taskpusher.events import Events
from taskpusher.job import ErrorClass, Held, Job, JobError, State
from taskpusher.testing import a_job


@pytest.mark.parametrize("tell", [Events.moved, Events.settled])
def test_a_jobs_url_is_logged_without_its_secrets(
    tell: Callable[[Events, Sequence[Job]], None], caplog: pytest.LogCaptureFixture
) -> None:
    failed = JobError(ErrorClass.NOT_SENT, "connection refused")
    job = a_job(target="http://app:hidden1@host/work?token=hidden2&user=5", error=failed)
    with caplog.at_level(logging.DEBUG, "taskpusher"):
        tell(Events(), [job])
    (record,) = caplog.records
    assert vars(record)["url"] == "http://***@host/work?token=***&user=5"


def test_a_listener_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    events, heard = Events(), []

    def fails(jobs: object) -> None:
        raise RuntimeError("no")

    events.listen(fails)
    events.listen(heard.extend)
    job = a_job()
    events.moved([job])
    events.settled([job])
    assert heard == [job, job]
    assert caplog.messages.count("a listener failed") == 2


def test_who_watches_hears_of_attempts_that_begin_and_of_removals_and_who_listens_does_not() -> None:
    events = Events()
    heard: list[Sequence[Job]] = []
    watched: list[Sequence[Job]] = []
    events.listen(heard.append)
    end = events.watch(watched.append)
    job = a_job(state=State.RUNNING, attempt=1)
    events.began([])
    events.began([Held(job, b"")])
    events.removed()
    assert [list(jobs) for jobs in watched] == [[job], []]
    end()
    events.removed()
    events.moved([job])
    assert len(watched) == 2
    assert [list(jobs) for jobs in heard] == [[job]]
