"""What several rows need: a target that only counts, and pushers that keep a tasker busy."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.acceptance.program import Client, Tasker
from tests.acceptance.target import Call, Target

Job = dict[str, Any]


class CountingTarget(Target):
    """Counts the calls of each path instead of keeping them: a million are not too many."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()
        self.total = 0

    def _came(self, call: Call, connection: Any) -> None:
        self.times[call.path] += 1
        self.total += 1
        super()._came(call, connection)
        self.calls.clear()
        self.answered.clear()


class Pusher:
    """Pushes what `make(number)` gives, batch after batch, until it is left; use it as a context manager.

    It pauses while `enough(jobs answered so far)`, and goes on over a new connection when one breaks.
    """

    def __init__(
        self, port: Callable[[], int], make: Callable[[int], Job], batch: int, enough: Callable[[int], bool]
    ) -> None:
        self._port, self._make, self._batch, self._enough = port, make, batch, enough
        self.answered: list[int] = []  # the numbers of the jobs that were answered 201
        self.problems: list[str] = []
        self._next = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._push, name="pusher")

    def __enter__(self) -> "Pusher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _push(self) -> None:
        client: Client | None = None
        while not self._over.is_set():
            if not self._port() or self._enough(len(self.answered)):
                time.sleep(0.002)
                continue
            numbers = range(self._next, self._next + self._batch)
            self._next += self._batch
            lines = "\n".join(json.dumps(self._make(number)) for number in numbers)
            try:
                client = client or Client(self._port(), {}, 10)
                status, told = client.ask("POST", "/add", lines, content_type="application/x-ndjson")
            except (OSError, http.client.HTTPException):
                with contextlib.suppress(AttributeError):
                    client.close()  # type: ignore[union-attr]
                client = None
                continue
            if status == 201:
                self.answered.extend(numbers)
            else:
                self.problems.append(f"{status} {told}")
        if client is not None:
            client.close()


def left(tasker: Tasker) -> int:
    """Jobs that wait or run."""
    states = tasker.get("/stats")[1]["states"]
    return int(states.get("waiting", 0) + states.get("running", 0))
