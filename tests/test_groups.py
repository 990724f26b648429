from random import Random

from taskpusher.filters import parse
from taskpusher.groups import Group, HostFigures, group, hosts, spark
from taskpusher.job import ErrorClass, Job, JobError, State
from taskpusher.testing import NOW, a_job


def failed(status: int, message: str, at: int = 0, **fields: object) -> Job:
    error = JobError(ErrorClass.ANSWERED if status else ErrorClass.NOT_SENT, message)
    given = {"state": State.ERROR, "host": "a.example", "finished_ms": NOW + at} | fields
    return a_job(status=status, error=error, **given)


def test_errors_that_are_alike_are_one_group_and_the_most_come_first() -> None:
    jobs = [failed(503, f"answered 503 to call {n}", n * 100) for n in range(10)]
    jobs += [failed(0, "refused: a.example:80", 50), a_job()]
    first, second = group(jobs, bins=3)
    assert first == Group(
        error=ErrorClass.ANSWERED,
        status=503,
        host="a.example",
        kind="http",
        message="answered <n> to call <n>",
        shape=first.shape,
        count=10,
        first_ms=NOW,
        last_ms=NOW + 900,
        spark=(3, 3, 4),
        uid=jobs[9].uid,
        q=f"error:answered status:503 host:a.example kind:http shape:{first.shape}",
    )
    assert (second.count, second.status, second.spark) == (1, 0, (1, 0, 0))


def test_what_is_said_alike_by_another_host_status_or_kind_is_another_group() -> None:
    jobs = [failed(500, "answered 500"), failed(502, "answered 502"), failed(500, "it answered 500")]
    jobs += [failed(500, "answered 500", host="b.example"), failed(500, "answered 500", kind="odd", host="")]
    assert len(group(jobs)) == 5


def test_the_filter_of_a_group_finds_its_jobs_and_no_others() -> None:
    random = Random(7)
    jobs = [
        failed(
            random.choice([0, 500, 503, 99]),
            random.choice(["answered 5", 'said "x" 7', "refused", "so: 0x1f", ""]),
            random.randrange(1000),
            host=random.choice(["a.example", "b.example:81"]),
        )
        for _ in range(300)
    ]
    jobs += [failed(0, "refused", kind="my kind", host="") for _ in range(3)] + [a_job() for _ in range(5)]
    groups = group(jobs)
    found = [[job.uid for job in jobs if parse(one.q, NOW).matches(job)] for one in groups]
    assert [len(uids) for uids in found] == [one.count for one in groups]
    assert sorted(uid for uids in found for uid in uids) == sorted(job.uid for job in jobs if job.error)
    assert all(one.uid in uids for one, uids in zip(groups, found, strict=True))
    assert all(sum(one.spark) == one.count for one in groups)


def test_a_spark_counts_in_equal_times() -> None:
    assert spark([0, 1, 9, 10, 19, 20, 21, -1], 0, 20, 2) == (3, 3)
    assert spark([5, 5], 5, 5, 4) == (2, 0, 0, 0)
    assert group([]) == []


def test_hosts_are_told_by_their_finished_jobs() -> None:
    jobs = [a_job(state=State.COMPLETED, host="a", finished_ms=NOW, duration=n / 10) for n in range(1, 20)]
    jobs += [failed(500, "answered 500", host="a", duration=9.0)]
    jobs += [a_job(state=State.COMPLETED, host="b", finished_ms=NOW, duration=0.5)]
    jobs += [a_job(state=State.CANCELED, host="c", finished_ms=NOW), a_job(host="d"), a_job(host="")]
    assert hosts(jobs) == [
        HostFigures(host="a", ended=20, errors=1, rate=0.05, p50=1.0, p95=1.9, longest=9.0),
        HostFigures(host="b", ended=1, errors=0, rate=0.0, p50=0.5, p95=0.5, longest=0.5),
    ]


def test_a_message_that_all_jobs_have_is_shown_as_it_is() -> None:
    (alike,) = group([failed(503, "answered 503"), failed(503, "answered 503")])
    assert alike.message == "answered 503"
    (different,) = group([failed(0, "no answer within 30 s"), failed(0, "no answer within 5 s")])
    assert different.message == "no answer within <n> s"
