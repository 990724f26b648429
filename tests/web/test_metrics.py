"""GET /metrics, as Prometheus reads it."""

import subprocess
import sys
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from taskpusher.job import ErrorClass, State
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Commits, StoreFigures, Totals
from taskpusher.web import User
from taskpusher.web.metrics import MOST_QUEUES, _labelled, _store

LATER = {"url": "http://user:secret@app.example/path?token=x", "delay": "1h"}


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scraped(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return samples(answer.text)


async def test_it_tells_of_jobs_moves_and_attempts(client: Any, site: Any, eventually: Any) -> None:
    site.finish(Failure(ErrorClass.UNKNOWN, "cut"))
    for form in (
        LATER,
        LATER | {"queue": "mail"},
        {"url": "http://a/"},
        {"url": "http://a/", "max_attempts": "2"},
    ):
        assert (await client.post("/add", data=form)).status_code == 201
    assert (await client.get("/nowhere")).status_code == 404

    async def settled() -> Any:
        found = await scraped(client)
        waiting = found.get(("taskpusher_jobs", "default", "waiting")) == 2
        return found if waiting and found["taskpusher_jobs_finished_total", "error"] else None

    found = await eventually(settled)
    assert found["taskpusher_jobs", "mail", "waiting"] == 1
    assert found["taskpusher_jobs", "default", "error"] == 1
    assert found["taskpusher_jobs", "mail", "completed"] == 0
    assert found["taskpusher_jobs_pushed_total",] == 4
    assert found["taskpusher_jobs_finished_total", "error"] == 1
    assert found["taskpusher_attempts_total", "unknown"] == 2
    assert found["taskpusher_retries_total",] == 1
    assert found["taskpusher_attempt_duration_seconds_count",] == 2
    assert found["taskpusher_job_lateness_seconds_bucket", "+Inf"] == 2
    assert found["taskpusher_job_wait_seconds_bucket", "3600.0"] == 2
    assert (found["taskpusher_workers",], found["taskpusher_workers_busy",]) == (4, 0)
    assert found["taskpusher_http_responses_total", "2xx"] >= 4
    assert found["taskpusher_http_responses_total", "4xx"] == 1
    assert found["taskpusher_oldest_due_age_seconds",] == 0
    assert ("process_resident_memory_bytes",) in found


async def test_no_label_holds_a_url_a_host_or_a_uid(client: httpx.AsyncClient) -> None:
    uid = (await client.post("/add", data=LATER)).json()["uid"]
    text = (await client.get("/metrics")).text
    for secret in (uid, "app.example", "secret", "token"):
        assert secret not in text


async def test_who_asks_for_openmetrics_gets_it(client: httpx.AsyncClient) -> None:
    plain = await client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    other = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    assert other.text.endswith("# EOF\n")


async def test_it_is_for_who_may_look(site: Any) -> None:
    users = [User("app", "p", "add"), User("boss", "p", "readonly")]
    client = await site.client(users=users)
    assert (await client.get("/metrics")).status_code == 401
    assert (await client.get("/metrics", auth=("app", "p"))).status_code == 403
    assert (await client.get("/metrics", auth=("boss", "p"))).status_code == 200


async def test_more_queues_than_labels_are_summed(client: httpx.AsyncClient) -> None:
    many = [LATER | {"queue": f"q{n}"} for n in range(MOST_QUEUES + 50)] + [LATER | {"queue": "other"}]
    assert (await client.post("/add", json=many)).status_code == 201
    found = await scraped(client)
    waiting = {labels[0]: n for (_, *labels), n in found.items() if labels[1:] == ["waiting"]}
    assert len(waiting) == MOST_QUEUES + 2  # other, and default, which has none
    assert (waiting["q0"], waiting["other"], sum(waiting.values())) == (1, 51, MOST_QUEUES + 51)


def test_a_queue_that_is_called_other_keeps_its_jobs() -> None:
    queues = {f"q{n}": {State.WAITING: 1} for n in range(MOST_QUEUES - 1)} | {"other": {State.WAITING: 5}}
    totals = Totals({State.WAITING: MOST_QUEUES + 10}, queues, None)
    assert _labelled(totals)["other"][State.WAITING] == 11
    few = Totals({State.WAITING: 5}, {"other": {State.WAITING: 5}}, None)
    assert _labelled(few)["other"][State.WAITING] == 5


def test_commits_are_told_of_stores_that_have_them() -> None:
    commits = Commits()
    commits.seconds.note(0.003)
    figures = StoreFigures("lmdb", "/db", 10, 5, 3, False, commits)
    told = [sample for family in _store(figures) for sample in family.samples]
    found = {sample.name: sample.value for sample in told if sample.labels == {"le": "0.005"}}
    assert found["taskpusher_commit_duration_seconds_bucket"] == 1
    without = [family.name for family in _store(StoreFigures("memory", "memory:", 0, 0, 0, True))]
    assert "taskpusher_store_full" in without and "taskpusher_commit_changes" not in without


def test_who_does_not_scrape_does_not_load_the_library() -> None:
    script = "import sys, taskpusher.web; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
