"""Who did what over HTTP: noted in one place, beside the routes, and told by `GET /audit`.

What was done is read from the path and from the answer; an endpoint whose answer does not say it all tells
the rest by `tell`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..audit import Audit, Entry
from ..errors import InvalidField
from ..fields import Whole
from ..masking import masked_url
from ..pusher import TaskPusher
from . import views
from .answers import Json
from .auth import LOOKING, User
from .problems import Problem
from .requests import checked, query_of, route

MOST_LISTED = 100
SHOWN = 500  # characters of a filter
ANYBODY = "anybody"

_limit = Whole(1, MOST_LISTED)
_before = re.compile(r"\d{13}-\d{4}", re.ASCII)
_WORDS = {"PATCH": "edit", "DELETE": "remove"}


class Said(msgspec.Struct):
    """What an answer may say of the change, as JSON."""

    uid: str = ""
    id: str = ""
    action: str = ""
    state: str = ""
    filters: dict[str, str] = {}
    count: int | None = None
    paused: bool = False
    concurrency: int | None = None


class AuditApi:
    """Notes and tells what was done."""

    def __init__(self, pusher: TaskPusher, audit: Audit) -> None:
        self._pusher, self._audit = pusher, audit

    def routes(self) -> list[BaseRoute]:
        return [route("/audit", any_query=True, GET=self.look)]

    async def look(self, request: Request) -> Response:
        user: User = request.scope["user"]
        if not user.may("change"):
            raise Problem(403, "Not allowed", f"the user {user.name} is not shown who did what")
        asked = query_of(request, {"limit", "before"})
        limit = checked("limit", _limit, asked.get("limit", str(MOST_LISTED)))
        before = asked.get("before", "")
        if before and not _before.fullmatch(before):
            raise InvalidField("before", "is none of ours; follow the `next` link as it is")
        entries = await self._audit.entries(limit, before)
        link = None
        if len(entries) == limit:
            more = urlencode({**asked, "before": entries[-1].id})
            link = f"{request.scope['prefix']}/audit?{more}"
        return Json({"entries": list(map(views.entry, entries)), "next": link})

    async def note(self, scope: Any) -> None:
        """Keep what the request of that scope has done, if it was answered and is a change."""
        answered: tuple[str, Response] | None = scope.get("answered")
        if answered is None or scope["method"] in LOOKING or answered[1].status_code >= 400:
            return
        each = scope.get("did each")
        if each is None:
            each = [await self._facts(scope, *answered)]
        user, client = scope["user"].name or ANYBODY, scope.get("client")
        who = self._pusher.clock.now(), user, str(client[0]) if client else ""
        await self._audit.write(*(Entry(*who, **facts) for facts in each if facts["action"]))

    async def _facts(self, scope: Any, path: str, answer: Response) -> dict[str, Any]:
        said, given = _said(answer), scope.get("did", {})
        method, parameters = scope["method"], scope["path_params"]
        if path == "/queues/{name:path}":
            facts = {
                "action": "set queue",
                "queue": parameters["name"],
                "outcome": rule_in_words(said.paused, said.concurrency),
            }
        elif path == "/bulk/{id}/cancel":
            facts = {"action": f"cancel bulk {said.action}", "bulk": said.id, "state": said.state}
            facts |= {"filters": said.filters, "count": said.count}
        elif "uid" in parameters:
            action = path.rpartition("/")[2] if method == "POST" else _WORDS.get(method, method.lower())
            uid = str(parameters["uid"])
            facts = {"action": action, "job": uid}
            if "outcome" not in given:
                facts["outcome"] = await self._outcome(uid, action, said)
        else:
            facts = {"action": f"{method} {path}"}
        facts |= given
        shown = {name: masked_url(value)[:SHOWN] for name, value in facts.get("filters", {}).items()}
        return facts | {"filters": shown}

    async def _outcome(self, uid: str, action: str, said: Said) -> str:
        """The state of the job, or the uid of its copy."""
        if action == "duplicate" and said.uid:
            return said.uid
        if said.state:
            return said.state
        job = await self._pusher.store.get(uid)
        return "removed" if job is None else job.state.value


def tell(request: Request, **facts: Any) -> None:
    """Say what a request does, in fields of Entry, where path and answer don't say it; action "": nothing."""
    request.scope.setdefault("did", {}).update(facts)


def tell_each(request: Request, each: Sequence[Mapping[str, Any]]) -> None:
    """Say all that a request does, where it is more than one thing; each becomes an entry."""
    request.scope["did each"] = each


def _said(answer: Response) -> Said:
    if answer.media_type != Json.media_type:
        return Said()
    try:
        return msgspec.json.decode(answer.body, type=Said)
    except msgspec.MsgspecError:
        return Said()


def rule_in_words(paused: bool, concurrency: int | None) -> str:
    limit = f"concurrency {concurrency}" if concurrency else "no limit"
    return f"{'paused' if paused else 'open'}, {limit}"
