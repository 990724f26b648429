"""kill -9 at random moments, under adds and calls: is any job lost, any invented, any called too often?

    python -m tests.proof kills

Jobs are pushed one by one and in batches, with uids of our own, so that every uid that is ever called can be
held against what was sent. Every push that was answered 2xx must be called at least once; a push without an
answer may have been kept or not, but a batch as a whole.
"""

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

from .program import STARTED, Client, Tasker, until
from .target import Target

CONCURRENCY = 50
DELAY = 0.02  # seconds that the target takes
BACKLOG = 1500  # answered jobs that are not called yet, beyond which the pushers pause
BATCH = 40


class Run:
    """One store, its tasker killed and started again and again."""

    def __init__(self, directory: Path, target: Target, seed: int) -> None:
        self.directory, self.target = directory, target
        self.random = random.Random(seed)
        self.tasker: Tasker | None = None
        self.port = 0  # 0: nobody listens
        self.sent: dict[str, str] = {}  # uid -> path
        self.answered: set[str] = set()
        self.unanswered: list[list[str]] = []  # batches that may have been kept or not
        self.problems: list[str] = []
        self.kills = 0
        self.in_flight = 0  # attempts that were under way at the kills, as the store has it
        self.starts = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    # ---- the tasker -------------------------------------------------------------------------------

    def start(self) -> Tasker:
        self.starts += 1
        log = self.directory / f"tasker-{self.starts}.log"
        options = (f"--store=lmdb:{self.directory / 'db'}", "--address=127.0.0.1:0")
        self.tasker = Tasker(*options, f"--concurrency={CONCURRENCY}", "--log-level=info", log=log)
        return self.tasker

    def serve_while(self, goes_on: Callable[[], bool]) -> None:
        """Let it run so long, whether it has come up or not."""
        assert self.tasker is not None
        while goes_on():
            if not self.port and (started := STARTED.search(self.tasker.said)):
                self.port = int(started[2].rpartition(":")[2])
            time.sleep(0.002)

    def serve(self, seconds: float, working: bool) -> None:
        """Let it run so long after its start or, if it shall be `working`, after its first call."""
        if working:
            called, within = len(self.target.calls), time.monotonic() + 60
            self.serve_while(lambda: len(self.target.calls) == called and time.monotonic() < within)
        moment = time.monotonic() + seconds
        self.serve_while(lambda: time.monotonic() < moment)

    def kill(self) -> None:
        assert self.tasker is not None
        self.port = 0
        assert self.tasker.process.poll() is None, self.tasker.said
        self.tasker.kill()
        self.kills += 1

    # ---- the pushers ------------------------------------------------------------------------------

    def push(self, size: int) -> None:
        """Push one job after the other, or batches, over one connection while it lasts."""
        client: Client | None = None
        while not self._over.is_set():
            port = self.port
            if not port or len(self.answered) - len(self.target.calls) > BACKLOG:
                time.sleep(0.002)
                continue
            jobs = self._new(size)
            try:
                client = client or Client(port, {}, 5)
                if size == 1:
                    status, told = client.ask("POST", "/add", jobs[0])
                else:
                    lines = "\n".join(map(json.dumps, jobs))
                    status, told = client.ask("POST", "/add", lines, content_type="application/x-ndjson")
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.unanswered.append([job["uid"] for job in jobs])
                if client is not None:
                    client.close()
                client = None
                continue
            with self._lock:
                if status == 201:
                    self.answered |= {job["uid"] for job in jobs}
                else:
                    self.problems.append(f"{status} {told}")
        if client is not None:
            client.close()

    def _new(self, size: int) -> list[dict[str, str]]:
        with self._lock:
            jobs = []
            for _ in range(size):
                uid, path = str(uuid4()), f"/delay/{DELAY}/{len(self.sent)}"
                self.sent[uid] = path
                jobs.append({"uid": uid, "url": self.target.url + path})
        return jobs

    @contextlib.contextmanager
    def pushers(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.push, args=(size,)) for size in (1, 1, 1, BATCH)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()


