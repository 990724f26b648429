"""The values of the API as JSON Schema 2020-12: what may be pushed, and what comes out.

Limits come from the tables that check them; `Line` and `Whole` are written as they are read. A field that is
pushed and has no schema here fails the import.
"""

from .. import fields
from ..errors import MoveRefused
from ..fields import READERS
from ..history import SPANS
from ..job import Action, ErrorClass, State, Wish
from ..moves import FOR_MANY
from ..stores.base import ATTEMPTS_KEPT
from ..url import LONGEST as LONGEST_URL
from .api import MOST_CONCURRENCY
from .bulk import LONGEST_FILTER
from .requests import FILTERS, STATES
from .shapes import Schema, as_form, checked_by, count, listed, number, or_null, ref, text, thing, truth, when

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"  # of the examples
_NAME = r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$"  # RFC 9110, 5.6.2
_DURATION = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?$"
_ANSWERS = r" *([2-9][0-9]{2}(-[2-9][0-9]{2})?|[2-9][xX]{2}) *"

_FILTERED = {
    "queue": "Exactly that queue.",
    "kind": "Exactly that kind.",
    "host": "Exactly that host, with its port if the URL has one.",
    "tag": "Jobs that have that tag.",
    "url": "URLs that begin so.",
    "q": 'A filter like `status:5xx age:<1h host:api.example.com "no route"`, as in the filter bar.',
}


# ---- what may be pushed -------------------------------------------------------------------------------

_TAG = checked_by(fields.TAG) or {}
_SECONDS: Schema = {"minimum": 0, "maximum": fields.LONGEST_DELAY}
_HEADER_LINE = text(pattern=r"^[^\u0000-\u0008\u000a-\u001f\u007f]*$")

# Of fields whose reader is a function of its own.
_BY_HAND: dict[str, Schema] = {
    "url": text(
        format="uri",
        pattern=r"^[hH][tT][tT][pP][sS]?://[^\u0000-\u0020\u007f]+$",
        maxLength=LONGEST_URL,
        examples=["https://app.example/work"],
    ),
    "method": {
        **text(pattern=_NAME, maxLength=fields.LONGEST_METHOD),
        "not": {"enum": ["CONNECT", "TRACE"]},
    },
    "headers": {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        "additionalProperties": {"anyOf": [_HEADER_LINE, listed(_HEADER_LINE)]},
    },
    "body": text(),
    "body_base64": text(contentEncoding="base64"),
    "tags": listed(_TAG, maxItems=fields.MOST_TAGS),
    "delay": {"anyOf": [number(**_SECONDS), text(pattern=_DURATION)]},
    "due_at": when(),
    "expires_at": when(),
    "timeout": {
        "anyOf": [number(exclusiveMinimum=0, maximum=fields.LONGEST_TIMEOUT), text(pattern=_DURATION)]
    },
    "success": {
        "anyOf": [
            text(pattern=f"^{_ANSWERS}(,{_ANSWERS})*$", maxLength=fields.LONGEST_SUCCESS),
            {"type": "integer", "minimum": 200, "maximum": 999},
        ]
    },
    "once": truth(),
    "uid": text(format="uuid"),
}

_MEANINGS = {
    "url": "What to call: http or https, absolute. The fragment is dropped, what is not ASCII is encoded.",
    "method": "GET; POST when there is a body. Not CONNECT or TRACE.",
    "headers": f"At most {fields.HEADER_BLOCK // 1024} KiB; not those that the tasker sets itself.",
    "body": "Text. JSON goes in as a string.",
    "body_base64": "Bytes, instead of body (RFC 4648, 4).",
    "queue": "`default` where none is given.",
    "priority": "0 runs first, 9 last; 5 where none is given.",
    "title": "For people.",
    "tags": "To find it by.",
    "key": "While a waiting, running or paused job has it, a push with it stores nothing.",
    "delay": "How long to wait, in seconds or written like 10m, 1h, 7d; at most ten years.",
    "due_at": "The moment to run, instead of delay, with its zone.",
    "expires_at": "A job that still waits then, or is paused, ends in error.",
    "max_attempts": "How many attempts may fail, the first included.",
    "timeout": "Of one attempt, in seconds or written like 30s; at most 7d.",
    "success": "The answers that count, like 200, 200-299, 2xx or 200,204.",
    "once": "A call that may have gone out is never repeated.",
    "uid": "Made by the client, so that the push can be sent again safely.",
}


def _field(name: str) -> Schema:
    schema = checked_by(READERS[name]) or _BY_HAND[name]
    return {**schema, "description": _MEANINGS[name]}


PUSH_FIELDS: dict[str, Schema] = {name: _field(name) for name in READERS}

