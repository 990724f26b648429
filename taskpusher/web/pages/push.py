"""The form of a job: a new one, one made after another, or changes of one that waits."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...durations import written_duration
from ...errors import InvalidField, KeyTaken, StaleEdit, StoreFull
from ...job import FINISHED, Action, Job
from ...moves import allowed
from ...push import new_job
from ...pusher import TaskPusher
from ...stores.base import Details
from ...uid import parse_uid
from ..accepts import wants_json
from ..audit import tell
from ..problems import Problem, problem
from ..requests import checked, query_of, uid_of
from .forms import form_of
from .frame import Frame, may, see_other
from .values import FIELDS, OF_ITS_OWN, changed, pushed, text_of, values_of

MOST_QUEUES = 200  # suggested
ROOM = 1 << 20  # bytes of a form beside the job's body
PATIENCE = 30.0  # seconds that an answer is waited for


class PushPage:
    """GET and POST of /tasks/new and /tasks/UID/edit."""

    def __init__(self, pusher: TaskPusher, frame: Frame, max_body: int) -> None:
        self._pusher, self._frame = pusher, frame
        self._room = max_body * 3 + ROOM  # a form writes most bytes of a body as three
        self._closing = asyncio.Event()

    def routes(self) -> list[BaseRoute]:
        return [
            self._frame.page("/tasks/new", GET=self.new, POST=self.push),
            self._frame.page("/tasks/{uid}/edit", GET=self.edit, POST=self.change),
        ]

    def close(self) -> None:
        """Wait for no answer any more: the server stops."""
        self._closing.set()

    # ---- a new one --------------------------------------------------------------------------------

    async def new(self, request: Request) -> Response:
        _only_who_may(request)
        asked = query_of(request, {"from", *FIELDS})
        values = {name: value for name, value in asked.items() if name in FIELDS}
        if "from" not in asked:
            return await self._form(request, values)
        details = await self._pusher.details(checked("from", parse_uid, asked["from"]))
        job = details.job
        if job.kind != "http":
            raise Problem(
                409, "Not a URL", f"a form makes jobs that call a URL; duplicate this {job.kind} job"
            )
        copied = {name: value for name, value in values_of(details).items() if name not in OF_ITS_OWN}
        return await self._form(request, copied | values, after=details)

    async def push(self, request: Request) -> Response:
        tell(request, action="")  # a push is no news to the audit
        form = await form_of(request, self._room, (*FIELDS, "wait"))
        pusher = self._pusher
        try:
            add = new_job(pushed(form), pusher.defaults, pusher.clock.now())
            (written,) = await pusher.add(add)
        except (InvalidField, KeyTaken, StoreFull) as error:
            return await self._form(request, form, error)
        job = written.job
        assert job is not None
        if written.existing:
            return await self._form(request, form, KeyTaken(job.key, job.uid))
        if form.get("wait"):
            await self._ended(job)
        return see_other(request, f"/tasks/{job.uid}")

    async def _ended(self, job: Job) -> None:
        """Until the job has finished, somebody has removed it, or there is no sense in waiting any longer."""
        pusher = self._pusher
        if not pusher.ready or job.due_ms - pusher.clock.now() > PATIENCE * 1000:
            return
        moved = asyncio.Event()

        def listen(jobs: Sequence[Job]) -> None:
            if any(one.uid == job.uid and one.state in FINISHED for one in jobs):
                moved.set()

        stop = pusher.events.listen(listen)
        try:
            found = await pusher.store.get(job.uid)
            if found is not None and found.state not in FINISHED:
                await _first(moved, self._closing, PATIENCE)
        finally:
            stop()

    # ---- one that waits ---------------------------------------------------------------------------

    async def edit(self, request: Request) -> Response:
        _only_who_may(request)
        query_of(request, set())
        details = await self._pusher.details(uid_of(request))
        job = details.job
        if not allowed(job, Action.EDIT):
            raise Problem(409, "Not in this state", f"the job is {job.state}; clone it and edit the copy")
        return await self._form(request, values_of(details), of=details)

    async def change(self, request: Request) -> Response:
        uid = uid_of(request)
        form = await form_of(request, self._room, (*FIELDS, "revision"))
        details = await self._pusher.details(uid)
        job, seen = details.job, form.get("revision")
        if allowed(job, Action.EDIT) and seen is not None and seen != str(job.revision):
            raise StaleEdit(uid)  # what was not touched would be taken for a change
        try:
            await self._pusher.edit(uid, changed(form, values_of(details)))
        except (InvalidField, StoreFull) as error:
            return await self._form(request, form, error, of=details)
        return see_other(request, f"/tasks/{uid}")

    # ---- the form ---------------------------------------------------------------------------------

    async def _form(
        self,
        request: Request,
        values: Mapping[str, str],
        error: Exception | None = None,
        *,
        of: Details | None = None,
        after: Details | None = None,
    ) -> Response:
        """`of`: the job that is changed; `after`: the one that is copied."""
        found = None if error is None else problem(error)
        if found is not None and wants_json(request.headers.get("accept", "")):
            raise found
        return await self._frame.render(
            request,
            "new.html",
            "jobs",
            status=200 if found is None else found.status,
            **_about(of, after),
            values=values,
            problem=found,
            in_field=found is not None and found.field in FIELDS,
            holder=error.holder if isinstance(error, KeyTaken) else "",
            queues=sorted((await self._pusher.store.totals(MOST_QUEUES)).queues),
            defaults=self._defaults(),
        )

    def _defaults(self) -> dict[str, Any]:
        defaults = self._pusher.defaults
        return {
            "max_attempts": defaults.max_attempts,
            "timeout": written_duration(defaults.timeout),
            "success": defaults.success,
        }


def _only_who_may(request: Request) -> None:
    if not may(request):
        raise Problem(403, "Not allowed", "users who only look may not push or change jobs")


def _about(of: Details | None, after: Details | None) -> dict[str, Any]:
    """What the form is about; `unshown`: bytes of a body that it can't hold."""
    source = of or after
    uid = "" if of is None else of.job.uid
    return {
        "title": "Change the job" if of else "New job",
        "job": None if of is None else of.job,
        "after": "" if after is None else after.job.uid,
        "unshown": len(source.body) if source is not None and text_of(source.body) is None else 0,
        "action": f"/tasks/{uid}/edit" if uid else "/tasks/new",
        "back": f"/tasks/{uid}" if uid else "/tasks/jobs",
    }


async def _first(one: asyncio.Event, other: asyncio.Event, timeout: float) -> None:
    """Until one of the events is set, or so many seconds have passed."""
    tasks = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
