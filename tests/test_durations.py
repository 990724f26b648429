import pytest

from taskpusher.durations import parse_duration, written_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (" 2 m ", 120.0),
        ("0", 0.0),
        (30, 30.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_as_seconds(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        *("", "h", "-1", "1 hour", "1h30m", "1e3", "inf", "nan", "٣s", "1.", "9" * 400, "36501d"),
        *(-1, float("inf"), float("nan"), 10**400, True, None, [], b"30"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(written: object) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(written)  # type: ignore[arg-type]


@pytest.mark.parametrize("written", ["7d", "36h", "90m", "30s", "1.5s", "500ms", "0s"])
def test_a_duration_is_written_as_it_was_read(written: str) -> None:
    assert written_duration(parse_duration(written)) == written
