import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from taskpusher.runners.http import HttpRunner
from taskpusher.runners.transport import Http11Transport

from .target import Target


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"loop_factory": None}), id="asyncio"),
        pytest.param(("asyncio", {"loop_factory": uvloop.new_event_loop}), id="uvloop"),
    ]
)
def both_loops(request: pytest.FixtureRequest) -> object:
    """For modules that shall run on either loop: `anyio_backend = both_loops`."""
    return request.param


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    async with Target() as target:
        yield target


@pytest.fixture
async def transport() -> AsyncIterator[Http11Transport]:
    transport = Http11Transport()
    yield transport
    await asyncio.wait_for(transport.close(), 5)


@pytest.fixture
def runner(transport: Http11Transport) -> HttpRunner:
    return HttpRunner(transport, connect_timeout=2.0)
