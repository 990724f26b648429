from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from taskpusher.errors import InvalidField
from taskpusher.job import ErrorClass, Job, JobError, State, from_record, to_record
from taskpusher.push import Defaults, changes, copied, new_job
from taskpusher.stores.base import Add

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z
URL = "http://localhost:8000/x"
UID = "01890a5d-ac96-774b-bcce-b302099a8057"
DEFAULTS = Defaults(timeout=60.0, max_attempts=3, success="200-299", max_body=1000)


def push(**fields: object) -> Add:
    return new_job({"url": URL} | fields, DEFAULTS, NOW)


def test_a_url_alone_makes_a_job_with_the_servers_defaults() -> None:
    add = push()
    job = add.job
    assert (job.target, job.host, job.method, job.state) == (URL, "localhost:8000", "GET", State.WAITING)
    assert (job.timeout, job.max_attempts, job.success) == (60.0, 3, "200-299")
    assert (job.created_ms, job.due_ms, job.delayed, job.fingerprint) == (NOW, NOW, False, b"")
    assert add.body == b""


def test_the_short_way_and_the_long_way_make_the_same_job() -> None:
    short, long = push().job, push(title="").job
    assert replace(short, uid="") == replace(long, uid="")


READ: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"method": "put"}, {"method": "PUT"}),
    ({"body": "ü"}, {"method": "POST", "body_size": 2}),
    ({"body": b"\xff"}, {"method": "POST", "body_size": 1}),
    ({"body": "", "method": "POST"}, {"method": "POST", "body_size": 0}),
    ({"body_base64": "/w=="}, {"method": "POST", "body_size": 1}),
    ({"body": "x", "method": "PUT"}, {"method": "PUT"}),
    (
        {"headers": {"X-A": "1", "X-B": ["2", " 3\t"]}},
        {"headers": (("X-A", "1"), ("X-B", "2"), ("X-B", "3"))},
    ),
    ({"headers": []}, {"headers": ()}),
    ({"headers": {"Host": "other.example"}}, {"headers": (("Host", "other.example"),)}),
    ({"headers": {"X-A": "tab\tü日"}}, {"headers": (("X-A", "tab\tü日"),)}),
    ({"queue": "mail"}, {"queue": "mail"}),
    ({"queue": "日" * 200}, {"queue": "日" * 200}),
    ({"priority": 0}, {"priority": 0}),
    ({"priority": "9"}, {"priority": 9}),
    ({"title": "x" * 500}, {"title": "x" * 500}),
    ({"tags": ["a", "b", "a"]}, {"tags": ("a", "b")}),
    ({"tags": "a"}, {"tags": ("a",)}),
    ({"tags": ""}, {"tags": ()}),
    ({"key": "user-5"}, {"key": "user-5"}),
    ({"delay": 10}, {"due_ms": NOW + 10_000, "delayed": True}),
    ({"delay": 0.5}, {"due_ms": NOW + 500}),
    ({"delay": "10m"}, {"due_ms": NOW + 600_000}),
    ({"delay": 0}, {"due_ms": NOW, "delayed": False}),
    ({"delay": timedelta(hours=1)}, {"due_ms": NOW + 3_600_000}),
    ({"due_at": "2027-01-15T08:00:01Z"}, {"due_ms": NOW + 1_000, "delayed": False}),
    ({"due_at": "2027-01-15T09:00:01.2345+01:00"}, {"due_ms": NOW + 1_234}),
    ({"due_at": "2027-01-15t08:00:01.5z"}, {"due_ms": NOW + 1_500}),
    ({"due_at": "2001-01-01T00:00:00Z"}, {"due_ms": NOW}),
    ({"due_at": "0001-01-01T00:00:00+23:59"}, {"due_ms": NOW}),
    (
        {"due_at": datetime(2027, 1, 15, 9, 0, 1, tzinfo=timezone(timedelta(hours=1)))},
        {"due_ms": NOW + 1_000},
    ),
    ({"expires_at": "2027-01-15T08:00:01Z"}, {"expires_ms": NOW + 1_000}),
    ({"max_attempts": 1000}, {"max_attempts": 1000}),
    ({"max_attempts": "5"}, {"max_attempts": 5}),
    ({"timeout": "7d"}, {"timeout": 604_800.0}),
    ({"timeout": 0.25}, {"timeout": 0.25}),
    ({"success": "2xx,404"}, {"success": "2xx,404"}),
    ({"success": 204}, {"success": "204"}),
    ({"once": True}, {"once": True}),
    ({"once": "Yes"}, {"once": True}),
    ({"once": "off"}, {"once": False}),
    ({"once": 0}, {"once": False}),
    ({"uid": UID.upper()}, {"uid": UID}),
    ({"title": None, "due_at": None, "tags": None, "uid": None}, {"title": "", "due_ms": NOW}),
    ({"due_at": None, "delay": 5}, {"due_ms": NOW + 5_000}),
    ({"body": None, "body_base64": "eA=="}, {"body_size": 1}),
]


