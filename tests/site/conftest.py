"""These tests look at the site with a browser, over the real program."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.acceptance.conftest import start as start
from tests.acceptance.conftest import target as target
from tests.acceptance.program import Tasker, installed, until
from tests.site.browser import Chromium, Visitor


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasker]:
    here = tmp_path_factory.mktemp("site")
    options = (f"--store=lmdb:{here / 'db'}", "--address=127.0.0.1:0", "--concurrency=10")
    tasker = Tasker(*options, log=here / "log")
    yield tasker.ready()
    tasker.kill()


@pytest.fixture
def tasker(running: Tasker) -> Iterator[Tasker]:
    """One that has no jobs, for tests that need none of their own: to start one takes longer than to look."""
    yield running
    for state in ("running", "waiting", "paused"):
        running.ask("POST", f"/jobs/{state}/cancel")
    for state in ("completed", "errors", "canceled"):
        running.ask("POST", f"/jobs/{state}/delete")
    for queue in running.get("/queues")[1]["queues"]:
        running.ask("PUT", f"/queues/{queue['name']}", {"paused": False, "concurrency": None})
    until(lambda: running.get("/jobs")[1]["total"] == 0)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    chromium = Chromium(installed("chromium-headless-shell", "chromium"))
    yield chromium
    chromium.close()


@pytest.fixture
def visit(chromium: Chromium) -> Iterator[Visitor]:
    """Opens pages. At the end none of them may have complained, or shown or run what it must not."""
    visitor = Visitor(chromium)
    yield visitor
    chromium.run(visitor.leave)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests with a browser run in its thread."""
    chromium = pyfuncitem.funcargs.get("chromium")
    if not isinstance(chromium, Chromium):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    chromium.run(partial(pyfuncitem.obj, **given))
    return True
