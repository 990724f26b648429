"""Figures, moments and targets as pages write them."""

import pytest

from taskpusher.testing import a_job
from taskpusher.web.pages import words
from taskpusher.wording import short

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://app.example/x?a=1", "app.example", "/x?a=1"),
        ("https://user:pw@app.example:8443/x", "app.example:8443", "/x"),
        ("http://[::1]:80/x", "[::1]:80", "/x"),
        ("http://app.example/http://app.example/", "app.example", "/http://app.example/"),
        ("resize", "", "resize"),
        ("http://[::1/x", "", "http://[::1/x"),
        ("http://u:pw@[::1/x", "", "http://***@[::1/x"),
    ],
)
def test_a_target_is_shown_as_its_host_and_the_rest(url: str, host: str, path: str) -> None:
    assert words.target(a_job(target=url), True) == (host, path)


def test_who_only_looks_sees_no_secrets_of_a_query() -> None:
    job = a_job(target="http://u:pw@app.example/x?token=abc&b=1")
    assert words.target(job, False) == ("app.example", "/x?token=***&b=1")
    assert words.target(job, True) == ("app.example", "/x?token=abc&b=1")


def test_moments_are_in_utc_and_none_is_a_dash() -> None:
    assert words.clock(NOW + 7) == "2027-01-15 08:00:00.007 UTC"
    assert words.moment(NOW + 7) == "2027-01-15T08:00:00.007Z"
    assert words.clock(0) == "–"
    assert words.moment(0) == ""


@pytest.mark.parametrize(
    ("ms", "said"), [(NOW, "now"), (NOW - 999, "now"), (NOW - 180_000, "3m ago"), (NOW + 10_000, "in 10s")]
)
def test_how_long_ago(ms: int, said: str) -> None:
    assert words.ago(ms, NOW) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (12345, "12,345"), (0.25, "0.25"), (9.87, "9.9"), (12.4, "12"), (0.0, "0")]
)
def test_numbers(count: float, said: str) -> None:
    assert words.number(count) == said


@pytest.mark.parametrize(
    ("rate", "said"),
    [(0, "0"), (0.05, "3/min"), (1, "1/s"), (12.34, "12.3/s"), (999.7, "1,000/s"), (123456.7, "123,457/s")],
)
def test_rates_are_never_written_with_an_exponent(rate: float, said: str) -> None:
    assert words.rate(rate) == said


def test_spans() -> None:
    assert words.span(None) == "–"
    assert words.span(0.0123) == "12.3ms"
    assert short(0.9999) == "1s"
    assert words.FILTERS["bars"]([1]) == "M0 20v-20h3V20z"
