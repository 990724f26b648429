"""What may be pushed: fields as they came, from JSON, a form or Python -> a job to add, or InvalidField."""

from collections.abc import Mapping
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any

import msgspec

from .errors import InvalidField
from .fields import READERS
from .job import Job
from .stores.base import Add
from .trace import Trace
from .uid import new_uid


class Defaults(msgspec.Struct, frozen=True):
    """What a job gets that does not say otherwise; `max_body` is what no job can raise."""

    timeout: float = 3600.0  # seconds
    max_attempts: int = 1
    success: str = "200"
    max_body: int = 10 * 1024 * 1024  # bytes


def new_job(fields: Mapping[str, object], defaults: Defaults, now: int, trace: Trace | None = None) -> Add:
    """The job that the fields describe. None stands for a field that was not given.

    `now` is in milliseconds since 1970; `trace` is the one that the push belongs to. Raises InvalidField; but
    that it comes too late stands in `refusal`, since the same push may have been taken when it was in time.
    """
    given = _read(fields)
    if "url" not in given:
        raise InvalidField("url", _without_url(fields))
    target, host = given.pop("url")
    if not given:
        return Add(_plain(target, host, defaults, now, trace))
    uid = given.pop("uid", None)
    fingerprint = _fingerprint(target, given) if uid else b""
    body = _body(given, defaults) or b""
    _times(given, now)
    refusal = _too_late(given.get("due_ms", now), given.get("expires_ms", 0), now)
    if refusal is not None and not uid and not given.get("key"):
        raise refusal
    given.setdefault("method", "POST" if body else "GET")
    given.setdefault("due_ms", now)
    job = Job(
        uid=uid or new_uid(now),
        target=target,
        host=host,
        body_size=len(body),
        fingerprint=fingerprint,
        created_ms=now,
        timeout=given.pop("timeout", defaults.timeout),
        max_attempts=given.pop("max_attempts", defaults.max_attempts),
        success=given.pop("success", defaults.success),
        trace=trace,
        **given,
    )
    return Add(job, body, refusal)


def changes(
    job: Job, fields: Mapping[str, object], defaults: Defaults, now: int
) -> tuple[dict[str, Any], bytes | None]:
    """What the fields change of the job: other values for it, and its new body (None: as it was).

    A field that is None goes back to its default (RFC 7396). Raises InvalidField.
    """
    for fixed in ("uid", "key"):
        if fixed in fields:
            raise InvalidField(fixed, "can't be changed; cancel the job and push another one")
    given = {_KEPT_AS.get(name, name): _default(name, defaults) for name in fields if fields[name] is None}
    given |= _read(fields)
    body = _body(given, defaults)
    if body is not None:
        given["body_size"] = len(body)
    if "method" in fields and fields["method"] is None and given.get("body_size", job.body_size):
        given["method"] = "POST"
    if "url" in given:
        if given["url"] is None:
            raise InvalidField("url", "can't be taken away; a job calls a url")
        given["target"], given["host"] = given.pop("url")
    _times(given, now)
    if "due_ms" in given or "expires_ms" in given:
        refusal = _too_late(given.get("due_ms", job.due_ms), given.get("expires_ms", job.expires_ms), now)
        if refusal is not None:
            raise refusal
    return given, body


def copied(job: Job, body: bytes, now: int) -> Add:
    """The same request again, as a job of its own: due now, without the key, the dates and the past."""
    copy = Job(
        uid=new_uid(now),
        kind=job.kind,
        target=job.target,
        method=job.method,
        headers=job.headers,
        body_size=job.body_size,
        success=job.success,
        extra=job.extra,
        host=job.host,
        queue=job.queue,
        priority=job.priority,
        due_ms=now,
        timeout=job.timeout,
        max_attempts=job.max_attempts,
        once=job.once,
        title=job.title,
        tags=job.tags,
        created_ms=now,
    )
    return Add(copy, body)


# ---- the steps ----------------------------------------------------------------------------------------

# Fields that stand under another name in the job, for a None that takes them back.
_KEPT_AS = {"body_base64": "body", "delay": "due_at"}


def _plain(target: str, host: str, defaults: Defaults, now: int, trace: Trace | None) -> Job:
    """A job of which only the URL was given, as nearly all are."""
    return Job(
        uid=new_uid(now),
        target=target,
        host=host,
        due_ms=now,
        created_ms=now,
        timeout=defaults.timeout,
        max_attempts=defaults.max_attempts,
        success=defaults.success,
        trace=trace,
    )


