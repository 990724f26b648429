"""The load of the proofs: jobs pushed one by one and in batches, looked at, moved, forgotten."""

import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from tests.acceptance.program import Client, Tasker
from tests.acceptance.target import Target

BATCH = 20
LONGEST = (6_000, 20_000)  # bytes of a body; of a plain job's
BACKLOG = 60  # jobs that are due and not called yet, beyond which nothing is pushed
ENDS = ("", "", "", "", "/delay/0.02", "/fail/500", "/fail/404")  # how calls end: most of them well


class Load:
    """What was sent, and what a tasker answered. `plain`: jobs that are due at once and end well, when the
    target lets them, and that nobody waits for."""

    def __init__(self, target: Target, seed: int, plain: bool = False) -> None:
        self.target, self.plain = target, plain
        self.random = random.Random(seed)
        self.sent: dict[str, tuple[str, str]] = {}  # uid -> url, body
        self.batches: list[list[str]] = []
        self.answered: list[str] = []
        self.refused: list[tuple[int, Any]] = []
        self.later: set[str] = set()  # not due within the hour
        self.slowest = 0.0  # seconds that an answer took
        self._lock = threading.Lock()

    def uncalled(self) -> set[str]:
        """Answered and due, but never called."""
        return set(self.answered) - self.later - {call.uid for call in self.target.calls}

    def new(self) -> dict[str, object]:
        uid = str(UUID(int=self.random.getrandbits(128), version=4))
        end = "/hold" if self.plain else self.random.choice(ENDS)
        url = f"{self.target.url}{end}/{len(self.sent)}"
        job: dict[str, object] = {"uid": uid, "url": url, "priority": self.random.randrange(10)}
        if self.random.random() < 0.4:
            job["body"] = "b" * self.random.randrange(1, LONGEST[self.plain])
        if not self.plain and self.random.random() < 0.3:
            self.later.add(uid)
            job |= {"delay": "1h", "queue": f"q{self.random.randrange(5)}", "key": uid}
        if "/fail" in end:
            job["max_attempts"] = 2
        self.sent[uid] = (url, str(job.get("body", "")))
        return job

    def wait(self) -> None:
        """Let what was pushed be called: most of a queue's work is to move jobs on."""
        while (
            not self.plain
            and len(self.answered) - len(self.later) - len(self.target.calls) > BACKLOG
            and not self.refused
        ):
            time.sleep(0.002)

    def push_one(self, client: Client) -> bool:
        """Whether it was taken."""
        self.wait()
        with self._lock:
            job = self.new()
        return self._told([str(job["uid"])], *self._ask(client, job))

    def push_batch(self, client: Client) -> bool:
        self.wait()
        with self._lock:
            jobs = [self.new() for _ in range(BATCH)]
            uids = [str(job["uid"]) for job in jobs]
            self.batches.append(uids)
        return self._told(uids, *self._ask(client, jobs))

    def _ask(self, client: Client, body: object) -> tuple[int, Any]:
        began = time.monotonic()
        if isinstance(body, list):
            lines = "\n".join(map(json.dumps, body))
            answer = client.ask("POST", "/add", lines, content_type="application/x-ndjson")
        else:
            answer = client.ask("POST", "/add", body)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return answer

    def _told(self, uids: list[str], status: int, answer: Any) -> bool:
        with self._lock:
            if status == 201:
                self.answered += uids
            else:
                self.refused.append((status, answer))
        return status == 201

    def look(self, client: Client) -> bool:
        """At a job; one that ended is sometimes forgotten, one that failed sent back."""
        with self._lock:
            uid = self.random.choice(self.answered) if self.answered else ""
            what = self.random.random()
        if not uid:
            return True
        status, job = client.ask("GET", f"/job/{uid}")
        if status == 200 and job["state"] == "completed" and what < 0.1:
            client.ask("DELETE", f"/job/{uid}")
        elif status == 200 and job["state"] == "error" and what < 0.5:
            client.ask("POST", f"/job/{uid}/retry")
        elif status == 200 and job["state"] == "waiting" and what < 0.1:
            client.ask("POST", f"/job/{uid}/pause")
        return True

    @contextlib.contextmanager
    def going_on(self, tasker: Tasker, *steps: Callable[[Client], bool]) -> Iterator[None]:
        """Take each of these steps again and again, on a connection of its own, while the block runs."""
        over = threading.Event()

        def repeat(step: Callable[[Client], bool]) -> None:
            with contextlib.suppress(OSError, http.client.HTTPException), tasker.connection() as client:
                while not over.is_set():
                    step(client)

        threads = [threading.Thread(target=repeat, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()
