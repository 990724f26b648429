"""The routes below /add's: jobs, lists of jobs, queues, figures, health."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..errors import CursorGone, InvalidField, UnknownJob
from ..fields import Line, Whole, truth
from ..history import SPANS, Span
from ..job import Job, State
from ..pusher import TaskPusher
from ..stores.base import Page, position
from ..uid import parse_uid
from . import views
from .answers import BODY_POLICY, Json, Nothing, Text
from .problems import Problem
from .requests import (
    FEW,
    FILTERS,
    checked,
    chosen,
    cursor_of,
    fields_of,
    masked,
    no_fields,
    query_of,
    route,
    state_of,
    uid_of,
)

if TYPE_CHECKING:
    from .metrics import Metrics

T = TypeVar("T")

MOST_LISTED = 100
MOST_CONCURRENCY = 100_000

_limit, _concurrency, _name = Whole(1, MOST_LISTED), Whole(0, MOST_CONCURRENCY), Line(200, empty=False)


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
            route("/job/{uid}", GET=self.job, PATCH=self.edit, DELETE=self.remove),
            route("/job/{uid}/result", GET=self.result),
            route("/job/{uid}/duplicate", POST=self.duplicate),
            *(route(f"/job/{{uid}}/{move.__name__}", POST=partial(self.move, move)) for move in moves),
            route("/jobs", GET=self.jobs),
            route("/jobs/{state}", GET=self.jobs),
            route("/queues", GET=self.queues),
            route("/queues/{name:path}", PUT=self.set_queue),
            route("/stats", GET=self.stats),
            route("/stats/history", any_query=True, GET=self.history),
            route("/metrics", GET=self.metrics),
            route("/healthz", any_query=True, GET=self.healthz),
            route("/readyz", any_query=True, GET=self.readyz),
        ]

    # ---- one job ----------------------------------------------------------------------------------

    async def job(self, request: Request) -> Response:
        details = await self._pusher.details(uid_of(request))
        return Json(views.whole(details, masked(request)))

    async def result(self, request: Request) -> Response:
        if masked(request):
            raise Problem(403, "Not allowed", "users who only look are not shown what targets answered")
        details = await self._pusher.details(uid_of(request))
        if details.result is None:
            detail = f"the job is {details.job.state} and no answer to it is kept; look at GET /job/UID"
            raise Problem(404, "No result", detail, field="uid")
        return Text(details.result.body, headers={"Content-Security-Policy": BODY_POLICY})

    async def move(self, move: Callable[[str], Awaitable[Job]], request: Request) -> Response:
        await no_fields(request, self._max_body)
        job = await move(uid_of(request))
        return await self._shown(job.uid, request, 200 if job.wish is None else 202)

    async def duplicate(self, request: Request) -> Response:
        await no_fields(request, self._max_body)
        job = await self._pusher.duplicate(uid_of(request))
        return await self._shown(job.uid, request, 200, f"{request.scope['prefix']}/job/{job.uid}")

    async def edit(self, request: Request) -> Response:
        job = await self._pusher.edit(uid_of(request), await fields_of(request, self._max_body))
        return await self._shown(job.uid, request, 200)

    async def remove(self, request: Request) -> Response:
        await self._pusher.remove(uid_of(request))
        return Nothing()

    async def _shown(self, uid: str, request: Request, status: int, location: str = "") -> Response:
        details = await self._pusher.details(uid)
        headers = {"Location": location} if location else None
        return Json(views.whole(details, masked(request)), status, headers)

    # ---- lists ------------------------------------------------------------------------------------

    async def jobs(self, request: Request) -> Response:
        asked = query_of(request, {*FILTERS, "limit", "cursor", "last_uid"})
        query = chosen(state_of(request), asked, self._pusher.clock.now(), masked(request))
        limit = checked("limit", _limit, asked.get("limit", str(MOST_LISTED)))
        page = await self._pusher.page(query, await self._cursor(query.state, asked), limit)
        return Json(_list(request, asked, page))

    async def _cursor(self, state: State | None, asked: Mapping[str, str]) -> bytes | None:
        cursor, last = asked.get("cursor"), asked.get("last_uid")
        if cursor is not None and last is not None:
            raise InvalidField("last_uid", "stands beside cursor; follow the `next` link as it is")
        if cursor is not None:
            return cursor_of(cursor)
        if last is None:
            return None
        uid = checked("last_uid", parse_uid, last)
        try:
            return position(state, await self._pusher.get(uid))
        except UnknownJob:
            raise CursorGone(uid) from None

    # ---- queues and figures -----------------------------------------------------------------------

    async def queues(self, request: Request) -> Response:
        return Json({"queues": [views.queue(figures) for figures in await self._pusher.queues()]})

    async def set_queue(self, request: Request) -> Response:
        name = checked("queue", _name, request.path_params["name"])
        fields = await fields_of(request, min(FEW, self._max_body))
        for field in fields:
            if field not in ("paused", "concurrency"):
                raise InvalidField(field[:100], "is nothing a queue has; send paused, concurrency or both")
        paused = concurrency = None
        if fields.get("paused") is not None:
            paused = checked("paused", truth, fields["paused"])
        if "concurrency" in fields:
            given = fields["concurrency"]
            concurrency = 0 if given is None else checked("concurrency", _concurrency, given)
        return Json(views.queue(await self._pusher.set_queue(name, paused=paused, concurrency=concurrency)))

    async def stats(self, request: Request) -> Response:
        return Json(views.stats(await self._pusher.stats()))

    async def history(self, request: Request) -> Response:
        asked = query_of(request, {"span"})
        span = checked("span", _span, asked.get("span", SPANS[0]))
        return Json(views.series(await self._pusher.history.series(span)))

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


def _span(value: str) -> Span:
    for span in SPANS:
        if value == span:
            return span
    raise ValueError("is hour, day or month: how far back to look")


def _list(request: Request, asked: Mapping[str, str], page: Page) -> dict[str, object]:
    link = last = None
    if page.cursor is not None:
        kept = {name: value for name, value in asked.items() if name not in ("cursor", "last_uid")}
        query = urlencode({**kept, "cursor": page.cursor.hex()})
        state = request.path_params.get("state")
        link = f"{request.scope['prefix']}/jobs{f'/{state}' if state else ''}?{query}"
        last = page.jobs[-1].uid if page.jobs else None
    hidden = masked(request)
    return {
        "jobs": [views.brief(job, hidden) for job in page.jobs],
        "last_uid": last,
        "next": link,
        "total": page.total,
    }
