"""The form of a job."""

import asyncio
import re
from html import unescape
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from taskpusher.errors import StoreFull
from taskpusher.job import Action, State
from taskpusher.moves import allowed
from taskpusher.web import create_app
from taskpusher.web.pages import push

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
JSON = {"Accept": "application/json"}
URL = "http://app.example/x"


def fields(answer: httpx.Response) -> dict[str, str]:
    """What a browser sends when the form is sent as it came."""
    form = answer.text.split('<form class="form"', 1)[1].split("</form>", 1)[0]
    found = {}
    for tag in re.findall(r"<input[^>]*>", form):
        given = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if given.get("type") != "checkbox" or " checked" in tag:
            found[given["name"]] = unescape(given.get("value", ""))
    for name, text in re.findall(r'<textarea id="(\w+)"[^>]*>\n(.*?)</textarea>', form, re.DOTALL):
        found[name] = unescape(text).replace("\n", "\r\n")
    return found


# ---- a new one ----------------------------------------------------------------------------------------


async def test_a_job_is_pushed_and_shown(site: Any, browser: httpx.AsyncClient) -> None:
    form = fields(await browser.get("/tasks/new"))
    filled = form | {
        "url": URL,
        "queue": "mail",
        "headers": "Content-Type: text/plain\r\nX-A: 1",
        "body": "a\r\nb",
        "tags": "one, two",
        "delay": "1h",
        "once": "yes",
    }
    answer = await browser.post("/tasks/new", data=filled)
    assert answer.status_code == 303
    details = await site.pusher.details(answer.headers["location"].removeprefix("/tasks/"))
    job = details.job
    assert (job.target, job.queue, job.tags, job.once, job.method) == (
        URL,
        "mail",
        ("one", "two"),
        True,
        "POST",
    )
    assert (job.headers, details.body) == ((("Content-Type", "text/plain"), ("X-A", "1")), b"a\nb")
    assert (await browser.get("/audit")).json()["entries"] == []


async def test_a_link_may_fill_the_form(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/tasks/new", params={"url": URL, "queue": "mail", "once": "yes"})
    found = fields(answer)
    assert (found["url"], found["queue"], found["once"]) == (URL, "mail", "yes")
    assert (await browser.get("/tasks/new?uid=1")).status_code == 422


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"url": ""}, "url is missing"),
        ({"priority": "12"}, "priority must be a whole number from 0 to 9"),
        ({"headers": "nonsense"}, "headers have a line without a colon"),
        ({"delay": "1h", "due_at": "2100-01-01T00:00:00Z"}, "delay stands beside due_at"),
        ({"due_at": "2100-01-01T00:00:00"}, "due_at has no zone"),
    ],
)
async def test_what_can_not_be_taken_is_said_beside_its_field_and_nothing_typed_is_lost(
    site: Any, browser: httpx.AsyncClient, filled: dict[str, str], said: str
) -> None:
    answer = await browser.post("/tasks/new", data={"url": URL, "title": "typed", "wait": "yes"} | filled)
    assert answer.status_code == 422
    assert said in unescape(answer.text)
    assert answer.text.count('class="wrong"') == 1
    assert fields(answer)["title"] == "typed" and fields(answer)["wait"] == "yes"
    assert await site.number() == 0
    problem = await browser.post("/tasks/new", data={"url": URL} | filled, headers=JSON)
    assert (problem.status_code, problem.headers["content-type"]) == (422, "application/problem+json")


async def test_a_key_that_is_taken_says_by_whom(site: Any, browser: httpx.AsyncClient) -> None:
    held = await site.pusher.push(URL, key="k", delay="1h")
    answer = await browser.post("/tasks/new", data={"url": URL, "key": "k"})
    assert answer.status_code == 409
    assert f'href="/tasks/{held.uid}"' in answer.text
    assert await site.number() == 1


async def test_a_full_disk_is_507_and_the_form_comes_back(site: Any, browser: httpx.AsyncClient) -> None:
    async def full(*adds: Any) -> Any:
        raise StoreFull

    site.pusher.add = full
    answer = await browser.post("/tasks/new", data={"url": URL, "title": "typed"})
    assert (answer.status_code, fields(answer)["title"]) == (507, "typed")
    assert "make room on the disk" in answer.text