@pytest.mark.parametrize(("fields", "kept"), READ)
def test_a_field_is_kept_as(fields: dict[str, object], kept: dict[str, object]) -> None:
    job = push(**fields).job
    assert {name: getattr(job, name) for name in kept} == kept
    assert from_record(to_record(job)) == job, "what was taken must be storable"


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"url": None}, "url", "is missing"),
    ({"url": "/x"}, "url", "begin with http://"),
    ({"url": 5}, "url", "must be a string"),
    ({"method": ""}, "method", "like GET or POST"),
    ({"method": "GE T"}, "method", "like GET or POST"),
    ({"method": "GET\r\n"}, "method", "like GET or POST"),
    ({"method": "connect"}, "method", "can't be CONNECT"),
    ({"method": "TRACE"}, "method", "can't be TRACE"),
    ({"method": "X" * 41}, "method", "like GET or POST"),
    ({"method": 5}, "method", "like GET or POST"),
    ({"headers": "X-A: 1"}, "headers", "must be an object"),
    ({"headers": ["X-A"]}, "headers", "must be an object"),
    ({"headers": {"X A": "1"}}, "headers", "no header name"),
    ({"headers": {"": "1"}}, "headers", "no header name"),
    ({"headers": {"X-A\r\nX-B": "1"}}, "headers", "no header name"),
    ({"headers": {"X-Ü": "1"}}, "headers", "no header name"),
    ({"headers": {"X-A": "1\r\nX-B: 2"}}, "headers", "one line"),
    ({"headers": {"X-A": "1\n"}}, "headers", "one line"),
    ({"headers": {"X-A": "\x00"}}, "headers", "one line"),
    ({"headers": {"X-A": "\x7f"}}, "headers", "one line"),
    ({"headers": {"X-A": "\ud800"}}, "headers", "one line"),
    ({"headers": {"X-A": 5}}, "headers", "a string or a list"),
    ({"headers": {"X-A": [5]}}, "headers", "a string or a list"),
    ({"headers": {"X-A": {}}}, "headers", "a string or a list"),
    ({"headers": {"Host": ["a", "b"]}}, "headers", "more than one Host"),
    ({"headers": {"Host": "a", "host": "b"}}, "headers", "more than one Host"),
    ({"headers": {"X-A": "x" * 33_000}}, "headers", "32 KiB"),
    *(
        ({"headers": {name: "1"}}, "headers", f"may not hold {name}")
        for name in (
            "Content-Length",
            "transfer-encoding",
            "CONNECTION",
            "TE",
            "Upgrade",
            "Trailer",
            "Keep-Alive",
            "Proxy-Authorization",
            "proxy-connection",
            "Tasker-Uid",
            "tasker-anything",
            "accept-encoding",
        )
    ),
    ({"body": {"a": 1}}, "body", "content-type: application/json"),
    ({"body": [1]}, "body", "content-type: application/json"),
    ({"body": 5}, "body", "must be a string"),
    ({"body": "\ud800"}, "body", "body_base64"),
    ({"body": "x" * 1001}, "body", "--max-body"),
    ({"body": "x", "body_base64": "eA=="}, "body_base64", "send one of the two"),
    ({"body_base64": "eA"}, "body_base64", "RFC 4648"),
    ({"body_base64": "eA==\n"}, "body_base64", "RFC 4648"),
    ({"body_base64": "-_-_"}, "body_base64", "RFC 4648"),
    ({"body_base64": "ü"}, "body_base64", "RFC 4648"),
    ({"body_base64": 5}, "body_base64", "must be a string"),
    ({"queue": ""}, "queue", "is empty"),
    ({"queue": "x" * 201}, "queue", "at most 200"),
    ({"queue": "a\nb"}, "queue", "control character"),
    ({"queue": "\ud800"}, "queue", "control character"),
    ({"queue": 5}, "queue", "must be a string"),
    ({"priority": 10}, "priority", "from 0 to 9"),
    ({"priority": -1}, "priority", "from 0 to 9"),
    ({"priority": "-1"}, "priority", "from 0 to 9"),
    ({"priority": 5.0}, "priority", "whole number"),
    ({"priority": True}, "priority", "whole number"),
    ({"priority": ""}, "priority", "whole number"),
    ({"priority": "٥"}, "priority", "whole number"),
    ({"priority": 10**400}, "priority", "whole number"),
    ({"priority": float("inf")}, "priority", "whole number"),
    ({"title": "x" * 501}, "title", "at most 500"),
    ({"title": "\x1b[31m"}, "title", "control character"),
    ({"tags": [str(n) for n in range(21)]}, "tags", "at most 20"),
    ({"tags": [""]}, "tags", "is empty"),
    ({"tags": [5]}, "tags", "must be a string"),
    ({"tags": {"a": 1}}, "tags", "must be a string"),
    ({"tags": "x" * 201}, "tags", "at most 200"),
    ({"key": "x" * 201}, "key", "at most 200"),
    ({"key": "\x00"}, "key", "control character"),
    ({"delay": -1}, "delay", "at least 0"),
    ({"delay": "soon"}, "delay", "10m"),
    ({"delay": True}, "delay", "number of seconds"),
    ({"delay": []}, "delay", "number of seconds"),
    ({"delay": float("inf")}, "delay", "at most"),
    ({"delay": float("nan")}, "delay", "at least"),
    ({"delay": 10**400}, "delay", "at most"),
    ({"delay": "3651d"}, "delay", "ten years"),
    ({"delay": 5, "due_at": "2027-01-16T00:00:00Z"}, "delay", "send one of the two"),
    ({"due_at": "2027-01-16T00:00:00"}, "due_at", "zone"),
    ({"due_at": "2027-01-16"}, "due_at", "RFC 3339"),
    ({"due_at": "20270116T000000Z"}, "due_at", "RFC 3339"),
    ({"due_at": "2027-W03-5"}, "due_at", "RFC 3339"),
    ({"due_at": "2027-01-16T00:00Z"}, "due_at", "RFC 3339"),
    ({"due_at": "2027-02-30T00:00:00Z"}, "due_at", "no time there ever was"),
    ({"due_at": "2027-01-16T24:30:00Z"}, "due_at", "no time there ever was"),
    ({"due_at": "2027-01-16T00:00:00+25:00"}, "due_at", "no time there ever was"),
    ({"due_at": "2027-01-16T00:00:00Z\n"}, "due_at", "RFC 3339"),
    ({"due_at": 1800000000}, "due_at", "RFC 3339"),
    ({"due_at": "9999-12-31T23:59:59Z"}, "due_at", "ten years"),
    ({"expires_at": "9999-12-31T23:59:59-00:01"}, "expires_at", "year 9999"),
    (
        {"expires_at": datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-1)))},
        "expires_at",
        "year 9999",
    ),
    ({"due_at": datetime(2027, 1, 16)}, "due_at", "zone"),
    ({"expires_at": "2027-01-15T08:00:00Z"}, "expires_at", "has passed"),
    ({"expires_at": "1969-01-15T08:00:00Z"}, "expires_at", "has passed"),
    ({"expires_at": "2027-01-15T08:01:00Z", "delay": "1h"}, "expires_at", "never run"),
    ({"max_attempts": 0}, "max_attempts", "from 1 to 1000"),
    ({"max_attempts": 1001}, "max_attempts", "from 1 to 1000"),
    ({"max_attempts": True}, "max_attempts", "from 1 to 1000"),
    ({"max_attempts": "five"}, "max_attempts", "from 1 to 1000"),
    ({"timeout": 0}, "timeout", "more than 0"),
    ({"timeout": "8d"}, "timeout", "at most 7d"),
    ({"timeout": -5}, "timeout", "at least 0"),
    ({"success": "ok"}, "success", "200-299"),
    ({"success": "299-200"}, "success", "range"),
    ({"success": True}, "success", "200-299"),
    ({"success": "200," * 100}, "success", "ranges"),
    ({"once": "maybe"}, "once", "true or false"),
    ({"once": "falsehood"}, "once", "true or false"),
    ({"once": 2}, "once", "true or false"),
    ({"once": []}, "once", "true or false"),
    ({"once": float("nan")}, "once", "true or false"),
    ({"uid": "5"}, "uid", "is not a UUID"),
    ({"uid": 5}, "uid", "UUID"),
    ({"colour": "red"}, "colour", "not a field of a job; those are url, method"),
    ({"retries": 3}, "retries", "did you mean max_attempts? It counts the first"),
    ({"max_retries": 3}, "max_retries", "did you mean max_attempts?"),
    ({"run_at": "x"}, "run_at", "did you mean due_at?"),
    ({"eta": "x"}, "eta", "did you mean due_at?"),
    ({"Priority": 1}, "Priority", "did you mean priority?"),
    ({"queu": "x"}, "queu", "did you mean queue?"),
    ({"state": "running"}, "state", "not a field of a job"),
]


