"""The transcripts of docs/commands.md: every command runs, in order, and says what is written there, but for
uids, times and figures."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .program import PATIENCE, Tasker
from .target import Target
from .transcripts import MARK, alike, transcript

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_transcripts_of_the_commands_are_true(
    start: Callable[..., Tasker], target: Target, tmp_path: Path
) -> None:
    (tmp_path / "passwords").write_text("app:secret\n")
    tasker = start("--basicauth", f"@{tmp_path / 'passwords'}", auth="app:secret")
    steps = transcript(PAGE.read_text("utf-8"))
    assert len(steps) > 15
    script = "\n".join(f"{command}\necho '{MARK}'" for command, _ in steps)
    script = script.replace("localhost:9900", f"127.0.0.1:{tasker.port}")
    script = script.replace("localhost:8000", f"127.0.0.1:{target.port}")
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("TASKER_", "COLUMNS"))
    }
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-u", "-c", script], cwd=tmp_path, env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=3 * PATIENCE, check=False,
    )  # fmt: skip
    said = done.stdout.replace("127.0.0.1", "localhost").split(f"{MARK}\n")
    for (command, written), really in zip(steps, said, strict=False):
        assert alike(really) == alike(written), f"$ {command}\n{really}"
    assert len(said) == len(steps) + 1
