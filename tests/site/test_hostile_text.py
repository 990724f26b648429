"""What jobs, targets, users and links bring is text on every page, whatever it looks like."""

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page, expect

from taskpusher.filters import term
from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor
from tests.site.hostile import TEXTS

PLAIN = tuple(f"plain{number}" for number in range(6))  # what a page is made of without them
ALL = (*TEXTS, *PLAIN)
EVERY = 71  # which of them is opened, beside being looked into
ENTRIES = 50  # that the system's page shows of who did what

# Fetches pages, some at once, and tells what their elements are, and where they lead away to.
CENSUS = """async (pages) => {
  const look = async ({ path, authorization }) => {
    const answer = await fetch(path, { headers: { Accept: "text/html", Authorization: authorization } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = new Set(), away = [];
    for (const each of page.querySelectorAll("*")) {
      parts.add(each.nodeName);
      for (const { name, value } of each.attributes) {
        parts.add(`${each.nodeName} ${name}`);
        if (!["href", "src", "action", "formaction"].includes(name)) continue;
        if (new URL(value, location.href).origin !== location.origin) away.push(value);
      }
    }
    const text = (selector) => page.querySelector(selector)?.textContent.trim();
    const field = page.querySelector("#q, #title")?.value;
    return { path, parts: [...parts], away, heading: text("h1"), foot: text("footer"), field };
  };
  const found = [];
  for (let at = 0; at < pages.length; at += 8)
    found.push(...await Promise.all(pages.slice(at, at + 8).map(look)));
  return found;
}"""


def named(number: int) -> str:
    """A user called so; names hold no colon."""
    name = f"{ALL[number].replace(':', ';')} {number}".strip()
    return f".{name}" if name.startswith("#") else "".join(name.splitlines())


def authorization(number: int) -> str:
    return "Basic " + base64.b64encode(f"{named(number)}:pw".encode()).decode()


def answers() -> dict[str, bytes]:
    """Of the target: it succeeds, leads away, or speaks no HTTP."""
    said = {}
    for number, text in enumerate(ALL):
        raw = text.encode()
        head = b"X-Said: %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (raw, len(raw), raw)
        ways = (
            b"HTTP/1.1 200 OK\r\n" + head,
            b"HTTP/1.1 302 %s\r\nLocation: %s\r\n%s" % (raw, raw, head),
            raw,
        )
        said[str(number)] = ways[number % 3] + b"\r\n\r\n"
    return said


def jobs(target: Target, **more: object) -> list[dict[str, Any]]:
    return [
        {
            "url": f"{target.url}/say/{number}?{text.replace(' ', '+')}",
            "title": text,
            "queue": text,
            "tags": [text],
            "headers": {"X-Text": text},
            "body": text,
            **more,
        }
        for number, text in enumerate(ALL)
    ]


def with_keys(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**job, "key": f"{job['title']}{number}"} for number, job in enumerate(found)]


def filled(tasker: Tasker, target: Target) -> tuple[list[str], list[str]]:
    """The uids of those that ended and of those that wait."""
    target.says = answers()
    ended = tasker.push_many(jobs(target, timeout=5))
    waiting = tasker.push_many(with_keys(jobs(target, delay="1h")))
    until(lambda: tasker.number("completed") + tasker.number("errors") == len(ALL))
    return ended, waiting


def look_into(page: Page, paths: Iterable[str], *like: str) -> list[dict[str, Any]]:
    """A page for each of ALL, as seen by who is called so: it is made of what the plain ones, and those
    that it is `like`, are made of."""
    asked = [{"path": path, "authorization": authorization(n)} for n, path in enumerate(paths)]
    asked += [{"path": path, "authorization": authorization(len(TEXTS))} for path in like]
    found = page.evaluate(CENSUS, asked)
    known = {part for one in found[len(TEXTS) :] for part in one["parts"]}
    for one in found:
        assert set(one["parts"]) <= known, (one["path"], set(one["parts"]) - known)
        assert one["away"] == [], one["path"]
    return list(found[: len(ALL)])


def test_nothing_of_it_runs_or_leads_away_on_any_page(
    start: Callable[..., Tasker], target: Target, visit: Visitor, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    users.write_text("".join(f"{named(number)}:pw\n" for number in range(len(ALL))), "utf-8")
    tasker = start("--basicauth=boss:pw", f"--basicauth=@{users}", "--concurrency=20", auth="boss:pw")
    ended, waiting = filled(tasker, target)
    visit.excuse_status(404, 422)
    page = visit(tasker, http_credentials={"username": "boss", "password": "pw"})

    for number, one in enumerate(look_into(page, (f"/tasks/{uid}" for uid in ended))):
        assert one["heading"] == ALL[number].strip()
        assert named(number) in one["foot"]
    for number, one in enumerate(look_into(page, (f"/tasks/{uid}/edit" for uid in waiting))):
        assert one["field"] == ALL[number]
    filters = (f"/tasks/jobs?q={quote(text, safe='')}" for text in ALL)
    for number, one in enumerate(look_into(page, filters, "/tasks/jobs?q=http", "/tasks/jobs?q=colour:red")):
        assert one["field"] == ALL[number].strip()

    for state in ("completed", "errors", "waiting"):
        page.goto(f"/tasks/jobs/{state}")
        settled(page)
        while (follow := page.get_by_role("link", name="Next page")).count():
            follow.click()
            settled(page)
    for path in ("", "/jobs", "/errors", "/queues", "/hosts", "/new"):
        page.goto(f"/tasks{path}")
        settled(page)
    for number in range(0, len(TEXTS), EVERY):
        text = quote(TEXTS[number], safe="")
        for path in (
            f"/{ended[number]}",
            f"/new?from={waiting[number]}",
            f"/jobs/errors?q={text}",
            f"/{text}",
        ):
            page.goto(f"/tasks{path}")
    for first in range(0, len(TEXTS) // 2, ENTRIES):  # who they are stands on every page, too
        for number in range(first, first + ENTRIES):
            asked = {"q": term("", TEXTS[number])}
            headers = {"Authorization": authorization(number)}
            with_no_user(tasker, "/jobs/canceled/retry", asked, headers)
        page.goto("/tasks/system")
        expect(page.locator("#audit tbody tr")).to_have_count(ENTRIES)
        expect(page.locator("#audit")).to_contain_text(" ".join(named(number).split()))


def settled(page: Page) -> None:
    """Its script has begun, and has looked for what is new once."""
    expect(page.locator("[data-pulse]")).to_have_class("dot is-live")


def with_no_user(tasker: Tasker, path: str, asked: dict[str, str], headers: dict[str, str]) -> None:
    tasker.auth = ""
    status, said = tasker.ask("POST", path, asked, **headers)
    tasker.auth = "boss:pw"
    assert status == 200, said


def test_what_runs_from_right_to_left_stays_in_its_place(
    tasker: Tasker, target: Target, visit: Visitor
) -> None:
    uid = tasker.push("http://app.example/path", title="report\u202efdp.exe", delay="1h")
    page = visit(tasker, "/tasks/jobs/waiting")
    row = page.locator(f"tr[data-uid='{uid}']")
    places = [row.locator(part).bounding_box() for part in (".title", ".method", ".where", ".path")]
    lefts = [place["x"] for place in places if place]
    assert len(lefts) == 4
    assert lefts == sorted(lefts)
