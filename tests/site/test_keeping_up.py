"""An open page and its stream: hidden tabs, stops, restarts."""

import time
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.acceptance.program import Tasker, free_port
from tests.acceptance.target import Target
from tests.site.browser import Visitor

PROMPT = 1.0  # seconds
HIDE = """(away) => {
  Object.defineProperty(document, "hidden", { get: () => away, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def live(page: Page) -> None:
    expect(page.locator("[data-pulse]")).to_have_class("dot is-live")


def completed(page: Page, number: int) -> None:
    expect(page.locator("#tiles [data-count=completed]")).to_have_text(str(number))


def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_seen(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    page = visit(tasker)
    live(page)
    asked: list[str] = []
    with page.expect_event("requestfailed", lambda request: "/tasks/events" in request.url):
        page.evaluate(HIDE, True)
    page.on("request", lambda request: asked.append(request.url))
    watching = visit(tasker)
    tasker.completed(tasker.push(target.url))
    completed(watching, 1)  # another page was told of it long ago
    completed(page, 0)
    assert asked == []
    page.evaluate(HIDE, False)
    completed(page, 1)
    live(page)
    tasker.completed(tasker.push(target.url))
    completed(page, 2)


def test_it_can_be_kept_still(tasker: Tasker, target: Target, visit: Visitor) -> None:
    page, watching = visit(tasker), visit(tasker)
    live(page)
    with page.expect_event("requestfailed", lambda request: "/tasks/events" in request.url):
        page.get_by_label("How often the page is brought up to date").select_option("off")
    page.reload()
    expect(page.get_by_label("How often the page is brought up to date")).to_have_value("0")
    tasker.completed(tasker.push(target.url))
    completed(watching, 1)
    completed(page, 0)
    page.get_by_label("How often the page is brought up to date").select_option("1 s")
    completed(page, 1)


def test_open_pages_hold_no_stop_and_go_on_after_the_next_start(
    start: Callable[..., Tasker], target: Target, visit: Visitor
) -> None:
    address = f"--address=127.0.0.1:{free_port()}"
    tasker = start(address)
    uid = tasker.push(target.url, delay="1h")
    overview, job = visit(tasker), visit(tasker, f"/tasks/{uid}")
    for page in (overview, job):
        live(page)
        page.evaluate("window.stayed = true")
    visit.excuse("net::ERR_")  # what Chromium says of a stream that was cut, and of those refused meanwhile
    told = time.monotonic()
    tasker.tell()
    assert tasker.end() == 0
    assert time.monotonic() - told < PROMPT
    for page in (overview, job):
        expect(page.locator("[data-pulse]")).to_have_class("dot is-lost")
    tasker = start(address)
    tasker.ask("POST", f"/job/{uid}/run")
    completed(overview, 1)
    expect(job.locator(".job-head .state")).to_have_text("completed")
    for page in (overview, job):
        live(page)
        assert page.evaluate("window.stayed")


def test_what_ended_before_the_stream_began_is_shown(tasker: Tasker, target: Target, visit: Visitor) -> None:
    """A job that is pushed by the form often ends after its page was written and before its stream began."""
    uid = tasker.push(f"{target.url}/hold")
    page = visit(tasker)

    def meanwhile(route: object) -> None:
        if not target.held:
            route.continue_()  # type: ignore[attr-defined]
            return
        target.release()
        tasker.completed(uid)
        route.continue_()  # type: ignore[attr-defined]

    page.route("**/tasks/events*", meanwhile)
    page.goto(f"/tasks/{uid}")
    expect(page.locator(".job-head .state")).to_have_text("completed")
