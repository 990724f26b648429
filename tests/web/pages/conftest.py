from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from taskpusher.web import User

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
USERS = [User("boss", "pw"), User("eye", "pw", "readonly"), User("app", "pw", "add")]

Browse = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
def browse(site: Any) -> Browse:
    """Makes clients that ask as browsers do; with a name, as that user."""

    async def made(name: str = "", **settings: Any) -> httpx.AsyncClient:
        client: httpx.AsyncClient = await site.client(**({"users": USERS} if name else {}), **settings)
        client.headers.update(BROWSER)
        client.auth = (name, "pw") if name else None
        return client

    return made


@pytest.fixture
async def browser(browse: Browse) -> httpx.AsyncClient:
    """Where everybody may do everything."""
    return await browse()


@pytest.fixture
def ended(site: Any, eventually: Any) -> Callable[..., Awaitable[Any]]:
    """Pushes a job and gives it when it is in that state."""

    async def push(state: str = "completed", url: str = "http://app.example/x", **fields: Any) -> Any:
        job = await site.pusher.push(url, **fields)

        async def there() -> Any:
            found = await site.pusher.get(job.uid)
            return found if found.state == state else None

        return await eventually(there)

    return push
