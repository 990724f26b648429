"""`/openapi.json` says what the API is: every path, every method, every field, and nothing else."""

import re
from typing import Any

import httpx
import pytest
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import validate

from taskpusher.fields import READERS, Line, Whole
from taskpusher.job import ErrorClass, Result
from taskpusher.push import Defaults, new_job
from taskpusher.runners.base import Failure
from taskpusher.web import User, create_app
from taskpusher.web.openapi import document
from taskpusher.web.problems import STATUSES
from taskpusher.web.schemas import PUSH_FIELDS, SCHEMAS

NOW = 1_800_000_000_000
PUSH = ("components", "schemas", "Push")


def places(found: Any, name: str) -> Any:
    """Every value of that name, wherever in the document."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key == name:
                yield found, value
            yield from places(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from places(value, name)


async def test_the_document_is_openapi_3_1_and_says_where_it_is_served(site: Any) -> None:
    client = await site.client(root_path="/tasker")
    answer = await client.get("/tasker/openapi.json")
    assert answer.status_code == 200
    found = answer.json()
    assert found["openapi"].startswith("3.1.")
    assert found["servers"] == [{"url": "/tasker"}]
    validate(found)


async def test_it_is_for_users_alone(site: Any) -> None:
    users = [User("eye", "secret", "readonly"), User("push", "secret", "add")]
    client = await site.client(users=users)
    assert (await client.get("/openapi.json")).status_code == 401
    assert (await client.get("/openapi.json", auth=("push", "secret"))).status_code == 403
    assert (await client.get("/openapi.json", auth=("eye", "secret"))).status_code == 200


async def test_every_path_and_method_is_described_and_nothing_else(site: Any) -> None:
    client = await site.client()
    routes = [route for route in create_app(site.pusher)._router.routes if route.include_in_schema]
    paths = [route.path.replace(":path}", "}") for route in routes]  # pages are no API
    described = document()["paths"]
    assert sorted(described) == sorted([*paths, "/add"])
    for path, item in described.items():
        asked = re.sub(r"\{\w+\}", "waiting", path)
        refused = await client.request("OPTIONS", asked)
        assert refused.status_code == 405, path
        allowed = refused.headers["allow"].lower().split(", ")
        assert sorted(item) == sorted(allowed), path


def test_operations_have_names_of_their_own() -> None:
    names = [name for _, name in places(document()["paths"], "operationId")]
    assert len(names) == len(set(names)) > 30


def test_every_field_of_a_push_is_described_with_its_limits() -> None:
    described = document()["components"]["schemas"]["Push"]["properties"]
    assert list(described) == list(READERS)
    for name, reader in READERS.items():
        if isinstance(reader, Line):
            assert described[name]["maxLength"] == reader.longest
            assert described[name].get("minLength", 0) == (0 if reader.empty else 1)
        if isinstance(reader, Whole):
            assert (described[name]["minimum"], described[name]["maximum"]) == (reader.least, reader.most)
        assert described[name]["description"]


def values(name: str) -> list[Any]:
    """Values on both sides of every limit that the schema of a field names, and some that are no values."""
    found: list[Any] = ["", "x", 0, -1, 3.5, True, [], {}, ["a"], {"A": "b"}, {"A": ["b", "c"]}, {"A": 1}]
    found += [
        "a\nb",
        {"A": "a\nb"},
        ["a\nb"],
        ["x" * 201],
        [str(n) for n in range(20)],
        [str(n) for n in range(21)],
    ]
    found += ["200", "2xx", "200, 204-299", "100", "2x", "30s", "1.5 h", "7d", "8d", "1 week", 200, 199, 999]
    found += [
        {"A B": "c"},
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00",
        "http://a.example/",
        "ftp://a/",
        "==",
    ]
    found += ["01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4", "CONNECT", "GET", "G T", "x" * 40, "x" * 41, "QQ=="]
    for limit in ("maxLength", "minimum", "maximum", "exclusiveMinimum"):
        for _, edge in places(PUSH_FIELDS[name], limit):
            near = (edge - 1, edge, edge + 1)
            found += ["x" * int(one) for one in near if one >= 0] if limit == "maxLength" else list(near)
            if limit == "maxLength":
                found += [f"http://a.example/{'x' * int(one - 17)}" for one in near if one > 17]
    return found


# Text of which the schema does not say all: formats, lists of what is refused, the size of written durations.
FINER = {"url", "method", "body_base64", "delay", "due_at", "expires_at", "timeout", "uid"}
# What forms bring for other kinds of values, or PHP for an empty object; described in words.
LOOSER = {"priority": str, "max_attempts": str, "once": str | int, "tags": str, "headers": list}


@pytest.mark.parametrize("name", READERS)
def test_what_is_described_as_a_field_is_taken_and_what_is_not_is_refused(
    name: str, description: Any
) -> None:
    """Text for numbers and truth values, as forms bring it, is described in words."""
    for value in values(name):
        fields = {"url": "http://a.example/"} | {name: value}
        try:
            description.check(fields, *PUSH)
            described = True
        except ValidationError:
            described = False
        try:
            new_job(fields, Defaults(), NOW)
            taken = True
        except ValueError:
            taken = False
        if described and not taken:
            assert name in FINER, value
            assert isinstance(value, str), value
        if taken and not described:
            assert name in LOOSER, value
            assert isinstance(value, LOOSER[name]), value


async def test_every_field_of_a_job_is_described(
    site: Any, client: httpx.AsyncClient, eventually: Any, description: Any
) -> None:
    site.finish(Failure(ErrorClass.ANSWERED, "answered 404", Result(404, (("A", "1"),), b"\xff", True)))
    push = {"url": "http://a.example/", "title": "t", "key": "k", "tags": ["a"], "body_base64": "/w=="}
    uid = (await client.post("/add", json=push)).json()["uid"]

    async def ended() -> Any:
        job = (await client.get(f"/job/{uid}")).json()
        return job if job["state"] == "error" else None

    job = await eventually(ended)
    described = SCHEMAS["Job"]["properties"]
    assert set(described) - set(job) == {"wish"}
    assert set(job) <= set(described)
    listed = (await client.get("/jobs")).json()["jobs"][0]
    assert set(SCHEMAS["Listed"]["properties"]) - set(listed) == {"wish"}
    with pytest.raises(ValidationError):
        description.check(job | {"colour": 1}, "components", "schemas", "Job")


def test_every_status_of_a_refusal_is_described_somewhere() -> None:
    described = {status for _, found in places(document()["paths"], "responses") for status in found}
    assert {str(status) for status, _ in STATUSES.values()} <= described


def test_examples_are_as_their_schemas_say(description: Any) -> None:
    checked = 0
    for name, schema in SCHEMAS.items():
        for example in schema.get("examples", ()):
            description.check(example, "components", "schemas", name)
            checked += 1
    for path, item in document()["paths"].items():
        for media, content in item.get("post", {}).get("requestBody", {}).get("content", {}).items():
            for example in content.get("examples", {}).values():
                place = ("paths", path, "post", "requestBody", "content", media, "schema")
                description.check(example["value"], *place)
                checked += 1
    assert checked > 8


async def test_examples_are_taken(client: httpx.AsyncClient) -> None:
    content = document()["paths"]["/add"]["post"]["requestBody"]["content"]
    for media, described in content.items():
        for example in described.get("examples", {}).values():
            sent = (
                {"json": example["value"]} if media == "application/json" else {"content": example["value"]}
            )
            answer = await client.post("/add", headers={"Content-Type": media}, **sent)
            assert answer.status_code == 201, answer.text
    for push in SCHEMAS["Push"]["examples"]:
        assert (await client.post("/add", json=push)).status_code == 201
    (change,), (rule,), (choice,) = (SCHEMAS[name]["examples"] for name in ("Change", "Rule", "Choice"))
    uid = (await client.post("/add", data={"url": "http://a.example/", "delay": "1h"})).json()["uid"]
    assert (await client.patch(f"/job/{uid}", json=change)).status_code == 200
    assert (await client.put("/queues/q", json=rule)).status_code == 200
    assert (await client.post("/jobs/waiting/cancel", json=choice)).status_code == 200
