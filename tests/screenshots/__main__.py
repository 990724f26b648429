"""Take the pictures of the guide: `python -m tests.screenshots [--out DIR] [NAME …]`, from the root.

It needs chromium; names are those of PAGES. What differs between machines is masked: paths, ports.
"""

import argparse
import asyncio
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from taskpusher.queues import caps
from taskpusher.stores.lmdb import LmdbStore
from tests.acceptance.program import Tasker, free_port, until

from .shop import Shop
from .traffic import HANGING, Client, Hosts

OUT = Path(__file__).parents[2] / "docs" / "site"
USER, PASSWORD = "ana", "demo"
COLOURS, SPREAD = 256, 96  # of a palette; of them, those for what is rare
WARM_UP = 12.0  # seconds of traffic before the first picture
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Every text of the page, and what is shown when one points at something.
MASK = """pairs => {
  const masked = text => pairs.reduce((so, [what, instead]) => so.replaceAll(what, instead), text);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = masked(walker.currentNode.data);
    if (text !== walker.currentNode.data) walker.currentNode.data = text;
  }
}"""


class Look(NamedTuple):
    """How it is looked at; `height` cuts longer pages."""

    name: str
    width: int
    height: int
    dark: bool
    scale: float


LOOKS = (
    Look("light", 1240, 1180, False, 1.0),
    Look("dark", 1240, 1180, True, 1.0),
    Look("phone", 390, 1300, False, 1.5),
)


class Demo(NamedTuple):
    """A tasker with its jobs, and what of it the pages are of."""

    tasker: Tasker
    failed: str
    running: str
    masks: list[tuple[str, str]]


def pages(demo: Demo) -> dict[str, str]:
    return {
        "overview": "/tasks",
        "jobs": "/tasks/jobs",
        "filtered": "/tasks/jobs/errors?q=queue:webhooks%20status:5xx%20age:%3C1h",
        "job": f"/tasks/{demo.failed}",
        "running": f"/tasks/{demo.running}",
        "errors": "/tasks/errors",
        "queues": "/tasks/queues",
        "hosts": "/tasks/hosts",
        "system": "/tasks/system",
        "new": "/tasks/new",
        "sure": "",  # the answer to a form
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("names", nargs="*", help="pages; all of them if none is named")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("chromium is not installed", file=sys.stderr)
        return 1
    with demo() as shown, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(OPTIONS))
        whole = sum(_take(browser, shown, look, given.names, given.out) for look in LOOKS)
        browser.close()
    print(f"{whole / 1e6:.2f} MB")
    return 0


# ---- what is shown ------------------------------------------------------------------------------------


@contextmanager
def demo() -> Iterator[Demo]:
    """A tasker in the middle of its day."""
    with tempfile.TemporaryDirectory() as home, Hosts() as hosts:
        place = Path(home)
        failed = asyncio.run(_filled(place / "tasker.db"))
        port = free_port()
        users = place / "users"
        users.write_text(f"{USER}:{PASSWORD}\n")
        tasker = Tasker(
            f"--store=lmdb:{place / 'tasker.db'}", f"--address=127.0.0.1:{port}", f"--basicauth=@{users}",
            "--concurrency=12", "--per-host=8", "--timeout=10m", log=place / "log",
            command=(sys.executable, "-m", "tests.screenshots.demo"), auth=f"{USER}:{PASSWORD}",
            env={"DEMO_TARGET": str(hosts.port)},
        )  # fmt: skip
        masks = [(str(place / "tasker.db"), "/var/lib/tasker"), (str(users), "/etc/tasker/users")]
        masks += [(f"127.0.0.1:{port}", "localhost:9900"), (f"localhost:{port}", "localhost:9900")]
        try:
            tasker.ready()
            with Client(tasker):
                yield Demo(tasker, failed, _deeds(tasker), masks)
        finally:
            tasker.kill()


