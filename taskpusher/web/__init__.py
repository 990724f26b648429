"""The tasker's HTTP: an ASGI app over a TaskPusher."""

from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import quote

from starlette.requests import ClientDisconnect
from starlette.routing import Match, Router
from starlette.types import Message, Receive, Scope, Send

from ..audit import Audit
from ..config import Shown
from ..errors import StoreBroken
from ..logs import Recent
from ..pusher import TaskPusher
from .answers import SECURITY
from .api import Api
from .audit import AuditApi
from .auth import Guard, User
from .bulk import BulkApi
from .files import Static
from .intake import Intake
from .live import Live
from .openapi import Describer
from .pages import Pages
from .problems import nowhere, refuse, wrong_method

__all__ = ["App", "User", "create_app"]


def create_app(
    pusher: TaskPusher,
    *,
    users: Sequence[User] = (),
    hosts: Collection[str] | None = (),
    any_host_literal: bool = False,
    root_path: str = "",
    max_body: int = 10 * 1024 * 1024,
    settings: Sequence[Shown] = (),
    recent: Recent | None = None,
) -> "App":
    """The ASGI app over a pusher that somebody else starts and stops.

    `users` may come in; without any, everybody may. `hosts` are the names it answers for besides the
    loopback ones, `any_host_literal` lets every IP address be a Host too; None: the Host is not looked at,
    for an app mounted in another that has looked. `root_path` is what a proxy in front puts before our
    paths, whether it takes it off again or not. `max_body` is in bytes. `settings` and the log's `recent`
    lines are for the pages to show.

    Call `close` on it when the server shall stop: streams of events would hold it, and who waits for a job.
    """
    return App(pusher, Guard(users, hosts, any_host_literal), root_path, max_body, settings, recent)


class App:
    """Guards, then POST /add on its own short way, then the routes; what is refused becomes a problem."""

    def __init__(
        self,
        pusher: TaskPusher,
        guard: Guard,
        root_path: str,
        max_body: int,
        settings: Sequence[Shown] = (),
        recent: Recent | None = None,
    ) -> None:
        self._guard = guard
        self._root_path = "/" + root_path.strip("/") if root_path.strip("/") else ""
        self._intake = Intake(pusher, max_body)
        self._answers = [0] * 6  # how many had a status of 1xx, 2xx … 5xx
        self.settings, self.recent = settings, recent
        self.live = Live(pusher)
        self.audit = Audit(pusher.store, pusher.clock)
        self._audit = AuditApi(pusher, self.audit)
        self.static = Static(Path(__file__).parent / "static")
        api = Api(pusher, max_body, self._answers)
        routes = [*api.routes(), *BulkApi(pusher, max_body).routes(), *Describer().routes()]
        self._pages = Pages(pusher, self.static, self.audit, max_body, settings, recent)
        routes += [*self._audit.routes(), *self.live.routes(), *self.static.routes(), *self._pages.routes()]
        self._router = Router(routes, redirect_slashes=False, default=_nowhere)

    def close(self) -> None:
        """End what would go on, for a server that stops: streams of events, and waits for a job's end."""
        self.live.close()
        self._pages.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _not_http(scope, receive, send)
            return
        started = False

        async def sender(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                self._answers[message["status"] // 100] += 1
            await send(message)

        try:
            await self._answer(scope, receive, sender)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except StoreBroken:
            raise  # nobody knows whether it is kept: no answer of ours may say either
        except Exception as error:
            if started:
                raise
            await refuse(sender, error)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, root = self._place(scope)
        prefix = quote(root)
        user = await self._guard.admit(scope, path)
        if path == "/add":
            if scope["method"] != "POST":
                raise wrong_method("POST")
            await self._intake(scope, receive, send, prefix, user)
            return
        # A scope of our own: below another app's Mount, its routes and exception handlers are not ours.
        ours = {"app": self, "user": user, "path": root + path, "root_path": root, "path_params": {}}
        handlers = {"starlette.exception_handlers": ({}, {}), "prefix": prefix}
        asked = {**scope, **ours, **handlers}
        try:
            await self._router(asked, receive, _secured(send))
        finally:  # also where the client has gone before it was answered
            await self._audit.note(asked)

    def _place(self, scope: Scope) -> tuple[str, str]:
        """The path below every prefix, and the prefix that links need."""
        path, outer = scope["path"], scope.get("root_path", "")
        if outer:
            path = _without(path, outer)
        root = self._root_path
        if not root:
            return path, outer
        # One may name what the other is a part of: a proxy's /front/bg before a Mount of /bg.
        prefix = outer if outer.endswith(root) else root if root.endswith(outer) else outer + root
        below = _without(path, root)
        # The proxy may have taken the prefix off, and what is left look like it: /jobs below /jobs.
        return (path if below != path and not self._serves(below) else below), prefix

    def _serves(self, path: str) -> bool:
        probe = {"type": "http", "method": "GET", "path": path, "root_path": ""}
        routes = self._router.routes
        return path == "/add" or any(route.matches(probe)[0] is not Match.NONE for route in routes)


def _without(path: str, prefix: str) -> str:
    below = path.removeprefix(prefix)
    return below if below.startswith("/") else path


def _secured(send: Send) -> Send:
    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            named = {name for name, _ in headers}  # what an answer says for itself goes before ours
            message["headers"] = [*headers, *(one for one in SECURITY if one[0] not in named)]
        await send(message)

    return secured


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise nowhere()


async def _not_http(scope: Scope, receive: Receive, send: Send) -> None:
    """There is nothing to start or stop with the server, and there are no WebSockets."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
