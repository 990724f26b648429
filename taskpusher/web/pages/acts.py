"""What is done from the pages: forms that move jobs, one, those selected, or all that match.

A form is answered by the page it leads to (303); a script that asks for JSON is told in a line what came of
it, and how it is taken back where it can be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...bulk import Bulk, check_pair
from ...errors import InvalidField, StoreBroken, TaskPusherError
from ...filters import unparse
from ...job import Action, Job, State
from ...moves import FOR_MANY
from ...pusher import TaskPusher
from ...stores.base import Query
from ...uid import parse_uid
from ..accepts import wants_json
from ..answers import Json
from ..audit import tell, tell_each
from ..bulk import facts_of, filters_of
from ..problems import Problem, problem
from ..requests import checked, chosen, masked, query_of, state_named, uid_of
from .forms import Form, form_of
from .frame import Frame, may, see_other
from .lists import DEEDS, MOST_LOOKED, ROWS, tab_of

FORM = 64 * 1024  # bytes of a form
PATIENCE = 1.0  # seconds until a bulk is shown on its way instead of at its end
COUNTING = 10.0  # seconds that a count to the end may take

DONE = {
    Action.RUN: "Due now",
    Action.RETRY: "Sent back to waiting",
    Action.RESUME: "Resumed",
    Action.PAUSE: "Paused",
    Action.CANCEL: "Canceled",
    Action.REMOVE: "Deleted",
}
# How the audit calls what the pages call otherwise.
NOTED = {Action.REMOVE: "remove"}


class Moved(NamedTuple):
    """A job that was moved: as it is now (None: removed), and how it is taken back, if it can be."""

    uid: str
    job: Job | None
    back: Action | None


class Count(NamedTuple):
    """How many jobs match; not `complete`: at least, since only `looked` were looked at (0: nobody knows)."""

    number: int
    complete: bool
    looked: int = 0


class Acts:
    """The POST routes of the pages."""

    def __init__(self, pusher: TaskPusher, frame: Frame) -> None:
        self._pusher, self._frame = pusher, frame

    def routes(self) -> list[BaseRoute]:
        return [
            self._frame.page("/tasks/act", POST=self.many),
            self._frame.page("/tasks/bulk/{id}", GET=self.bulk, POST=self.stop_bulk),
            self._frame.page("/tasks/{uid}/duplicate", POST=self.duplicate),
            *(self._frame.page(f"/tasks/{{uid}}/{action}", POST=self._one(action)) for action in FOR_MANY),
        ]

    # ---- one job ----------------------------------------------------------------------------------

    def _one(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            await form_of(request, FORM, ("action",))
            moved = await self._move(uid_of(request), action)
            tell(request, action=NOTED.get(action, action.value))
            if moved.job is None:
                return answered(request, DONE[action], tab_of(None).path, go=True)
            wish = moved.job.wish
            told = DONE[action] if wish is None else f"Asked to {wish}"
            return answered(request, told, f"/tasks/{moved.uid}", undo=_undo([moved]), later=wish is not None)

        return act

    async def _move(self, uid: str, action: Action) -> Moved:
        """Raises UnknownJob, MoveRefused."""
        pusher = self._pusher
        if action is Action.REMOVE:
            await pusher.remove(uid)
            return Moved(uid, None, None)
        before = await pusher.get(uid)
        by_action = {
            Action.CANCEL: pusher.cancel,
            Action.PAUSE: pusher.pause,
            Action.RESUME: pusher.resume,
            Action.RETRY: pusher.retry,
            Action.RUN: pusher.run,
        }
        job = await by_action[action](uid)
        return Moved(uid, job, _back(action, before, job, pusher.clock.now()))

    async def duplicate(self, request: Request) -> Response:
        await form_of(request, FORM, ("action",))
        job = await self._pusher.duplicate(uid_of(request))
        tell(request, outcome=job.uid)
        return answered(request, "Pushed once more", f"/tasks/{job.uid}", go=True)

    # ---- several ----------------------------------------------------------------------------------

    async def many(self, request: Request) -> Response:
        """Those selected at once; all that match after a page that says how many."""
        known = ("state", "q", "action", "all_action", "scope", "sure", "count")
        form = await form_of(request, FORM, known, ("uid",))
        state = checked("state", state_named, form.get("state"))
        if form.get("scope") == "all" or form.get("sure") or form.get("count"):
            return await self._all(request, form, state)
        action = checked("action", _action, form.get("action"))
        uids = [checked("uid", parse_uid, uid) for uid in dict.fromkeys(form.all("uid"))]
        if not uids:
            raise InvalidField("uid", "is missing; select the jobs first")
        if len(uids) > ROWS:
            raise InvalidField("uid", f"is given more than {ROWS} times; use all that match")
        moved, refused = await self._selected(uids, action)
        tell_each(request, [_noted(action, one) for one in moved])
        return await self._came_to(request, action, state, moved, refused)

    async def _selected(
        self, uids: Sequence[str], action: Action
    ) -> tuple[list[Moved], list[TaskPusherError]]:
        """Those that were moved, and why the others were not."""
        results = await asyncio.gather(*(self._move(uid, action) for uid in uids), return_exceptions=True)
        moved: list[Moved] = []
        refused: list[TaskPusherError] = []
        for result in results:
            if isinstance(result, Moved):
                moved.append(result)
            elif isinstance(result, TaskPusherError) and not isinstance(result, StoreBroken):
                refused.append(result)
            else:
                raise result
        return moved, refused

    async def _came_to(
        self,
        request: Request,
        action: Action,
        state: State,
        moved: Sequence[Moved],
        refused: Sequence[TaskPusherError],
    ) -> Response:
        if not moved:
            first = problem(refused[0])
            many = f"none of the {len(refused)} jobs: " if len(refused) > 1 else ""
            raise Problem(first.status, first.title, many + first.detail)
        told = _told(action, moved)
        if not refused:
            return answered(request, told, tab_of(state).path, undo=_undo(moved))
        told += f"; {len(refused)} could not be: {refused[0]}"
        if wants_json(request.headers.get("accept", "")):
            return answered(request, told, "", undo=_undo(moved))
        return await self._frame.render(
            request, "told.html", "jobs", title=DEEDS[action].title, told=told, back=tab_of(state)
        )

    async def _all(self, request: Request, form: Form, state: State) -> Response:
        action = checked("action", _action, form.get("all_action") or form.get("action"))
        text = form.get("q", "").strip()
        query = chosen(state, {"q": text}, self._pusher.clock.now(), masked(request))
        if form.get("sure"):
            bulk = self._pusher.bulk(action, query)
            await bulk.wait(PATIENCE)
            tell(request, **facts_of(bulk))
            return see_other(request, f"/tasks/bulk/{bulk.uid}")
        tell(request, action="")
        count = await self._count(action, query, whole=form.get("count") == "all")
        return await self._frame.render(
            request,
            "sure.html",
            "jobs",
            tab=tab_of(state),
            deed=DEEDS[action],
            state=state,
            q=text,
            count=count,
        )

    async def _count(self, action: Action, query: Query, whole: bool) -> Count:
        """Of a long list the first jobs only, so that the question comes at once; `whole`: of all."""
        if whole or query.counted():
            counted = self._pusher.bulk(action, query, dry_run=True)
            if not await counted.wait(COUNTING):
                counted.cancel()
            return Count(counted.count, counted.done and not counted.cut_short)
        assert query.state is not None
        check_pair(action, query.state, self._pusher.runners.keys())
        page = await self._pusher.page(query, None, 1, MOST_LOOKED)
        return Count(page.total, page.complete, page.looked)

    # ---- bulks ------------------------------------------------------------------------------------

    async def bulk(self, request: Request) -> Response:
        query_of(request, set())
        bulk = self._found(request)
        assert bulk.query.state is not None
        return await self._frame.render(
            request,
            "bulk.html",
            "jobs",
            bulk=bulk,
            tab=tab_of(bulk.query.state),
            title=("Count: " if bulk.dry_run else "") + DEEDS[bulk.action].title,
            filters=filters_of(bulk, masked(request)),
            q=unparse(bulk.query) if may(request) else "",
        )

    async def stop_bulk(self, request: Request) -> Response:
        await form_of(request, FORM, ())
        bulk = self._found(request)
        if bulk.done:
            tell(request, action="")
            return see_other(request, f"/tasks/bulk/{bulk.uid}")
        bulk.cancel()
        await bulk.wait(PATIENCE)
        facts = {"action": f"cancel bulk {bulk.action.value}", "outcome": "", "count": bulk.count}
        tell(request, **{**facts_of(bulk), **facts})
        return see_other(request, f"/tasks/bulk/{bulk.uid}")

    def _found(self, request: Request) -> Bulk:
        return self._pusher.find_bulk(checked("id", parse_uid, request.path_params["id"]))


def answered(
    request: Request,
    told: str,
    to: str,
    *,
    undo: Mapping[str, Any] | None = None,
    go: bool = False,
    later: bool = False,
) -> Response:
    """To a script what came of it (`go`: and the page to go to; `later`: it is not done yet), to a browser
    the page."""
    if wants_json(request.headers.get("accept", "")):
        path = request.scope["prefix"] + to if go else None
        return Json({"said": told, "to": path, "undo": undo}, 202 if later else 200)
    return see_other(request, to)


def _back(action: Action, before: Job, job: Job, now: int) -> Action | None:
    """What takes the move back, so that the job is as it was: a retry is due at once, and expires never."""
    if job.wish is not None:
        return None
    if action is Action.PAUSE:
        return Action.RESUME
    if action is Action.RESUME:
        return Action.PAUSE
    waited = before.state is State.WAITING and before.due_ms <= now and not before.expires_ms
    return Action.RETRY if action is Action.CANCEL and waited else None


def _undo(moved: Sequence[Moved]) -> Mapping[str, Any] | None:
    """Only where all of them can be taken back: half of it would be no undo."""
    backs = {one.back for one in moved}
    if len(backs) != 1 or None in backs:
        return None
    return {"action": backs.pop(), "uid": [one.uid for one in moved]}


def _told(action: Action, moved: Sequence[Moved]) -> str:
    """Canceled: 3 jobs; asked to cancel: 1."""
    asked = sum(one.job is not None and one.job.wish is not None for one in moved)
    done = len(moved) - asked
    parts = [f"{DONE[action]}: {done} {'job' if done == 1 else 'jobs'}"] if done else []
    if asked:
        parts.append(f"asked to {action.value}: {asked}")
    return "; ".join(parts)


def _noted(action: Action, moved: Moved) -> dict[str, str]:
    outcome = "removed" if moved.job is None else moved.job.state.value
    return {"action": NOTED.get(action, action.value), "job": moved.uid, "outcome": outcome}


def _action(value: object) -> Action:
    if value not in FOR_MANY:
        raise ValueError(f"must be one of {', '.join(FOR_MANY)}")
    return Action(str(value))
