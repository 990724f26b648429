"""What bad input gets: its own 4xx problem, which names the field and the way out, and nothing is stored."""

import json
from random import Random
from typing import Any

import httpx
import pytest

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
NDJSON = "application/x-ndjson"
URL = "http://app.example/"
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
DEEP = 12_000

# content type, body, status, field, words of the way out
PUSHES: list[tuple[str | None, bytes, int, str | None, str]] = [
    (FORM, b"", 422, "url", "send the URL to call"),
    (None, b"", 422, "url", "send the URL to call"),
    (JSON, b"{}", 422, "url", "send the URL to call"),
    (FORM, b"title=x", 422, "url", "send the URL to call"),
    (FORM, b"url=/work", 422, "url", "https://app.example/work"),
    (FORM, b"url=ftp://app.example/", 422, "url", "http://"),
    (FORM, b"url=", 422, "url", "http://"),
    (FORM, b"url=http://a.example/a%20b", 422, "url", "%20"),
    (FORM, b"url=http://a.example/" + b"x" * 8192, 422, "url", "body"),
    (FORM, b"url=http://a.example/&url=http://b.example/", 422, "url", "send it once"),
    (FORM, b"url=http://a.example/&colour=red", 422, "colour", "those are url"),
    (FORM, b"url=http://a.example/?a=1&b=2", 422, "b", "curl --data-urlencode"),
    (FORM, b'{"url": "http://a.example/"}', 422, None, "set Content-Type: application/json"),
    (FORM, b'{"url": "http://a.example/?a=1&b=2"}', 422, None, "set Content-Type: application/json"),
    (FORM, b'[{"url": "http://a.example/"}]', 422, None, "set Content-Type: application/json"),
    (FORM, b"url=http://a.example/&title=%ff", 422, "title", "body_base64"),
    (FORM, b"url=http://a.example/&title=\xff", 422, "title", "body_base64"),
    (FORM, b"a=1&" * 2000, 413, None, "1000 fields"),
    (FORM, b"url=http://a.example/&headers=x&headers[A]=1", 422, "headers", "headers[NAME]=value"),
    (FORM, b"url=http://a.example/&headers[A]=1%0d%0aB:+2", 422, "headers", "one line"),
    (FORM, b"url=http://a.example/&headers[A%0d]=1", 422, "headers", "RFC 9110"),
    (FORM, b"url=http://a.example/&headers[Content-Length]=1", 422, "headers", "leave it out"),
    (FORM, b"url=http://a.example/&headers[]=1", 422, "headers", "RFC 9110"),
    (FORM, b"url=http://a.example/&priority=10", 422, "priority", "from 0 to 9"),
    (FORM, b"url=http://a.example/&max_attempts=0", 422, "max_attempts", "from 1 to 1000"),
    (FORM, b"url=http://a.example/&max_attempts=" + b"9" * 5000, 422, "max_attempts", "from 1 to 1000"),
    (FORM, b"url=http://a.example/&timeout=8d", 422, "timeout", "at most 7d"),
    (FORM, b"url=http://a.example/&delay=" + b"9" * 5000, 422, "delay", ""),
    (FORM, b"url=http://a.example/&uid=5", 422, "uid", "like 0189"),
    (FORM, b"url=http://a.example/&due_at=2030-01-01T00:00:00", 422, "due_at", "zone"),
    (JSON, b"", 400, "body", "valid JSON"),
    (JSON, b"{", 400, "body", "valid JSON"),
    (JSON, b'{"url": "http://a.example/"} x', 400, "body", "valid JSON"),
    (JSON, b'{"url": NaN}', 400, "body", "valid JSON"),
    (JSON, b'{"delay": -Infinity, "priority": 1e999}', 400, "body", "valid JSON"),
    (JSON, b'{"url": "\xff"}', 400, "body", "not UTF-8"),
    (JSON, b'{"url": "\\ud800"}', 400, "body", "valid JSON"),
    (JSON, b'{"url": "\\udc00"}', 400, "body", "valid JSON"),
    (JSON, b'{"priority": 1e999, "url": "http://a.example/\\ud800"}', 422, "priority", "from 0 to 9"),
    (JSON, b'{"title": 1e999, "title": "\\ud800"}', 422, "title", "control character"),
    (JSON, b'{"title": 1e999, "title": null, "\\ud800": 1}', 422, "?", "not a field"),
    (JSON, b"[" * DEEP, 400, "body", "nested too deeply"),
    (JSON, b'{"url":' * DEEP, 400, "body", "nested too deeply"),
    (
        JSON,
        b'{"priority": 1e999, "url":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        400,
        "body",
        "nested too deeply",
    ),
    (JSON, b'{"url":' + b"[" * 500 + b"]" * 500 + b"}", 422, "url", "must be a string"),
    (JSON, b"5", 422, "body", "JSON object"),
    (JSON, b'"http://a.example/"', 422, "body", "JSON object"),
    (JSON, b'{"url": "http://a.example/", "delay": 1e999}', 422, "delay", "at most"),
    (JSON, b'{"url": "http://a.example/", "priority": 1e999}', 422, "priority", "from 0 to 9"),
    (JSON, b'{"url": "http://a.example/", "priority": ' + b"9" * 50 + b"}", 422, "priority", "from 0 to 9"),
    (JSON, b'{"url": "http://a.example/", "priority": ' + b"9" * 5000 + b"}", 422, "priority", "from 0 to 9"),
    (JSON, b'{"url": "http://a.example/", "max_attempts": true}', 422, "max_attempts", "whole number"),
    (JSON, b'{"url": "http://a.example/", "body": {"a": 1}}', 422, "body", "content-type: application/json"),
    (JSON, b'{"url": "http://a.example/", "headers": {"A": "\\r\\n"}}', 422, "headers", "one line"),
    (JSON, b"[]", 422, "body", "one at least"),
    (JSON, b"[5]", 422, "body", "JSON object"),
    (NDJSON, b"\n \n", 422, "body", "one at least"),
    (NDJSON, b"", 422, "body", "one at least"),
    (NDJSON, b"[]\n", 422, "body", "JSON object"),
    (NDJSON, b"{}\n" * 10_001, 413, "body", "at most 10000"),
    (JSON, b"[" + b"{}," * 10_000 + b"{}]", 413, "body", "at most 10000"),
    (JSON, b'{"url": "' + b"x" * 100_000 + b'"}', 413, "body", "--max-body"),
    ("text/plain", b"x", 415, "Content-Type", JSON),
    ("text/xml; charset=utf-8", b"<x/>", 415, "Content-Type", NDJSON),
    (None, b"url=http://a.example/", 415, "Content-Type", FORM),
    (f"{JSON}; charset=latin-1", b"{}", 415, "Content-Type", "utf-8"),
    (f"{FORM}; charset=utf-16", b"url=x", 415, "Content-Type", "utf-8"),
    ("multipart/form-data", b"x", 400, "body", "boundary"),
    ("multipart/form-data; boundary=", b"x", 400, "body", "boundary"),
    ("multipart/form-data; boundary=" + "x" * 1000, b"x", 400, "body", "oundary"),
    ("multipart/form-data; boundary=b", b"x", 400, "body", "multipart"),
    ("multipart/form-data; boundary=b", b"--b\r\n", 400, "body", "cut short"),
    ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400, "body", "no name"),
]


