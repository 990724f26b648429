"""Copies made while a tasker works, stores of every format there has been, ones too new: by their tests."""

import re
import subprocess
import sys
import time

from . import Proof

TESTS = ("tests/acceptance/test_care.py", "tests/stores/test_copies.py", "tests/stores/test_formats.py")
TIMES = {"quick": 1, "night": 20}


def prove(size: str, seed: int, deadline: float) -> Proof:
    passed = 0
    for number in range(TIMES[size]):
        if number and time.monotonic() > deadline:
            break
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            return Proof(f"failed in round {number + 1}", False, done.stdout.splitlines()[-30:])
        found = re.search(r"(\d+) passed", done.stdout)
        passed += int(found[1]) if found else 0
    return Proof(f"{passed} tests of copies, formats and what is left of a killed one passed", passed > 0)
