"""Calls canceled by the thousand: afterwards everything works as before, and no connection is left."""

import tempfile
import threading
import time
from pathlib import Path

from tests.acceptance.program import Tasker, until
from tests.acceptance.target import Target

from . import Proof

CANCELLATIONS = {"quick": 500, "night": 100_000}
IN_FLIGHT = 100
CLIENTS = 4
AFTERWARDS = 100
MORE = 2  # files that may be open beyond those at the start


def prove(size: str, seed: int, deadline: float) -> Proof:
    wanted = CANCELLATIONS[size]
    with tempfile.TemporaryDirectory() as name, Target() as target:
        options = (f"--store=lmdb:{name}/db", "--address=127.0.0.1:0", f"--concurrency={IN_FLIGHT}")
        tasker = Tasker(*options, "--keep=5s", log=Path(name, "log")).ready()
        try:
            tasker.completed(tasker.push(f"{target.url}/first"))
            until(lambda: target.in_flight == 0)
            time.sleep(3)  # idle connections are closed after 2 s
            before = _files(tasker)
            canceled = _cancel(tasker, target, wanted, deadline)
            uids = tasker.push_many([{"url": f"{target.url}/after/{n}"} for n in range(AFTERWARDS)])
            good = sum(tasker.completed(uid)["attempt"] == 1 for uid in uids)
            until(lambda: _files(tasker) <= before + MORE, 20, lambda: f"{_files(tasker)} files")
            open_files = _files(tasker)
            tasker.stop()
        finally:
            tasker.kill()
    figure = (
        f"{canceled:,} running calls canceled, then {good} of {AFTERWARDS} succeeded; "
        f"{before} files open before, {open_files} after"
    )
    return Proof(figure, good == AFTERWARDS and canceled > 0)


def _files(tasker: Tasker) -> int:
    return len(list(Path(f"/proc/{tasker.pid}/fd").iterdir()))


def _cancel(tasker: Tasker, target: Target, wanted: int, deadline: float) -> int:
    """Push calls that hang, and cancel each while it runs."""
    counts = [0] * CLIENTS

    def work(client: int) -> None:
        batch = IN_FLIGHT // CLIENTS
        with tasker.connection() as connection:
            while sum(counts) < wanted and time.monotonic() < deadline:
                uids = tasker.push_many([{"url": f"{target.url}/hang/{n}"} for n in range(batch)])
                for uid in uids:
                    until(lambda uid=uid: connection.ask("GET", f"/job/{uid}")[1]["state"] == "running")
                    status, job = connection.ask("POST", f"/job/{uid}/cancel")
                    assert (status, job["state"]) == (200, "canceled"), job
                counts[client] += batch

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)
