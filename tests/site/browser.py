"""Chromium, driven by Playwright, and a watch over what its pages must not do."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.acceptance.program import PATIENCE, Tasker

WAY = (
    "--no-sandbox",  # the tests may run as root, where there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# What a page's policy kept from happening is told to the tests, and so is what would show that a script ran.
WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  tellTheTest(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.stolen = (what) => tellTheTest(`ran: ${what}`);
"""

expect.set_options(timeout=PATIENCE * 1000)

T = TypeVar("T")


class Chromium:
    """One browser in a thread of its own.

    Playwright keeps an event loop running in the thread that it is used from, where no other could run any
    more. All that touches a page goes through `run`.
    """

    def __init__(self, program: str) -> None:
        self._thread = ThreadPoolExecutor(1, "chromium")
        self._program = program
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def run(self, do: Callable[[], T]) -> T:
        return self._thread.submit(do).result()

    def context(self, **how: Any) -> BrowserContext:
        """A new profile. Inside of `run`; the first one starts the browser."""
        if self._browser is None:
            self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(executable_path=self._program, args=WAY)
        return self._browser.new_context(**how)

    def close(self) -> None:
        self.run(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()


class Visitor:
    """Opens pages of a tasker, each in a profile of its own, and writes down what went wrong on them."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self._excused: list[str] = []
        self.complaints: list[str] = []
        self.confirms = False  # what a question before a deletion is answered

    def __call__(self, tasker: Tasker, path: str = "/tasks", *, pace: int = 1, **how: Any) -> Page:
        """The page at that path, watched; `pace`: seconds between two looks at the tasker, 0: none."""
        context = self._chromium.context(base_url=tasker.url, reduced_motion="reduce", **how)
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.on("dialog", self._asked)
        if how.get("java_script_enabled", True):
            context.expose_binding("tellTheTest", lambda source, told: self.complaints.append(told))
            context.add_init_script(WATCH)
            context.add_init_script(f"try {{ localStorage.pace ??= {pace}; }} catch {{}}")
        page = context.new_page()
        page.goto(path)
        return page

    def excuse(self, pattern: str) -> None:
        """A complaint that matches is expected, for the rest of the test."""
        self._excused.append(pattern)

    def excuse_status(self, *statuses: int) -> None:
        """Chromium complains of every answer from 400 on."""
        for status in statuses:
            self.excuse(f"the server responded with a status of {status} ")

    def leave(self) -> None:
        for context in self._contexts:
            context.close()
        bad = [one for one in self.complaints if not any(re.search(each, one) for each in self._excused)]
        assert not bad, "\n".join(bad)

    def _heard(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"console {message.type}: {message.text} {message.location.get('url')}")

    def _asked(self, dialog: Any) -> None:
        if dialog.type == "confirm" and self.confirms:
            dialog.accept()
            return
        if dialog.type != "beforeunload":
            self.complaints.append(f"dialog: {dialog.type} {dialog.message}")
        dialog.dismiss()
