"""The site in a browser that runs no scripts: all can be read, all forms can be sent."""

from playwright.sync_api import expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

PAGES = ("", "/jobs", "/jobs/errors", "/errors", "/queues", "/hosts", "/system", "/new")


def test_every_page_is_readable_and_every_form_works(tasker: Tasker, target: Target, visit: Visitor) -> None:
    uids = tasker.push_many([{"url": f"{target.url}/fail/500", "queue": "mail"} for _ in range(3)])
    until(lambda: tasker.number("errors") == 3)
    page = visit(tasker, java_script_enabled=False)
    for path in PAGES:
        page.goto(f"/tasks{path}")
        assert page.get_by_role("heading", level=1).count() == 1, path
        for only_with_script in ("[data-pace]", "[data-help]", "[data-theme-switch]", "[data-copy]"):
            assert not any(one.is_visible() for one in page.locator(only_with_script).all()), path
        assert "failed" in page.content() or path not in ("", "/errors")

    page.goto(f"/tasks/{uids[0]}")
    page.get_by_role("button", name="Retry").click()
    expect(page).to_have_url(f"{tasker.url}/tasks/{uids[0]}")
    until(lambda: tasker.job(uids[0])["attempt"] == 2)

    page.goto("/tasks/new")
    page.get_by_label("URL").fill(f"{target.url}/made")
    page.get_by_label("Delay").fill("1h")
    page.get_by_role("button", name="Push it").click()
    for button, comes_to in (("Pause", "paused"), ("Resume", "waiting"), ("Cancel", "canceled")):
        page.locator(".job-head").get_by_role("button", name=button).click()
        expect(page.locator(".job-head .state")).to_have_text(comes_to)
    page.locator(".job-head").get_by_role("button", name="Delete").click()
    expect(page).to_have_url(f"{tasker.url}/tasks/jobs")
    assert tasker.number("canceled") == 0

    tasker.push(target.url, queue="mail", delay="1h")
    page.goto("/tasks/queues")
    page.get_by_role("button", name="Pause the queue mail").click()
    page.get_by_role("button", name="Resume the queue mail").wait_for()

    page.goto("/tasks/jobs/errors")
    page.locator("#q").fill("queue:mail")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("all that match").select_option("Retry")
    page.get_by_role("button", name="Look how many").click()
    page.get_by_role("button", name="Retry them").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry: 3 of 3 done")
    assert tasker.number("waiting") == 4


def test_rows_that_were_ticked_can_be_moved(tasker: Tasker, target: Target, visit: Visitor) -> None:
    uids = tasker.push_many([{"url": target.url, "delay": "1h"} for _ in range(3)])
    page = visit(tasker, "/tasks/jobs/waiting", java_script_enabled=False)
    for uid in uids[:2]:
        page.locator(f"input[value='{uid}']").check()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("tr[data-uid]")).to_have_count(1)
    assert [tasker.state(uid) for uid in uids] == ["canceled", "canceled", "waiting"]
