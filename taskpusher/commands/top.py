"""`tasker top`: how it goes, on a screen that refreshes until q or Ctrl-C."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..client import Client
from ..errors import Refused, Unreachable
from ..options import Option
from .jobs import call, when
from .queues import listed
from .remote import json_option, remote
from .screen import clean, console, emit, show, table, url_cell
from .stats import health, side_by_side

TIMEOUT = 5.0  # seconds: one who looks on wants to know soon that nobody answers
INTERVAL = 2.0
MOST_RUNNING = 50  # jobs asked for; no screen shows more
FEWEST_LINES = 24  # of a screen


class View:
    """What was seen last, and since when nobody answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.seen: dict[str, Any] | None = None
        self.trouble = ""
        self._seen_at = time.monotonic()

    def look(self) -> None:
        """Ask again; a tasker that does not answer, or stops, is trouble that may pass. Raises Refused."""
        try:
            self.seen = looked(self._client)
        except Unreachable as error:
            self.trouble = str(error)
        except Refused as error:
            if error.status < 500:
                raise
            self.trouble = str(error)
        else:
            self.trouble, self._seen_at = "", time.monotonic()

    def frame(self, height: int) -> Group:
        """A screen of so many lines."""
        head = Text(f"tasker {clean(self._client.server)}", "bold", no_wrap=True, overflow="ellipsis")
        lines: list[Any] = [head]
        if self.trouble:
            away = time.monotonic() - self._seen_at
            lines.append(Text(f"{self.trouble} (for {away:.0f}s; trying again)", "bold red"))
        if self.seen is not None:
            lines += _lines(self.seen, height - len(lines) - (1 if self.trouble else 0))
        return Group(*lines)


def looked(client: Client) -> dict[str, Any]:
    """Figures, queues and running jobs, as the API has them."""
    return {
        "stats": client.stats(),
        "queues": client.queues(),
        "running": next(client.pages("running", MOST_RUNNING)),
    }


def _lines(seen: Mapping[str, Any], room: int) -> Iterator[Any]:
    """As much as there is room for: figures always, then the fullest queues, then the oldest running jobs."""
    stats, queues, running = seen["stats"], seen["queues"]["queues"], seen["running"]["jobs"]
    yield health(stats)
    yield Text()
    yield side_by_side(stats)
    room -= 2 + 1 + 1 + len(stats["states"])
    queues = sorted(queues, key=lambda queue: (-queue["depth"] - queue["running"], queue["name"]))
    for_queues = min(len(queues), max(1, room // 2 - 2))
    if queues and room >= 3:
        yield Text()
        yield listed(queues[:for_queues])
        room -= for_queues + 2
    if running and room >= 3:
        running = sorted(running, key=lambda job: job["started_at"])[: room - 2]
        yield Text()
        yield table(
            ("running", "when", "queue", "url"),
            [(job["uid"], when(job), job["queue"], url_cell(call(job))) for job in running],
            cut=("queue", "url"),
        )


# ---- the screen ---------------------------------------------------------------------------------------


@remote(
    Option(["--once"], is_flag=True, help="Print one screen and end."),
    Option(
        ["--interval"],
        type=click.FloatRange(0.1, 3600),
        default=INTERVAL,
        metavar="SECONDS",
        help=f"How often to look. [{INTERVAL:g}]",
    ),
    json_option(),
    timeout=TIMEOUT,
)
def top(client: Client, once: bool, interval: float, as_json: bool) -> None:
    """q or Ctrl-C ends it. Where the output is no terminal one screen is printed. With --json each look is a
    document on a line of its own: stats, queues and running, each as the API has it."""
    people = console()
    if as_json:
        _lines_of_json(client, once, interval)
    elif once or not people.is_terminal or people.is_dumb_terminal:
        view = View(client)
        view.seen = looked(client)
        show(view.frame(max(people.height, FEWEST_LINES)), people)
    else:
        _watch(View(client), people, interval)


def _lines_of_json(client: Client, once: bool, interval: float) -> None:
    while True:
        emit(looked(client))
        if once:
            return
        time.sleep(interval)


def _watch(view: View, people: Console, interval: float) -> None:
    screen = Live(
        console=people, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
    with _keys() as quit_within, screen as live:
        try:
            while True:
                view.look()
                live.update(view.frame(people.height), refresh=True)
                if quit_within(interval):
                    return
        except KeyboardInterrupt:
            return


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Lets one wait for so many seconds, or until q is pressed: then it is true. The terminal is set back
    afterwards, also when the process is asked to end."""
    if not sys.stdin.isatty():
        yield _slept
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    usual = signal.signal(signal.SIGTERM, _end)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: _pressed_q(fd, seconds)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, usual)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed_q(fd: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([fd], [], [], left)[0]:
            keys = os.read(fd, 1024)
            if not keys or b"q" in keys.lower():
                return True
    return False


def _end(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
