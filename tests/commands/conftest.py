"""The subcommands in this process, with a transport in the place of a tasker."""

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import httpx
import pytest

from taskpusher import Client, cli
from taskpusher.commands import remote


class Done(NamedTuple):
    code: int
    out: str
    err: str


Handler = Callable[[httpx.Request], httpx.Response]
Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a subcommand whose requests a handler answers."""
    for name in [name for name in os.environ if name.startswith("TASKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(handler: Handler, *words: str) -> Done:
        monkeypatch.setattr(remote, "Client", partial(Client, transport=httpx.MockTransport(handler)))
        code = cli.run(words)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return Done(code, told.out, told.err)

    return run


def nothing(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{request.method} {request.url} was asked")
