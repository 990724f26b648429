"""The lists of jobs, one a state and one of all: a filter, pages, and what can be done to those on them."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...errors import InvalidField
from ...fields import truth
from ...filters import SUGGESTIONS, term
from ...job import FINISHED, Action, ErrorClass, Job, State
from ...moves import FOR_MANY, allowed
from ...pusher import TaskPusher
from ...stores.base import Page, Totals
from ..requests import checked, chosen, cursor_of, masked, query_of, state_of
from .frame import Frame

ROWS = 50  # jobs a page
MOST_QUEUES = 200  # that the filter suggests
MOST_LOOKED = 10_000  # records looked at for a filter, so that a page takes no time that is felt
EXAMPLES = (
    *(f"error:{error_class}" for error_class in ErrorClass),
    *("status:5xx", "status:4xx", "status:none", "attempt:>1", "age:>1h", "age:<1h", "age:<1d"),
)
NOTHING = Page([], None, 0)


class Deed(NamedTuple):
    """What can be done to the jobs of a list."""

    name: str
    title: str
    kind: str = ""  # how its button looks


DEEDS = {
    Action.RUN: Deed("run", "Run now"),
    Action.RETRY: Deed("retry", "Retry"),
    Action.RESUME: Deed("resume", "Resume"),
    Action.PAUSE: Deed("pause", "Pause"),
    Action.CANCEL: Deed("cancel", "Cancel"),
    Action.REMOVE: Deed("delete", "Delete", "danger"),
}


class Tab(NamedTuple):
    """One list: what it is called, and which columns it has."""

    title: str
    path: str
    state: State | None
    when: str  # the heading of its moment
    none: str  # said when it is empty
    noun: str

    @property
    def took(self) -> bool:
        return self.state is None or self.state in FINISHED

    @property
    def ends(self) -> bool:
        return self.state not in (State.PAUSED, State.RUNNING)

    @property
    def actions(self) -> list[Deed]:
        return [] if self.state is None else deeds(self.state)


TABS = (
    Tab("All", "/tasks/jobs", None, "Pushed", "No job is kept yet. Push one: POST /add, or New job.", "kept"),
    Tab("Waiting", "/tasks/jobs/waiting", State.WAITING, "Due", "Nothing waits.", "waiting"),
    Tab("Running", "/tasks/jobs/running", State.RUNNING, "Began", "Nothing runs just now.", "running"),
    Tab("Paused", "/tasks/jobs/paused", State.PAUSED, "Pushed", "No job is paused.", "paused"),
    Tab(
        "Completed", "/tasks/jobs/completed", State.COMPLETED, "Ended", "Nothing completed yet.", "completed"
    ),
    Tab("Error", "/tasks/jobs/errors", State.ERROR, "Ended", "No job has failed for good.", "failed"),
    Tab("Canceled", "/tasks/jobs/canceled", State.CANCELED, "Ended", "No job was canceled.", "canceled"),
)


def deeds(state: State) -> list[Deed]:
    """What can be done to many jobs of that state."""
    job = Job(uid="", target="", state=state)
    return [deed for action, deed in DEEDS.items() if action in FOR_MANY and allowed(job, action)]


def when_of(job: Job, tab: Tab) -> int:
    """The moment that tells most of a job in that list, in ms."""
    if tab.state is None:
        return job.created_ms
    if job.state is State.WAITING:
        return job.due_ms
    if job.state is State.RUNNING:
        return job.started_ms
    return job.finished_ms or job.created_ms


class Lists:
    """GET /tasks/jobs and /tasks/jobs/STATE."""

    def __init__(self, pusher: TaskPusher, frame: Frame) -> None:
        self._pusher, self._frame = pusher, frame
        frame.filter("when_of", when_of)

    def routes(self) -> list[BaseRoute]:
        return [
            self._frame.page("/tasks/jobs", GET=self.show),
            self._frame.page("/tasks/jobs/{state}", GET=self.show),
        ]

    async def show(self, request: Request) -> Response:
        asked = query_of(request, {"q", "cursor", "all"})
        tab = tab_of(state_of(request))
        text = asked.get("q", "").strip()
        totals = await self._pusher.store.totals(MOST_QUEUES)
        page, wrong = NOTHING, ""
        try:
            page = await self._page(tab, text, asked, masked(request))
        except InvalidField as error:
            wrong = error.detail if error.field == "q" else f"{error.field} {error.detail}"
        return await self._frame.render(
            request,
            "jobs.html",
            "jobs",
            status=422 if wrong else 200,
            tab=tab,
            tabs=_tabs(totals),
            q=text,
            wrong=wrong,
            page=page,
            later="cursor" in asked,
            next=_next(tab, text, page),
            suggestions=SUGGESTIONS,
            terms=_terms(totals),
        )

    async def _page(self, tab: Tab, text: str, asked: Mapping[str, str], hidden: bool) -> Page:
        whole = "all" in asked and checked("all", truth, asked["all"])
        query = chosen(tab.state, {"q": text}, self._pusher.clock.now(), hidden)
        return await self._pusher.page(
            query, cursor_of(asked.get("cursor")), ROWS, 0 if whole else MOST_LOOKED
        )


def _tabs(totals: Totals) -> list[dict[str, object]]:
    whole = sum(totals.states.values())
    return [
        {
            "title": tab.title,
            "path": tab.path,
            "count_name": tab.state or "all",
            "count": whole if tab.state is None else totals.states.get(tab.state, 0),
        }
        for tab in TABS
    ]


def _terms(totals: Totals) -> list[str]:
    """What the filter's field suggests: the qualifiers, and queues there are."""
    queues = (term("queue", name) for name in sorted(totals.queues))
    return [*(f"{name}:" for name in SUGGESTIONS), *EXAMPLES, *queues]


def tab_of(state: State | None) -> Tab:
    return next(tab for tab in TABS if tab.state is state)


def _next(tab: Tab, text: str, page: Page) -> str:
    if page.cursor is None:
        return ""
    asked = {"q": text} if text else {}
    return f"{tab.path}?{urlencode({**asked, 'cursor': page.cursor.hex()}, quote_via=quote)}"
