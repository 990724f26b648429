import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from taskpusher.job import Held
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Outcome, Success
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import ScriptedRunner
from taskpusher.web import create_app


class Site:
    """A running pusher that keeps its jobs in memory, and clients of apps over it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.outcome: Outcome | None = None  # None: what runs goes on until there is one
        self.changed = asyncio.Event()
        self.runner = ScriptedRunner(play=self._play)
        self.store = MemoryStore()
        self.pusher = TaskPusher(self.store, {"http": self.runner}, max_body=100_000)

    async def _play(self, held: Held) -> Outcome:
        while self.outcome is None:
            await self.changed.wait()
        return self.outcome

    def finish(self, outcome: Outcome | None = None) -> None:
        """What runs, and what runs later, comes to this."""
        self.outcome = outcome or Success()
        self.changed.set()

    async def client(self, *, host: str = "localhost:9900", **settings: Any) -> httpx.AsyncClient:
        app = create_app(self.pusher, **({"max_body": 100_000} | settings))
        return await self.of(app, host)

    async def of(self, app: Any, host: str = "localhost:9900") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url=f"http://{host}")
        return await self._stack.enter_async_context(client)

    async def number(self) -> int:
        """Of jobs in the store."""
        return sum((await self.pusher.counts()).values())


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        made = Site(stack)
        await made.pusher.start()
        yield made
        await made.pusher.stop(grace=0)
        await made.pusher.close()


@pytest.fixture
async def client(site: Site) -> httpx.AsyncClient:
    """Of an app that lets everybody in."""
    return await site.client()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until an awaitable condition holds; gives what it gave."""

    async def wait(condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(5):
            while not (found := await condition()):
                await asyncio.sleep(0.001)
        return found

    return wait
