"""Who only looks, who only pushes, and who asks from another site's page."""

import base64
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target
from tests.site.browser import Visitor

SECRETS = ("body-secret", "header-secret", "token-secret", "user-secret")
PAGES = ("", "/jobs", "/jobs/completed", "/jobs/errors", "/errors", "/queues", "/hosts", "/system")
FORMS = (
    ("/tasks/new", {"url": "http://app.example/"}),
    ("/tasks/act", {"state": "error", "action": "retry", "uid": "UID"}),
    ("/tasks/act", {"state": "error", "action": "retry", "sure": "1"}),
    ("/tasks/queues", {"queue": "default", "paused": "yes"}),
    ("/tasks/UID/edit", {"title": "Mine"}),
    ("/tasks/bulk/UID", {}),
    *(
        (f"/tasks/UID/{act}", {})
        for act in ["cancel", "pause", "resume", "retry", "run", "delete", "duplicate"]
    ),
)


@pytest.fixture
def guarded(start: Callable[..., Tasker]) -> Tasker:
    users = ("--basicauth=boss:pw", "--basicauth-readonly=guest:pw", "--basicauth-add=app:pw")
    return start(*users, auth="boss:pw")


def signed_in(name: str) -> dict[str, object]:
    return {"http_credentials": {"username": name, "password": "pw"}}


def secret_job(tasker: Tasker, target: Target, place: str) -> str:
    where = target.url.replace("//", "//me:user-secret@") + f"{place}?token=token-secret"
    headers = {"Authorization": "Bearer header-secret"}
    uid = tasker.push(where, body="body-secret", headers=headers, title="Secret")
    until(lambda: tasker.state(uid) in ("completed", "error"))
    return uid


def test_who_only_looks_sees_every_page_without_secrets_and_without_buttons(
    guarded: Tasker, target: Target, visit: Visitor
) -> None:
    uids = [secret_job(guarded, target, place) for place in ("/", "/fail/500/")]
    page = visit(guarded, **signed_in("guest"))
    for path in (*PAGES, *(f"/{uid}" for uid in uids)):
        page.goto(f"/tasks{path}")
        expect(page.locator("[data-pulse]")).to_have_class("dot is-live")
        expect(
            page.locator("form[method=post] button, [name=uid], [data-list] button, a[href$='/new']")
        ).to_have_count(0)
        text = page.content()
        assert not [secret for secret in SECRETS if secret in text], path
        assert "who only looks" in text
    expect(page.locator("main")).to_contain_text("***")
    expect(page.locator("main")).to_contain_text("The body is not shown")
    visit.excuse_status(403)
    for path in ("/new", f"/new?from={uids[0]}", f"/{uids[0]}/edit"):
        page.goto(f"/tasks{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    boss = visit(guarded, f"/tasks/{uids[0]}", **signed_in("boss"))
    text = boss.content()
    assert [secret for secret in SECRETS if secret in text] == list(SECRETS)


def test_no_form_can_be_sent_by_who_only_looks_or_only_pushes(guarded: Tasker, target: Target) -> None:
    uid = secret_job(guarded, target, "/fail/500/")
    before, queues = guarded.job(uid), guarded.get("/queues")
    for name in ("guest", "app"):
        who = "Basic " + base64.b64encode(f"{name}:pw".encode()).decode()
        guarded.auth = ""
        for path, fields in FORMS:
            form = "&".join(f"{field}={value}" for field, value in fields.items())
            status, said = guarded.ask(
                "POST",
                path.replace("UID", uid),
                form.replace("UID", uid),
                Authorization=who,
                Content_Type="application/x-www-form-urlencoded",
                Accept="text/html",
            )
            assert status == 403, (name, path, said)
        if name == "app":
            assert {guarded.ask("GET", f"/tasks{path}", Authorization=who)[0] for path in PAGES} == {403}
    guarded.auth = "boss:pw"
    assert guarded.job(uid) == before
    assert guarded.get("/queues") == queues
    assert guarded.number("waiting") == 0


def test_another_sites_page_can_do_nothing(tasker: Tasker, target: Target, visit: Visitor) -> None:
    """It may send our forms; the browser tells where they come from."""
    uid = tasker.push(f"{target.url}/", delay="1h")
    page = visit(tasker)
    visit.excuse_status(403)

    def elsewhere(route: Route) -> None:
        action = f"{tasker.url}/tasks/{uid}/cancel"
        form = f"<title>Prizes</title><form method=post action='{action}'><button>Win</button></form>"
        route.fulfill(body=form, content_type="text/html", headers={"Referrer-Policy": "no-referrer"})

    for site in ("http://prizes.example/", f"{target.url}/", tasker.url.replace("127.0.0.1", "localhost")):
        page.context.route(site if site.endswith("/") else f"{site}/", elsewhere)
        page.goto(site)
        with page.expect_response(f"**/tasks/{uid}/cancel") as answered:
            page.get_by_role("button", name="Win").click()
        assert answered.value.status == 403, site
    for headers in ({"Origin": "http://prizes.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "same-site"}):
        assert tasker.ask("POST", f"/tasks/{uid}/cancel", "", **headers)[0] == 403, headers
    assert tasker.state(uid) == "waiting"
