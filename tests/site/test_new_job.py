"""A job from the form to its end, without a look at another page."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.acceptance.program import Tasker
from tests.acceptance.target import Target
from tests.site.browser import Visitor

A_JOB = re.compile(r"/tasks/[0-9a-f-]{36}$")


def test_it_completes_before_ones_eyes_and_the_numbers_move(
    start: Callable[..., Tasker], target: Target, visit: Visitor
) -> None:
    tasker = start()
    overview, page = visit(tasker), visit(tasker)
    page.get_by_role("link", name="New job").click()
    page.get_by_label("URL").fill(f"{target.url}/hold/1")
    page.get_by_label("Title").fill("Make the report")
    page.get_by_label("Tags").fill("night, big")
    page.get_by_label("Headers").fill("X-One: 1\nX-Two: 2")
    page.get_by_label("Body", exact=True).fill("year=2026")
    page.get_by_role("button", name="Push it").click()
    expect(page).to_have_url(A_JOB)
    expect(page.locator(".job-head .state")).to_have_text("running")
    expect(page.get_by_role("heading", level=1)).to_have_text("Make the report")
    expect(overview.locator("#tiles [data-count=running]")).to_have_text("1")
    for each in (page, overview):
        each.evaluate("window.stayed = true")
    target.release()
    expect(page.locator(".job-head .state")).to_have_text("completed")
    expect(page.locator("pre.body").first).to_have_text("ok")
    expect(page.locator(".timeline")).to_contain_text("Attempt 1")
    expect(overview.locator("#tiles [data-count=running]")).to_have_text("0")
    expect(overview.locator("#tiles [data-count=completed]")).to_have_text("1")
    expect(overview.locator("#charts")).to_contain_text("completed 1")
    assert all(each.evaluate("window.stayed") for each in (page, overview))
    job = tasker.job(page.url.rpartition("/")[2])
    assert target.calls[0].body == b"year=2026"
    assert (job["method"], job["tags"]) == ("POST", ["night", "big"])
    assert job["headers"] == {"X-One": "1", "X-Two": "2"}


def test_the_answer_is_there_at_once_for_who_waits_for_it(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    page = visit(tasker, "/tasks/new", java_script_enabled=False)
    page.get_by_label("URL").fill(f"{target.url}/delay/0.3")
    page.get_by_label("Wait for the answer").check()
    page.get_by_role("button", name="Push it").click()
    expect(page).to_have_url(A_JOB)
    assert page.locator(".job-head .state").inner_text() == "completed"
    assert page.locator("pre.body").first.inner_text() == "ok"


def test_what_is_wrong_is_said_beside_its_field_and_nothing_typed_is_lost(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    visit.excuse_status(422)
    page = visit(tasker, "/tasks/new")
    page.get_by_label("URL").fill(target.url)
    page.get_by_label("Title").fill("Kept")
    page.get_by_label("Delay").fill("soon")
    page.get_by_role("button", name="Push it").click()
    expect(page.get_by_label("Delay")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#delay-wrong")).to_contain_text("delay")
    expect(page.get_by_label("Title")).to_have_value("Kept")
    page.get_by_label("Delay").fill("1h")
    page.get_by_role("button", name="Push it").click()
    expect(page.locator(".job-head .state")).to_have_text("waiting")
    assert tasker.number("waiting") == 1