_OPTIONAL = {name: or_null(schema) for name, schema in PUSH_FIELDS.items() if name != "url"}
PUSH = {
    "type": "object",
    "description": "null leaves a field out.",
    "properties": {"url": PUSH_FIELDS["url"], **_OPTIONAL},
    "required": ["url"],
    "additionalProperties": False,
    "examples": [
        {"url": "https://app.example/work", "max_attempts": 5},
        {
            "url": "https://app.example/resize",
            "body": '{"image": 7}',
            "headers": {"Content-Type": "application/json"},
            "queue": "images",
            "priority": 7,
            "delay": "10m",
            "tags": ["image"],
        },
    ],
}
CHANGE = {
    "type": "object",
    "description": "Fields of a push but uid and key; null sets one back to its default.",
    "properties": {
        "url": PUSH_FIELDS["url"],
        **{name: schema for name, schema in _OPTIONAL.items() if name not in ("uid", "key")},
    },
    "additionalProperties": False,
    "examples": [{"priority": 0, "title": None}],
}

FILTER_FIELDS = {name: text(_FILTERED[name], minLength=1, maxLength=LONGEST_FILTER) for name in FILTERS}

# ---- what comes out -----------------------------------------------------------------------------------

STATE = text(enum=[state.value for state in State])
STATE_WORD = text(enum=sorted(STATES))
_KEPT_HEADERS = {
    "type": "object",
    "description": "A list where a name came several times.",
    "additionalProperties": {"anyOf": [text(), listed(text())]},
}
ERROR = thing({"class": text(enum=[one.value for one in ErrorClass]), "message": text("What to do, too.")})

_BRIEF: dict[str, Schema] = {
    "uid": text(format="uuid"),
    "kind": text("Which runner does it."),
    "state": ref("State"),
    "url": text(),
    "method": text(),
    "headers": _KEPT_HEADERS,
    "queue": PUSH_FIELDS["queue"],
    "priority": PUSH_FIELDS["priority"],
    "title": or_null(PUSH_FIELDS["title"]),
    "tags": PUSH_FIELDS["tags"],
    "key": or_null(PUSH_FIELDS["key"]),
    "created_at": when(),
    "due_at": when(),
    "expires_at": or_null(when()),
    "started_at": or_null(when("When its latest attempt began.")),
    "finished_at": or_null(when("When it ended for good.")),
    "duration": or_null(number("Seconds, of its latest attempt.", minimum=0)),
    "attempt": count("How often the work may have begun; never reset."),
    "failures": count("Failures charged so far."),
    "max_attempts": PUSH_FIELDS["max_attempts"],
    "run": count("One more with each retry by a person.", minimum=1),
    "timeout": number("Seconds.", exclusiveMinimum=0, maximum=fields.LONGEST_TIMEOUT),
    "success": text(PUSH_FIELDS["success"]["description"], maxLength=fields.LONGEST_SUCCESS),
    "once": PUSH_FIELDS["once"],
    "error": or_null(ref("Error")),
    "progress": or_null(ref("Progress")),
    "wish": text("What a running job has not done yet.", enum=[wish.value for wish in Wish]),
}
_WHOLE: dict[str, Schema] = {
    "body": or_null(text("null where there is none, or where it is not UTF-8.")),
    "body_base64": text("Of a body that is not UTF-8.", contentEncoding="base64"),
    "result": or_null(ref("Result")),
    "attempts": listed(ref("Attempt"), description="The newest.", maxItems=ATTEMPTS_KEPT),
}

_EXAMPLE_REFUSAL = str(MoveRefused(UID, State.RUNNING, Action.RETRY, "cancel it first"))
_RATE = thing({"pushed": number(), "completed": number(), "errors": number()})

_QUANTILE = number("Seconds; 0 where no attempt was made.", minimum=0)
_POINT = thing(
    {
        "start": when(),
        "pushed": count(),
        "completed": count(),
        "errors": count(),
        "canceled": count(),
        "attempts": count("Those that ended."),
        "error_rate": number("Errors among the jobs that ended by themselves.", minimum=0, maximum=1),
        "duration": thing({"p50": _QUANTILE, "p95": _QUANTILE, "p99": _QUANTILE}),
        "lateness": thing({"p95": _QUANTILE}, description="From the moment a job was due to its attempt."),
        "waiting": count("Jobs that wait at its end."),
    }
)

