"""Every answer that is a refusal: `application/problem+json` (RFC 9457)."""

import logging

import msgspec
from starlette.types import Send

from ..errors import (
    CursorGone,
    InvalidField,
    KeyTaken,
    MoveRefused,
    StaleEdit,
    Stopping,
    StoreFull,
    TaskPusherError,
    UidTaken,
    UnknownBulk,
    UnknownJob,
)
from .answers import SECURITY

log = logging.getLogger("taskpusher.web")

STATUSES: dict[type[Exception], tuple[int, str]] = {
    InvalidField: (422, "A field can't be taken"),
    UnknownJob: (404, "No such job"),
    MoveRefused: (409, "Not in this state"),
    UidTaken: (409, "The uid is taken"),
    KeyTaken: (409, "The key is taken"),
    StaleEdit: (409, "The job changed meanwhile"),
    CursorGone: (410, "No page after that job"),
    UnknownBulk: (404, "No such bulk"),
    Stopping: (503, "The tasker stops"),
    StoreFull: (507, "No room on the disk"),
}


class Problem(Exception):
    """A refusal with its HTTP status; `detail` says what to do instead."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        field: str | None = None,
        index: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.title, self.detail = status, title, detail
        self.field, self.index = field, index
        self.headers = headers or {}
        super().__init__(detail)

    def body(self) -> bytes:
        shown: dict[str, str | int] = {"title": self.title, "status": self.status, "detail": self.detail}
        if self.field is not None:
            shown["field"] = self.field
        if self.index is not None:
            shown["index"] = self.index
        try:
            return msgspec.json.encode(shown)
        except UnicodeEncodeError:  # half a surrogate pair came in and is quoted
            return msgspec.json.encode({name: _whole(value) for name, value in shown.items()})


def problem(error: Exception) -> Problem:
    """The problem an error is; one that nobody foresaw is logged here and tells nothing of the inside."""
    if isinstance(error, Problem):
        return error
    for kind, (status, title) in STATUSES.items():
        if isinstance(error, kind):
            return _of(error, status, title)
    log.error("a request failed unexpectedly", exc_info=error)
    return Problem(500, "An error of the tasker", "it may not have been done; the tasker's log says more")


async def refuse(send: Send, error: Exception) -> None:
    """Answer with the problem the error is."""
    found = problem(error)
    body = found.body()
    headers = [
        *SECURITY,
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode("latin-1")) for name, value in found.headers.items()),
    ]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _of(error: Exception, status: int, title: str) -> Problem:
    if isinstance(error, InvalidField):
        return Problem(status, title, f"{error.field} {error.detail}", field=error.field, index=error.index)
    detail = str(error)
    if isinstance(error, StoreFull) and not detail:
        detail = "nothing was stored; make room on the disk, or push again later"
    fields = {UidTaken: "uid", KeyTaken: "key", UnknownJob: "uid", CursorGone: "last_uid", UnknownBulk: "id"}
    field = fields.get(type(error)) if isinstance(error, TaskPusherError) else None
    return Problem(status, title, detail, field=field)


def nowhere() -> Problem:
    paths = (
        "/tasks, /add, /job/UID, /jobs, /jobs/STATE, /bulk/ID, /queues, /stats, /audit, "
        "/healthz, /readyz and /openapi.json"
    )
    return Problem(404, "Nothing is here", f"there is nothing at this path; there is {paths}")


def wrong_method(allowed: str) -> Problem:
    return Problem(
        405,
        "Not with this method",
        f"this path takes {allowed}; a method in a header or a field does not count",
        headers={"Allow": allowed},
    )


def _whole(value: str | int) -> str | int:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
