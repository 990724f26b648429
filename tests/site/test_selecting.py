"""Rows are selected and walked by mouse and keys, and stay where they are meanwhile."""

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

CHANGED = "The list has changed: show it"


def waiting(tasker: Tasker, number: int) -> list[str]:
    return tasker.push_many(
        [{"url": f"http://app.example/{n}", "title": f"Job {n}", "delay": "1h"} for n in range(number)]
    )


def picked(page: Page, number: int) -> None:
    expect(page.locator("input[name=uid]:checked")).to_have_count(number)
    bar = page.locator("[data-picked]")
    if number:
        expect(bar).to_contain_text(f"{number} selected")
    else:
        expect(bar).to_be_hidden()


def rows(page: Page) -> list[str]:
    return page.locator("tr[data-uid]").evaluate_all("rows => rows.map(row => row.dataset.uid)")


def keys(page: Page, *pressed: str) -> None:
    for key in pressed:
        page.keyboard.press(key)


def test_by_the_mouse_one_a_range_and_all(tasker: Tasker, visit: Visitor) -> None:
    waiting(tasker, 12)
    page = visit(tasker, "/tasks/jobs/waiting", pace=0)
    boxes = page.locator("input[name=uid]")
    boxes.nth(1).click()
    picked(page, 1)
    boxes.nth(5).click(modifiers=["Shift"])
    picked(page, 5)
    boxes.nth(3).click()
    picked(page, 4)
    every = page.get_by_label("Select all on this page")
    assert every.evaluate("box => box.indeterminate")
    every.click()
    picked(page, 12)
    page.get_by_role("button", name="Unselect").click()
    picked(page, 0)
    assert not every.is_checked()


def test_by_keys_rows_are_walked_selected_retried_and_opened(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uids = tasker.push_many([{"url": f"{target.url}/fail/500", "title": f"Job {n}"} for n in range(8)])
    until(lambda: tasker.number("errors") == 8)
    page = visit(tasker, "/tasks/jobs/errors", pace=0)
    order = rows(page)
    here = page.locator("tr.is-here")
    keys(page, "j", "j", "j", "k")
    expect(here).to_have_attribute("data-uid", order[1])
    keys(page, "x", "j", "j", "X")
    picked(page, 3)
    keys(page, "Escape")
    picked(page, 0)
    expect(here).to_have_count(0)
    keys(page, "k")
    expect(here).to_have_attribute("data-uid", order[-1])
    keys(page, "r")
    until(lambda: tasker.job(order[-1])["attempt"] == 2)
    page.goto("/tasks/jobs/errors")
    order = rows(page)
    keys(page, "j", "j", "x", "j", "x", "r")
    expect(page.locator(".toast")).to_contain_text(["2 jobs"])
    until(lambda: [tasker.job(uid)["attempt"] for uid in order[1:3]] == [2, 2])
    assert sum(tasker.job(uid)["attempt"] for uid in uids) == 8 + 3
    page.goto("/tasks/jobs/errors")
    order = rows(page)
    keys(page, "j", "j", "Enter")
    expect(page).to_have_url(f"{tasker.url}/tasks/{order[1]}")
    keys(page, "r")
    until(lambda: tasker.job(order[1])["run"] > 1)


def test_letters_lead_to_pages_the_filter_the_theme_and_the_list_of_keys(
    tasker: Tasker, visit: Visitor
) -> None:
    page = visit(tasker, "/tasks/jobs", color_scheme="light")
    for letter, path in zip("ojeqhs", ["", "/jobs", "/errors", "/queues", "/hosts", "/system"], strict=True):
        keys(page, "g", letter)
        page.wait_for_url(f"{tasker.url}/tasks{path}")
        expect(page.locator("[data-help]")).to_be_visible()
    keys(page, "n")
    page.wait_for_url(f"{tasker.url}/tasks/new")
    page.get_by_label("Title").press("n")  # who types is left alone
    expect(page.get_by_label("Title")).to_have_value("n")
    page.goto("/tasks/system")
    keys(page, "/")
    page.wait_for_url(f"{tasker.url}/tasks/jobs")
    expect(page.locator("[data-help]")).to_be_visible()
    keys(page, "/")
    expect(page.locator("#q")).to_be_focused()
    keys(page, "Escape")
    expect(page.locator("#q")).not_to_be_focused()
    keys(page, "?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    keys(page, "j", "Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    keys(page, "t")
    dark = page.evaluate(ground)
    page.reload()
    assert page.evaluate(ground) == dark != light


@pytest.mark.parametrize("held", ["selected", "pointed at", "walked"])
def test_no_row_moves_that_is(held: str, tasker: Tasker, visit: Visitor) -> None:
    waiting(tasker, 3)
    page = visit(tasker, "/tasks/jobs/waiting")
    before = rows(page)
    if held == "selected":
        page.locator("input[name=uid]").first.check()
        page.mouse.move(1, 1)
    elif held == "pointed at":
        page.locator("tr[data-uid]").nth(1).hover()
    else:
        keys(page, "j")
    more = waiting(tasker, 2)
    fresh = page.get_by_role("button", name=CHANGED)
    expect(fresh).to_be_visible()
    expect(page.locator("#tabs [data-count=waiting]")).to_have_text("5")
    assert rows(page) == before
    fresh.click()
    expect(page.locator("tr[data-uid]")).to_have_count(5)
    assert set(rows(page)) == {*before, *more}
    picked(page, 0)


def test_rows_come_as_soon_as_the_pointer_leaves_them(tasker: Tasker, visit: Visitor) -> None:
    waiting(tasker, 3)
    page = visit(tasker, "/tasks/jobs/waiting")
    page.locator("tr[data-uid]").nth(1).hover()
    waiting(tasker, 1)
    expect(page.get_by_role("button", name=CHANGED)).to_be_visible()
    page.mouse.move(1, 1)
    expect(page.locator("tr[data-uid]")).to_have_count(4)
    expect(page.get_by_role("button", name=CHANGED)).to_have_count(0)


def test_rows_come_by_themselves_while_nobody_holds_them(tasker: Tasker, visit: Visitor) -> None:
    waiting(tasker, 1)
    page = visit(tasker, "/tasks/jobs/waiting")
    waiting(tasker, 2)
    expect(page.locator("tr[data-uid]")).to_have_count(3)
    expect(page.locator("#summary")).to_contain_text("3 jobs")
    assert page.get_by_role("button", name=CHANGED).count() == 0


def test_the_filter_finishes_the_word_and_says_what_it_does_not_know(tasker: Tasker, visit: Visitor) -> None:
    tasker.push("http://app.example/", delay="1h", queue="letters")
    visit.excuse_status(422)
    page = visit(tasker, "/tasks/jobs")
    field = page.locator("#q")
    field.press_sequentially("age:<1h queue:le")
    expect(page.locator("datalist#terms option")).to_have_attribute("value", "age:<1h queue:letters")
    field.fill("colour:red")
    field.press("Enter")
    expect(page.locator("#q-said")).to_contain_text("colour: is no filter")
    expect(field).to_have_value("colour:red")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("tr[data-uid]")).to_have_count(1)
