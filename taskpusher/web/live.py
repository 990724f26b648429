"""`GET /tasks/events`: how many jobs are in which state, told as it changes, by server-sent events.

Nothing is done while nobody listens, and next to nothing while nothing moves. What is told is read once for
all streams, at most once a second; a stream that is read slowly gets the newest only.
"""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from ..job import Job, State
from ..pusher import TaskPusher
from ..uid import parse_uid
from .problems import Problem
from .requests import checked, query_of, route

log = logging.getLogger("taskpusher.web")

MOST_STREAMS = 50
LEAST = 1.0  # seconds between two looks at the store
TOGETHER = 0.05  # seconds: what moves one after the other within them is told at once
HEARTBEAT = 25.0  # seconds without a word, after which proxies would begin to doubt
EVERY = (1, 2, 5, 15, 30, 60)  # seconds that a reader may choose
WATCH = 0.1  # seconds between two looks whether uvicorn stops; it wakes as often itself
AGAIN = 2000  # ms until a browser whose stream has ended asks for another one

MEDIA = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second is nginx's

_encode = msgspec.json.Encoder().encode


class Figures(msgspec.Struct, frozen=True):
    """How it is at one moment. `rates` are jobs a second; `oldest_due` and `now` ms since 1970."""

    states: dict[State, int]
    busy: int
    workers: int
    oldest_due: int | None
    rates: dict[str, float]
    now: int
    moves: int  # that were heard of until then
    at: float  # the loop's time

    def event(self, told: int) -> bytes:
        """For who has been told of so many moves."""
        said = {name: getattr(self, name) for name in self.__struct_fields__ if name not in ("moves", "at")}
        return _event("tick", said | {"moved": self.moves - told})


