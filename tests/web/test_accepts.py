"""Who gets JSON and who gets a page."""

import pytest

from taskpusher.web.accepts import wants_html, wants_json

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json, text/plain, */*",  # axios
        "application/json, */*;q=0.5",
        "text/html, application/json",
        "text/html;q=0.8, application/json;q=0.9",
        "application/*",
        "application/json;q=0.3",
    ],
)
def test_a_script_that_names_json_gets_it(accept: str) -> None:
    assert wants_json(accept)
    assert not wants_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        BROWSER,
        "text/html",
        "text/plain",
        "application/json;q=0",
        "application/json;q=nan, */*",
        "application/json;q=x",
        "application/json;q=2",
        "text/html, application/json;q=0.9",
        "*/*, application/json;q=0.1",
        ",;,",
    ],
)
def test_all_others_get_the_page(accept: str) -> None:
    assert not wants_json(accept)


@pytest.mark.parametrize(
    ("accept", "reads"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/*", True),
        ("text/html;q=0", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_a_refusal_is_a_page_for_who_names_pages(accept: str, reads: bool) -> None:
    assert wants_html(accept) is reads
