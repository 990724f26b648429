"""What every page has, and refusals as pages."""

import logging
import re
import subprocess
import sys
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from taskpusher.errors import StoreBroken
from taskpusher.web import create_app

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
PAGES = ("", "/jobs", "/jobs/waiting", "/jobs/errors", "/errors", "/queues", "/hosts", "/system")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_safe_and_says_where_one_is(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(f"/tasks{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.count('aria-current="page"') >= 1
    assert " style=" not in answer.text and "<script>" not in answer.text
    assert "no password is asked for" in answer.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_field_that_no_query_has_is_refused(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(f"/tasks{path}?colour=red")
    assert (answer.status_code, "colour is not a field" in answer.text) == (422, True)


async def test_a_refusal_is_a_page_for_browsers_and_json_for_others(browser: httpx.AsyncClient) -> None:
    page = await browser.get(f"/tasks/{UID}")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "No such job" in page.text and UID in page.text
    for accept in ("application/json", "*/*", ""):
        problem = await browser.get(f"/tasks/{UID}", headers={"Accept": accept})
        assert (problem.status_code, problem.json()["field"]) == (404, "uid")
    bad = await browser.get("/tasks/x%3Cscript%3E")
    assert bad.status_code == 422
    assert "<script>" not in bad.text


async def test_another_method_is_refused_with_those_there_are(browser: httpx.AsyncClient) -> None:
    for path, allowed in (("", "GET, HEAD"), ("/act", "POST"), ("/queues", "GET, HEAD, POST")):
        answer = await browser.put(f"/tasks{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_an_error_nobody_foresaw_is_a_page_that_tells_nothing_of_the_inside(
    site: Any, browser: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> Any:
        raise RuntimeError("inside")

    site.pusher.stats = fail
    with caplog.at_level(logging.ERROR, "taskpusher"):
        answer = await browser.get("/tasks")
    assert answer.status_code == 500
    assert "inside" not in answer.text and "log says more" in answer.text
    assert len([one for one in caplog.records if one.exc_info]) == 1


async def test_when_the_disk_has_failed_nothing_is_answered(site: Any, browser: httpx.AsyncClient) -> None:
    async def fail() -> Any:
        raise StoreBroken("EIO")

    site.pusher.stats = fail
    with pytest.raises(StoreBroken):
        await browser.get("/tasks")


async def test_who_only_looks_is_told_so_and_gets_no_forms(site: Any, browse: Any) -> None:
    job = await site.pusher.push("http://a.example/", delay="1h")
    client = await browse("eye")
    for path in (*PAGES, f"/{job.uid}"):
        text = (await client.get(f"/tasks{path}")).text
        assert "signed in as eye, who only looks" in text
        assert 'method="post"' not in text and "/tasks/new" not in text, path
    for path in ("new", f"{job.uid}/edit"):
        refused = await client.get(f"/tasks/{path}")
        assert (refused.status_code, "only look" in refused.text) == (403, True)
    assert "signed in as boss<" in (await (await browse("boss")).get("/tasks")).text
    assert (await (await browse("app")).get("/tasks")).status_code == 403


async def test_names_are_escaped_everywhere(site: Any, browser: httpx.AsyncClient) -> None:
    evil = '"><img src=x onerror=alert(1)>{{ 7*7 }}'
    job = await site.pusher.push(
        "http://a.example/",
        delay="1h",
        title=evil,
        queue=evil,
        tags=[evil],
        key=evil,
        headers={"X": evil},
        body=evil,
    )
    paths = [*PAGES, f"/{job.uid}", f"/{job.uid}/edit", f"/new?from={job.uid}", "/jobs?q=%22%3E%3Cimg%3E"]
    for path in paths:
        text = (await browser.get(f"/tasks{path}")).text
        assert "<img" not in text and "49" not in text.split("onerror", 1)[-1][:40], path


@pytest.mark.parametrize("root", ["/tasker", "/a b/ü"])
@pytest.mark.parametrize("stripped", [True, False])
async def test_behind_a_proxy_all_links_carry_the_prefix(
    site: Any, browse: Any, root: str, stripped: bool
) -> None:

    client = await browse(root_path=root)
    job = await site.pusher.push("http://a.example/", delay="1h")
    await check_links(client, quote(root), "" if stripped else quote(root), job.uid)


async def test_mounted_in_another_app_all_links_carry_the_place(site: Any) -> None:
    outer = Starlette(routes=[Mount("/bg", create_app(site.pusher, hosts=None))])
    client = await site.of(outer, "stranger.example")
    client.headers["Accept"] = "text/html"
    job = await site.pusher.push("http://a.example/", delay="1h")
    await check_links(client, "/bg", "/bg", job.uid)


async def check_links(client: httpx.AsyncClient, prefix: str, front: str, uid: str) -> None:
    for path in (*PAGES, f"/{uid}", "/new", f"/{uid}/edit", "/jobs/gone"):
        text = (await client.get(f"{front}/tasks{path}")).text
        links = re.findall(r'(?:href|src|action)="([^"#][^"]*)"', text)
        assert len(links) > 10
        assert all(link.startswith(f"{prefix}/") for link in links), path
        assert f'data-prefix="{prefix}"' in text
    asset = re.findall(r'src="([^"]+tasker\.js[^"]*)"', text)[0]
    assert (await client.get(front + asset.removeprefix(prefix))).status_code == 200
    moved = await client.post(f"{front}/tasks/{uid}/pause")
    assert (moved.status_code, moved.headers["location"]) == (303, f"{prefix}/tasks/{uid}")
    gone = await client.post(f"{front}/tasks/{uid}/duplicate", headers={"Accept": "application/json"})
    assert gone.json()["to"].startswith(f"{prefix}/tasks/")


async def test_a_page_of_another_site_can_do_nothing(browser: httpx.AsyncClient) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = await browser.post("/tasks/queues", data={"queue": "a", "paused": "1"}, headers=headers)
        assert answer.status_code == 403


def test_the_pages_are_loaded_with_the_first_one() -> None:
    """Templates take time and memory that a tasker whose pages nobody opens can do without."""
    script = "import sys, taskpusher.web; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"
