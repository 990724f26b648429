"""The one command: `python -m tests.proof ROW`, from the repository's root. Exits with 1 for a bar missed."""

import argparse
import random
import sys
import time
from importlib import import_module

from . import Proof

ROWS: dict[str, str] = {  # its name -> its module, with `prove(size, seed, deadline) -> Proof`
    "power-cuts": "power_cuts",
    "ack-order": "ack_order",
    "io-errors": "io_errors",
    "full-disk": "full_disk",
    "kills": "kills",
    "signals": "signals",
    "owner": "owner",
    "calm": "calm",
    "targets": "targets",
    "cancellations": "cancellations",
    "poison": "poison",
    "growth": "growth",
    "backup": "backup",
    "soak": "soak",
    "simulation": "simulation",
    "model": "model",
    "clock": "clock",
    "coverage": "covered",
}
MINUTES = {"quick": 2.0, "night": 60.0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--size", choices=MINUTES, default="quick")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument(
        "--minutes", type=float, help="the most that it may take; more of it is tried where it is long"
    )
    given = parser.parse_args()
    print(f"{given.row} --size {given.size} --seed {given.seed}", flush=True)
    began = time.monotonic()
    deadline = began + 60 * (given.minutes or MINUTES[given.size])
    row = import_module(f".{ROWS[given.row]}", __package__)
    proof: Proof = row.prove(given.size, given.seed, deadline)
    for line in proof.details:
        print(f"  {line}")
    print(f"{'held' if proof.ok else 'MISSED'} in {time.monotonic() - began:.0f} s: {proof.figure}")
    return 0 if proof.ok else 1


if __name__ == "__main__":
    sys.exit(main())
