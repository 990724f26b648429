"""All that match a filter are retried: from the filter, over the count, to the end of the bulk."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from tests.acceptance.program import Tasker, until
from tests.site.browser import Visitor

MANY, OTHERS, AT_ONCE = 5_000, 200, 1_300
NOWHERE = "http://127.0.0.1:1/"  # refuses at once


def failed(tasker: Tasker) -> None:
    """5,000 failed jobs of the queue mail and 200 of another; what is sent back to mail waits."""
    jobs = [{"url": NOWHERE, "queue": "mail" if n < MANY else "other"} for n in range(MANY + OTHERS)]
    for at in range(0, len(jobs), AT_ONCE):
        tasker.push_many(jobs[at : at + AT_ONCE])
    until(lambda: tasker.number("errors") == MANY + OTHERS, 60)
    assert tasker.ask("PUT", "/queues/mail", {"paused": True})[0] == 200


def ask_how_many(page: Page, tasker: Tasker) -> None:
    page.goto("/tasks/jobs/errors")
    expect(page.locator("#summary")).to_contain_text(f"{MANY + OTHERS:,} jobs")
    page.locator("#q").fill("queue:mail error:not_sent")
    page.locator("#q").press("Enter")
    expect(page.locator("#summary")).to_contain_text(f"{MANY:,} jobs match")
    page.get_by_label("all that match").select_option("Retry")
    page.get_by_role("button", name="Look how many").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Retry {MANY:,} jobs?")
    expect(page.locator("main")).to_contain_text("queue:mail error:not_sent")
    assert tasker.number("errors") == MANY + OTHERS, "it only counted"


def test_5000_failed_jobs_go_back_and_no_other(start: Callable[..., Tasker], visit: Visitor) -> None:
    tasker = start("--concurrency=50", "--log-level=info")
    failed(tasker)
    page = visit(tasker)
    early = [0]

    def as_if_it_had_only_begun(route: Route) -> None:
        """The first look at the bulk is too early to see its end."""
        early[0] += 1
        answer = route.fetch()
        text = answer.text().replace("data-live>", "data-live data-hurry>")
        text = re.sub("<h1>Retry: .*</h1>", f"<h1>Retry: 12 of {MANY:,} so far</h1>", text)
        route.fulfill(response=answer, body=text)

    ask_how_many(page, tasker)
    page.route("**/tasks/bulk/*", as_if_it_had_only_begun, times=1)
    page.get_by_role("button", name="Retry them").click()
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text(f"Retry: 12 of {MANY:,} so far")
    expect(title).to_have_text(f"Retry: {MANY:,} of {MANY:,} done")
    expect(page.locator("main")).to_contain_text("ended")
    expect(page.locator("[data-hurry]")).to_have_count(0)
    assert early == [1]
    assert (tasker.number("waiting"), tasker.number("errors")) == (MANY, OTHERS)
    others = [job for page in tasker.pages("/jobs/errors") for job in page]
    assert {(job["queue"], job["attempt"], job["run"]) for job in others} == {("other", 1, 1)}
    page.get_by_role("link", name="Back to the list").click()
    expect(page.locator("#summary")).to_contain_text("0 jobs match")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#summary")).to_contain_text(f"{OTHERS} jobs")
    page.goto("/tasks/system")
    expect(page.locator("#audit")).to_contain_text("retry all")
    expect(page.locator("#audit")).to_contain_text(f"{MANY:,} jobs")