async def _filled(path: Path) -> str:
    """The uid of a job that failed, as the newest of them did."""
    store = LmdbStore(path)
    await store.open("web1", caps(0))
    shop = Shop(store, time.time_ns() // 1_000_000)
    await shop.fill()
    await store.close()
    return shop.failed


def _deeds(tasker: Tasker) -> str:
    """What ana did, and a report that runs long, whose uid it is; then some time passes."""
    year = f"http://app.shop.example{HANGING}"
    body = {"year": 2025, "formats": ["pdf", "csv"], "mail_to": "finance@shop.example"}
    uid = tasker.push(
        year,
        title="Sales report of the year",
        queue="reports",
        tags=["finance"],
        body=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    tasker.ask("PUT", "/queues/images", {"concurrency": 4})
    failed = tasker.get("/jobs/errors?queue=webhooks&limit=4")[1]["jobs"]
    for job in failed[:2]:
        tasker.ask("POST", f"/job/{job['uid']}/retry", {})
    tasker.ask("POST", "/jobs/paused/run?queue=none", {})
    paused = tasker.uids("paused")
    tasker.ask("POST", f"/job/{paused[0]}/cancel", {})
    until(lambda: tasker.state(uid) == "running")
    end = time.monotonic() + WARM_UP
    until(lambda: time.monotonic() > end)
    return uid


# ---- pictures -----------------------------------------------------------------------------------------


def _take(browser: Browser, shown: Demo, look: Look, names: Sequence[str], out: Path) -> int:
    """Bytes of the pictures."""
    context = browser.new_context(
        viewport={"width": look.width, "height": 800},
        device_scale_factor=look.scale,
        color_scheme="dark" if look.dark else "light",
        http_credentials={"username": USER, "password": PASSWORD, "send": "always"},
        locale="en-GB",
        timezone_id="UTC",
        is_mobile=look.name == "phone",
        has_touch=look.name == "phone",
    )
    whole = 0
    for name, path in pages(shown).items():
        if names and name not in names:
            continue
        page = context.new_page()
        if path:
            page.goto(shown.tasker.url + path)
        else:
            _ask_for_all(page, shown.tasker.url)
        page.wait_for_selector(".dot.is-live")
        page.evaluate(MASK, shown.masks)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > look.width:
            print(f"{name} in {look.name} is {wide} px wide", file=sys.stderr)
        tall = min(look.height, page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": look.width, "height": tall})
        whole += _kept(page.screenshot(), out / f"{name}-{look.name}.png")
        page.close()
    context.close()
    return whole


def _ask_for_all(page: Page, url: str) -> None:
    """The question before all jobs that match are retried."""
    page.goto(f"{url}/tasks/jobs/errors?q=queue:webhooks")
    page.select_option("#all-action", "retry")
    page.click("button[name=scope]")
    page.wait_for_selector("button[name=sure]")


def _kept(picture: bytes, path: Path) -> int:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    _reduced(image).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.name}: {size / 1000:.0f} kB")
    return size


def _reduced(image: Any) -> Any:
    """With a palette: the colours of most points as they are, and of the others those that cover most."""
    counted = sorted(image.getcolors(1 << 24), reverse=True)
    flat = image.quantize(SPREAD, Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * SPREAD]
    palette = [colour for _, colour in counted[: COLOURS - SPREAD]]
    palette += zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    nearest = {colour: _nearest(colour, palette) for _, colour in counted}
    reduced = Image.new("P", image.size)
    reduced.putpalette([part for colour in palette for part in colour])
    points = image.tobytes()
    colours = zip(points[::3], points[1::3], points[2::3], strict=True)
    reduced.putdata([nearest[colour] for colour in colours])
    return reduced


def _nearest(colour: Sequence[int], palette: Sequence[Sequence[int]]) -> int:
    """Its number in the palette."""
    return min(
        range(len(palette)),
        key=lambda number: sum(
            (one - other) ** 2 for one, other in zip(colour, palette[number], strict=True)
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
