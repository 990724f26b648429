"""A job as JSON: times in RFC 3339, UTC, milliseconds; durations in seconds; null where there is none.

So GET /job/UID tells of it, and the callbacks too.
"""

import binascii
import codecs
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from .job import AttemptRecord, Job, JobError, Progress, Result, State
from .masking import MASK, masked_url
from .stores.base import Details

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def brief(job: Job, masked: bool) -> dict[str, Any]:
    """The job as lists have it, without what is kept beside it. `masked`: for users who only look."""
    ran = job.attempt and job.state is not State.RUNNING
    shown: dict[str, Any] = {
        "uid": job.uid,
        "kind": job.kind,
        "state": job.state,
        "url": masked_url(job.target) if masked else job.target,
        "method": job.method,
        "headers": headers(job.headers, masked),
        "queue": job.queue,
        "priority": job.priority,
        "title": job.title or None,
        "tags": job.tags,
        "key": job.key or None,
        "created_at": time(job.created_ms),
        "due_at": time(job.due_ms),
        "expires_at": time(job.expires_ms),
        "started_at": time(job.started_ms),
        "finished_at": time(job.finished_ms),
        "duration": round(job.duration, 6) if ran else None,
        "attempt": job.attempt,
        "failures": job.failures,
        "max_attempts": job.max_attempts,
        "run": job.run,
        "timeout": job.timeout,
        "success": job.success,
        "once": job.once,
        "error": _error(job.error),
        "progress": _progress(job.progress),
    }
    if job.wish is not None:
        shown["wish"] = job.wish
    return shown


def whole(details: Details, masked: bool) -> dict[str, Any]:
    """The job with its body, result and attempts."""
    shown = brief(details.job, masked)
    shown |= _body(details.body, masked)
    shown["result"] = _result(details.result, masked)
    shown["attempts"] = [_attempt(record) for record in details.attempts]
    return shown


def time(ms: int) -> str | None:
    """RFC 3339 of milliseconds since 1970; 0 is none."""
    if not ms:
        return None
    moment = _EPOCH + timedelta(milliseconds=ms)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def headers(pairs: Iterable[tuple[str, str]], masked: bool) -> dict[str, Any]:
    """An object of names; the values of one that came several times are a list."""
    found: dict[str, list[str]] = {}
    spelling: dict[str, str] = {}
    for name, value in pairs:
        known = spelling.setdefault(name.lower(), name)
        found.setdefault(known, []).append(MASK if masked else value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _body(body: bytes, masked: bool) -> dict[str, str | None]:
    if not body or masked:
        return {"body": MASK if body else None}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": _base64(body)}


def _result(result: Result | None, masked: bool) -> dict[str, Any] | None:
    if result is None:
        return None
    text, encoding = MASK if masked and result.body else "", "utf-8"
    if not masked:
        text, encoding = _text(result)
    return {
        "status": result.status or None,
        "headers": headers(result.headers, masked),
        "body": text,
        "encoding": encoding,
        "truncated": result.truncated,
    }


def _text(result: Result) -> tuple[str, str]:
    """The body and how it is encoded. One that was cut inside of a character is text all the same."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(result.body, not result.truncated), "utf-8"
    except UnicodeDecodeError:
        return _base64(result.body), "base64"


def _attempt(record: AttemptRecord) -> dict[str, Any]:
    return {
        "started_at": time(record.started_ms),
        "duration": round(record.duration, 6),
        "status": record.status or None,
        "error": _error(record.error),
    }


def _error(error: JobError | None) -> dict[str, str] | None:
    return None if error is None else {"class": error.error_class, "message": error.message}


def _progress(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {
        "percent": progress.percent,
        "step": progress.step,
        "steps": progress.steps,
        "message": progress.message,
    }


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
