"""Lists over HTTP while jobs complete."""

from collections.abc import Callable

from .program import Tasker, until
from .target import Target


def test_250_completed_jobs_come_in_three_pages_while_more_complete(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start("--concurrency=20")
    jobs = tasker.push_many([{"url": f"{target.url}/{n}"} for n in range(250)])
    until(lambda: tasker.number("completed") == 250)
    seen: list[str] = []
    later: list[str] = []
    sizes = []

    def all_completed() -> bool:
        return tasker.number("completed") == 250 + len(later)

    for page in tasker.pages("/jobs/completed"):
        sizes.append(len(page))
        seen += [job["uid"] for job in page]
        later += tasker.push_many([{"url": f"{target.url}/later"}] * 30)
        until(all_completed)
    assert sizes == [100, 100, 50]
    assert sorted(seen) == sorted(jobs)
    assert sorted(tasker.uids("completed")) == sorted(jobs + later)


def test_a_bare_last_uid_goes_on_after_that_job_while_more_complete(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start("--concurrency=20")
    jobs = tasker.push_many([{"url": f"{target.url}/{n}"} for n in range(250)])
    until(lambda: tasker.number("completed") == 250)
    seen: list[str] = []
    path = "/jobs/completed"
    while path:
        page = tasker.get(path)[1]
        seen += [job["uid"] for job in page["jobs"]]
        tasker.completed(tasker.push(f"{target.url}/later"))
        path = f"/jobs/completed?last_uid={page['last_uid']}" if page["last_uid"] else ""
    assert sorted(seen) == sorted(jobs)


def test_waiting_jobs_are_listed_once_each_while_the_first_ones_run(
    start: Callable[..., Tasker], target: Target
) -> None:
    """Those that stay in the list throughout are all there, none twice."""
    tasker = start("--concurrency=1")
    jobs = tasker.push_many([{"url": f"{target.url}/delay/0.002/{n}"} for n in range(500)])
    seen = [job["uid"] for page in tasker.pages("/jobs/waiting?limit=20") for job in page]
    still = tasker.uids("waiting")
    assert still, "the jobs were too few for this machine"
    assert len(seen) == len(set(seen))
    assert set(still) <= set(seen) <= set(jobs)
