"""What is done to one job from its page and from a list, and what is taken back."""

from base64 import b64encode

from playwright.sync_api import Page, expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

EVERYWHERE = ["Duplicate", "Clone and edit"]
BUTTONS = {
    "waiting": ["Run now", "Pause", "Cancel", "Delete", "Edit"],
    "running": ["Cancel"],
    "paused": ["Resume", "Cancel", "Delete", "Edit"],
    "completed": ["Delete"],
    "error": ["Retry", "Delete"],
    "canceled": ["Retry", "Delete"],
}


def brought(tasker: Tasker, target: Target, state: str) -> str:
    """The uid of a job that came to that state."""
    place = {"running": "/hold", "error": "/fail/500"}.get(state, "/")
    due = {} if state in ("running", "completed", "error") else {"delay": "1h"}
    uid = tasker.push(target.url + place, **due)
    for wanted, action in (("paused", "pause"), ("canceled", "cancel")):
        if state == wanted:
            tasker.ask("POST", f"/job/{uid}/{action}")
    until(lambda: tasker.state(uid) == state)
    return uid


def offered(page: Page) -> list[str]:
    return page.locator(".job-head .actions button, .job-head .actions a").all_inner_texts()


def press(page: Page, name: str) -> None:
    page.locator(".job-head").get_by_role("button", name=name, exact=True).click()


def state(page: Page) -> Page:
    return page.locator(".job-head .state")  # type: ignore[return-value]


def test_only_moves_that_its_state_allows_are_offered(tasker: Tasker, target: Target, visit: Visitor) -> None:
    page = visit(tasker)
    for name, buttons in BUTTONS.items():
        page.goto(f"/tasks/{brought(tasker, target, name)}")
        expect(state(page)).to_have_text(name)
        assert sorted(offered(page)) == sorted([*buttons, *EVERYWHERE]), name


def test_a_waiting_job_is_paused_resumed_run_and_its_run_cut(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uid = tasker.push(f"{target.url}/hold", delay="1h")
    page = visit(tasker, f"/tasks/{uid}")
    page.evaluate("window.stayed = true")
    expect(page.locator(".why")).to_contain_text("until it is due")
    for button, comes_to in (
        ("Pause", "paused"),
        ("Resume", "waiting"),
        ("Run now", "running"),
        ("Cancel", "canceled"),
    ):
        press(page, button)
        expect(state(page)).to_have_text(comes_to)
    assert tasker.state(uid) == "canceled"
    until(lambda: target.in_flight == 0)
    assert page.evaluate("window.stayed")


def test_a_failed_job_is_retried_and_a_finished_one_pushed_once_more(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uid = brought(tasker, target, "error")
    page = visit(tasker, f"/tasks/{uid}")
    expect(page.locator(".said.is-bad")).to_contain_text("answered 500")
    press(page, "Retry")
    until(lambda: tasker.job(uid)["attempt"] == 2)
    expect(page.locator(".timeline")).to_contain_text("Attempt 2")
    press(page, "Duplicate")
    page.wait_for_url(lambda url: "/tasks/" in url and uid not in url)
    expect(state(page)).to_have_text("error")
    assert tasker.number("error") == 2


def test_a_deleted_job_is_asked_about_and_gone(tasker: Tasker, target: Target, visit: Visitor) -> None:
    uid = brought(tasker, target, "completed")
    page = visit(tasker, f"/tasks/{uid}")
    press(page, "Delete")
    assert visit.complaints.pop() == "dialog: confirm Delete this job?"
    assert tasker.state(uid) == "completed"
    visit.confirms = True
    press(page, "Delete")
    expect(page).to_have_url(f"{tasker.url}/tasks/jobs")
    assert tasker.get(f"/job/{uid}")[0] == 404


def test_a_waiting_job_is_changed_in_the_form_it_was_made_in(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uid = tasker.push(target.url, delay="1h", title="Before", tags=["a"], headers={"X-A": "1"}, body="one")
    page = visit(tasker, f"/tasks/{uid}")
    page.get_by_role("link", name="Edit", exact=True).click()
    expect(page.get_by_label("Headers")).to_have_value("X-A: 1")
    page.get_by_label("Title").fill("After")
    page.get_by_label("Body", exact=True).fill("one\ntwo")
    page.get_by_label("Priority").fill("0")
    before = tasker.job(uid)
    page.get_by_role("button", name="Keep the changes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("After")
    after = tasker.job(uid)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"title", "priority", "body"}
    assert (after["title"], after["priority"], after["body"]) == ("After", 0, "one\ntwo")


def test_a_body_is_kept_as_it_was_by_who_changes_something_else(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    bodies = {"text": b"one\r\ntwo\nthree\r", "no text": b"\x00\xff\n\x00", "json": b'{"a":\n 1}'}
    for title, body in bodies.items():
        coded = b64encode(body).decode()
        uid = tasker.push(f"{target.url}/{title[:2]}", delay="1h", title=title, body_base64=coded)
        page = visit(tasker, f"/tasks/{uid}/edit")
        page.get_by_label("Title").fill("Other")
        page.get_by_role("button", name="Keep the changes").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Other")
        press(page, "Run now")
        expect(state(page)).to_have_text("completed")
        assert target.calls[-1].body == body
        page.get_by_role("link", name="Clone and edit").click()
        expect(page.get_by_role("note")).to_have_count(0 if title == "json" else 1)


def test_a_clone_is_a_job_of_its_own(tasker: Tasker, target: Target, visit: Visitor) -> None:
    uid = tasker.push(f"{target.url}/hold", title="First", queue="mail", key="k1", delay="1h", body="b")
    page = visit(tasker, f"/tasks/{uid}")
    page.get_by_role("link", name="Clone and edit").click()
    expect(page.get_by_label("Key", exact=True)).to_have_value("")
    expect(page.get_by_label("Queue")).to_have_value("mail")
    page.get_by_label("Title").fill("Second")
    page.get_by_role("button", name="Push it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Second")
    expect(state(page)).to_have_text("running")
    assert tasker.job(uid)["title"] == "First"


def test_what_was_done_is_undone_from_where_it_is_told(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uids = [tasker.push(target.url, delay="1h") for _ in range(3)]
    page = visit(tasker, "/tasks/jobs/waiting")
    for box in page.locator("input[name=uid]").all()[:2]:
        box.check()
    page.locator("[data-picked]").get_by_role("button", name="Pause").click()
    expect(page.locator(".toast")).to_contain_text("Paused: 2 jobs")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text(["Resumed: 2 jobs"])
    expect(page.locator("tbody tr")).to_have_count(3)
    assert {tasker.state(uid) for uid in uids} == {"waiting"}

    tasker.ask("PUT", "/queues/mail", {"paused": True})
    due = tasker.push(target.url, queue="mail")
    page.goto(f"/tasks/{due}")
    press(page, "Cancel")
    expect(state(page)).to_have_text("canceled")
    page.get_by_role("button", name="Undo").click()
    expect(state(page)).to_have_text("waiting")
    page.goto(f"/tasks/{uids[0]}")  # one that is not due would be due at once
    press(page, "Cancel")
    expect(page.locator(".toast")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_a_move_that_came_too_late_says_why(tasker: Tasker, target: Target, visit: Visitor) -> None:
    uid = tasker.push(target.url, delay="1h")
    visit.excuse_status(409)
    page = visit(tasker, f"/tasks/{uid}", pace=0)
    tasker.ask("POST", f"/job/{uid}/cancel")
    press(page, "Pause")
    expect(page.locator(".toast.is-bad")).to_contain_text("canceled")
    expect(state(page)).to_have_text("canceled")
