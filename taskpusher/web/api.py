"""The routes below /add's: jobs, lists of jobs, queues, figures, health."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..errors import CursorGone, InvalidField, UnknownJob
from ..fields import text, truth, whole
from ..job import Job, State
from ..masking import masked_url
from ..pusher import TaskPusher
from ..stores.base import Page, Query, position
from ..uid import parse_uid
from . import views
from .answers import BODY_POLICY, Json, Nothing, Text
from .auth import User
from .bodies import content_type, read_body, read_fields
from .problems import Problem, wrong_method

if TYPE_CHECKING:
    from .metrics import Metrics

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

STATES = {state.value: state for state in State} | {"errors": State.ERROR, "runing": State.RUNNING}
FILTERS = ("queue", "kind", "host", "tag", "url")
MOST_LISTED = 100
LONGEST_CURSOR = 512  # characters
MOST_CONCURRENCY = 100_000
FEW = 16 * 1024  # bytes of fields that are no job's

_limit, _concurrency, _name = whole(1, MOST_LISTED), whole(0, MOST_CONCURRENCY), text(200, empty=False)
_COMPLETE_HOST = re.compile(r"https?://[^/?#@]*/.*", re.DOTALL)


class Api:
    """The endpoints over one pusher."""

    def __init__(self, pusher: TaskPusher, max_body: int, answers: Sequence[int] = ()) -> None:
        """`answers`: how many of our answers had a status of 1xx, 2xx and so on, counted elsewhere."""
        self._pusher = pusher
        self._max_body = max_body
        self._answers = answers
        self._metrics: Metrics | None = None

    def routes(self) -> list[BaseRoute]:
        pusher = self._pusher
        moves = (pusher.cancel, pusher.pause, pusher.resume, pusher.retry, pusher.run)
        return [
            _route("/job/{uid}", GET=self.job, PATCH=self.edit, DELETE=self.remove),
            _route("/job/{uid}/result", GET=self.result),
            _route("/job/{uid}/duplicate", POST=self.duplicate),
            *(_route(f"/job/{{uid}}/{move.__name__}", POST=partial(self.move, move)) for move in moves),
            _route("/jobs", GET=self.jobs),
            _route("/jobs/{state}", GET=self.jobs),
            _route("/queues", GET=self.queues),
            _route("/queues/{name:path}", PUT=self.set_queue),
            _route("/stats", GET=self.stats),
            _route("/metrics", GET=self.metrics),
            _route("/healthz", any_query=True, GET=self.healthz),
            _route("/readyz", any_query=True, GET=self.readyz),
        ]

    # ---- one job ----------------------------------------------------------------------------------

    async def job(self, request: Request) -> Response:
        details = await self._pusher.details(_uid(request))
        return Json(views.whole(details, _masked(request)))

    async def result(self, request: Request) -> Response:
        if _masked(request):
            raise Problem(403, "Not allowed", "users who only look are not shown what targets answered")
        details = await self._pusher.details(_uid(request))
        if details.result is None:
            detail = f"the job is {details.job.state} and no answer to it is kept; look at GET /job/UID"
            raise Problem(404, "No result", detail, field="uid")
        return Text(details.result.body, headers={"Content-Security-Policy": BODY_POLICY})

    async def move(self, move: Callable[[str], Awaitable[Job]], request: Request) -> Response:
        await self._no_fields(request)
        job = await move(_uid(request))
        return await self._shown(job.uid, request, 200 if job.wish is None else 202)

    async def duplicate(self, request: Request) -> Response:
        await self._no_fields(request)
        job = await self._pusher.duplicate(_uid(request))
        return await self._shown(job.uid, request, 200, f"{request.scope['prefix']}/job/{job.uid}")

    async def edit(self, request: Request) -> Response:
        job = await self._pusher.edit(_uid(request), await self._fields(request, self._max_body))
        return await self._shown(job.uid, request, 200)

    async def remove(self, request: Request) -> Response:
        await self._pusher.remove(_uid(request))
        return Nothing()

    async def _shown(self, uid: str, request: Request, status: int, location: str = "") -> Response:
        details = await self._pusher.details(uid)
        headers = {"Location": location} if location else None
        return Json(views.whole(details, _masked(request)), status, headers)

    async def _fields(self, request: Request, most: int = FEW) -> Mapping[str, object]:
        """Those in the body, of at most so many bytes."""
        headers = dict(request.scope["headers"])
        body = await read_body(headers, request.receive, min(most, self._max_body))
        if not body.strip():  # many clients name a content type for nothing
            return {}
        header = headers.get(b"content-type", b"")
        return read_fields(content_type(header), header, body)

    async def _no_fields(self, request: Request) -> None:
        for name in await self._fields(request):
            raise InvalidField(name[:100], "is not taken here; this needs no fields, send an empty body")

    # ---- lists ------------------------------------------------------------------------------------

    async def jobs(self, request: Request) -> Response:
        asked = _query(request, {*FILTERS, "limit", "cursor", "last_uid"})
        query = Query(_state(request), **{name: asked[name] for name in FILTERS if asked.get(name)})
        if _masked(request) and query.url:
            _refuse_guessing(query.url)
        limit = _checked("limit", _limit, asked.get("limit", str(MOST_LISTED)))
        page = await self._pusher.page(query, await self._cursor(query.state, asked), limit)
        return Json(_list(request, asked, page))

    async def _cursor(self, state: State | None, asked: Mapping[str, str]) -> bytes | None:
        cursor, last = asked.get("cursor"), asked.get("last_uid")
        if cursor is not None and last is not None:
            raise InvalidField("last_uid", "stands beside cursor; follow the `next` link as it is")
        if cursor is not None:
            if len(cursor) > LONGEST_CURSOR or not re.fullmatch(r"(?:[0-9a-f]{2})+", cursor):
                raise InvalidField("cursor", "is none of ours; follow the `next` link as it is")
            return bytes.fromhex(cursor)
        if last is None:
            return None
        uid = _checked("last_uid", parse_uid, last)
        try:
            return position(state, await self._pusher.get(uid))
        except UnknownJob:
            raise CursorGone(uid) from None

    # ---- queues and figures -----------------------------------------------------------------------

    async def queues(self, request: Request) -> Response:
        return Json({"queues": [views.queue(figures) for figures in await self._pusher.queues()]})

    async def set_queue(self, request: Request) -> Response:
        name = _checked("queue", _name, request.path_params["name"])
        fields = await self._fields(request)
        for field in fields:
            if field not in ("paused", "concurrency"):
                raise InvalidField(field[:100], "is nothing a queue has; send paused, concurrency or both")
        paused = concurrency = None
        if fields.get("paused") is not None:
            paused = _checked("paused", truth, fields["paused"])
        if "concurrency" in fields:
            given = fields["concurrency"]
            concurrency = 0 if given is None else _checked("concurrency", _concurrency, given)
        return Json(views.queue(await self._pusher.set_queue(name, paused=paused, concurrency=concurrency)))

    async def stats(self, request: Request) -> Response:
        return Json(views.stats(await self._pusher.stats()))

    async def metrics(self, request: Request) -> Response:
        if self._metrics is None:  # the library takes a tenth of a second to import, and few scrape at all
            module = await asyncio.to_thread(import_module, f"{__package__}.metrics")
            self._metrics = module.Metrics(self._pusher, self._answers)
        return await self._metrics.scrape(request.headers.get("accept", ""))

    async def healthz(self, request: Request) -> Response:
        if self._pusher.blocked():
            return Text("the event loop was blocked for 5 s within the last minute\n", 503)
        return Text("ok\n")

    async def readyz(self, request: Request) -> Response:
        return Text("ok\n") if self._pusher.ready else Text("starting or stopping\n", 503)


# ---- what all of them need ----------------------------------------------------------------------------


def _route(path: str, *, any_query: bool = False, **endpoints: Endpoint) -> Route:
    """One path with an endpoint for each method, so that a 405 names all of them. HEAD is GET's."""
    allowed = sorted({*endpoints, *(["HEAD"] if "GET" in endpoints else [])})

    async def dispatch(request: Request) -> Response:
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise wrong_method(", ".join(allowed))
        if request.scope["query_string"] and not any_query and not path.startswith("/jobs"):
            _query(request, set())
        return await endpoint(request)

    # methods=() would mean GET alone
    route = Route(path, dispatch, name=path)
    route.methods = set()
    return route


