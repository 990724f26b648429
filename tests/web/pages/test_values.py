"""A job as a form has it, and what comes back."""

from typing import Any

import pytest

from taskpusher.errors import InvalidField
from taskpusher.job import Job
from taskpusher.push import Defaults, changes, new_job
from taskpusher.stores.base import Details
from taskpusher.testing import NOW, a_job
from taskpusher.web.pages.values import changed, pushed, text_of, values_of

FULL: dict[str, Any] = {
    "target": "http://app.example/x?a=1",
    "method": "PUT",
    "headers": (("X-A", "1"), ("X-B", ""), ("x-a", "2\u2028"), ("X-A", "3")),
    "queue": "mail",
    "priority": 0,
    "title": "a title",
    "tags": ("one", "two, three", 'a "b"'),
    "key": "k",
    "expires_ms": NOW - 5,
    "timeout": 0.1234567,
    "max_attempts": 3,
    "success": "2xx",
    "once": True,
}


def of(body: bytes = b"", **fields: Any) -> Details:
    return Details(a_job(**({"due_ms": NOW - 10} | fields)), body, None, [])


def sent_by_a_browser(values: dict[str, str]) -> dict[str, str]:
    """Every field of the form, with the ends of lines that browsers make."""
    names = [
        "url",
        "method",
        "queue",
        "priority",
        "headers",
        "body",
        "title",
        "tags",
        "delay",
        "due_at",
        "expires_at",
        "max_attempts",
    ]
    form = {name: values.get(name, "") for name in (*names, "timeout", "success")}
    form |= {"once": "yes"} if values.get("once") else {}
    return {name: value.replace("\n", "\r\n") for name, value in form.items()}


@pytest.mark.parametrize("body", [b"", b"a\nb\n", "né".encode(), b"\xff", b"a\r\nb", b"a\0b", b"\n\nx"])
def test_a_form_that_is_sent_as_it_came_changes_nothing(body: bytes) -> None:
    for details in (of(body, **FULL), of(body)):
        values = values_of(details)
        assert changed(sent_by_a_browser(values), values) == {}


def test_only_what_was_touched_is_changed() -> None:
    details = of(b"a\nb", **FULL | {"expires_ms": NOW + 86_400_000})
    values = values_of(details)
    form = sent_by_a_browser(values) | {"priority": "", "delay": "5m", "tags": ' x ,"y, z",'}
    del form["once"]
    assert changed(form, values) == {"priority": None, "delay": "5m", "tags": ["x", "y, z"], "once": None}
    given, body = changes(details.job, changed(form, values), Defaults(), NOW)
    assert (given["priority"], given["once"], given["due_ms"], body) == (5, False, NOW + 300_000, None)


def test_a_form_of_a_script_leaves_what_it_does_not_name() -> None:
    values = values_of(of(b"x", **FULL))
    assert changed({"title": "new", "once": "yes", "key": "other"}, values) == {"title": "new"}


@pytest.mark.parametrize(
    ("body", "text"), [(b"", ""), (b"a\nb", "a\nb"), (b"a\r\nb", None), (b"\0", None), (b"\xff", None)]
)
def test_a_body_that_no_form_can_hold_is_in_none(body: bytes, text: str | None) -> None:
    assert text_of(body) == text
    assert values_of(of(body)).get("body", "") == (text or "")


def test_what_is_cloned_is_pushed_as_it_was() -> None:
    values = values_of(of(b"a\nb", **FULL | {"expires_ms": 0}))
    del values["due_at"]
    add = new_job(pushed({**sent_by_a_browser(values), "key": "k"}), Defaults(), NOW)
    assert sorted(add.job.headers) == sorted(FULL["headers"])
    for name in FULL.keys() - {"headers", "expires_ms"}:
        assert getattr(add.job, name) == FULL[name], name
    assert add.body == b"a\nb"


def test_what_was_left_empty_was_not_given() -> None:
    assert pushed(
        {"url": "http://a/", "queue": "", "wait": "yes", "headers": " \r\nA:b\r\n", "tags": " , "}
    ) == {
        "url": "http://a/",
        "headers": {"A": ["b"]},
        "tags": [],
    }


def test_a_header_without_a_colon_is_named() -> None:
    with pytest.raises(InvalidField, match="headers: have a line without a colon: nonsense"):
        pushed({"url": "http://a/", "headers": "A: b\r\nnonsense"})


def test_no_moment_is_no_value() -> None:
    values = values_of(Details(Job(uid="u", target="t"), b"", None, []))
    assert "due_at" not in values and "expires_at" not in values
