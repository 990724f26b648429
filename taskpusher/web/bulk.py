"""One action on many jobs: `POST /jobs/STATE/ACTION`, and how far it is: `/bulk/ID`."""

from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..bulk import Bulk
from ..errors import InvalidField
from ..fields import Line, truth
from ..filters import LONGEST, unparse
from ..job import Action
from ..masking import MASK
from ..moves import FOR_MANY
from ..pusher import TaskPusher
from ..stores.base import Query
from ..uid import parse_uid
from . import views
from .answers import Json
from .audit import tell
from .problems import Problem
from .requests import (
    FEW,
    FILTERS,
    PLAIN_FILTERS,
    checked,
    chosen,
    fields_of,
    masked,
    no_fields,
    query_of,
    refuse_guessing,
    route,
    state_of,
)

PATIENCE = 1.0  # seconds until a bulk that goes on is answered 202
LONGEST_FILTER = LONGEST

# An empty one is a variable that was not set, and all jobs are not what it was to mean.
_filter = Line(LONGEST_FILTER, empty=False)


class BulkApi:
    """The endpoints over one pusher's bulks."""

    def __init__(self, pusher: TaskPusher, max_body: int) -> None:
        self._pusher = pusher
        self._max_body = max_body

    def routes(self) -> list[BaseRoute]:
        return [
            *(route(f"/jobs/{{state}}/{action}", POST=partial(self.begin, action)) for action in FOR_MANY),
            route("/bulk/{id}", GET=self.look),
            route("/bulk/{id}/cancel", POST=self.cancel),
        ]

    async def begin(self, action: Action, request: Request) -> Response:
        state = state_of(request)
        asked = await self._asked(request)
        dry_run = checked("dry_run", truth, asked.pop("dry_run", False))
        filters = {name: checked(name, _filter, value) for name, value in asked.items()}
        query = chosen(state, filters, self._pusher.clock.now(), masked(request))
        if filters and not query.filtered():
            raise InvalidField("q", "says nothing; leave it out to mean all jobs")
        bulk = self._pusher.bulk(action, query, dry_run=dry_run)
        await bulk.wait(PATIENCE)
        tell(request, **facts_of(bulk))
        if not bulk.done or bulk.cut_short:
            headers = {"Location": f"{request.scope['prefix']}/bulk/{bulk.uid}"}
            return Json(views.bulk(bulk, filters_of(bulk, masked(request))), 202, headers)
        said = views.bulk(bulk, {})
        told = {name: said[name] for name in ("skipped", "failed", "error") if said[name]}
        return Json({"count": bulk.count} | told)

    async def look(self, request: Request) -> Response:
        return self._shown(self._found(request), request)

    async def cancel(self, request: Request) -> Response:
        await no_fields(request, self._max_body)
        bulk = self._found(request)
        if bulk.done:
            raise Problem(409, "It has ended", "the bulk has ended already; what it moved stays moved")
        bulk.cancel()
        await bulk.wait(PATIENCE)
        return self._shown(bulk, request, 200 if bulk.done else 202)

    async def _asked(self, request: Request) -> dict[str, object]:
        """The filters, from the query or the body."""
        known = {*FILTERS, "dry_run"}
        asked: dict[str, object] = {**query_of(request, known)}
        fields: Mapping[str, object] = await fields_of(request, min(FEW, self._max_body))
        for name, value in fields.items():
            if name not in known:
                names = ", ".join(sorted(known))
                raise InvalidField(name[:100], f"is nothing to choose jobs by; those are {names}")
            if name in asked:
                raise InvalidField(name, "is given twice; send it once")
            if value is not None:
                asked[name] = value
        return asked

    def _found(self, request: Request) -> Bulk:
        return self._pusher.find_bulk(checked("id", parse_uid, request.path_params["id"]))

    def _shown(self, bulk: Bulk, request: Request, status: int = 200) -> Response:
        return Json(views.bulk(bulk, filters_of(bulk, masked(request))), status)


def facts_of(bulk: Bulk) -> dict[str, object]:
    """For the audit; a dry run does nothing."""
    if bulk.dry_run:
        return {"action": ""}
    return {
        "action": f"{bulk.action.value} all",
        "bulk": bulk.uid,
        "state": str(bulk.query.state),
        "filters": filters_of(bulk, hidden=False),
        "count": bulk.count if bulk.done else bulk.total,
        "outcome": "cut short" if bulk.cut_short else "done" if bulk.done else "begun",
    }


def filters_of(bulk: Bulk, hidden: bool) -> dict[str, str]:
    """Those that were given, `q` as far as there is no other field for it.

    For users who only look, the url as far as they may ask for it themselves, and no text: secrets may be
    in it.
    """
    query = _hidden(bulk.query) if hidden else bulk.query
    filters = {name: str(value) for name in PLAIN_FILTERS if (value := getattr(query, name))}
    if rest := unparse(replace(query, **dict.fromkeys(filters, ""))):
        filters["q"] = rest
    return filters


def _hidden(query: Query) -> Query:
    if query.url:
        try:
            refuse_guessing(query.url)
        except InvalidField:
            query = replace(query, url=MASK)
    return replace(query, text=MASK) if query.text else query
