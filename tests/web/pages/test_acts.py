"""Forms that move jobs: one, those selected, all that match; and that all of it is noted."""

import re
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from taskpusher.bulk import Bulk
from taskpusher.errors import StoreBroken, StoreFull
from taskpusher.job import Action, ErrorClass, State, Wish
from taskpusher.runners.base import Failure
from taskpusher.stores.base import Query
from taskpusher.web.pages import acts

JSON = {"Accept": "application/json"}
UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
LATER = {"delay": "1h"}


async def noted(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Oldest first, without what says nothing."""
    found = (await client.get("/audit")).json()["entries"]
    skipped = ("at", "user", "remote")
    return [
        {name: value for name, value in one.items() if value not in (None, {}) and name not in skipped}
        for one in reversed(found)
    ]


async def state(site: Any, job: Any) -> str:
    return str((await site.pusher.get(job.uid)).state)


# ---- one job ------------------------------------------------------------------------------------------


async def test_one_job_is_moved_and_shown(site: Any, browser: httpx.AsyncClient) -> None:
    job = await site.pusher.push("http://a.example/", **LATER)
    for action, after in (("pause", "paused"), ("resume", "waiting"), ("cancel", "canceled")):
        answer = await browser.post(f"/tasks/{job.uid}/{action}", data={"action": action})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{job.uid}")
        assert await state(site, job) == after
    answer = await browser.post(f"/tasks/{job.uid}/delete")
    assert answer.headers["location"] == "/tasks/jobs"
    assert await site.number() == 0
    assert await noted(browser) == [
        {"action": "pause", "job": job.uid, "outcome": "paused"},
        {"action": "resume", "job": job.uid, "outcome": "waiting"},
        {"action": "cancel", "job": job.uid, "outcome": "canceled"},
        {"action": "remove", "job": job.uid, "outcome": "removed"},
    ]


async def test_a_script_is_told_what_came_of_it_and_how_it_is_taken_back(
    site: Any, browser: httpx.AsyncClient
) -> None:
    job = await site.pusher.push("http://a.example/", **LATER)
    said = (await browser.post(f"/tasks/{job.uid}/pause", headers=JSON)).json()
    assert said == {"said": "Paused", "to": None, "undo": {"action": "resume", "uid": [job.uid]}}
    said = (await browser.post(f"/tasks/{job.uid}/resume", headers=JSON)).json()
    assert said["undo"] == {"action": "pause", "uid": [job.uid]}
    said = (await browser.post(f"/tasks/{job.uid}/delete", headers=JSON)).json()
    assert said == {"said": "Deleted", "to": "/tasks/jobs", "undo": None}


async def test_a_cancel_is_taken_back_only_where_the_job_would_be_as_it_was(
    site: Any, browser: httpx.AsyncClient, eventually: Any
) -> None:
    """A retry is due at once: of a job for next week, or one that is paused or runs, it is no undo."""
    await site.pusher.set_queue("held", paused=True)
    due = await site.pusher.push("http://a.example/", queue="held")
    expires = await site.pusher.push("http://a.example/", queue="held", expires_at="2100-01-01T00:00:00Z")
    later = await site.pusher.push("http://a.example/", **LATER)
    paused = await site.pusher.push("http://a.example/", queue="held")
    await site.pusher.pause(paused.uid)
    runs = await site.pusher.push("http://a.example/")

    async def begun() -> bool:
        return await state(site, runs) == "running"

    await eventually(begun)
    for job, back in ((due, "retry"), (expires, None), (later, None), (paused, None), (runs, None)):
        said = (await browser.post(f"/tasks/{job.uid}/cancel", headers=JSON)).json()
        assert (said["undo"] or {}).get("action") == back
    form = {"state": "canceled", "action": "retry", "uid": due.uid}
    assert (await browser.post("/tasks/act", data=form, headers=JSON)).json()["undo"] is None
    assert await state(site, due) == "waiting"


async def test_a_wish_is_told_as_one(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.pusher.push("http://a.example/", **LATER)

    async def wished(uid: str) -> Any:
        return replace(await site.pusher.get(uid), state=State.RUNNING, wish=Wish.PAUSE)

    monkeypatch.setattr(site.pusher, "pause", wished)
    answer = await browser.post(f"/tasks/{job.uid}/pause", headers=JSON)
    assert (answer.status_code, answer.json()) == (202, {"said": "Asked to pause", "to": None, "undo": None})
    form = {"state": "running", "action": "pause", "uid": job.uid}
    said = (await browser.post("/tasks/act", data=form, headers=JSON)).json()
    assert (said["said"], said["undo"]) == ("asked to pause: 1", None)


async def test_what_the_state_does_not_allow_is_refused_with_what_to_do_instead(
    site: Any, browser: httpx.AsyncClient
) -> None:
    job = await site.pusher.push("http://a.example/", **LATER)
    page = await browser.post(f"/tasks/{job.uid}/retry")
    assert (page.status_code, "use run to have it run now" in page.text) == (409, True)
    problem = await browser.post(f"/tasks/{job.uid}/retry", headers=JSON)
    assert (problem.status_code, "use run" in problem.json()["detail"]) == (409, True)
    gone = await browser.post(f"/tasks/{UID}/cancel")
    assert (gone.status_code, "No such job" in gone.text) == (404, True)
    assert (await browser.post("/tasks/nonsense/cancel")).status_code == 422
    assert await noted(browser) == []


async def test_a_job_is_duplicated_and_the_copy_shown(site: Any, browser: httpx.AsyncClient) -> None:
    job = await site.pusher.push("http://a.example/", body_base64="/w==", **LATER)
    answer = await browser.post(f"/tasks/{job.uid}/duplicate")
    copy = answer.headers["location"].removeprefix("/tasks/")
    assert (await site.pusher.details(copy)).body == b"\xff"
    said = (await browser.post(f"/tasks/{job.uid}/duplicate", headers=JSON)).json()
    assert said["to"].startswith("/tasks/") and said["undo"] is None
    first, second = await noted(browser)
    assert first == {"action": "duplicate", "job": job.uid, "outcome": copy}
    assert second["outcome"] == said["to"].removeprefix("/tasks/")


# ---- those selected -----------------------------------------------------------------------------------


async def test_those_selected_are_moved_and_each_is_noted(site: Any, browser: httpx.AsyncClient) -> None:
    jobs = [await site.pusher.push("http://a.example/", **LATER) for _ in range(3)]
    form = {"state": "waiting", "q": "", "action": "pause", "uid": [job.uid for job in jobs]}
    said = (await browser.post("/tasks/act", data=form, headers=JSON)).json()
    assert said["said"] == "Paused: 3 jobs"
    assert said["undo"] == {"action": "resume", "uid": form["uid"]}
    page = await browser.post("/tasks/act", data=form | {"action": "delete"})
    assert (page.status_code, page.headers["location"]) == (303, "/tasks/jobs/waiting")
    assert await site.number() == 0
    found = await noted(browser)
    assert found[:3] == [{"action": "pause", "job": job.uid, "outcome": "paused"} for job in jobs]
    assert found[3:] == [{"action": "remove", "job": job.uid, "outcome": "removed"} for job in jobs]


async def test_of_those_selected_some_may_be_refused(site: Any, browser: httpx.AsyncClient) -> None:
    jobs = [await site.pusher.push("http://a.example/", **LATER) for _ in range(2)]
    await site.pusher.pause(jobs[0].uid)
    form = {"state": "waiting", "action": "pause", "uid": [jobs[0].uid, jobs[1].uid, UID]}
    said = (await browser.post("/tasks/act", data=form, headers=JSON)).json()
    assert said["said"].startswith("Paused: 1 job; 2 could not be: can't pause a job that is paused")
    assert said["undo"]["uid"] == [jobs[1].uid]
    assert [one["job"] for one in await noted(browser)] == [jobs[1].uid]
    await site.pusher.resume(jobs[0].uid)
    page = await browser.post("/tasks/act", data=form)
    assert (page.status_code, "2 could not be" in page.text) == (200, True)
    for headers in ({}, JSON):
        none = await browser.post("/tasks/act", data=form, headers=headers)
        assert (none.status_code, "none of the 3 jobs: can" in none.text) == (409, True)
    one = await browser.post("/tasks/act", data=form | {"uid": UID})
    assert (one.status_code, "none of" in one.text) == (404, False)
    assert len(await noted(browser)) == 2


async def test_a_full_disk_is_told_as_such_and_a_broken_one_answers_nothing(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.pusher.push("http://a.example/", **LATER)
    form = {"state": "waiting", "action": "pause", "uid": job.uid}
    for error, status in ((StoreFull(), 507), (StoreBroken("EIO"), 0), (RuntimeError("odd"), 500)):

        async def fail(uid: str, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(site.pusher, "pause", fail)
        if not status:
            with pytest.raises(StoreBroken):
                await browser.post("/tasks/act", data=form)
        else:
            assert (await browser.post("/tasks/act", data=form)).status_code == status


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "uid is missing; select the jobs first"),
        ({"uid": "nonsense"}, "uid "),
        ({"action": "claim", "uid": UID}, "action must be one of cancel"),
        ({"state": "gone", "uid": UID}, "state must be one of waiting"),
        ({"uid": [f"01990b2e-6c1f-7000-9d3c-{n:012d}" for n in range(51)]}, "more than 50 times"),
        ({"scope": "all", "all_action": "edit"}, "action must be one of"),
        ({"scope": "all", "q": "colour:red"}, "colour: is no filter"),
        ({"colour": "red"}, "colour is not a field of this form"),
    ],
)
async def test_a_form_that_can_not_be_taken_is_refused(
    browser: httpx.AsyncClient, fields: dict[str, Any], said: str
) -> None:
    answer = await browser.post("/tasks/act", data={"state": "waiting", "action": "pause"} | fields)
    assert answer.status_code == 422
    assert said in answer.text


# ---- all that match -----------------------------------------------------------------------------------


async def test_all_that_match_are_counted_first_then_moved(site: Any, browser: httpx.AsyncClient) -> None:
    for queue in ("mail", "mail", "web"):
        await site.pusher.push("http://u:pw@a.example/?token=abc", queue=queue, **LATER)
    form = {"state": "waiting", "q": "queue:mail", "all_action": "cancel", "scope": "all"}
    sure = await browser.post("/tasks/act", data=form)
    assert (sure.status_code, "Cancel 2 jobs?" in sure.text) == (200, True)
    assert await noted(browser) == []
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', sure.text))
    done = await browser.post("/tasks/act", data=again | {"sure": "1"})
    page = await browser.get(done.headers["location"])
    assert "Cancel: 2 of 2 done" in page.text and "queue:mail" in page.text
    assert "/tasks/jobs/waiting?q=queue%3Amail" in page.text
    assert (await browser.get("/jobs/canceled")).json()["total"] == 2
    (entry,) = await noted(browser)
    bulk = done.headers["location"].removeprefix("/tasks/bulk/")
    assert entry == {
        "action": "cancel all",
        "bulk": bulk,
        "state": "waiting",
        "filters": {"queue": "mail"},
        "count": 2,
        "outcome": "done",
    }
    system = (await browser.get("/tasks/system")).text
    assert "cancel all" in system and f"/tasks/bulk/{bulk}" in system and "queue:mail" in system


async def test_deleting_warns_and_none_can_not_be_asked_for(site: Any, browser: httpx.AsyncClient) -> None:
    form = {"state": "waiting", "action": "delete", "scope": "all"}
    text = (await browser.post("/tasks/act", data=form)).text
    assert "Delete 0 jobs?" in text and "does not come back" in text and " disabled" in text
    refused = await browser.post("/tasks/act", data=form | {"action": "retry"})
    assert refused.status_code == 409


async def test_a_count_that_takes_too_long_is_cut(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "COUNTING", 0.0)
    endless = Bulk(UID, Action.CANCEL, Query(State.WAITING), True, 0)
    endless.count = 3
    monkeypatch.setattr(site.pusher, "bulk", lambda *_, **__: endless)
    form = {"state": "waiting", "action": "cancel", "scope": "all"}
    text = (await browser.post("/tasks/act", data=form)).text
    assert "not counted to the end" in text and "Cancel 3+ jobs?" in text
    assert endless.cut_short


async def test_a_bulk_that_goes_on_can_be_stopped_once(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, browse: Any
) -> None:
    monkeypatch.setattr(acts, "PATIENCE", 0.0)
    endless = Bulk(UID, Action.CANCEL, Query(State.WAITING, queue="mail"), False, 0)
    endless.total = 1200
    endless.count = 100
    monkeypatch.setattr(site.pusher, "bulk", lambda *_, **__: endless)
    monkeypatch.setattr(site.pusher, "find_bulk", lambda _: endless)
    form = {"state": "waiting", "action": "cancel", "sure": "1"}
    where = (await browser.post("/tasks/act", data=form)).headers["location"]
    assert where == f"/tasks/bulk/{UID}"
    looked = (await browser.get(where)).text
    assert "Cancel: 100 of 1,200 so far" in looked and "data-hurry" in looked
    assert 'method="post"' not in (await (await browse("eye")).get(where)).text
    for _ in range(2):
        assert (await browser.post(where)).headers["location"] == where
        assert endless.cut_short == "it was canceled"
        endless.ended.set()
    facts = {"bulk": UID, "state": "waiting", "filters": {"queue": "mail"}}
    assert await noted(browser) == [
        {"action": "cancel all", **facts, "count": 1200, "outcome": "begun"},
        {"action": "cancel bulk cancel", **facts, "count": 100},
    ]


async def test_a_bulk_that_is_not_known_is_a_page(site: Any, browser: httpx.AsyncClient) -> None:
    gone = await browser.get(f"/tasks/bulk/{UID}")
    assert (gone.status_code, "No such bulk" in gone.text) == (404, True)
    assert (await browser.get("/tasks/bulk/x")).status_code == 422


async def test_of_a_bulk_whoever_only_looks_sees_no_secret_filter(site: Any, browse: Any) -> None:
    boss, eye = await browse("boss"), await browse("eye")
    await site.pusher.push("http://a.example/?token=abc", **LATER)
    form = {"state": "waiting", "action": "pause", "sure": "1", "q": "token=abc"}
    where = (await boss.post("/tasks/act", data=form)).headers["location"]
    assert "abc" in (await boss.get(where)).text
    assert "abc" not in (await eye.get(where)).text
    counted = site.pusher.bulk("resume", Query(State.PAUSED), dry_run=True)
    await counted
    text = (await eye.get(f"/tasks/bulk/{counted.uid}")).text
    assert "Count: Resume" in text and "<dt>counted</dt><dd>1</dd>" in text


async def test_while_the_tasker_stops_no_bulk_begins(site: Any, browser: httpx.AsyncClient) -> None:
    site.finish(Failure(ErrorClass.FAILED, "x"))
    await site.pusher.stop(grace=0)
    form = {"state": "waiting", "action": "cancel", "sure": "1"}
    answer = await browser.post("/tasks/act", data=form)
    assert (answer.status_code, "The tasker stops" in answer.text) == (503, True)
