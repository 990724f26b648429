"""How long the pages take and how large they are, with a million jobs in the store, idle and in a drain."""

import asyncio
import contextlib
import http.client
import itertools
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

from . import load, past, programs, target
from .looks import Reader, Tabs, looked
from .plan import Run
from .results import Figures, percentile
from .tasker import Tasker, serving

IN_FLIGHT = 50
PATIENCE = 600.0  # seconds; the part's own limit ends it sooner
TIMES, TIMES_BUSY = 20, 5  # looks at a page, idle and in a drain
LISTS = ("", "/waiting", "/running", "/paused", "/completed", "/errors", "/canceled")
FILTERS = (
    ("", "queue:queue-7"),
    ("", "words that match nothing"),
    ("/completed", "host:h7.example"),
    ("/completed", "tag:customer-7"),
    ("/errors", "status:5xx"),
    ("/errors", "error:unknown"),
    ("/waiting", "host:h7.example"),
    ("/waiting", "age:<1h"),
    ("/waiting", "invoice 12345"),
)
TABS = (0, 1, 10)
MOVING = 20.0  # jobs pushed a second while it is not idle
PAUSE = 0.005  # seconds between two pushes that are timed

Pages = Mapping[str, tuple[str, str]]  # by name: the path, and the form that is sent


def measure(run: Run) -> Figures:
    """By page idle and in a drain; what tabs cost; how long a push takes while people look."""
    with run.place() as place:
        port = programs.free_port()
        uids = past.fill(place / "tasker.db", run.plan.site_jobs, port, PATIENCE)
        run.say("filled")
        with target.silent(port), serving(place, IN_FLIGHT) as tasker:
            pages = _pages(tasker, uids)
            idle = _all(run, tasker, pages, TIMES)
            tabs = {str(number): _tabs(run, tasker, number) for number in TABS}
            pushes = _pushes(run, tasker, pages)
            tasker.kill()
        with target.answering(place, port), serving(place, IN_FLIGHT) as tasker:
            drain = _drained(run, tasker, pages)
        shutil.rmtree(place / "tasker.db")
    return {
        "jobs": run.plan.site_jobs,
        "pages": idle,
        "slowest_ms": max(one["median_ms"] for one in idle.values()),
        "largest_kb": max(one["bytes"] for one in idle.values()) / 1000,
        "tabs": tabs,
        "tab_percent": max(0.0, tabs["1"]["idle_percent"] - tabs["0"]["idle_percent"]),
        "pushes": pushes,
        "drain": drain,
    }


def _pages(tasker: Tasker, uids: Mapping[str, str]) -> Pages:
    reader = Reader(tasker.port)
    pages = {f"overview, {span}": (f"/tasks?span={span}", "") for span in ("hour", "day", "month")}
    for state in LISTS:
        path = f"/tasks/jobs{state}"
        pages[f"list, {state[1:] or 'all'}"] = (path, "")
        pages[f"list, {state[1:] or 'all'}, tenth page"] = (reader.tenth(path), "")
    for state, text in FILTERS:
        pages[f"list, {state[1:] or 'all'}, {text}"] = (f"/tasks/jobs{state}?q={quote(text)}", "")
    tenth = reader.tenth(f"/tasks/jobs/errors?q={quote('status:5xx')}")
    pages["list, errors, status:5xx, tenth page"] = (tenth, "")
    pages |= {f"job, {name}": (f"/tasks/{uid}", "") for name, uid in uids.items()}
    for name in ("errors", "queues", "hosts", "system", "new"):
        pages[name] = (f"/tasks/{name}", "")
    for state, action, text in (
        ("error", "retry", ""),
        ("error", "retry", "status:5xx"),
        ("waiting", "run", "x"),
    ):
        form = f"state={state}&q={quote(text)}&action={action}&scope=all"
        pages[f"how many to {action}, {text or 'all'}"] = ("/tasks/act", form)
    reader.close()
    return pages


def _all(run: Run, tasker: Tasker, pages: Pages, times: int) -> Figures:
    reader, found = Reader(tasker.port), {}
    for name, (path, form) in pages.items():
        found[name] = looked(reader, path, form, times)
        run.say(
            f"{name}: {found[name]['median_ms']:.0f} ms, at most {found[name]['max_ms']:.0f} ms, "
            f"{found[name]['bytes'] / 1000:.0f} kB"
        )
    reader.close()
    return found


# ---- tabs ---------------------------------------------------------------------------------------------


