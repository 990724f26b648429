"""What every page has: its frame, who looks at it, the filters of its templates."""

import asyncio
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ... import __version__
from ...errors import StoreBroken
from ...pusher import TaskPusher
from ..accepts import wants_html
from ..answers import Html
from ..auth import LOOKING, User
from ..files import Static
from ..problems import problem
from ..requests import Endpoint, query_of, route
from . import words

if TYPE_CHECKING:
    from jinja2 import Environment


class Room(NamedTuple):
    """One of the pages that are always a click away."""

    name: str
    title: str
    path: str


ROOMS = (
    Room("overview", "Overview", "/tasks"),
    Room("jobs", "Jobs", "/tasks/jobs"),
    Room("errors", "Errors", "/tasks/errors"),
    Room("queues", "Queues", "/tasks/queues"),
    Room("hosts", "Hosts", "/tasks/hosts"),
    Room("system", "System", "/tasks/system"),
)


class Frame:
    """Renders templates; `static` has the files they link to."""

    def __init__(self, pusher: TaskPusher, static: Static) -> None:
        self.pusher, self._static = pusher, static
        self._filters: dict[str, Callable[..., Any]] = {**words.FILTERS}
        self._environment: Environment | None = None
        self._loading = Lock()

    def filter(self, name: str, function: Callable[..., Any]) -> None:
        """A filter that one page's template has of its own. Before the first page is shown."""
        self._filters[name] = function

    def page(self, path: str, *, described: bool = False, **endpoints: Endpoint) -> Route:
        """A route whose refusals are pages too, for those who read them. `described`: as for `route`."""
        told = {method: self._told(endpoint) for method, endpoint in endpoints.items()}
        return route(path, any_query=True, described=described, **told)

    def _told(self, endpoint: Endpoint) -> Endpoint:
        async def told(request: Request) -> Response:
            try:
                if request.method not in LOOKING:
                    query_of(request, set())
                return await endpoint(request)
            except (ClientDisconnect, StoreBroken):
                raise
            except Exception as error:
                found = problem(error)
                if not wants_html(request.headers.get("accept", "")):
                    raise found from error
                return await self.render(request, "problem.html", "", status=found.status, problem=found)

        return told

    async def render(
        self, request: Request, template: str, here: str, *, status: int = 200, **values: Any
    ) -> Response:
        """The page, written in a thread: a long list takes some milliseconds, which others shall not wait."""
        user: User = request.scope["user"]
        prefix = request.scope["prefix"]
        frame = {
            "prefix": prefix,
            "asset": partial(self._static.link, prefix),
            "rooms": ROOMS,
            "here": here,
            "user": user.name,
            "may": may(request),
            "node": self.pusher.node,
            "version": __version__,
            "now": self.pusher.clock.now(),
        }
        return Html(await asyncio.to_thread(self._written, template, {**frame, **values}), status)

    def _written(self, template: str, values: dict[str, Any]) -> str:
        with self._loading:
            found = self._loaded().get_template(template)
        return found.render(values)

    def _loaded(self) -> "Environment":
        """The templates, loaded with the first page: many a tasker shows none."""
        if self._environment is None:
            from jinja2 import Environment, PackageLoader, StrictUndefined

            self._environment = Environment(
                loader=PackageLoader("taskpusher.web"),
                autoescape=True,
                trim_blocks=True,
                lstrip_blocks=True,
                undefined=StrictUndefined,
                auto_reload=False,
            )
            self._environment.filters.update(self._filters)
        return self._environment


def may(request: Request) -> bool:
    """Whether the user may change things, and see what others are not shown."""
    user: User = request.scope["user"]
    return user.may("change")


def see_other(request: Request, path: str) -> Response:
    """After a form: have the browser get that page (RFC 9110, 15.4.4)."""
    return RedirectResponse(request.scope["prefix"] + path, 303)
