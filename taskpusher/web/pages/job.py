"""GET /tasks/UID: all there is to know of one job."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...filters import term
from ...job import Action, Job, State
from ...masking import masked_url
from ...moves import allowed
from ...pusher import TaskPusher
from ...wording import short
from ..requests import masked, query_of, uid_of
from .exchange import answer_of, curl, request_of
from .frame import Frame
from .lists import DEEDS, tab_of
from .timeline import timeline


class JobPage:
    """The page of a job."""

    def __init__(self, pusher: TaskPusher, frame: Frame) -> None:
        self._pusher, self._frame = pusher, frame

    def routes(self) -> list[BaseRoute]:
        return [self._frame.page("/tasks/{uid}", GET=self.show)]

    async def show(self, request: Request) -> Response:
        query_of(request, set())
        details = await self._pusher.details(uid_of(request))
        job, hidden = details.job, masked(request)
        calls_url = job.kind == "http"
        return await self._frame.render(
            request,
            "job.html",
            "jobs",
            job=job,
            tab=tab_of(job.state),
            url=masked_url(job.target) if hidden else job.target,
            deeds=[deed for action, deed in DEEDS.items() if allowed(job, action)],
            editable=allowed(job, Action.EDIT),
            calls_url=calls_url,
            why=await self._why(job),
            timeline=timeline(details),
            sent=request_of(details, hidden),
            result=None if details.result is None else answer_of(details.result, hidden),
            curl="" if hidden or not calls_url else curl(job, details.body),
            term=term,
        )

    async def _why(self, job: Job) -> str:
        """Why it is where it is, where that is a question."""
        if job.state is not State.WAITING:
            return ""
        now = self._pusher.clock.now()
        if job.due_ms > now:
            wait = short((job.due_ms - now) / 1000)
            if job.failures and job.delayed:
                return (
                    f"It waits {wait} more for its next attempt: {job.failures} of {job.max_attempts} failed."
                )
            return f"It waits until it is due, {wait} from now. Run now does not wait for that."
        if not self._pusher.ready:
            return "It is due; the tasker is stopping, and runs it after its next start."
        return await self._held_back(job)

    async def _held_back(self, job: Job) -> str:
        found = {one.rule.name: one for one in await self._pusher.queues()}.get(job.queue)
        if found is None:
            return ""
        if found.rule.paused:
            return f"It is due; its queue {job.queue} is paused."
        if found.rule.concurrency and found.running >= found.rule.concurrency:
            return f"It is due; its queue {job.queue} is at its concurrency of {found.rule.concurrency}."
        if job.blocked_by:
            return f"It is due; {job.blocked_by.replace(':', ' ', 1)} is at its cap."
        if found.waiting > 1:
            return f"It is due, and one of {found.waiting:,} that wait in the queue {job.queue}."
        return "It is due, and begins as soon as a worker is free."