@pytest.mark.parametrize(("kind", "body", "status", "field", "way_out"), PUSHES)
async def test_a_bad_push_gets_a_problem_with_the_way_out(
    site: Any,
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    kind: str | None,
    body: bytes,
    status: int,
    field: str,
    way_out: str,
) -> None:
    answer = await client.post("/add", content=body, headers={"Content-Type": kind} if kind else {})
    check(answer, status, way_out)
    if field:
        assert answer.json()["field"] == field
    assert await site.number() == 0
    assert not [record for record in caplog.records if record.name != "httpx"], (
        "bad input is no news for the log"
    )


def check(answer: httpx.Response, status: int, way_out: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert way_out in problem["detail"], problem["detail"]
    assert len(problem["detail"]) < 700, "what came in is not sent back whole"


@pytest.mark.parametrize(
    ("parts", "status", "field"),
    [
        ({"url": (None, URL), "title": ("x.txt", b"x")}, 422, "title"),
        ({"url": (None, URL), "title": (None, b"\xff")}, 422, "title"),
        ({"title": (None, "x")}, 422, "url"),
        ({"url": (None, URL), "file": ("x", b"x")}, 422, "file"),
    ],
)
async def test_a_bad_part_of_a_multipart_form_is_named(
    site: Any, client: httpx.AsyncClient, parts: Any, status: int, field: str
) -> None:
    answer = await client.post("/add", files=parts)
    check(answer, status, "")
    assert answer.json()["field"] == field
    assert await site.number() == 0


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Content-Length", "100001", 413),
        ("Content-Length", "9" * 30, 413),
        ("Content-Length", "x", 400),
        ("Content-Length", "-1", 400),
        ("Content-Encoding", "gzip", 415),
        ("Transfer-Encoding", "gzip, chunked", 415),
    ],
)
async def test_a_body_that_can_not_be_taken_is_refused_before_it_is_read(
    client: httpx.AsyncClient, name: str, value: str, status: int
) -> None:
    answer = await client.post("/add", content=b"url=x", headers={"Content-Type": FORM, name: value})
    check(answer, status, "")
    assert answer.json()["field"] == ("body" if status == 413 else name)