def _read(fields: Mapping[str, object]) -> dict[str, Any]:
    """The given fields, read; those that are None are left out."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        reader = READERS.get(name)
        if reader is None:
            raise InvalidField(str(name)[:100], _unknown(name, fields))
        if value is None:
            continue
        try:
            given[name] = reader(value)
        except ValueError as error:
            raise InvalidField(name, str(error)) from None
    return given


def _body(given: dict[str, Any], defaults: Defaults) -> bytes | None:
    """Takes the body out of the fields."""
    if given.get("body") and "body_base64" in given:
        raise InvalidField("body_base64", "stands beside body; send one of the two")
    body: bytes | None = given.pop("body_base64", None)
    body = given.pop("body", None) if body is None else body
    given.pop("body", None)
    if body and len(body) > defaults.max_body:
        raise InvalidField("body", f"is longer than {defaults.max_body} bytes (--max-body)")
    return body


def _times(given: dict[str, Any], now: int) -> None:
    """Turns the given times into those of the job. A date that has passed is now: nobody jumps the queue."""
    if "delay" in given:
        if given.get("due_at") is not None:
            raise InvalidField("delay", "stands beside due_at; send one of the two")
        given.pop("due_at", None)
        given["due_ms"] = now + round(given.pop("delay") * 1000)
        given["delayed"] = given["due_ms"] > now
    elif "due_at" in given:
        given["due_ms"] = max(now, given.pop("due_at") or 0)
        given["delayed"] = False
        if given["due_ms"] > now + _TEN_YEARS:
            raise InvalidField("due_at", "is more than ten years off")
    if "expires_at" in given:
        expires = given.pop("expires_at")
        given["expires_ms"] = 0 if expires is None else max(1, expires)  # 0 stands for no end


_TEN_YEARS = 3650 * 86_400_000  # milliseconds
_PASSED = "has passed; give a moment to come, or leave it out"
_NOT_AFTER = "is not after the moment the job is due: it would never run"


def _too_late(due: int, expires: int, now: int) -> InvalidField | None:
    """Why a job of those times, in ms, would never run; None: it may. It depends on when it is asked."""
    if expires and expires <= max(now, due):
        return InvalidField("expires_at", _PASSED if expires <= now else _NOT_AFTER)
    return None


def _default(name: str, defaults: Defaults) -> Any:
    """What the job has when that field is not given; None where it is a thing of its own to leave out."""
    if name in ("timeout", "max_attempts", "success"):
        return getattr(defaults, name)
    if name in ("body", "body_base64"):
        return b""
    return _JOB_DEFAULTS.get(name)


_BLANK = Job(uid="", target="")
_JOB_DEFAULTS = {name: getattr(_BLANK, name) for name in READERS if name in Job.__struct_fields__}


def _fingerprint(target: str, given: Mapping[str, Any]) -> bytes:
    """Eight bytes that tell requests apart: of the fields as given, so that a `delay` stays the same one."""
    canonical = {**given, "url": target}
    if "body_base64" in canonical:
        canonical["body"] = canonical.pop("body_base64")
    return blake2b(msgspec.msgpack.encode(sorted(canonical.items())), digest_size=8).digest()


# ---- hints for the usual slips ------------------------------------------------------------------------

_MEANT = {
    "retries": "max_attempts",
    "max_retries": "max_attempts",
    "attempts": "max_attempts",
    "run_at": "due_at",
    "eta": "due_at",
    "scheduled_at": "due_at",
    "countdown": "delay",
    "expires": "expires_at",
    "expire_at": "expires_at",
    "ttl": "expires_at",
    "data": "body",
    "payload": "body",
    "json": "body",
    "id": "uid",
    "job_id": "uid",
    "target": "url",
    "name": "title",
    "header": "headers",
    "dedup": "key",
    "unique": "key",
}
_FIRST_INCLUDED = " It counts the first attempt too, so 3 retries are max_attempts=4"


def _unknown(name: str, fields: Mapping[str, object]) -> str:
    if _looks_like_json(name):
        kinds = "application/json (one job a line: application/x-ndjson)"
        return f"is JSON sent as a form; set Content-Type: {kinds}"
    meant = _MEANT.get(name.lower()) or next(iter(get_close_matches(name[:50].lower(), READERS, 1)), None)
    if meant and meant not in fields:
        return f"is not a field of a job; did you mean {meant}?{_FIRST_INCLUDED if 'retr' in name else ''}"
    url = fields.get("url")
    if isinstance(url, str) and "?" in url:
        return "is not a field of a job; if it belongs to the url, encode it: curl --data-urlencode url=…"
    return f"is not a field of a job; those are {', '.join(READERS)}"


def _without_url(fields: Mapping[str, object]) -> str:
    if isinstance(body := fields.get("body"), str) and _looks_like_json(body) and len(fields) == 1:
        return "is missing; if the fields are in the JSON, set Content-Type: application/json"
    return "is missing; send the URL to call, like url=https://app.example/work"


def _looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")
