"""Log lines: set-up, and the two forms they have.

text   2026-11-20 12:00:00.123 INFO started version=0.1.0 store=/var/lib/tasker    (UTC, like all times)
json   {"ts":"2026-11-20T12:00:00.123Z","level":"info","message":"started","version":"0.1.0",…}

What is said of a job, an address or an error goes into fields: `log.info("started", extra={"version": …})`.
No value can begin a line of its own: control characters are escaped.
"""

import logging
import re
import sys
import time
from collections import deque
from contextlib import nullcontext
from typing import Any, TextIO

import msgspec

NAME = "taskpusher"

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "production": logging.INFO,
}

# What every record has; the rest came as `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BARE = re.compile(r"[^\s\"=\\]+")  # a value that needs no quotes


# Of a line that is kept: the most characters of its message, a fact, an exception, and the most facts.
MESSAGE, FACT, EXCEPTION, FACTS = 2000, 1000, 8000, 30


def set_up(level: str, form: str | None = None, stream: TextIO | None = None) -> None:
    """Write the log to `stream` (stderr) from `level` on, a key of LEVELS; form "text" or "json".

    Other libraries' loggers speak from warning on: httpx logs every URL, with its secrets, at info.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    as_json = form == "json" or (form is None and level == "production")
    handler.setFormatter(JsonLines() if as_json else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(NAME).setLevel(LEVELS[level])
    for other in ("asyncio", "httpcore", "httpx", "uvicorn", "uvicorn.error"):
        logging.getLogger(other).setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a reader of the log that went away must not cost a traceback per line


def flush() -> None:
    """Hand out what is buffered, for an end without clean-up."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log, kept. `facts` are what was said besides, as text; a traceback is among them, as
    `exception`. Secrets are masked, since they are in the log too."""

    time: int  # ms since 1970
    level: str  # debug, info, warning, error, critical
    message: str
    facts: dict[str, str]


class Recent(logging.Handler):
    """Keeps the newest lines of the tasker's log in memory, cut to a size, for a page to show.

    `listen` has it hear of them; it keeps what the level of the log lets through. It holds no object that
    was logged, only its text.
    """

    def __init__(self, most: int = 500) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=most)

    def listen(self) -> "Recent":
        """Keep lines from now on, once, however often it is called."""
        logging.getLogger(NAME).addHandler(self)
        return self

    def close(self) -> None:
        """Keep no more of them."""
        logging.getLogger(NAME).removeHandler(self)
        super().close()

    def lines(self) -> list[LogLine]:
        """Those that are kept, oldest first."""
        with self.lock or nullcontext():
            return list(self._lines)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(_kept(record))
        except Exception:  # a value that has no text
            self.handleError(record)


class TextLines(logging.Formatter):
    """For people: a traceback follows its line, indented, so that it can't pass for other lines."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, millis = divmod(int(record.created * 1000), 1000)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
        line = f"{stamp}.{millis:03d} {record.levelname} {escaped(record.getMessage().strip())}"
        for name, value in _fields(record).items():
            line += f" {name}={_quoted(str(value))}"
        if record.exc_info:
            line += "".join(
                f"\n  {escaped(part)}" for part in self.formatException(record.exc_info).splitlines()
            )
        return line


class JsonLines(logging.Formatter):
    """For machines: one JSON object a line. What is no JSON value is written as text."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, millis = divmod(int(record.created * 1000), 1000)
        line: dict[str, Any] = {
            "ts": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{millis:03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage().strip(),
        }
        line |= {name: value for name, value in _fields(record).items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (TypeError, ValueError):  # a field that can't be encoded after all
            return msgspec.json.encode({name: _plain(value) for name, value in line.items()}).decode()


def escaped(text: str) -> str:
    """The text with its control characters written out, as \\n or \\x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def _kept(record: logging.LogRecord) -> LogLine:
    fields = list(_fields(record).items())[:FACTS]
    facts = {name: escaped(str(value)[:FACT]) for name, value in fields}
    if record.exc_info:
        facts["exception"] = logging.Formatter().formatException(record.exc_info)[-EXCEPTION:]
    message = escaped(record.getMessage().strip()[:MESSAGE])
    return LogLine(int(record.created * 1000), record.levelname.lower(), message, facts)


def _quoted(value: str) -> str:
    value = escaped(value)
    return value if _BARE.fullmatch(value) else '"' + value.replace('"', '\\"') + '"'


def _plain(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")
