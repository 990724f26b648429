"""axe-core finds nothing on any page, light or dark, wide or narrow; nothing sticks out of a narrow one."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
LONG = "a-very-long-name-without-any-place-to-break-it-" * 4

AXE = Axe().axe_script
# What colours and width can make wrong; the rest is the same in both.
OF_LOOKS = (
    "color-contrast",
    "link-in-text-block",
    "meta-viewport",
    "scrollable-region-focusable",
    "target-size",
)


class Found:
    """What axe-core says of the pages that were looked at."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def look(self, page: Page, called: str) -> None:
        """Wide in light colours and narrow in dark ones: neither changes what the other does."""
        page.evaluate(AXE)
        for size, scheme, rules in ((WIDE, "light", None), (NARROW, "dark", OF_LOOKS)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self._judged(page, f"{called}, {scheme}, {size['width']}", rules)
        self._inside(page, called)
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    def _judged(self, page: Page, called: str, rules: tuple[str, ...] | None) -> None:
        how: dict[str, object] = {"resultTypes": ["violations"]}
        if rules:
            how["runOnly"] = rules
        for one in page.evaluate("(how) => axe.run(how)", how)["violations"]:
            for node in one["nodes"]:
                checks = [check["message"] for check in node["any"] + node["all"] + node["none"]]
                self.violations.append(f"{called}: {one['id']}: {node['html'][:200]} {checks}")

    def _inside(self, page: Page, called: str) -> None:
        whole, seen = page.evaluate(
            "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
        )
        if whole > seen:
            self.violations.append(f"{called}: {whole} px wide, {seen} are seen")


@pytest.fixture
def found() -> Iterator[Found]:
    found = Found()
    yield found
    assert not found.violations, "\n".join(found.violations)


@pytest.fixture
def filled(tasker: Tasker, target: Target) -> Tasker:
    """One with jobs in every state, long names, and things to complain of."""
    for place in ("/", "/fail/500", "/fail/404"):
        tasker.push(target.url + place, title="Make the report", tags=["night", "big"], body='{"a": 1}')
    tasker.push(
        target.url + "/fail/503", title=LONG, queue=LONG, tags=[LONG], body=LONG, headers={"X-A": LONG}
    )
    tasker.push("http://127.0.0.1:1/" + LONG)
    until(lambda: tasker.number("completed") + tasker.number("errors") == 5)
    for action in ("pause", "cancel", ""):
        uid = tasker.push(target.url, delay="1h", priority=1, max_attempts=3)
        if action:
            tasker.ask("POST", f"/job/{uid}/{action}")
    tasker.push(target.url + "/hold/1")
    tasker.ask("PUT", "/queues/mail", {"paused": True, "concurrency": 2})
    tasker.push(target.url, queue="mail")
    until(lambda: target.in_flight == 1)
    return tasker


def first(tasker: Tasker, state: str) -> str:
    return f"/{tasker.uids(state)[-1]}"


def test_what_is_looked_at(filled: Tasker, visit: Visitor, found: Found) -> None:
    visit.excuse_status(422, 404)
    page = visit(filled)
    lists = ("/jobs", "/jobs/errors", "/jobs?q=colour:red", "/jobs/paused?q=nothing")
    for path in ("", "/errors", "/queues", "/hosts", "/system", *lists, "/nothing"):
        page.goto(f"/tasks{path}")
        found.look(page, path)


def test_a_job(filled: Tasker, visit: Visitor, found: Found) -> None:
    page = visit(filled)
    for state in ("completed", "errors", "waiting", "running"):
        page.goto(f"/tasks{first(filled, state)}")
        found.look(page, state)
    for uid in filled.uids("errors")[:2]:  # with long names
        page.goto(f"/tasks/{uid}")
        found.look(page, f"long {uid}")


def test_what_is_done(filled: Tasker, visit: Visitor, found: Found) -> None:
    visit.excuse_status(422)
    page = visit(filled, "/tasks/new")
    page.get_by_label("URL").fill("http://app.example/")
    page.get_by_label("Delay").fill("soon")
    page.get_by_role("button", name="Push it").click()
    expect(page.locator("#delay-wrong")).to_be_visible()
    found.look(page, "a wrong field")
    page.goto("/tasks/jobs/waiting")
    page.get_by_text("What can be filtered").click()
    page.keyboard.press("j")
    page.locator("input[name=uid]").first.check()
    found.look(page, "a selection")
    page.locator("[data-picked]").get_by_role("button", name="Pause").click()
    expect(page.locator(".toast")).to_be_visible()
    page.keyboard.press("?")
    found.look(page, "a toast and the keys")
    page.keyboard.press("Escape")
    page.goto("/tasks/jobs/errors")
    page.get_by_role("button", name="Look how many").click()
    found.look(page, "how many")
    page.get_by_role("button", name="Retry them").click()
    expect(page.locator("progress")).to_be_visible()
    found.look(page, "a bulk")