def _tabs(run: Run, tasker: Tasker, number: int) -> Figures:
    """What so many tabs take of a core, in percent: while nothing moves, and while jobs are pushed."""
    seconds = run.plan.tab_seconds
    idle, _ = _percent(tasker, number, seconds)
    with _moving(tasker):
        moving, looks = _percent(tasker, number, seconds)
    run.say(f"{number} tabs: {idle:.2f} % of a core idle, {moving:.2f} % while jobs move, {looks} looks")
    return {"idle_percent": idle, "moving_percent": moving, "looks": looks, "seconds": seconds}


def _percent(tasker: Tasker, tabs: int, seconds: float) -> tuple[float, int]:
    if not tabs:
        return _used(tasker, seconds), 0
    with Tabs(tasker.port, tabs, seconds + 4) as open_tabs:
        time.sleep(3)  # until all of them are open
        return _used(tasker, seconds), open_tabs.looks()


def _used(tasker: Tasker, seconds: float) -> float:
    before, begun = tasker.cpu(), time.perf_counter()
    time.sleep(seconds)
    return 100 * (tasker.cpu() - before) / (time.perf_counter() - begun)


@contextmanager
def _moving(tasker: Tasker) -> Iterator[None]:
    """Jobs are pushed all the while."""
    ended = threading.Event()

    def push() -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", tasker.port)) as connection:
            while not ended.wait(1 / MOVING):
                connection.request("POST", "/add", BODY, {"Content-Type": load.FORM})
                connection.getresponse().read()

    pushing = threading.Thread(target=push, daemon=True)
    pushing.start()
    try:
        yield
    finally:
        ended.set()
        pushing.join()


BODY = "url=http%3A%2F%2F127.0.0.1%3A9%2Fx&queue=moving&delay=1h"


# ---- pushes -------------------------------------------------------------------------------------------


def _pushes(run: Run, tasker: Tasker, pages: Pages) -> Figures:
    """p99 and longest in ms, with nobody looking and while somebody looks without a pause."""
    seconds = run.plan.load_seconds * 2
    alone = _timed(tasker.port, seconds)
    with _reading(tasker.port, pages) as looks:
        beside = _timed(tasker.port, seconds)
    run.say(
        f"a push takes {beside['max_ms']:.0f} ms at most beside {looks[0] / seconds:.0f} looks a second, "
        f"{alone['max_ms']:.0f} ms while nobody looks"
    )
    return {"alone": alone, "beside": {**beside, "pages_s": looks[0] / seconds}}


def _timed(port: int, seconds: float) -> Figures:
    async def pushed() -> list[float]:
        connection = await load.connect(port)
        try:
            sent = load.request(port, BODY.encode(), load.FORM)
            return await load.ask_again(connection, sent, seconds, PAUSE)
        finally:
            connection.transport.close()

    took = [one * 1000 for one in asyncio.run(pushed())]
    return {"p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99), "max_ms": max(took)}


@contextmanager
def _reading(port: int, pages: Pages) -> Iterator[list[int]]:
    """Somebody who goes through all pages without a pause; how many were seen."""
    ended, looks, reader = threading.Event(), [0], Reader(port)

    def go() -> None:
        for path, form in itertools.cycle(pages.values()):
            if ended.is_set():
                break
            reader.look(path, form)
            looks[0] += 1

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()
        reader.close()


# ---- in a drain ---------------------------------------------------------------------------------------


def _drained(run: Run, tasker: Tasker, pages: Pages) -> Figures:
    """The pages while the waiting jobs are run; jobs/s without and with somebody who looks."""
    some = min(3.0, run.plan.load_seconds)
    alone = _rate(tasker, some)
    begun, before = time.perf_counter(), tasker.counts()["waiting"]
    found, reader = {}, Reader(tasker.port)
    for name, (path, form) in pages.items():
        found[name] = looked(reader, path, form, TIMES_BUSY)
        left = tasker.counts()["waiting"]
        if left < IN_FLIGHT * 20:
            break
    reader.close()
    rate = (before - left) / (time.perf_counter() - begun)
    slowest = max(found, key=lambda name: found[name]["median_ms"])
    run.say(
        f"in a drain of {rate:,.0f} jobs/s ({alone:,.0f} with nobody looking): {len(found)} pages, slowest "
        f"{slowest}, {found[slowest]['median_ms']:.0f} ms"
    )
    return {"rate": rate, "alone": alone, "pages": found}


def _rate(tasker: Tasker, seconds: float) -> float:
    time.sleep(1)
    before, begun = tasker.counts()["waiting"], time.perf_counter()
    time.sleep(seconds)
    return (before - tasker.counts()["waiting"]) / (time.perf_counter() - begun)
