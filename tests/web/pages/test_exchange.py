"""What was sent and what came back, for people."""

import json
import shlex
from typing import Any

import pytest

from taskpusher.job import Result
from taskpusher.stores.base import Details
from taskpusher.testing import a_job
from taskpusher.web.pages.exchange import MOST_SHOWN, answer_of, curl, readable, request_of, set_out

TYPED = (("Content-Type", "a/b"),)


def test_json_is_set_out_in_lines_and_nothing_of_it_is_changed() -> None:
    text = r'{"a":[1.0000000000000000001,1e400,"x\u00e9 , {"],"a":{},"b":[],"c":{"d":null}}'
    assert set_out(text).split("\n") == [
        "{",
        '  "a": [',
        "    1.0000000000000000001,",
        "    1e400,",
        r'    "x\u00e9 , {"',
        "  ],",
        '  "a": {},',
        '  "b": [],',
        '  "c": {',
        '    "d": null',
        "  }",
        "}",
    ]
    assert "".join(set_out(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    ["", "plain", '"text"', "{no json", "[1,]", "[" * 51 + "]" * 51, "[" * 30_000, "[" + "9" * 5000 + "]"],
)
def test_what_is_no_json_and_what_is_deep_stays_as_it_is(text: str) -> None:
    assert set_out(text) == text


def test_json_that_would_grow_too_large_stays_as_it_is() -> None:
    text = "[" * 40 + ",".join("1" * 30_000) + "]" * 40
    json.loads(text)
    assert set_out(text) == text


def test_half_a_surrogate_pair_in_json_can_be_shown() -> None:
    assert set_out(r'["\ud800"]').encode() == b'[\n  "\\ud800"\n]'


def test_text_is_shown_up_to_a_length_and_says_where_the_rest_is() -> None:
    assert readable(b"x" * MOST_SHOWN, "there") == ("x" * MOST_SHOWN, "")
    text, note = readable(b"x" * (MOST_SHOWN + 1), "look there")
    assert len(text) == MOST_SHOWN
    assert note == f"The first {MOST_SHOWN:,} characters of {MOST_SHOWN + 1:,}; look there."


def test_what_is_no_text_is_shown_in_hex() -> None:
    text, note = readable(b"\xff\x00" * 600, "there")
    assert text.splitlines()[1] == "000010  " + " ".join(["ff 00"] * 8)
    assert len(text.splitlines()) == 64
    assert note == "1,200 bytes that are no text; the first 1,024 in hex."


def test_text_that_was_cut_inside_of_a_character_is_text() -> None:
    cut = "né".encode()[:-1]
    assert readable(cut, "", truncated=True) == ("n", "")
    assert readable(cut, "")[1].startswith("2 bytes that are no text")


def test_who_only_looks_sees_no_bodies_and_no_values_of_headers() -> None:
    job = a_job(headers=(("X-Key", "secret"),), body_size=6)
    details = Details(job, b"secret", None, [])
    sent = request_of(details, True)
    assert (sent.headers, sent.text, sent.hidden, sent.size) == ([("X-Key", "***")], "", True, 6)
    result = Result(200, (("Set-Cookie", "secret"),), b"secret", True)
    got = answer_of(result, True)
    assert (got.headers, got.text, got.note, got.hidden) == ([("Set-Cookie", "***")], "", "", True)
    assert (got.size, got.status, got.truncated) == (6, 200, True)
    assert not answer_of(Result(204), True).hidden
    assert request_of(details, False).text == answer_of(result, False).text == "secret"
    long = Details(job, b"x" * (MOST_SHOWN + 1), None, [])
    assert request_of(long, False).note.endswith(f"GET /job/{job.uid} has all of it.")


@pytest.mark.parametrize(
    ("fields", "body", "words"),
    [
        ({}, b"", []),
        ({"method": "POST"}, b"", ["-X", "POST"]),
        ({"method": "HEAD"}, b"", ["--head"]),
        ({"method": "POST"}, b"a 'b'", ["-H", "Content-Type:", "--data-raw", "a 'b'"]),
        (
            {"method": "PUT", "headers": (("content-type", "a/b"),)},
            b"@x",
            ["-X", "PUT", "-H", "content-type: a/b", "--data-raw", "@x"],
        ),
        (
            {"method": "POST", "headers": TYPED},
            b"\xff",
            ["-H", "Content-Type: a/b", "--data-binary", "@body"],
        ),
        ({"method": "POST", "headers": TYPED}, b"a\0", ["-H", "Content-Type: a/b", "--data-binary", "@body"]),
        ({"headers": (("X", ""),)}, b"", ["-H", "X;"]),
        ({"target": "http://[::1]/{a}"}, b"", ["--globoff"]),
    ],
)
def test_a_request_as_a_command(fields: dict[str, Any], body: bytes, words: list[str]) -> None:
    job = a_job(**fields)
    assert shlex.split(curl(job, body)) == ["curl", "-i", *words, job.target]


def test_a_large_body_is_no_argument_of_a_command() -> None:
    assert "@body" in curl(a_job(method="POST"), b"x" * (MOST_SHOWN + 1))
