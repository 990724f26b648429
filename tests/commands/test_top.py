"""`tasker top`: a frame has room on the screen it is for, and trouble is told."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from rich.console import Console

from taskpusher import Client, Refused
from taskpusher.commands.stats import SPANS
from taskpusher.commands.top import View

STATES = ("waiting", "running", "paused", "completed", "error", "canceled")


def tasker(queues: int, running: int) -> httpx.MockTransport:
    began = datetime.now(UTC).isoformat()
    answers: dict[str, Any] = {
        "/stats": {
            "states": dict.fromkeys(STATES, 1000000),
            "rates": {span: dict.fromkeys(("pushed", "completed", "errors"), 12345.678) for span in SPANS},
            "oldest_waiting": began,
            "uptime": 123456.7,
            "concurrency": 1000,
            "busy": 1000,
            "lag": 0.5,
            "store": {"kind": "lmdb", "path": "/x", "size": 1 << 40, "free": 1, "disk_free": 1, "full": True},
        },
        "/queues": {
            "queues": [
                {
                    "name": f"a queue with a name {number}" * 3, "paused": True, "concurrency": 100,
                    "depth": number, "running": 0, "paused_jobs": 0, "oldest": began,
                }
                for number in range(queues)
            ]
        },
        "/jobs/running": {
            "jobs": [
                {
                    "uid": f"{number:036}", "state": "running", "started_at": began, "finished_at": None,
                    "due_at": began, "created_at": began, "queue": "q", "method": "GET",
                    "url": "http://localhost/" + "x" * 200,
                }
                for number in range(running)
            ],
            "next": None,
        },
    }  # fmt: skip
    return httpx.MockTransport(lambda request: httpx.Response(200, json=answers[request.url.path]))


def lines(view: View, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(view.frame(height))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("queues", [0, 1, 5, 100])
@pytest.mark.parametrize("running", [0, 1, 50])
@pytest.mark.parametrize("trouble", ["", "no tasker answers at http://localhost:9900: is it running? " * 2])
def test_a_frame_fits_80_by_24(queues: int, running: int, trouble: str) -> None:
    with Client(transport=tasker(queues, running)) as client:
        view = View(client)
        view.look()
        view.trouble = trouble
        told = lines(view)
    assert len(told) <= 24
    assert max(map(len, told)) <= 80
    assert ("running    1,000,000" in "\n".join(told)) and ("workers busy 1000 of 1000" in "\n".join(told))
    assert any(line.startswith("queue ") for line in told) == bool(queues)
    assert any(line.startswith("running  ") and "url" in line for line in told) == bool(running)
    assert any("trying again" in line for line in told) == bool(trouble)


def test_the_fullest_queues_and_the_oldest_jobs_are_shown() -> None:
    with Client(transport=tasker(100, 50)) as client:
        view = View(client)
        view.look()
        told = "\n".join(lines(view, width=200))
    assert "a queue with a name 99" in told
    assert "a queue with a name 1a" not in told
    assert f"{0:036}" in told
    assert f"{49:036}" not in told


def test_no_answer_and_a_stop_are_trouble_that_passes() -> None:
    answers: list[httpx.Response | Exception] = [
        httpx.ConnectError("away"),
        httpx.Response(503, text="stopping"),
    ]
    real = tasker(1, 1)

    def handle(request: httpx.Request) -> httpx.Response:
        if not answers:
            return real.handle_request(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Client(transport=httpx.MockTransport(handle)) as client:
        view = View(client)
        view.look()
        assert view.trouble.startswith("no tasker answers at")
        view.look()
        assert "answers 503" in view.trouble
        view.look()
        assert view.trouble == ""
        assert view.seen is not None


def test_a_refusal_is_none_that_passes() -> None:
    refusing = httpx.MockTransport(lambda request: httpx.Response(401))
    with Client(transport=refusing) as client, pytest.raises(Refused):
        View(client).look()
