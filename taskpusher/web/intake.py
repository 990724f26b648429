"""`POST /add`: bodies become pushes.

A thin ASGI path of its own, without routing and response objects: this is where most requests go.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from ..errors import InvalidField
from ..push import new_job
from ..pusher import TaskPusher
from ..stores.base import Add, Written
from ..trace import Trace, carried
from . import views
from .answers import SECURITY
from .auth import User
from .bodies import (
    JSON,
    NDJSON,
    content_type,
    json_array,
    json_lines,
    json_object,
    read_body,
    read_fields,
    too_many,
)
from .problems import Problem

MOST_JOBS = 10_000  # in one request
SLICE = 100 * 512  # bytes of jobs read before others get their turn; each counts 512 at least

_JSON_ANSWER = (*SECURITY, (b"content-type", b"application/json"))
_TEXT_ANSWER = (*SECURITY, (b"content-type", b"text/plain; charset=utf-8"))


class Intake:
    """Takes pushes: one, or many in one commit."""

    def __init__(self, pusher: TaskPusher, max_body: int) -> None:
        self._pusher = pusher
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send, prefix: str, user: User) -> None:
        """`prefix` is what our paths stand below, percent-encoded."""
        headers = dict(scope["headers"])
        if scope["query_string"]:
            raise _in_the_query(scope["query_string"])
        body = await read_body(headers, receive, self._max_body)
        header = headers.get(b"content-type", b"")
        media = content_type(header)
        accept = headers.get(b"accept", b"")
        bare = b"text/" in accept and wants_text(accept.decode("latin-1"))
        trace = carried(scope["headers"]) if b"traceparent" in headers else None
        if (items := _batch(media, body)) is not None:
            await self._push_many(items, trace, send, bare)
            return
        pusher = self._pusher
        add = new_job(read_fields(media, header, body), pusher.defaults, pusher.clock.now(), trace)
        (written,) = await pusher.add(add)
        assert written.job is not None, "an add leaves a job"
        uid = written.job.uid
        if bare:
            await _answer(send, 200 if written.existing else 201, f"{uid}\n".encode(), bare, prefix, uid)
        elif written.existing:
            await _answer(send, 200, await self._found(add, written, user), bare, prefix, uid)
        else:
            text = f'{{"uid":"{uid}","state":"{written.job.state.value}"}}'
            await _answer(send, 201, text.encode(), bare, prefix, uid)

    async def _found(self, add: Add, written: Written, user: User) -> bytes:
        """The answer where the job is there already: by its uid, the job; by its key, which one it is."""
        job = written.job
        assert job is not None, "an add leaves a job"
        if job.uid != add.job.uid:
            return msgspec.json.encode({"uid": job.uid, "state": job.state, "duplicate": True})
        if user.role == "add":  # who may not look is not shown what became of it
            return msgspec.json.encode({"uid": job.uid, "state": job.state})
        return msgspec.json.encode(views.whole(await self._pusher.details(job.uid), masked=False))

    async def _push_many(
        self, items: Sequence[bytes | msgspec.Raw], trace: Trace | None, send: Send, bare: bool
    ) -> None:
        if len(items) > MOST_JOBS:
            raise too_many(len(items), MOST_JOBS)
        if not items:
            raise Problem(422, "No jobs", "there is no job in the batch; send one at least", field="body")
        adds = await self._read(items, trace)
        try:
            written = await self._pusher.add(*adds)
        except InvalidField as error:  # it came too late; nothing else is left to be found by then
            raise error.at([add.refusal for add in adds].index(error)) from None
        uids = [one.job.uid for one in written if one.job is not None]
        body = "".join(f"{uid}\n" for uid in uids).encode() if bare else msgspec.json.encode({"uids": uids})
        await _answer(send, 201, body, bare)

    async def _read(self, items: Sequence[bytes | msgspec.Raw], trace: Trace | None) -> list[Add]:
        defaults, now = self._pusher.defaults, self._pusher.clock.now()
        adds: list[Add] = []
        read = 0
        for index, item in enumerate(items):
            read += max(512, len(item))
            if read > SLICE:
                read = 0
                await asyncio.sleep(0)
            try:
                adds.append(new_job(json_object(item, index), defaults, now, trace))
            except InvalidField as error:
                raise error.at(index) from None
        return adds


def _batch(media: bytes, body: bytes) -> Sequence[bytes | msgspec.Raw] | None:
    """The jobs of a batch, not taken apart yet; None when the body is one job."""
    if media == NDJSON:
        return json_lines(body, MOST_JOBS)
    if media == JSON and body.lstrip()[:1] == b"[":
        return json_array(body, MOST_JOBS)
    return None


_ACCEPTED = ("text/plain", "text/*", "application/json", "application/*", "*/*")


def wants_text(accept: str) -> bool:
    """Whether text/plain is preferred to JSON (RFC 9110, 12.5.1); of two alike, the first."""
    best = (0.0, "")
    for item in accept.lower().split(","):
        media, *options = (part.strip() for part in item.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        if quality > best[0] and media in _ACCEPTED:
            best = (quality, media)
    return best[1].startswith("text/")


async def _answer(
    send: Send, status: int, body: bytes, bare: bool, prefix: str = "", uid: str | None = None
) -> None:
    headers = [*(_TEXT_ANSWER if bare else _JSON_ANSWER), (b"content-length", b"%d" % len(body))]
    if uid:
        headers.append((b"location", f"{prefix}/job/{uid}".encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _in_the_query(query: bytes) -> InvalidField:
    name = query.partition(b"&")[0].partition(b"=")[0].decode("latin-1")[:100]
    hint = 'send fields in the body: curl -d "url=…"; encode what belongs to the url to call'
    return InvalidField(name, f"stands in the query of /add, where nothing is read; {hint}")
