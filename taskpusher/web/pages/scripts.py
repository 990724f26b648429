"""GET /tasks for scripts: jobs as JSON, with how many there are in each state."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ...fields import Whole
from ...job import State
from ...pusher import TaskPusher
from ...stores.base import Page
from .. import views
from ..answers import Json
from ..requests import FILTERS, checked, chosen, cursor_of, masked, query_of, state_named

MOST_LISTED = 100

_limit = Whole(1, MOST_LISTED)


async def listed(request: Request, pusher: TaskPusher) -> Response:
    """`{"data": […], "meta": {…}}`: newest first; of one state, in the order of its list."""
    asked = query_of(request, {*FILTERS, "state", "limit", "cursor"})
    state = checked("state", state_named, asked["state"]) if "state" in asked else None
    query = chosen(state, asked, pusher.clock.now(), masked(request))
    limit = checked("limit", _limit, asked.get("limit", str(MOST_LISTED)))
    page = await pusher.page(query, cursor_of(asked.get("cursor")), limit)
    counts = (await pusher.store.totals(0)).states
    meta = {
        "total": page.total,
        "states": {one: counts.get(one, 0) for one in State},
        "next": _next(request, asked, page),
        "limit": limit,
    }
    return Json({"data": [views.brief(job, masked(request)) for job in page.jobs], "meta": meta})


def _next(request: Request, asked: Mapping[str, str], page: Page) -> str | None:
    if page.cursor is None:
        return None
    return f"{request.scope['prefix']}/tasks?{urlencode({**asked, 'cursor': page.cursor.hex()})}"