SCHEMAS: dict[str, Schema] = {
    "Push": PUSH,
    "Change": CHANGE,
    "State": STATE,
    "Error": ERROR,
    "Progress": thing(
        {
            "percent": or_null(number()),
            "step": or_null(count()),
            "steps": or_null(count()),
            "message": text(),
        }
    ),
    "Result": thing(
        {
            "status": or_null(count()),
            "headers": _KEPT_HEADERS,
            "body": text(),
            "encoding": text(enum=["utf-8", "base64"]),
            "truncated": truth("Cut at --max-response."),
        },
        description="What the target answered last.",
    ),
    "Attempt": thing(
        {
            "started_at": or_null(when()),
            "duration": number("Seconds.", minimum=0),
            "status": or_null(count()),
            "error": or_null(ref("Error")),
        }
    ),
    "Listed": thing(_BRIEF, ("wish",), description="A job as lists have it."),
    "Job": thing({**_BRIEF, **_WHOLE}, ("wish", "body_base64")),
    "Pushed": thing(
        {"uid": text(format="uuid"), "state": ref("State"), "duplicate": truth("Its key was taken.")},
        ("duplicate",),
        examples=[{"uid": UID, "state": "waiting"}],
    ),
    "PushedMany": thing({"uids": listed(text(format="uuid"))}, examples=[{"uids": [UID]}]),
    "Page": thing(
        {
            "jobs": listed(ref("Listed")),
            "last_uid": or_null(text(format="uuid")),
            "next": or_null(text("Where the list goes on; null on the last page.", format="uri-reference")),
            "total": count(),
        },
        examples=[{"jobs": [], "last_uid": None, "next": None, "total": 0}],
    ),
    "Tasks": thing(
        {
            "data": listed(ref("Listed")),
            "meta": thing(
                {
                    "total": count("Jobs that match."),
                    "states": thing({state.value: count() for state in State}, description="Of all jobs."),
                    "next": or_null(text("Where it goes on; null on the last page.", format="uri-reference")),
                    "limit": count("Jobs a page.", minimum=1),
                }
            ),
        }
    ),
    "Filters": {"type": "object", "properties": FILTER_FIELDS, "additionalProperties": False},
    "Choice": {
        "type": "object",
        "description": "Which jobs: all that match every filter given.",
        "properties": {
            **{name: or_null(schema) for name, schema in FILTER_FIELDS.items()},
            "dry_run": truth(),
        },
        "additionalProperties": False,
        "examples": [{"queue": "images", "dry_run": True}],
    },
    "Audit": thing(
        {
            "entries": listed(ref("Entry")),
            "next": or_null(text("Where the list goes on; null at its end.", format="uri-reference")),
        }
    ),
    "Entry": thing(
        {
            "at": when(),
            "user": text("anybody: there are no users."),
            "remote": or_null(text("The address that asked; a proxy's, where one is in front.")),
            "action": text(),
            "job": or_null(text("Its uid.")),
            "queue": or_null(text()),
            "bulk": or_null(text("Its id.")),
            "state": or_null(text("The list that a bulk moves.")),
            "filters": ref("Filters"),
            "count": or_null(count("Jobs that the bulk had moved; where it goes on, that it was to move.")),
            "outcome": or_null(text("The state of the job after it; the uid of a copy; begun, done.")),
        }
    ),
    "Moved": thing(
        {
            "count": count("Jobs moved; counted, in a dry run."),
            "skipped": count(),
            "failed": count(),
            "error": text(),
        },
        ("skipped", "failed", "error"),
        examples=[{"count": 3}],
    ),
    "Bulk": thing(
        {
            "id": text(format="uuid"),
            "action": text(enum=[action.value for action in FOR_MANY]),
            "state": ref("State"),
            "filters": ref("Filters"),
            "dry_run": truth(),
            "count": count("Jobs moved so far."),
            "total": or_null(count("Jobs that matched when it began; null while they are counted.")),
            "skipped": count("Jobs that changed before their turn, and are no longer meant."),
            "failed": count("Jobs that could not be moved."),
            "done": truth(),
            "started_at": when(),
            "finished_at": or_null(when()),
            "error": or_null(text("Why it ended early, or why the first that failed did.")),
        }
    ),
    "Queue": thing(
        {
            "name": PUSH_FIELDS["queue"],
            "paused": truth(),
            "concurrency": or_null({"type": "integer", "minimum": 1, "maximum": MOST_CONCURRENCY}),
            "depth": count("Jobs that wait."),
            "running": count(),
            "paused_jobs": count(),
            "oldest": or_null(when("When the first of them is due.")),
        }
    ),
    "Rule": {
        "type": "object",
        "properties": {
            "paused": or_null(truth()),
            "concurrency": or_null(
                {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MOST_CONCURRENCY,
                    "description": "0 or null: none.",
                }
            ),
        },
        "additionalProperties": False,
        "examples": [{"paused": False, "concurrency": 3}],
    },
    "Stats": thing(
        {
            "states": thing({state.value: count() for state in State}),
            "queues": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {state.value: count() for state in State},
                },
            },
            "rates": thing({"1m": _RATE, "5m": _RATE, "60m": _RATE}, description="Jobs a second."),
            "oldest_waiting": or_null(when()),
            "uptime": number("Seconds."),
            "concurrency": count(),
            "busy": count("Workers at work."),
            "lag": number("Seconds the event loop came late."),
            "store": thing(
                {
                    "kind": text(),
                    "path": text(),
                    "size": count("Bytes."),
                    "free": count("Bytes."),
                    "disk_free": count("Bytes."),
                    "full": truth(),
                }
            ),
        }
    ),
    "Series": thing(
        {
            "span": text(enum=list(SPANS)),
            "step": count("Seconds from one point to the next."),
            "points": {**listed(_POINT), "description": "Oldest first; the last one is not over."},
        }
    ),
    "Problem": thing(
        {
            "title": text(),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text("What to do instead."),
            "field": text("Where one is at fault."),
            "index": count("Which job of a batch, from 0."),
        },
        ("field", "index"),
        description="RFC 9457.",
        examples=[{"title": "Not in this state", "status": 409, "detail": _EXAMPLE_REFUSAL}],
    ),
}
SCHEMAS |= {f"{name}Form": as_form(SCHEMAS[name]) for name in ("Push", "Change", "Choice", "Rule")}