@pytest.mark.parametrize(
    ("method", "path", "status", "field", "way_out"),
    [
        ("POST", "/add?url=http://a.example/", 422, "url", "in the body"),
        ("GET", "/add", 405, None, "POST"),
        ("PUT", "/add", 405, None, "POST"),
        ("GET", f"/job/{UNKNOWN}", 404, "uid", "removed or pruned"),
        ("GET", f"/job/{UNKNOWN}/result", 404, "uid", "removed or pruned"),
        ("DELETE", f"/job/{UNKNOWN}", 404, "uid", "removed or pruned"),
        ("PATCH", f"/job/{UNKNOWN}", 404, "uid", "removed or pruned"),
        *(
            ("POST", f"/job/{UNKNOWN}/{move}", 404, "uid", "removed or pruned")
            for move in ("cancel", "pause", "resume", "retry", "run", "duplicate")
        ),
        ("GET", "/job/x", 422, "uid", "UUID"),
        ("GET", "/job/x/result", 422, "uid", "UUID"),
        ("POST", "/job/x/cancel", 422, "uid", "UUID"),
        ("POST", f"/job/{UNKNOWN}/explode", 404, None, "there is"),
        ("GET", f"/job/{UNKNOWN}/cancel", 405, None, "POST"),
        ("POST", f"/job/{UNKNOWN}", 405, None, "DELETE, GET, HEAD, PATCH"),
        ("GET", f"/job/{UNKNOWN}?x=1", 422, "x", "none here"),
        ("GET", "/", 404, None, "/add"),
        ("GET", "/add/", 404, None, "/add"),
        ("GET", "//jobs", 404, None, "/jobs"),
        ("GET", "/jobs/finished", 404, "state", "completed"),
        ("POST", "/jobs/waiting", 405, None, "GET"),
        ("GET", "/jobs/waiting?limit=0", 422, "limit", "from 1 to 100"),
        ("GET", "/jobs/waiting?limit=101", 422, "limit", "from 1 to 100"),
        ("GET", "/jobs/waiting?limit=x", 422, "limit", "from 1 to 100"),
        ("GET", "/jobs/waiting?page=2", 422, "page", "last_uid, limit"),
        ("GET", "/jobs/waiting?queue=a&queue=b", 422, "queue", "once"),
        ("GET", "/jobs/waiting?cursor=zz", 422, "cursor", "`next`"),
        ("GET", "/jobs/waiting?cursor=", 422, "cursor", "`next`"),
        ("GET", f"/jobs/waiting?cursor={'00' * 1000}", 422, "cursor", "`next`"),
        ("GET", f"/jobs/waiting?cursor=00&last_uid={UNKNOWN}", 422, "last_uid", "`next`"),
        ("GET", f"/jobs/waiting?last_uid={UNKNOWN}", 410, "last_uid", "`next`"),
        ("GET", "/jobs/waiting?last_uid=x", 422, "last_uid", "UUID"),
        ("PUT", "/queues/" + "x" * 201, 422, "queue", "200"),
        ("PUT", "/queues/", 422, "queue", "empty"),
        ("PUT", "/queues/a%00b", 422, "queue", "control"),
        ("GET", "/queues/a", 405, None, "PUT"),
        ("BREW", "/jobs", 405, None, "GET"),
    ],
)
async def test_a_bad_request_gets_a_problem_with_the_way_out(
    client: httpx.AsyncClient, method: str, path: str, status: int, field: str | None, way_out: str
) -> None:
    answer = await client.request(method, path)
    check(answer, status, way_out)
    assert answer.json().get("field") == field
    assert (status == 405) is ("allow" in answer.headers)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"paused": "maybe"}, "paused"),
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": 100_001}, "concurrency"),
        ({"concurrency": 2.5}, "concurrency"),
        ({"concurrency": []}, "concurrency"),
        ({"limit": 5}, "limit"),
    ],
)
async def test_a_bad_rule_for_a_queue_is_refused(client: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await client.put("/queues/mail", json=body)
    check(answer, 422, "")
    assert answer.json()["field"] == field


async def test_fields_where_none_are_taken_are_refused(site: Any, client: httpx.AsyncClient) -> None:
    uid = (await client.post("/add", data={"url": URL, "delay": "1h"})).json()["uid"]
    answer = await client.post(f"/job/{uid}/run", json={"delay": 5})
    check(answer, 422, "needs no fields")
    for nothing in (
        {"json": {}},
        {"data": {}},
        {"content": b""},
        {"content": b"", "headers": {"Content-Type": FORM}},
    ):
        assert (await client.post(f"/job/{uid}/run", **nothing)).status_code == 200  # type: ignore[arg-type]


async def test_no_odd_bytes_get_a_5xx(site: Any, client: httpx.AsyncClient) -> None:
    random = Random(5)
    seeds = [body for _, body, *_ in PUSHES if len(body) < 500]
    kinds = [
        FORM,
        JSON,
        NDJSON,
        "multipart/form-data; boundary=b",
        "",
        "x",
        f"{JSON}; charset=\xff",
        ";",
        "a;b=;=",
    ]
    for _ in range(1_500):
        body = bytearray(random.choice(seeds) * random.randint(1, 3))
        for _ in range(random.randint(0, 6)):
            place = random.randrange(len(body) + 1)
            body[place:place] = random.choice(
                [bytes([random.randrange(256)]), b"%00", b"\\u0000", b"[", b'"', b"&="]
            )
        kind = random.choice(kinds).encode("latin-1")
        answer = await client.post("/add", content=bytes(body), headers={b"Content-Type": kind})
        assert answer.status_code < 500, (kind, bytes(body))


async def test_no_odd_value_of_any_field_gets_a_5xx(site: Any, client: httpx.AsyncClient) -> None:
    from taskpusher.fields import READERS

    random = Random(7)
    atoms: list[Any] = [
        None,
        True,
        0,
        -1,
        10**30,
        1.5,
        "",
        "x",
        "\x00",
        "٣",
        "é" * 300,
        "1e5",
        "-",
        [],
        {},
        [[]],
    ]
    atoms += [{"a": None}, ["x", 5], {"Host": ["a"]}, "9" * 400, "2030-01-01T00:00:00Z", "http://[", UNKNOWN]
    for _ in range(1_500):
        fields = {name: random.choice(atoms) for name in random.sample(list(READERS), random.randint(1, 5))}
        content = json.dumps({"url": URL} | fields).encode()
        answer = await client.post("/add", content=content, headers={"Content-Type": JSON})
        assert answer.status_code in (200, 201, 409, 422), (fields, answer.text)
        if answer.status_code == 201:
            assert (await client.get(f"/job/{answer.json()['uid']}")).status_code == 200


async def test_no_odd_path_or_query_gets_a_5xx(client: httpx.AsyncClient) -> None:
    random = Random(9)
    pieces = [
        "job",
        "jobs",
        UNKNOWN,
        "waiting",
        "queues",
        "..",
        "%2e",
        "%00",
        "%ff",
        "%2F",
        "",
        "é",
        "result",
        "add",
    ]
    names = ["queue", "kind", "host", "tag", "url", "limit", "cursor", "last_uid", "x", "%00", "%ff"]
    values = ["", "5", "00", "%00", "%ff", "é", UNKNOWN, "a" * 600, "ffffffffffffffffffffffffffffffff"]
    for _ in range(1_000):
        path = "/" + "/".join(random.choices(pieces, k=random.randint(1, 4)))
        query = "&".join(
            f"{random.choice(names)}={random.choice(values)}" for _ in range(random.randint(0, 2))
        )
        method = random.choice(["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        answer = await client.request(method, f"{path}?{query}" if query else path)
        assert answer.status_code < 500, (method, path, query)