async def test_a_form_that_is_too_long_is_refused(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/tasks/new", data={"url": URL, "body": "x" * (3 * 100_000 + push.ROOM)})
    assert answer.status_code == 413
    long = await browser.post("/tasks/new", data={"url": URL, "body": "x" * 100_001})
    assert (long.status_code, "--max-body" in long.text) == (422, True)


# ---- waiting for its answer ---------------------------------------------------------------------------


async def test_the_answer_is_waited_for(site: Any, browser: httpx.AsyncClient, eventually: Any) -> None:
    asked = asyncio.create_task(browser.post("/tasks/new", data={"url": URL, "wait": "yes"}))

    async def runs() -> bool:
        return bool(site.runner.ran)

    await eventually(runs)
    assert not asked.done()
    site.finish()
    where = (await asked).headers["location"]
    assert (await site.pusher.get(where.removeprefix("/tasks/"))).state is State.COMPLETED


@pytest.mark.parametrize("why", ["later", "patience", "ended"])
async def test_it_is_not_waited_for_where_that_is_no_use(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    form = {"url": URL, "wait": "yes"}
    if why == "later":
        form["delay"] = "10m"
    elif why == "patience":
        monkeypatch.setattr(push, "PATIENCE", 0.001)
    else:
        site.finish()
        add = site.pusher.add

        async def added(*adds: Any) -> Any:
            written = await add(*adds)
            while (await site.pusher.get(written[0].job.uid)).state is not State.COMPLETED:
                await asyncio.sleep(0)
            return written

        monkeypatch.setattr(site.pusher, "add", added)
    async with asyncio.timeout(10):
        assert (await browser.post("/tasks/new", data=form)).status_code == 303


async def test_a_tasker_that_stops_is_not_held_by_who_waits(site: Any, eventually: Any) -> None:
    app = create_app(site.pusher)
    client = await site.of(app)
    asked = asyncio.create_task(client.post("/tasks/new", data={"url": URL, "wait": "yes"}))

    async def runs() -> bool:
        return bool(site.runner.ran)

    await eventually(runs)
    app.close()
    async with asyncio.timeout(10):
        assert (await asked).status_code == 303
    site.pusher.ready = False
    later = await (await site.client()).post("/tasks/new", data={"url": URL, "wait": "yes", "delay": "5s"})
    assert later.status_code == 303


# ---- a copy -------------------------------------------------------------------------------------------


async def test_a_clone_has_all_but_what_is_the_jobs_own(site: Any, browser: httpx.AsyncClient) -> None:
    job = await site.pusher.push(
        URL, key="k", delay="1h", headers={"A": "b"}, body="a\nb", queue="mail", tags=["x"], once=True
    )
    answer = await browser.get(f"/tasks/new?from={job.uid}&queue=other")
    found = fields(answer)
    assert (found["queue"], found["headers"], found["body"], found["once"]) == (
        "other",
        "A: b",
        "a\r\nb",
        "yes",
    )
    assert found["key"] == found["due_at"] == found["delay"] == found["expires_at"] == ""
    assert "no form can hold" not in answer.text
    assert (await browser.get(f"/tasks/new?from={UID}")).status_code == 404
    assert (await browser.get("/tasks/new?from=x")).status_code == 422


@pytest.mark.parametrize("body", ["/w==", "YQ0KYg=="])  # ff; a CR LF b
async def test_a_body_that_no_form_can_hold_is_left_out_and_said(
    site: Any, browser: httpx.AsyncClient, body: str
) -> None:
    job = await site.pusher.push(URL, delay="1h", body_base64=body)
    answer = await browser.get(f"/tasks/new?from={job.uid}")
    assert "no form can hold" in answer.text
    assert f'action="/tasks/{job.uid}/duplicate"' in answer.text
    assert fields(answer)["body"] == ""


async def test_a_job_of_another_kind_is_no_clone(
    site: Any, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.pusher.push(URL, delay="1h")
    details = await site.pusher.details(job.uid)

    async def other(uid: str) -> Any:
        return replace(details, job=replace(details.job, kind="command", target="resize", host=""))

    monkeypatch.setattr(site.pusher, "details", other)
    answer = await browser.get(f"/tasks/new?from={job.uid}")
    assert (answer.status_code, "duplicate this command job" in answer.text) == (409, True)
    page = (await browser.get(f"/tasks/{job.uid}")).text
    assert "Clone and edit" not in page and "curl" not in page
    assert '<span class="method">command</span>' in page
    assert 'name="url" type="text" value="resize"' in (await browser.get(f"/tasks/{job.uid}/edit")).text


# ---- changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", "YQpi", "/w==", "YQ0KYg=="])
async def test_an_edit_keeps_what_was_not_touched(site: Any, browser: httpx.AsyncClient, body: str) -> None:
    given = {"headers": {"A": ["1", "2"]}, "tags": ["a,b", "c"], "timeout": 0.5, "body_base64": body}
    job = await site.pusher.push(URL, queue="mail", delay="1h", key="k", once=True, **given)
    before = await site.pusher.details(job.uid)
    form = fields(await browser.get(f"/tasks/{job.uid}/edit"))
    assert ("body" in form) is (body in ("", "YQpi"))
    for filled, changed in (({}, {}), ({"title": "new"}, {"title": "new"})):
        form = fields(await browser.get(f"/tasks/{job.uid}/edit"))
        answer = await browser.post(f"/tasks/{job.uid}/edit", data=form | filled)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/tasks/{job.uid}")
        after = await site.pusher.details(job.uid)
        assert after.body == before.body
        for name in set(after.job.__struct_fields__) - {"revision"}:
            assert getattr(after.job, name) == changed.get(name, getattr(before.job, name)), name
    entries = (await browser.get("/audit")).json()["entries"]
    assert [(one["action"], one["job"], one["outcome"]) for one in entries] == [
        ("edit", job.uid, "waiting")
    ] * 2


async def test_fields_can_be_emptied_and_set(site: Any, browser: httpx.AsyncClient) -> None:
    job = await site.pusher.push(
        URL, delay="1h", priority=1, title="t", tags=["a"], once=True, headers={"A": "b"}
    )
    form = fields(await browser.get(f"/tasks/{job.uid}/edit"))
    del form["once"]
    emptied = {"priority": "", "title": "", "tags": "", "headers": "", "delay": "2h", "body": "new"}
    assert (await browser.post(f"/tasks/{job.uid}/edit", data=form | emptied)).status_code == 303
    after = (await site.pusher.details(job.uid)).job
    assert (after.priority, after.title, after.tags, after.headers, after.once) == (5, "", (), (), False)
    assert after.due_ms > job.due_ms and after.body_size == 3


async def test_a_job_that_changed_while_the_form_was_open_is_left_as_it_is(
    site: Any, browser: httpx.AsyncClient
) -> None:
    """What one did not touch would be set back to what it was."""
    job = await site.pusher.push(URL, delay="1h", priority=3)
    form = fields(await browser.get(f"/tasks/{job.uid}/edit"))
    await site.pusher.edit(job.uid, {"priority": 0})
    answer = await browser.post(f"/tasks/{job.uid}/edit", data=form | {"title": "new"})
    assert (answer.status_code, "changed meanwhile" in answer.text) == (409, True)
    after = await site.pusher.get(job.uid)
    assert (after.priority, after.title) == (0, "")
    by_script = await browser.post(f"/tasks/{job.uid}/edit", data={"title": "new", "once": ""})
    assert by_script.status_code == 303
    assert (await site.pusher.get(job.uid)).priority == 0


async def test_a_job_that_began_meanwhile_is_not_changed(
    site: Any, browser: httpx.AsyncClient, eventually: Any
) -> None:
    job = await site.pusher.push(URL, delay="1h")
    form = fields(await browser.get(f"/tasks/{job.uid}/edit"))
    await site.pusher.run(job.uid)

    async def runs() -> bool:
        return not allowed(await site.pusher.get(job.uid), Action.EDIT)

    await eventually(runs)
    answer = await browser.post(f"/tasks/{job.uid}/edit", data=form | {"title": "new"})
    assert (answer.status_code, "cancel it first" in answer.text) == (409, True)
    late = await browser.get(f"/tasks/{job.uid}/edit")
    assert (late.status_code, "clone it and edit the copy" in late.text) == (409, True)
    assert (await browser.get(f"/tasks/{UID}/edit")).status_code == 404
    assert (await browser.post(f"/tasks/{UID}/edit", data=form)).status_code == 404


async def test_a_change_that_can_not_be_taken_comes_back_with_the_form(
    site: Any, browser: httpx.AsyncClient
) -> None:
    job = await site.pusher.push(URL, delay="1h", body_base64="/w==")
    form = fields(await browser.get(f"/tasks/{job.uid}/edit")) | {"title": "typed", "timeout": "8d"}
    answer = await browser.post(f"/tasks/{job.uid}/edit", data=form)
    assert (answer.status_code, fields(answer)["title"]) == (422, "typed")
    assert "timeout must be more than 0" in answer.text and "stays as it is" in answer.text
    assert (await browser.get("/audit")).json()["entries"] == []
