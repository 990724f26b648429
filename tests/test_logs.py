import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from taskpusher import logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(logs.NAME)
    before = (root.handlers[:], root.level, ours.level, logging.raiseExceptions)
    yield
    root.handlers[:], root.level, ours.level, logging.raiseExceptions = before


def logged(level: str, form: str | None = None) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    logs.set_up(level, form, stream)
    return logging.getLogger(logs.NAME), stream


def test_a_text_line_has_time_level_message_and_fields() -> None:
    log, stream = logged("info")
    log.info("started", extra={"version": "0.1.0", "store": "/a b", "n": 3, "none": None, "quoted": 'a"b'})
    line = stream.getvalue()
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO started "
        r'version=0\.1\.0 store="/a b" n=3 none=None quoted="a\\"b"\n',
        line,
    )


def test_a_text_line_is_in_utc() -> None:
    record = logging.makeLogRecord({"msg": "x", "created": 1_795_176_000.1239, "levelname": "INFO"})
    assert logs.TextLines().format(record) == "2026-11-20 12:00:00.123 INFO x"
    line = json.loads(logs.JsonLines().format(record))
    assert line == {"ts": "2026-11-20T12:00:00.123Z", "level": "info", "message": "x"}


def test_a_json_line_has_the_fields_beside_the_message() -> None:
    log, stream = logged("info", "json")
    log.warning("odd", extra={"uid": "u1", "status": 500, "where": OSError("no"), "level": "fake"})
    line = json.loads(stream.getvalue())
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    expected = {"level": "warning", "message": "odd", "uid": "u1", "status": 500, "where": "no"}
    assert line == expected


@pytest.mark.parametrize(
    ("level", "form", "as_json", "debug", "info"),
    [
        ("debug", None, False, True, True),
        ("info", None, False, False, True),
        ("warning", None, False, False, False),
        ("production", None, True, False, True),
        ("production", "text", False, False, True),
        ("info", "json", True, False, True),
    ],
)
def test_production_is_info_as_json_lines(
    level: str, form: str | None, as_json: bool, debug: bool, info: bool
) -> None:
    log, stream = logged(level, form)
    log.warning("x")
    assert stream.getvalue().startswith("{") is as_json
    assert log.isEnabledFor(logging.DEBUG) is debug
    assert log.isEnabledFor(logging.INFO) is info


@pytest.mark.parametrize("hostile", ["a\r\n2026-11-20 INFO fake", "a\x1b[31m", "a\x85b", "a\u2028b", "a\x00"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_value_begins_a_line_of_its_own(hostile: str, form: str) -> None:
    log, stream = logged("info", form)
    log.info("got %s", hostile, extra={"field": hostile})
    line = stream.getvalue()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1 or form == "json"  # JSON may hold U+2028: only \n ends its lines
    assert line.count("\n") == 1
    assert "\x1b" not in line


def test_a_traceback_is_indented_below_its_line_and_a_field_of_its_json_line() -> None:
    for form in ("text", "json"):
        log, stream = logged("info", form)
        try:
            raise RuntimeError("one\n2026-11-20 12:00:00.123 INFO two")
        except RuntimeError:
            log.error("failed", exc_info=True)
        first, *rest = stream.getvalue().splitlines()
        if form == "json":
            assert "RuntimeError: one" in json.loads(first)["exception"]
            assert rest == []
        else:
            assert rest
            assert all(line.startswith("  ") for line in rest)


def test_a_field_that_is_no_json_value_is_written_as_text() -> None:
    log, stream = logged("info", "json")
    log.info("x", extra={"a": object, "b": {1: {2}}, "c": "\ud800", "d": float("nan")})
    line = json.loads(stream.getvalue())
    assert line["a"] == "<class 'object'>"


def test_other_libraries_speak_from_warning_on() -> None:
    _, stream = logged("debug")
    for name in ("httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "other"):
        logging.getLogger(name).info("GET https://user:password@host")
    assert stream.getvalue() == ""
    logging.getLogger("other").warning("careful")
    assert "WARNING careful" in stream.getvalue()


def test_setting_up_again_does_not_write_lines_twice() -> None:
    logged("info")
    log, stream = logged("info")
    log.info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_reader_that_went_away_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log, stream = logged("info")
    stream.close()
    log.info("into the void")
    assert capsys.readouterr() == ("", "")
    assert sys.stderr


# ---- the last lines -----------------------------------------------------------------------------------


@pytest.fixture
def recent() -> Iterator[logs.Recent]:
    kept = logs.Recent(most=3)
    yield kept.listen()
    kept.close()


def test_the_last_lines_are_kept_with_their_facts_as_text(recent: logs.Recent) -> None:
    log, _ = logged("info")
    log.info("started", extra={"n": 3, "error": ValueError("a\nb")})
    logging.getLogger(f"{logs.NAME}.web").warning("of a part")
    first, second = recent.lines()
    assert (first.level, first.message, first.facts) == ("info", "started", {"n": "3", "error": "a\\nb"})
    assert (second.level, second.message, second.facts) == ("warning", "of a part", {})
    assert first.time <= second.time


def test_only_so_many_lines_of_such_a_size_are_kept(recent: logs.Recent) -> None:
    log, _ = logged("info")
    for n in range(5):
        log.info("x" * 10_000, extra={"n": n, "long": "y" * 10_000} | {f"f{i}": i for i in range(100)})
    assert [line.facts["n"] for line in recent.lines()] == ["2", "3", "4"]
    for line in recent.lines():
        assert len(line.message) == logs.MESSAGE
        assert len(line.facts) == logs.FACTS
        assert len(line.facts["long"]) == logs.FACT


def test_what_the_level_leaves_out_and_other_peoples_lines_are_not_kept(recent: logs.Recent) -> None:
    log, _ = logged("warning")
    log.info("quiet")
    logging.getLogger("httpx").warning("theirs")
    assert recent.lines() == []


def test_a_traceback_is_kept_as_text(recent: logs.Recent) -> None:
    log, _ = logged("info")
    try:
        raise KeyError("secret")
    except KeyError:
        log.exception("failed")
    (line,) = recent.lines()
    assert line.facts["exception"].startswith("Traceback")
    assert "KeyError" in line.facts["exception"]


def test_a_value_without_a_text_costs_its_line_alone(recent: logs.Recent) -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log, _ = logged("info")
    logging.getLogger().handlers.clear()
    log.info("lost", extra={"fact": Silent()})
    log.info("kept")
    assert [line.message for line in recent.lines()] == ["kept"]


def test_listening_twice_keeps_a_line_once_and_closing_ends_it(recent: logs.Recent) -> None:
    log, _ = logged("info")
    recent.listen()
    log.info("once")
    recent.close()
    log.info("late")
    assert [line.message for line in recent.lines()] == ["once"]