def killed(directory: Path, target: Target, kills: int, seed: int, longest: float) -> "Run":
    """Kill it so often, then let it finish its work.

    A kill comes up to `longest` seconds after the start, and every other one so long after the first call:
    however slow the machine is, some kills meet a start and some meet calls under way.
    """
    run = Run(directory, target, seed)
    try:
        with run.pushers():
            for kill in range(kills):
                run.start()
                run.serve(run.random.uniform(0, longest), working=kill % 2 == 1)
                run.kill()
            run.port = run.start().ready().port
            more = len(run.answered) + 100
            until(lambda: len(run.answered) >= more or run.problems)
        tasker = run.tasker
        assert tasker is not None
        until(lambda: tasker.number("waiting") + tasker.number("running") == 0, within=60)
        judge(run, tasker)
        tasker.stop()
    finally:
        if run.tasker is not None:
            run.tasker.kill()
    return run


def judge(run: Run, tasker: Tasker) -> None:
    """Hold what was called and what is kept against what was sent and answered."""
    calls = Counter(call.uid for call in run.target.calls)
    jobs = [job for page in tasker.pages("/jobs/completed") for job in page]
    kept = Counter(job["uid"] for job in jobs)
    assert not run.problems, run.problems[:3]
    lost = run.answered - set(calls)
    assert not lost, f"{len(lost)} of {len(run.answered)} answered jobs were never called"
    assert set(calls) <= set(run.sent), "a job was called that nobody sent"
    for call in run.target.calls:
        assert run.sent[call.uid] == call.path, f"{call} was sent as {run.sent[call.uid]}"
    assert max(kept.values()) == 1
    assert set(kept) == set(calls), "what is kept as completed is not what was called"
    assert tasker.get("/jobs?limit=1")[1]["total"] == len(kept)
    for batch in run.unanswered:
        assert len(set(batch) & set(kept)) in (0, len(batch)), "half a batch was kept"
    twice = [pair for pair, n in Counter((c.uid, c.attempt) for c in run.target.calls).items() if n > 1]
    assert not twice, f"an attempt's number was used twice: {twice[:3]}"
    assert all(calls[job["uid"]] <= job["attempt"] and job["failures"] == 0 for job in jobs)
    run.in_flight = sum(job["attempt"] - 1 for job in jobs)
    assert extra(run) <= run.in_flight <= CONCURRENCY * run.kills


def extra(run: Run) -> int:
    """Calls beyond the first of each job."""
    return len(run.target.calls) - len({call.uid for call in run.target.calls})


def ready_again(directory: Path, target: Target, waiting: int) -> tuple[float, float, float]:
    """Seconds from the start after kill -9 to /readyz, to a 201 of /add, and to the first call."""
    options = (f"--store=lmdb:{directory / 'db'}", "--address=127.0.0.1:0", f"--concurrency={CONCURRENCY}")
    tasker = Tasker(*options, log=directory / "before.log")
    try:
        tasker.ready()
        for first in range(0, waiting, 10_000):
            numbers = range(first, min(first + 10_000, waiting))
            tasker.push_many([{"url": f"{target.url}/hold/{n}"} for n in numbers])
        until(lambda: target.in_flight == CONCURRENCY)
        tasker.kill()
        until(lambda: target.in_flight == 0)
        called = len(target.calls)
        tasker = Tasker(*options, log=directory / "after.log")
        tasker.ready()
        ready = time.monotonic() - tasker.began
        tasker.push(f"{target.url}/one_more")
        added = time.monotonic() - tasker.began
        until(lambda: len(target.calls) > called)
        first_call = target.calls[called].at - tasker.began
        assert tasker.number("waiting") + tasker.number("running") == waiting + 1
        return ready, added, first_call
    finally:
        tasker.kill()
