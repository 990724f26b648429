"""SIGTERM and SIGINT while jobs run, requests are half sent and adds go on coming."""

import contextlib
import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from .program import Tasker, until
from .target import Target

HALF_SENT = (
    b"",
    b"POST /add HT",
    b"POST /add HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n",
    b"POST /add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 100\r\n\r\nurl=http://local",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",  # answered, kept alive
)


@contextmanager
def half_sent(tasker: Tasker) -> Iterator[None]:
    """Connections with a part of a request, two of each."""
    with contextlib.ExitStack() as stack:
        for part in HALF_SENT * 2:
            one = stack.enter_context(socket.create_connection(("127.0.0.1", tasker.port), 10))
            one.sendall(part)
        yield


class Adder:
    """Pushes one job after the other until nobody listens any more; use it as a context manager."""

    def __init__(self, tasker: Tasker, url: str) -> None:
        self._tasker, self._url = tasker, url
        self.answered: list[str] = []  # paths
        self.refused: list[object] = []
        self._thread = threading.Thread(target=self._push, name="adder")

    def _push(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while True:
                path = f"/added/{len(self.answered)}"
                status, answer = self._tasker.ask("POST", "/add", {"url": self._url + path})
                if status == 201:
                    self.answered.append(path)
                else:
                    self.refused.append((status, answer))

    def __enter__(self) -> "Adder":
        self._thread.start()
        until(lambda: self.answered)
        return self

    def __exit__(self, *_: object) -> None:
        self._tasker.kill()
        self._thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_in_time_and_what_was_answered_runs_after_the_next_start(
    number: int, start: Callable[..., Tasker], target: Target
) -> None:
    grace = 1.0
    tasker = start("--concurrency=4", f"--grace={grace}")
    slow = [tasker.push(f"{target.url}/delay/0.7/{n}") for n in range(2)]
    hung = [tasker.push(f"{target.url}/hold/{n}") for n in range(2)]
    until(lambda: target.in_flight == 4)
    with half_sent(tasker), Adder(tasker, target.url) as adder:
        sent = tasker.tell_and_see(number)
        before = len(adder.answered)
        assert tasker.get("/readyz")[0] == 503
        assert tasker.end() == 0
        assert time.monotonic() - sent <= grace + 1.0
    assert len(adder.answered) > before, "nothing was answered during the stop"
    assert adder.refused == []
    assert "Traceback" not in tasker.said, tasker.said
    assert sorted(target.paths()) == ["/delay/0.7/0", "/delay/0.7/1", "/hold/0", "/hold/1"]
    target.release()
    again = start("--concurrency=4")
    until(lambda: again.number("completed") == 4 + len(adder.answered))
    for uid in slow:
        assert again.job(uid)["attempt"] == 1
    for uid in hung:
        job = again.job(uid)
        assert (job["attempt"], job["failures"], len(job["attempts"])) == (2, 0, 2)
        assert job["attempts"][0]["error"]["class"] == "unknown"
    once = [path for path in target.paths() if not path.startswith("/hold")]
    assert sorted(once) == sorted(["/delay/0.7/0", "/delay/0.7/1", *adder.answered])


def test_a_drain_empties_what_was_due_and_leaves_what_came_later(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start("--concurrency=3", "--on-stop=drain", "--grace=20")
    due = {f"/delay/0.02/{n}" for n in range(60)}
    tasker.push_many([{"url": target.url + path} for path in sorted(due)])
    tasker.push(f"{target.url}/in_an_hour", delay="1h")
    retried = tasker.push(f"{target.url}/fail/500", max_attempts=5, priority=0)
    until(lambda: "/fail/500" in target.paths())
    with half_sent(tasker), Adder(tasker, target.url) as adder:
        added = len(adder.answered)
        tasker.tell_and_see()
        until(lambda: len(adder.answered) > added or tasker.process.poll() is not None)
        assert tasker.end() == 0
    called = target.paths()
    assert set(called) & due == due
    assert len(called) == len(set(called)), "a job was called twice"
    assert "/in_an_hour" not in called
    left = set(adder.answered) - set(called)
    assert left, "what came during the stop was drained too"
    again = start("--concurrency=3")
    until(lambda: left <= set(target.paths()))
    assert again.job(retried)["failures"] >= 1


@pytest.mark.parametrize("on_stop", ["finish", "drain"])
def test_a_second_signal_ends_it_within_a_second(
    on_stop: str, start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start("--concurrency=2", "--grace=1h", f"--on-stop={on_stop}")
    uids = tasker.push_many([{"url": f"{target.url}/hold/{n}"} for n in range(100)])
    until(lambda: target.in_flight == 2)
    with half_sent(tasker):
        tasker.tell_and_see()
        again = time.monotonic()
        tasker.tell(signal.SIGINT)
        assert tasker.end() == 0
        assert time.monotonic() - again <= 1.5
    assert "Traceback" not in tasker.said, tasker.said
    target.release()
    restarted = start("--concurrency=2")
    until(lambda: restarted.number("completed") == len(uids))
    assert max(restarted.job(uid)["failures"] for uid in uids[:4]) == 0
    assert sorted(restarted.job(uid)["attempt"] for uid in uids[:4]) == [1, 1, 2, 2]


def test_a_drain_with_a_hung_target_ends_when_the_grace_is_over(
    start: Callable[..., Tasker], target: Target
) -> None:
    tasker = start("--concurrency=2", "--grace=500ms", "--on-stop=drain")
    hung = tasker.push(f"{target.url}/hang")
    until(lambda: target.in_flight == 1)
    others = tasker.push_many([{"url": f"{target.url}/delay/0.01/{n}"} for n in range(20)])
    sent = tasker.tell_and_see()
    assert tasker.end(within=10) == 0
    assert time.monotonic() - sent < 4
    assert len(target.calls) == 1 + len(others)
    job = start("--timeout=1s", "--concurrency=1").job(hung)
    assert (job["state"] in ("waiting", "running"), job["failures"]) == (True, 0)


def test_a_drain_does_not_wait_for_paused_queues(start: Callable[..., Tasker], target: Target) -> None:
    tasker = start("--on-stop=drain")
    assert tasker.ask("PUT", "/queues/held", {"paused": True})[0] == 200
    tasker.push(f"{target.url}/never", queue="held")
    tasker.tell()
    assert tasker.end(within=10) == 0
    assert target.calls == []
    assert start().number("waiting") == 1


def test_a_drain_empties_a_queue_at_its_limit(start: Callable[..., Tasker], target: Target) -> None:
    """Free workers that find nothing to claim do not mean that nothing is left."""
    tasker = start("--concurrency=5", "--on-stop=drain", "--grace=1s")
    assert tasker.ask("PUT", "/queues/narrow", {"concurrency": 1})[0] == 200
    jobs = tasker.push_many([{"url": f"{target.url}/delay/0.3/{n}", "queue": "narrow"} for n in range(6)])
    tasker.tell()
    assert tasker.end() == 0
    assert sum(target.answered.values()) == len(jobs)
    assert target.most_in_flight == 1
