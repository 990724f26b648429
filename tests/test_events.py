"""What is logged of a move."""

import logging
from collections.abc import Callable, Sequence

import pytest

from taskpusher.events import Events
from taskpusher.job import ErrorClass, Job, JobError
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
