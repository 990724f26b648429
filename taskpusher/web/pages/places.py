"""Where jobs wait and where they go: the queues, with what can be changed of them, and the hosts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ...errors import InvalidField
from ...fields import Line, Whole, truth
from ...filters import term
from ...groups import HostFigures
from ...job import State
from ...pusher import TaskPusher
from ...stores.base import Query, QueueRule
from ..audit import rule_in_words, tell
from ..requests import checked, query_of
from .acts import answered
from .forms import form_of
from .frame import Frame
from .samples import Samples

SHOWN = 100  # queues, hosts; other queues are found by their names
RUNNING = 5_000  # jobs under way that are looked at
FORM = 4096  # bytes
MOST_CONCURRENCY = 100_000

_name, _concurrency = Line(200, empty=False), Whole(0, MOST_CONCURRENCY)


class Row(NamedTuple):
    """A host: how many calls to it are under way, and how those that ended went."""

    host: str
    running: int
    figures: HostFigures | None


def _halved(depths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Half as many points, the deeper of two: a sparkline has no room for more."""
    return {name: list(map(max, row[::2], row[1::2])) for name, row in depths.items()}


class Places:
    """/tasks/queues and /tasks/hosts."""

    def __init__(self, pusher: TaskPusher, frame: Frame, samples: Samples) -> None:
        self._pusher, self._frame, self._samples = pusher, frame, samples

    def routes(self) -> list[BaseRoute]:
        return [
            self._frame.page("/tasks/queues", GET=self.queues, POST=self.set_queue),
            self._frame.page("/tasks/hosts", GET=self.hosts),
        ]

    async def queues(self, request: Request) -> Response:
        text = query_of(request, {"q"}).get("q", "").strip()
        named = [one for one in await self._pusher.queues() if text.lower() in one.rule.name.lower()]
        found = sorted(named, key=lambda one: (-one.waiting - one.running, one.rule.name))
        return await self._frame.render(
            request,
            "queues.html",
            "queues",
            queues=found[:SHOWN],
            more=max(0, len(found) - SHOWN),
            q=text,
            depths=_halved(await self._pusher.history.queues("hour")),
            term=term,
        )

    async def set_queue(self, request: Request) -> Response:
        form = await form_of(request, FORM, ("queue", "paused", "concurrency"))
        name = checked("queue", _name, form.get("queue"))
        paused = concurrency = None
        if "paused" in form:
            paused = checked("paused", truth, form["paused"])
        if "concurrency" in form:
            concurrency = checked("concurrency", _concurrency, form["concurrency"].strip() or "0")
        if paused is None and concurrency is None:
            raise InvalidField("paused", "or concurrency is missing; send one of them")
        rule = (await self._pusher.set_queue(name, paused=paused, concurrency=concurrency)).rule
        tell(request, action="set queue", queue=name, outcome=rule_in_words(rule.paused, rule.concurrency))
        return answered(request, _told(rule, paused is not None), "/tasks/queues")

    async def hosts(self, request: Request) -> Response:
        query_of(request, set())
        sample = await self._samples.newest()
        running = await self._pusher.page(Query(State.RUNNING), None, RUNNING)
        under_way = Counter(job.host for job in running.jobs if job.host)
        figures = {one.host: one for one in sample.hosts}
        rows = [Row(host, under_way[host], figures.get(host)) for host in {**under_way, **figures}]
        rows.sort(key=lambda row: (-(row.figures.errors if row.figures else 0), -row.running, row.host))
        return await self._frame.render(
            request,
            "hosts.html",
            "hosts",
            hosts=rows[:SHOWN],
            sampled=len(sample.ended),
            since=min((job.finished_ms for job in sample.ended), default=0),
            per_host=self._pusher.per_host,
            term=term,
        )


def _told(rule: QueueRule, about_pause: bool) -> str:
    if about_pause:
        return f"The queue {rule.name} {'is paused' if rule.paused else 'goes on'}"
    if rule.concurrency:
        return f"The queue {rule.name} runs at most {rule.concurrency:,} at once"
    return f"The queue {rule.name} runs without a limit of its own"
