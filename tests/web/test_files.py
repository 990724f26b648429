"""Pages and their files: what headers they carry, and what a browser may keep."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taskpusher.web import User, create_app
from taskpusher.web.answers import PAGE_POLICY, Html
from taskpusher.web.files import Static

STYLE, SCRIPT = "body { color: #123 }\n", "export const a = 1\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a.css").write_text(STYLE)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.js").write_text(SCRIPT)
    (tmp_path / "c.svg").write_text("<svg/>")
    (tmp_path / "secret.py").write_text("print()")
    return tmp_path


def app_with(site: Any, directory: Path, **settings: Any) -> Any:
    app = create_app(site.pusher, **settings)
    app.static._directory = directory
    return app


@pytest.fixture
async def client(site: Any, directory: Path) -> httpx.AsyncClient:
    found: httpx.AsyncClient = await site.of(app_with(site, directory))
    return found


@pytest.mark.parametrize(
    ("name", "media", "text"),
    [
        ("a.css", "text/css; charset=utf-8", STYLE),
        ("inner/b.js", "text/javascript; charset=utf-8", SCRIPT),
        ("c.svg", "image/svg+xml", "<svg/>"),
    ],
)
async def test_a_file_has_its_media_type_and_is_asked_for_again(
    client: httpx.AsyncClient, name: str, media: str, text: str
) -> None:
    answer = await client.get(f"/tasks/static/{name}")
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, text, media)
    assert answer.headers.get_list("cache-control") == ["private, no-cache"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for known in (answer.headers["etag"], f'"x", W/{answer.headers["etag"]}', "*"):
        again = await client.get(f"/tasks/static/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        assert "content-type" not in again.headers
    other = await client.get(f"/tasks/static/{name}", headers={"If-None-Match": '"x"'})
    assert other.status_code == 200


async def test_a_file_under_its_version_is_kept_for_ever(client: httpx.AsyncClient, directory: Path) -> None:
    link = Static(directory).link("", "inner/b.js")
    answer = await client.get(link)
    assert link.startswith("/tasks/static/inner/b.js?v=")
    assert answer.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]
    older = await client.get("/tasks/static/inner/b.js?v=0123")
    assert (older.text, older.headers["cache-control"]) == (SCRIPT, "private, no-cache")


def test_the_link_changes_with_the_content(directory: Path) -> None:
    before = Static(directory).link("/tasker", "a.css")
    (directory / "a.css").write_text("body {}")
    after = Static(directory).link("/tasker", "a.css")
    assert before != after
    assert after.startswith("/tasker/tasks/static/a.css?v=")
    with pytest.raises(KeyError):
        Static(directory).link("", "none.css")


async def test_head_has_the_same_header_and_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    answer, head = await client.get("/tasks/static/a.css"), await client.head("/tasks/static/a.css")
    assert head.status_code == 200
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert head.headers[name] == answer.headers[name]
    assert (await client.post("/tasks/static/a.css")).status_code == 405


@pytest.mark.parametrize(
    "name",
    [
        "none.css",
        "secret.py",
        "inner",
        "",
        "%2e%2e/a.css",
        "inner/%2e%2e/a.css",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
    ],
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/tasks/static/{name}")
    assert answer.status_code == 404, name
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_query_that_is_not_ours_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/tasks/static/a.css?w=1")).status_code == 422


async def test_files_are_for_users_alone(site: Any, directory: Path) -> None:
    users = [User("eye", "pw", "readonly"), User("app", "pw", "add")]
    client = await site.of(app_with(site, directory, users=users))
    assert (await client.get("/tasks/static/a.css")).status_code == 401
    assert (await client.get("/tasks/static/a.css", auth=("app", "pw"))).status_code == 403
    assert (await client.get("/tasks/static/a.css", auth=("eye", "pw"))).status_code == 200


async def test_a_tasker_without_any_has_none(site: Any, tmp_path: Path) -> None:
    client = await site.of(app_with(site, tmp_path / "none"))
    assert (await client.get("/tasks/static/a.css")).status_code == 404


async def test_a_page_is_in_nobodys_frame_and_tells_its_own_site_where_it_is(site: Any) -> None:
    async def page(request: Request) -> Response:
        return Html("<p>ü</p>", 201, {"X-Frame-Options": "SAMEORIGIN"})

    app = create_app(site.pusher)
    app._router.routes.append(Route("/page", page))
    answer = await (await site.of(app)).get("/page")
    assert (answer.status_code, answer.text) == (201, "<p>ü</p>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for name, value in {
        "referrer-policy": "same-origin",
        "content-security-policy": PAGE_POLICY,
        "cross-origin-opener-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "x-frame-options": "SAMEORIGIN",
    }.items():
        assert answer.headers.get_list(name) == [value], name
