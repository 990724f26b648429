"""Prometheus reads the figures of the real program."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .program import Tasker, free_port, until
from .target import Target


@pytest.fixture(autouse=True)
def prometheus() -> None:
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing, which CI has to install")
            pytest.skip(f"{program} is not installed")


def worked(start: Callable[..., Tasker], target: Target) -> Tasker:
    """A tasker with a password that has done some work."""
    tasker = start("--basicauth=me:secret", auth="me:secret")
    jobs: list[dict[str, object]] = [{"url": f"{target.url}/{n}", "queue": f"q{n % 7}"} for n in range(20)]
    jobs += [{"url": f"{target.url}/fail/404"}, {"url": f"{target.url}/fail/503", "max_attempts": 2}]
    tasker.push_many(jobs)
    until(lambda: tasker.number("completed") == 20 and tasker.number("error") == 1)
    return tasker


def test_promtool_has_nothing_to_say_of_the_figures(start: Callable[..., Tasker], target: Target) -> None:
    tasker = worked(start, target)
    status, text = tasker.get("/metrics")
    assert status == 200
    line = ["promtool", "check", "metrics"]
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


CONFIG = """
scrape_configs:
  - job_name: tasker
    scrape_interval: 1s
    basic_auth: {{username: me, password: secret}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def test_prometheus_scrapes_a_tasker_with_a_password(
    start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    tasker = worked(start, target)
    config, port = tmp_path / "prometheus.yml", free_port()
    config.write_text(CONFIG.format(port=tasker.port))
    line = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    log = (tmp_path / "prometheus.log").open("wb")
    process = subprocess.Popen([*line, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}") as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:  # it is not ready
            error.close()
            return None
        except OSError:  # it is still starting
            return None

    def scraped() -> Any:
        found = ask("targets")
        return [one for one in found["activeTargets"] if one["health"] != "unknown"] if found else None

    try:
        (one,) = until(scraped, 60.0, lambda: (tmp_path / "prometheus.log").read_text())
        assert (one["health"], one["lastError"]) == ("up", "")
        query = "query?query=taskpusher_jobs_finished_total"
        (series, *_) = until(lambda: (ask(query) or {}).get("result"), 60.0)
        assert series["metric"]["job"] == "tasker"
    finally:
        process.kill()
        process.wait()
        log.close()
