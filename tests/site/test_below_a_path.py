"""The site below the path of a proxy."""

from collections.abc import Callable
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

LINKS = """() => [
  ...[...document.querySelectorAll("[href], [src]")].map((one) => one.href || one.src),
  ...[...document.querySelectorAll("form[action]")].map((form) =>
    new URL(form.getAttribute("action"), location).href),
]"""


def test_its_links_forms_and_stream_stay_there(
    start: Callable[..., Tasker], target: Target, visit: Visitor
) -> None:
    tasker = start("--root-path=/jobs")
    uid = tasker.push(f"{target.url}/fail/500", tags=["one"])
    until(lambda: tasker.state(uid) == "error")
    page = visit(tasker, "/jobs/tasks")
    todo, seen = [f"{tasker.url}/jobs/tasks"], set[str]()
    while todo:
        url = todo.pop()
        where = urlsplit(url)
        if where.path in seen:
            continue
        seen.add(where.path)
        assert where.path.startswith("/jobs/"), url
        if where.path.startswith("/jobs/tasks") and page.request.head(url).headers.get(
            "content-type", ""
        ).startswith("text/html"):
            page.goto(url)
            todo += page.evaluate(LINKS)
        else:
            assert page.request.get(url).status in (200, 405), url
    assert {
        f"/jobs/tasks/{place}" for place in ("jobs/errors", "queues", "hosts", "system", "new", uid)
    } <= seen

    page.goto(f"/jobs/tasks/{uid}")
    expect(page.locator("[data-pulse]")).to_have_class("dot is-live")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".timeline")).to_contain_text("Attempt 2")
    page.get_by_role("button", name="Delete").click()
    assert visit.complaints.pop().startswith("dialog")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url(f"{tasker.url}/jobs/tasks")
    page.get_by_role("link", name="New job").click()
    page.get_by_label("URL").fill(target.url)
    page.get_by_role("button", name="Push it").click()
    expect(page).to_have_url(f"{tasker.url}/jobs/tasks/{page.url.rpartition('/')[2]}")
    expect(page.locator(".job-head .state")).to_have_text("completed")
    page.goto("/jobs/tasks/jobs/errors")
    page.get_by_role("button", name="Look how many").click()
    page.get_by_role("button", name="them", exact=False).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 of 1 done")
