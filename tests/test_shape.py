import pytest

from taskpusher.shape import LONGEST, shape, wording


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("answered 503", "answered <n>"),
        ("it did not answer within 30s", "it did not answer within <n>s"),
        ("answered 301 to https://a.example/x?id=1; go there", "answered <n> to <url>; go there"),
        ("see (http://a.example/1).", "see (<url>)."),
        ("job 01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4 is gone", "job <uuid> is gone"),
        ("connect to 10.0.0.7:8080 refused", "connect to <n> refused"),
        ("no column \"a b\" in 'orders 7'", "no column <text> in <text>"),
        ("it isn't there, it wasn't 3 times", "it isn't there, it wasn't <n> times"),
        ("at 0x7fffe1 in 9f86d081884c7d65", "at <hex> in <hex>"),
        ("deadbeef and facade are words, utf8 and sha256 names",) * 2,
        ("two\n  lines\t5", "two lines <n>"),
        ("Überweisung №5 für ٣", "Überweisung №<n> für ٣"),
        ("", ""),
    ],
)
def test_values_give_way_to_placeholders(message: str, said: str) -> None:
    assert wording(message) == said


def test_messages_of_one_wording_have_one_shape_and_others_another() -> None:
    assert shape("reset after 0.3 s") == shape("reset after 17 s") != shape("refused after 17 s")


def test_a_shape_stays_the_same_from_version_to_version() -> None:
    assert shape("answered 503") == "4c31466d"


def test_long_messages_and_halves_of_characters_are_taken() -> None:
    assert len(wording("a b " * 100_000)) <= LONGEST
    assert len(shape("\ud800 1")) == 8
    assert len(wording("a." * 50_000 + "://" * 50_000)) <= LONGEST
