"""Every branch of the code that no job's life may be lost in has been walked by a test.

    python -m tests.proof coverage

That is the stores, the moves, attempts and their outcomes, retries, the clock, and the connections that calls
go out on. Whatever is not walked is listed: a line, or a pair of lines from one to the other.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import Proof, Size

ROOT = Path(__file__).parents[2]
BAR = (
    "stores/*.py job.py attempt.py retry.py clock.py timerfd.py timeshift.py "
    "runners/transport.py runners/connection.py runners/connect.py"
)
TESTS = (
    "tests/stores tests/runners tests/test_attempt.py tests/test_job.py tests/test_pusher.py "
    "tests/test_timeshift.py tests/test_timerfd.py tests/test_push.py tests/proof/test_model.py "
    "tests/commands/test_care.py "
    "tests/acceptance/test_store_troubles.py tests/acceptance/test_care.py tests/acceptance/test_owner.py"
)
CONFIG = """\
[run]
branch = true
parallel = true
patch = subprocess
include = {include}
data_file = {where}/data
[report]
exclude_also =
    if TYPE_CHECKING:
"""


def measured(where: Path) -> dict[str, dict[str, list[int] | list[list[int]]]]:
    """By file what no test walks: `missing_lines` and `missing_branches`. The tests have to pass."""
    include = ",".join(f"{ROOT}/taskpusher/{pattern}" for pattern in BAR.split())
    config = where / "coverage.ini"
    config.write_text(CONFIG.format(include=include, where=where))

    def run(*line: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *line], cwd=ROOT, capture_output=True, text=True, env=env, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        return done.stdout

    env = os.environ | {"COVERAGE_CORE": "ctrace"}
    options = f"--rcfile={config}"
    run("coverage", "run", options, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", *TESTS.split())
    run("coverage", "combine", options)
    run("coverage", "json", options, "-o", str(where / "report.json"))
    report = json.loads((where / "report.json").read_text())
    return dict(report["files"])


def prove(size: Size, seed: int, deadline: float) -> Proof:
    with tempfile.TemporaryDirectory() as where:
        files = measured(Path(where))
    missing = []
    for name, file in sorted(files.items()):
        lines = [str(line) for line in file["missing_lines"]]
        ways = [f"{a}->{b}" for a, b in file["missing_branches"] if a not in file["missing_lines"]]
        missing += [f"{name}: {' '.join(lines + ways)}"] if lines or ways else []
    figures = [file["summary"] for file in files.values()]
    branches = sum(one["num_branches"] + one["num_statements"] for one in figures)
    walked = sum(one["covered_branches"] + one["covered_lines"] for one in figures)
    figure = f"{100 * walked / branches:.2f} % of {branches} statements and branches in {len(files)} files"
    return Proof(figure, not missing and bool(files), missing)