def _masked(request: Request) -> bool:
    user: User = request.scope["user"]
    return user.role != "all"


def _uid(request: Request) -> str:
    return _checked("uid", parse_uid, request.path_params["uid"])


def _checked(field: str, reader: Callable[[Any], T], value: object) -> T:
    try:
        return reader(value)
    except ValueError as error:
        raise InvalidField(field, str(error)) from None


def _refuse_guessing(url: str) -> None:
    """A prefix that ends inside of a secret would tell it letter by letter to who is not shown it."""
    if not _COMPLETE_HOST.fullmatch(url):
        raise InvalidField("url", "must hold the whole host and a / after it, without a user")
    if masked_url(url) != url:
        raise InvalidField("url", "holds a value that is masked for users who only look; end before it")


def _state(request: Request) -> State | None:
    word = request.path_params.get("state")
    if word is None:
        return None
    if word not in STATES:
        states = "waiting, running, paused, completed, errors and canceled"
        raise Problem(404, "No such state", f"there is no such list; there are {states}", field="state")
    return STATES[word]


def _query(request: Request, known: set[str]) -> dict[str, str]:
    """The query, each of its fields once. Raises InvalidField for another field than those known."""
    asked: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            instead = f"those are {', '.join(sorted(known))}" if known else "there are none here"
            raise InvalidField(name[:100], f"is not a field of this query; {instead}")
        if name in asked:
            raise InvalidField(name, "is given twice; send it once")
        asked[name] = value
    return asked


def _list(request: Request, asked: Mapping[str, str], page: Page) -> dict[str, object]:
    link = last = None
    if page.cursor is not None:
        kept = {name: value for name, value in asked.items() if name not in ("cursor", "last_uid")}
        query = urlencode({**kept, "cursor": page.cursor.hex()})
        state = request.path_params.get("state")
        link = f"{request.scope['prefix']}/jobs{f'/{state}' if state else ''}?{query}"
        last = page.jobs[-1].uid if page.jobs else None
    masked = _masked(request)
    return {
        "jobs": [views.brief(job, masked) for job in page.jobs],
        "last_uid": last,
        "next": link,
        "total": page.total,
    }
