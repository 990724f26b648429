"""What targets do to us, some fifty faults on two event loops: the right error class, the worker free."""

import re
import subprocess
import sys

from . import Proof


def prove(size: str, seed: int, deadline: float) -> Proof:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/runners/test_faults.py"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    passed = re.search(r"(\d+) passed", last)
    return Proof(
        f"{passed[1] if passed else 0} faults of targets told as what they are: {last}",
        done.returncode == 0,
        done.stdout.splitlines()[-30:] if done.returncode else [],
    )