class Stream:
    """What one reader is to be sent."""

    def __init__(self, every: float, uid: str) -> None:
        self.every, self.uid = every, uid
        self.ended = False
        self._figures: Figures | None = None  # the newest, unsent
        self._job: Job | None = None  # as it last moved, unsent
        self._given: Figures | None = None  # the last that was handed over
        self._told: int | None = None  # the moves that the reader was told of
        self._moving = True  # the last figures may have been about to change: one more look follows
        self._woken = asyncio.Event()

    def wants(self, moves: int) -> bool:
        return self._given is None or self._moving or self._given.moves != moves

    def due(self) -> float:
        """From when on it may be given figures, in the loop's time."""
        return 0.0 if self._given is None else self._given.at + self.every

    def give(self, figures: Figures) -> None:
        before = figures.moves if self._given is None else self._given.moves
        self._moving = figures.moves != before or any(figures.rates.values())
        self._figures = self._given = figures
        self._woken.set()

    def moved(self, job: Job) -> None:
        self._job = job
        self._woken.set()

    def end(self) -> None:
        self.ended = True
        self._woken.set()

    async def next(self, heartbeat: float) -> bytes:
        """What is to be sent, once there is something; a comment after so many seconds. b"": it has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(heartbeat):
                await self._woken.wait()
        self._woken.clear()
        if self.ended:
            return b""
        return self._taken() or b":\n\n"

    def _taken(self) -> bytes:
        figures, job = self._figures, self._job
        self._figures = self._job = None
        text = b""
        if job is not None:
            text += _event("job", {"uid": job.uid, "state": job.state, "revision": job.revision})
        if figures is not None:
            text += figures.event(figures.moves if self._told is None else self._told)
            self._told = figures.moves
        return text


class Live:
    """All streams over one pusher."""

    def __init__(
        self, pusher: TaskPusher, *, most: int = MOST_STREAMS, least: float = LEAST, beat: float = HEARTBEAT
    ) -> None:
        """`most` streams at once; `least` seconds between two looks; `beat` between two heartbeats."""
        self._pusher, self._most, self._least, self.beat = pusher, most, least, beat
        self._streams: set[Stream] = set()
        self._by_uid: dict[str, set[Stream]] = {}
        self._closed = False
        self._quiet: list[Any] = []  # how to end the listening
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._newest: Figures | None = None
        self._moves = 0
        self._first = 0.0  # when the first of the moves was heard that the newest figures don't know; 0: none
        self._finished = (0, 0)  # completed, in error: as of the newest figures

    def routes(self) -> list[BaseRoute]:
        return [route("/tasks/events", any_query=True, GET=self.stream)]

    async def stream(self, request: Request) -> Response:
        """The endpoint. `every` slows the ticks; with `uid` the moves of that job are told too."""
        asked = query_of(request, {"every", "uid"})
        every = checked("every", _every, asked.get("every", "1"))
        uid = checked("uid", parse_uid, asked["uid"]) if "uid" in asked else ""
        if self._closed:
            raise Problem(503, "The tasker stops", "no stream begins any more")
        if len(self._streams) >= self._most:
            detail = f"{self._most} streams of events are open, and no more are; close a page that shows them"
            raise Problem(503, "Too many streams", detail)
        if request.method == "HEAD":
            return _Head()
        return _Answer(self, Stream(every * self._least, uid))

    def close(self) -> None:
        """End all streams at once, and begin no more: an open one would hold the end of a server."""
        self._closed = True
        for stream in self._streams:
            stream.end()
        self._rest()

    # ---- streams come and go ----------------------------------------------------------------------

    def enter(self, stream: Stream) -> None:
        """From now on it is given what there is."""
        if not self._streams:
            self._listen()
        self._streams.add(stream)
        if stream.uid:
            self._by_uid.setdefault(stream.uid, set()).add(stream)
        if self._closed:
            stream.end()
        elif self._newest is not None and _now() - self._newest.at < self._least:
            stream.give(self._newest)
        self._plan()

    def leave(self, stream: Stream) -> None:
        self._streams.discard(stream)
        if stream.uid:
            watching = self._by_uid[stream.uid]
            watching.discard(stream)
            if not watching:
                del self._by_uid[stream.uid]
        if not self._streams:
            self._rest()

    def _listen(self) -> None:
        events = self._pusher.events
        self._quiet = [events.listen(self._heard), events.watch(self._seen)]
        if (server := _uvicorn()) is not None:
            self._watch(server)

    def _watch(self, server: Any) -> None:
        """uvicorn waits for open answers when it stops, and tells them nothing: look whether it does."""
        if server.should_exit:
            for stream in self._streams:
                stream.end()
        self._watching = asyncio.get_running_loop().call_later(WATCH, self._watch, server)

    def _rest(self) -> None:
        """Nobody listens: neither do we."""
        while self._quiet:
            self._quiet.pop()()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._newest, self._first = None, 0.0

    # ---- what they are told -----------------------------------------------------------------------

    def _heard(self, jobs: Sequence[Job]) -> None:
        """A listener of Events; called some thousand times a second."""
        if jobs:
            self._moved(jobs, len(jobs))

    def _seen(self, jobs: Sequence[Job]) -> None:
        """A watcher of Events."""
        self._moved(jobs, len(jobs) or 1)

    def _moved(self, jobs: Sequence[Job], number: int) -> None:
        self._moves += number
        if self._by_uid:
            for job in jobs:
                for stream in self._by_uid.get(job.uid, ()):
                    stream.moved(job)
        if not self._first:
            self._first = _now()
            self._plan()

    def _plan(self) -> None:
        """Look at the store when the first stream wants that, if one does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wanting = [stream.due() for stream in self._streams if stream.wants(self._moves)]
        if not wanting or self._looking is not None or self._closed:
            return
        now = _now()
        together = now if self._newest is None else max(now + TOGETHER, self._newest.at + self._least)
        self._timer = asyncio.get_running_loop().call_at(max(min(wanting), together), self._look)

    def _look(self) -> None:
        self._timer = None
        self._looking = asyncio.create_task(self._tell(), name="live")

    async def _tell(self) -> None:
        try:
            figures = await self._figures()
        except Exception:  # the next move has it tried again
            log.exception("the figures of the jobs can't be read for who watches them")
            self._looking, self._first = None, 0.0
            return
        self._newest, self._looking = figures, None
        for stream in self._streams:
            if stream.wants(figures.moves) and stream.due() <= figures.at + 0.001:
                stream.give(figures)
        self._plan()

    async def _figures(self) -> Figures:
        moves, first, at = self._moves, self._first, _now()
        self._first = 0.0
        glance = await self._pusher.glance()
        completed, errors = glance.finished
        rates = self._rates(completed, errors, max(self._least, at - first) if first else self._least)
        self._finished = completed, errors
        return Figures(
            {state: glance.totals.states.get(state, 0) for state in State},
            glance.busy,
            glance.workers,
            glance.totals.oldest_due,
            rates,
            glance.now,
            moves,
            at,
        )

    def _rates(self, completed: int, errors: int, seconds: float) -> dict[str, float]:
        """Since the newest figures; at first, of the last minute."""
        if self._newest is None:
            minute = self._pusher.history.rates()["1m"]
            return {name: minute[name] for name in ("completed", "errors")}
        before = self._finished
        return {
            "completed": round((completed - before[0]) / seconds, 3),
            "errors": round((errors - before[1]) / seconds, 3),
        }


class _Head(Response):
    """The header of a stream, whose length nobody knows."""

    def __init__(self) -> None:
        super().__init__(media_type=MEDIA, headers=HEADERS)
        del self.headers["content-length"]


class _Answer(_Head):
    """Sends a stream until it ends or its reader goes."""

    def __init__(self, live: Live, stream: Stream) -> None:
        super().__init__()
        self._live, self._stream = live, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._live.enter(self._stream)
        gone = asyncio.create_task(self._until_gone(receive), name="live-reader")
        try:
            await self._send(send)
        except OSError:
            pass  # how some servers say that the reader has gone
        finally:
            self._live.leave(self._stream)
            gone.cancel()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        text = b"retry: %d\n\n" % AGAIN
        while text:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = await self._stream.next(self._live.beat)
        await send({"type": "http.response.body", "body": b""})

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.end()


def _uvicorn() -> Any:
    """The uvicorn.Server that runs us, found by the signal that stops it; None under our own server."""
    handlers = (signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))
    owners = (getattr(handler, "__self__", None) for handler in handlers)
    return next((one for one in owners if isinstance(getattr(one, "should_exit", None), bool)), None)


def _event(name: str, said: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(said))


def _every(text: str) -> int:
    if text not in map(str, EVERY):
        raise ValueError(f"must be one of {', '.join(map(str, EVERY))}: seconds between two ticks at least")
    return int(text)


def _now() -> float:
    return asyncio.get_running_loop().time()
