from random import Random
from typing import Any

import pytest

from taskpusher.errors import InvalidField
from taskpusher.filters import MOST_WORDS, SUGGESTIONS, parse, term, unparse
from taskpusher.job import ErrorClass
from taskpusher.stores.base import Query
from taskpusher.testing import NOW

HOUR, DAY = 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("   ", {}),
        ("queue:mail", {"queue": "mail"}),
        ("QUEUE:Mail", {"queue": "Mail"}),
        ('queue:"my queue"', {"queue": "my queue"}),
        (r'tag:"a \"b\" \\c"', {"tag": r'a "b" \c'}),
        ("host:API.example.com:81", {"host": "api.example.com:81"}),
        ("url:https://a.example/?q=a:b", {"url": "https://a.example/?q=a:b"}),
        ("kind:http key:k-1", {"kind": "http", "key": "k-1"}),
        ("error:Unknown", {"error": "unknown"}),
        ("shape:1A2B3C4D", {"shape": "1a2b3c4d"}),
        ("status:500", {"status": (500, 500)}),
        ("status:5xx", {"status": (500, 599)}),
        ("status:500-504", {"status": (500, 504)}),
        ("status:>=400", {"status": (400, 999)}),
        ("status:<400", {"status": (1, 399)}),
        ("status:none", {"status": (-1, 0)}),
        ("status:5xx status:>502", {"status": (503, 599)}),
        ("attempt:2", {"attempts": (2, 2)}),
        ("attempt:>3", {"attempts": (4, 0)}),
        ("attempt:<=3", {"attempts": (0, 3)}),
        ("attempt:<3", {"attempts": (0, 2)}),
        ("attempt:0", {"attempts": (0, -1)}),
        ("attempt:<1", {"attempts": (0, -1)}),
        ("attempt:2-4", {"attempts": (2, 4)}),
        ("attempt:>1 attempt:<5", {"attempts": (2, 4)}),
        ("attempt:<5 attempt:0", {"attempts": (0, -1)}),
        ("age:>1h", {"created": (0, NOW - HOUR)}),
        ("age:<7d", {"created": (NOW - 7 * DAY, 0)}),
        ("age:>1h age:<7d", {"created": (NOW - 7 * DAY, NOW - HOUR)}),
        (
            "created:2026-11-20T00:00:00Z..2026-11-20T01:00:01+01:00",
            {"created": (1_795_132_800_000, 1_795_132_801_000)},
        ),
        ("created:2026-11-20T00:00:00Z..", {"created": (1_795_132_800_000, 0)}),
        ("created:..2026-11-20T00:00:00Z", {"created": (0, 1_795_132_800_000)}),
        ("one  two", {"text": "one two"}),
        ('"one two" three', {"text": '"one two" three'}),
        ('"foo:bar" "queue:x"', {"text": "foo:bar queue:x"}),
        ("https://a.example/x", {"text": "https://a.example/x"}),
        ("12:30 a.example:80 localhost:9900 localhost:80/x ::1", None),
        ("Warning: it's 5\"", None),
        ('"\\"said" 12:"30 x"', {"text": '"\\"said" "12:30 x"'}),
        ("mail queue:mail", {"queue": "mail", "text": "mail"}),
    ],
)
def test_a_filter_means_a_query(text: str, fields: dict[str, Any] | None) -> None:
    assert parse(text, NOW) == Query(**({"text": text} if fields is None else fields))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo:bar", 'known are queue, host, .*for that text write "foo:bar"'),
        ("attemt:3", "attempt: is meant"),
        ("stauts:500", "status: is meant"),
        ("tags:x", "tag: is meant"),
        ("state:error", "chosen by the list"),
        ("queue:", "no value"),
        ('queue:""', "empty value"),
        ('queue:"x', "does not end"),
        ('"x', "does not end"),
        ("queue:a queue:b", "given twice"),
        ("queue:a queue:a", "given twice"),
        ("tag:a tag:b", "given twice"),
        ("status:4xx status:5xx", "no job can match both"),
        ("attempt:>3 attempt:<=3", "no job can match both"),
        ("age:>7d age:<1d", "no job can match both"),
        ("status:5x", "500-599"),
        ("status:600-500", "ends before"),
        ("status:<1", "at least 1"),
        ("attempt:<0", "leaves nothing"),
        ("attempt:many", "write it like 2"),
        ("attempt:12345678901234567890", "write it like 2"),
        ("attempt:٣", "write it like 2"),
        ("error:bad", "not_sent, unknown"),
        ("shape:xyz", "eight hex digits"),
        ("age:1h", "write it like >1h"),
        ("age:>soon", "no duration"),
        ("created:2026-11-20", "FROM..UNTIL"),
        ("created:2026-11-20..", "RFC 3339"),
        ("created:..", "FROM..UNTIL"),
        ("created:2026-11-20T00:00:00Z..2026-11-20T01:00:00+01:00", "ends before it begins"),
        ("a\nb", "control character"),
        ("x" * 9000, "characters long"),
        ("x " * (MOST_WORDS + 1), "at most 20"),
    ],
)
def test_a_filter_that_can_not_be_taken_says_why(text: str, said: str) -> None:
    with pytest.raises(InvalidField, match=said) as caught:
        parse(text, NOW)
    assert caught.value.field == "q"


PARTS = ["a", "ü", " ", '"', "\\", ":", "queue", "queue:", "-", ">", "/", "//", "1", "x:", "*", "[", "State:"]


def random_word(random: Random) -> str:
    return "".join(random.choice(PARTS) for _ in range(random.randint(1, 6)))


def random_query(random: Random) -> Query:
    fields: dict[str, Any] = {}
    for name in ("queue", "url", "tag", "key", "kind"):
        if random.random() < 0.3:
            fields[name] = random_word(random)
    if random.random() < 0.3:
        fields |= {"error": random.choice(list(ErrorClass)), "shape": "0123abcd", "host": "h:1"}
    if random.random() < 0.5:
        fields["status"] = random.choice([(-1, 0), (500, 500), (500, 599), (400, 999), (1, 7), (199, 298)])
        fields["attempts"] = random.choice([(0, -1), (3, 0), (0, 3), (2, 2), (2, 9)])
    if random.random() < 0.5:
        since, until = sorted(random.sample(range(1, NOW + DAY), 2))
        fields["created"] = random.choice([(since, until), (since, 0), (0, until)])
    text = " ".join(term("", word) for _ in range(random.randint(0, 3)) if (word := random_word(random)))
    return Query(**fields, text=parse(text, NOW).text)


@pytest.mark.parametrize("seed", range(20))
def test_a_query_is_written_so_that_it_is_read_the_same(seed: int) -> None:
    random = Random(seed)
    for _ in range(100):
        query = random_query(random)
        for now in (0, NOW):
            text = unparse(query, now)
            assert parse(text, now or NOW + 5) == query, text


def test_a_term_is_quoted_where_it_has_to_be() -> None:
    assert term("queue", "mail") == "queue:mail"
    assert term("queue", "my queue") == 'queue:"my queue"'
    assert term("queue", 'a"b') == r'queue:"a\"b"'
    assert term("", "word") == "word"
    assert term("", "two words") == '"two words"'
    assert term("", "foo:bar") == '"foo:bar"'
    assert term("", "https://x") == "https://x"


def test_every_suggestion_is_taken() -> None:
    values = {"status": "5xx", "error": "unknown", "attempt": ">3", "age": ">1h", "shape": "00000000"}
    values["created"] = "2026-11-20T00:00:00Z.."
    for name in SUGGESTIONS:
        assert parse(f"{name}:{values.get(name, 'x')}", NOW).filtered()