@pytest.mark.parametrize(("fields", "field", "way_out"), BAD)
def test_a_bad_field_is_refused_by_name_with_the_way_out(
    fields: dict[str, object], field: str, way_out: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        push(**fields)
    assert caught.value.field == field
    assert way_out in caught.value.detail


def test_a_piece_of_an_unencoded_url_gets_the_hint_to_encode() -> None:
    with pytest.raises(InvalidField, match="--data-urlencode"):
        new_job({"url": "http://app.example/?a=1", "b": "2"}, DEFAULTS, NOW)


def test_json_sent_as_a_form_gets_the_hint_to_say_so() -> None:
    with pytest.raises(InvalidField, match="set Content-Type: application/json"):
        new_job({'{"url": "http://app.example/"}': ""}, DEFAULTS, NOW)


# ---- the fingerprint ----------------------------------------------------------------------------------


def fingerprint(now: int = NOW, **fields: object) -> bytes:
    return new_job({"url": URL, "uid": UID} | fields, DEFAULTS, now).job.fingerprint


def test_the_same_request_has_the_same_fingerprint_whenever_and_however_it_is_sent() -> None:
    first = fingerprint(delay="10m", priority=3, body="x", tags=["a"])
    assert len(first) == 8
    assert fingerprint(NOW + 5_000, tags="a", body_base64="eA==", priority="3", delay=600) == first


@pytest.mark.parametrize(
    "other", [{"url": URL + "y"}, {"body": "x"}, {"delay": 1}, {"headers": {"A": "b"}}, {"key": "k"}]
)
def test_another_request_has_another_fingerprint(other: dict[str, object]) -> None:
    assert fingerprint(**other) != fingerprint()


# ---- changing a job -----------------------------------------------------------------------------------


def job(**fields: Any) -> Job:
    return replace(push(body="x", title="t", delay=60, max_attempts=9).job, **fields)


@pytest.mark.parametrize(
    ("fields", "changed", "body"),
    [
        ({}, {}, None),
        ({"url": "http://b/"}, {"target": "http://b/", "host": "b"}, None),
        ({"body": "yy"}, {"body_size": 2}, b"yy"),
        ({"body_base64": "eA=="}, {"body_size": 1}, b"x"),
        ({"body": None}, {"body_size": 0}, b""),
        ({"delay": 5}, {"due_ms": NOW + 5_000, "delayed": True}, None),
        ({"due_at": "2027-01-16T08:00:00Z"}, {"due_ms": NOW + 86_400_000, "delayed": False}, None),
        ({"due_at": None}, {"due_ms": NOW, "delayed": False}, None),
        ({"delay": None}, {"due_ms": NOW, "delayed": False}, None),
        ({"expires_at": None}, {"expires_ms": 0}, None),
        ({"title": None, "queue": None, "tags": None}, {"title": "", "queue": "default", "tags": ()}, None),
        ({"max_attempts": None, "timeout": None}, {"max_attempts": 3, "timeout": 60.0}, None),
        ({"headers": None, "method": "put"}, {"headers": (), "method": "PUT"}, None),
        ({"method": None}, {"method": "POST"}, None),
        ({"method": None, "body": None}, {"method": "GET", "body_size": 0}, b""),
    ],
)
def test_changes_are_of_the_given_fields_alone(
    fields: dict[str, object], changed: dict[str, object], body: bytes | None
) -> None:
    found, new_body = changes(job(), fields, DEFAULTS, NOW)
    assert (found, new_body) == (changed, body)
    assert from_record(to_record(replace(job(), **found)))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"uid": UID}, "uid"),
        ({"key": "k"}, "key"),
        ({"key": None}, "key"),
        ({"url": None}, "url"),
        ({"priority": 99}, "priority"),
        ({"state": "paused"}, "state"),
        ({"expires_at": "2027-01-15T08:00:30Z"}, "expires_at"),
        ({"body": "x", "body_base64": "eA=="}, "body_base64"),
    ],
)
def test_what_can_not_be_changed_is_refused_by_name(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        changes(job(), fields, DEFAULTS, NOW)
    assert caught.value.field == field


def test_a_due_date_past_the_expiry_that_stands_is_refused() -> None:
    expiring = job(expires_ms=NOW + 120_000)
    with pytest.raises(InvalidField, match="never run"):
        changes(expiring, {"delay": 180}, DEFAULTS, NOW)


def test_a_copy_is_the_same_request_without_its_past() -> None:
    old = job(
        state=State.ERROR,
        uid=UID,
        key="k",
        fingerprint=b"12345678",
        attempt=3,
        failures=3,
        run=2,
        status=500,
        expires_ms=NOW + 1,
        error=JobError(ErrorClass.ANSWERED, "no"),
        finished_ms=NOW,
        extra={"a": 1},
        tags=("a",),
    )
    add = copied(old, b"x", NOW + 5)
    assert add.body == b"x"
    assert add.job == Job(
        uid=add.job.uid,
        target=URL,
        host="localhost:8000",
        method="POST",
        body_size=1,
        success="200-299",
        timeout=60.0,
        max_attempts=9,
        title="t",
        tags=("a",),
        extra={"a": 1},
        created_ms=NOW + 5,
        due_ms=NOW + 5,
    )
    assert add.job.uid != UID


def test_every_field_of_a_job_is_copied_or_left_behind_on_purpose() -> None:
    told = {"uid", "state", "seq", "due_ms", "delayed", "expires_ms", "blocked_by", "key", "fingerprint"}
    told |= {"created_ms", "started_ms", "finished_ms", "duration", "attempt", "failures", "crashes", "run"}
    told |= {"status", "error", "progress", "claim", "owner", "lease_until", "wish", "revision"}
    told |= {"era", "trace"}  # who copies a job is not who pushed it
    marked = {
        info.name: _other(getattr(job(), info.name))
        for info in msgspec.structs.fields(Job)
        if info.name not in told
    }
    copy = copied(replace(job(), **marked), b"", NOW).job
    assert {name: getattr(copy, name) for name in marked} == marked


def _other(value: Any) -> Any:
    kinds = {str: "other", int: 7, float: 7.5, bool: True, tuple: ("other",), dict: {"other": 1}}
    return kinds[type(value)]


def test_a_moment_of_python_is_a_moment() -> None:
    due = datetime(2027, 1, 16, tzinfo=UTC)
    assert push(due_at=due).job.due_ms == round(due.timestamp() * 1000)
