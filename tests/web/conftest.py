import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from taskpusher.job import Held
from taskpusher.pusher import TaskPusher
from taskpusher.runners.base import Outcome, Success
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import ScriptedRunner
from taskpusher.web import create_app
from taskpusher.web.openapi import document

BEFORE_THE_METHOD = (400, 401, 403, 421)  # who asks, and for which host, is looked at first


class Description:
    """`/openapi.json`, as strict as it is true: objects have no property that it does not name."""

    def __init__(self) -> None:
        self.document = _closed(deepcopy(document()))
        parts = (re.split(r"\{\w+\}", path) for path in self.document["paths"])
        patterns = [re.compile("[^/]+".join(map(re.escape, part))) for part in parts]
        self._paths = list(zip(patterns, self.document["paths"], strict=True))
        resource = Resource(self.document, DRAFT202012)
        self._registry: Any = Registry().with_resource("urn:openapi", resource)
        self._validators: dict[str, Any] = {}

    def path_of(self, path: str) -> str | None:
        return next((known for pattern, known in self._paths if pattern.fullmatch(path)), None)

    def check(self, value: Any, *place: str) -> None:
        """Raises ValidationError unless the value is as the schema at that place says."""
        pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in place)
        if pointer not in self._validators:
            schema = {"$ref": f"urn:openapi#/{pointer}"}
            self._validators[pointer] = OAS31Validator(schema, registry=self._registry)
        self._validators[pointer].validate(value)

    async def check_answer(self, answer: httpx.Response) -> None:
        """Whatever any test is answered below a described path is described too."""
        method, path = answer.request.method.lower(), self.path_of(answer.request.url.path)
        if path is None or answer.status_code == 405:
            return
        if method not in self.document["paths"][path] and answer.status_code in BEFORE_THE_METHOD:
            return
        assert method in self.document["paths"][path], (method, path)
        described = self.document["paths"][path][method]["responses"]
        status = str(answer.status_code)
        assert status in described, f"{method} {path} answers {status}, which is not described"
        if method == "head" or "content" not in described[status]:
            assert not await answer.aread()
            return
        media = answer.headers["content-type"].partition(";")[0]
        place = ("paths", path, method, "responses", status, "content", media, "schema")
        content = await answer.aread()
        self.check(json.loads(content) if media.endswith("json") else answer.text, *place)
        needed = described[status].get("headers", {})
        assert all(name in answer.headers for name, one in needed.items() if one.get("required"))


def _closed(found: Any) -> Any:
    if isinstance(found, dict):
        for value in found.values():
            _closed(value)
        if found.get("type") == "object" and "properties" in found:
            found.setdefault("additionalProperties", False)
    elif isinstance(found, list):
        for value in found:
            _closed(value)
    return found


_description = Description()


async def as_described(answer: httpx.Response) -> None:
    await _description.check_answer(answer)


@pytest.fixture
def description() -> Description:
    return _description


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
        client = await self.of(app, host)
        if "root_path" not in settings:
            client.event_hooks = {"response": [as_described]}
        return client

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
