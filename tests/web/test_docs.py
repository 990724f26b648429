"""docs/api.md says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
from starlette.routing import Route

from taskpusher.fields import READERS
from taskpusher.filters import SUGGESTIONS
from taskpusher.job import State
from taskpusher.stores.base import Query
from taskpusher.web import create_app
from taskpusher.web.problems import STATUSES
from taskpusher.web.requests import FILTERS, STATES

DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def named(word: str) -> bool:
    return re.search(rf"`[^`\n]*(?<![a-z_]){re.escape(word)}(?![a-z_])[^`\n]*`", DOCS) is not None


def test_every_field_filter_and_state_is_described() -> None:
    for word in (*READERS, *FILTERS, *SUGGESTIONS, *STATES, "limit", "cursor", "last_uid"):
        assert named(word), word


def test_every_status_is_described() -> None:
    for status, _ in STATUSES.values():
        assert re.search(rf"^\|[^|]*\b{status}\b", DOCS, re.MULTILINE), status


async def test_every_path_is_described(site: Any) -> None:
    for route in create_app(site.pusher)._router.routes:
        assert isinstance(route, Route)
        if not route.include_in_schema:
            continue  # a page for people
        path = route.path.replace("{name:path}", "{name}")
        move = path.rpartition("/")[2]
        assert named(path) or (path.startswith(("/job/", "/jobs/{state}/")) and named(move)), path


async def test_every_field_that_comes_out_is_described(site: Any, client: httpx.AsyncClient) -> None:
    uid = (await client.post("/add", data={"url": "http://a.example/", "delay": "1h"})).json()["uid"]
    for path in (f"/job/{uid}", "/jobs", "/stats", "/queues"):
        found = (await client.get(path)).json()
        inside = found["store"] if path == "/stats" else found["queues"][0] if path == "/queues" else {}
        for word in (*found, *inside):
            assert named(word), (path, word)
    bulk = await site.pusher.bulk("retry", Query(State.ERROR))
    for word in (await client.get(f"/bulk/{bulk.uid}")).json():
        assert named(word), word
    for word in ("percent", "step", "steps", "class", "truncated", "encoding", "wish", "duplicate", "index"):
        assert named(word), word


async def test_the_examples_are_taken(client: httpx.AsyncClient) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    (pushed,) = [block for block in blocks if '"image"' in block]
    body = re.search(r"-d '(\{.*\})'", pushed, re.DOTALL)
    assert body is not None
    job = (await client.post("/add", json=json.loads(body[1]))).json()
    patched = re.search(r"-X PATCH .* -d '(.*?)'", DOCS)
    assert patched is not None
    assert (await client.patch(f"/job/{job['uid']}", json=json.loads(patched[1]))).status_code == 200
    (batch,) = re.findall(r"<<'JOBS'\n(.*?)JOBS", DOCS, re.DOTALL)
    answer = await client.post("/add", content=batch, headers={"Content-Type": "application/x-ndjson"})
    assert len(answer.json()["uids"]) == 2
