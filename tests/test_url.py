import pytest

from taskpusher.url import LONGEST, parse_url


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("http://localhost:8000/x", None, "localhost:8000"),
        ("https://app.example", None, "app.example"),
        ("http://app.example?a=1&b[]=2", None, "app.example"),
        ("http://my_app/x", None, "my_app"),
        ("HTTP://App.Example/Path", "http://app.example/Path", "app.example"),
        ("http://app.example/x#part", "http://app.example/x", "app.example"),
        ("http://app.example:65535/", None, "app.example:65535"),
        ("http://app.example:080/", "http://app.example:80/", "app.example:80"),
        ("http://user:pa%40ss@app.example/", None, "app.example"),
        ("http://user@app.example/", None, "app.example"),
        ("http://[::1]:8000/x", None, "[::1]:8000"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/", "[2001:db8::1]"),
        ("http://127.0.0.1/", None, "127.0.0.1"),
        ("http://app.example./", None, "app.example."),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://a.example/bücher?q=日", "http://a.example/b%C3%BCcher?q=%E6%97%A5", "a.example"),
        ('http://a.example/{"x"}|^`<>\\', "http://a.example/%7B%22x%22%7D%7C%5E%60%3C%3E%5C", "a.example"),
        ("http://a.example/100%", None, "a.example"),
    ],
)
def test_a_url_is_kept_as_it_will_be_sent(text: str, url: str | None, host: str) -> None:
    assert parse_url(text) == (url or text, host)
    again = parse_url(url or text)
    assert again == (url or text, host), "what is kept must be kept as it is"


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("", "begin with http://"),
        ("/work", "begin with http://"),
        ("//app.example/work", "begin with http://"),
        ("app.example/work", "begin with http://"),
        ("ftp://app.example/", "begin with http://"),
        ("javascript:alert(1)", "begin with http://"),
        ("http:/app.example", "begin with http://"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://:80/", "no host"),
        ("http://user@/", "no host"),
        ("http://app.example:0/", "1 to 65535"),
        ("http://app.example:65536/", "1 to 65535"),
        ("http://app.example:/", "1 to 65535"),
        ("http://app.example:8o/", "1 to 65535"),
        ("http://app.example:٨/", "1 to 65535"),
        ("http://app.example/a b", "%20"),
        ("http://app.example/\r\nHost: x", "%0D"),
        (" http://app.example/", "%20"),
        ("http://app.example/\n", "%0A"),
        ("http://app.example/\x00", "%00"),
        ("http://a@b@app.example/", "percent-encode @"),
        ("http://good.example\\@evil.example/", "percent-encode @"),
        ("http://a..example/", "neither a name nor an address"),
        ("http://exa%6Dple/", "neither a name nor an address"),
        (f"http://{'a' * 64}.example/", "neither a name nor an address"),
        (f"http://{'a.' * 130}example/", "neither a name nor an address"),
        ("http://[::1/", "no valid host"),
        ("http://[::g]/", "no valid IPv6"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://\u00a0/", "no international domain name"),
        ("http://app.example/\ud800", "surrogate"),
        (f"http://app.example/{'x' * LONGEST}", "body"),
        (f"http://app.example/{'ü' * (LONGEST // 2)}", "body"),
    ],
)
def test_what_is_no_url_to_call_is_refused_with_the_way_out(text: str, way_out: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(text)
    assert way_out in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, True, b"http://app.example/", ["http://app.example/"], {}])
def test_a_url_is_a_string(value: object) -> None:
    with pytest.raises(ValueError, match="must be a string"):
        parse_url(value)


def test_a_url_of_just_the_longest_length_is_taken() -> None:
    url = "http://app.example/".ljust(LONGEST, "x")
    assert parse_url(url) == (url, "app.example")
