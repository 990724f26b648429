"""The operations of the API as OpenAPI 3.1 has them: what each takes, and every answer that it gives."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from ..history import SPANS
from ..moves import FOR_MANY
from .api import MOST_LISTED
from .intake import MOST_JOBS
from .live import EVERY
from .live import MEDIA as EVENTS
from .requests import FEW, LONGEST_CURSOR
from .schemas import FILTER_FIELDS, PUSH_FIELDS, SCHEMAS, STATE_WORD, UID
from .shapes import Schema, ref, text, truth

Answers = dict[str, dict[str, Any]]

JSON, PLAIN, HTML = "application/json", "text/plain", "text/html"
FORM, MULTIPART, NDJSON = "application/x-www-form-urlencoded", "multipart/form-data", "application/x-ndjson"

# What any request may be answered, and what one to a path that is not open to everybody.
_ANY = {
    400: "Not well-formed: the HTTP, the JSON, the form, the Host.",
    408: "It did not come to its end in time.",
    414: "The URL is too long.",
    431: "The header is too large.",
    500: "An error of the tasker; its log says more.",
}
_GUARDED = {
    **_ANY,
    401: "No credentials, or wrong ones.",
    403: "Not allowed to this user, or asked for by another site's page.",
    421: "A host that the tasker does not answer for.",
    422: "A field that is unknown, missing, given twice or out of range.",
}
_WITH_BODY = {413: "Too much.", 415: "Another content type, charset or encoding."}
_NO_JOB = {404: "No job has that uid."}
_FULL = {507: "No room on the disk; nothing was stored."}
_REFUSED = {
    **_NO_JOB,
    **_FULL,
    409: "The job's state does not allow it; the detail says what to do instead.",
}
_PROBLEM = "application/problem+json"
_OPENMETRICS = "application/openmetrics-text"


# ---- parts of an operation ----------------------------------------------------------------------------


def _content(schema: Schema, *media: str, **more: Any) -> dict[str, Any]:
    return {"content": {one: {"schema": schema, **more} for one in media or (JSON,)}}


def _answer(description: str, schema: Schema, *media: str, location: str = "") -> dict[str, Any]:
    header = {"required": True, "description": location, "schema": text(format="uri-reference")}
    headers = {"headers": {"Location": header}} if location else {}
    return {"description": description, **_content(schema, *media), **headers}


def _problems(*statuses: Mapping[int, str]) -> Answers:
    found = {status: what for part in statuses for status, what in part.items()}
    content = _content(ref("Problem"), _PROBLEM)["content"]
    return {str(status): {"description": found[status], "content": content} for status in sorted(found)}


def _operation(
    name: str,
    tag: str,
    summary: str,
    answers: Mapping[int, dict[str, Any]],
    *problems: Mapping[int, str],
    parameters: Iterable[dict[str, Any]] = (),
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": name, "tags": [tag], "summary": summary}
    if given := list(parameters):
        described["parameters"] = given
    if body is not None:
        described["requestBody"] = body
    good = {str(status): answer for status, answer in answers.items()}
    return {**described, "responses": {**good, **_problems(*problems)}}


def _parameter(name: str, place: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, **({"required": True} if place == "path" else {})}


def _fields(name: str) -> dict[str, Any]:
    """The content of a body with those fields: JSON or a form."""
    styles = {"encoding": {"headers": {"style": "deepObject", "explode": True}}}
    more = styles if "headers" in SCHEMAS[name]["properties"] else {}
    forms = _content(ref(f"{name}Form"), FORM, MULTIPART, **more)["content"]
    return {"content": {JSON: {"schema": ref(name)}, **forms}}


def head(get: dict[str, Any]) -> dict[str, Any]:
    """The same without the content."""
    head = deepcopy(get)
    head["operationId"] = f"{get['operationId']}Head"
    head["summary"] = f"{get['summary']} The header alone."
    for answer in head["responses"].values():
        answer.pop("content", None)
    return head


_UID = _parameter("uid", "path", text(format="uuid"))
_BULK_ID = _parameter("id", "path", text(format="uuid"))
_STATE = _parameter("state", "path", STATE_WORD)
_FILTERS = [_parameter(name, "query", schema) for name, schema in FILTER_FIELDS.items()]
_LOOSE_FILTERS = [
    _parameter(name, "query", {key: value for key, value in schema.items() if "Length" not in key})
    for name, schema in FILTER_FIELDS.items()
]
_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": MOST_LISTED}
_CURSOR = text("In the `next` link.", pattern="^([0-9a-f]{2})+$", maxLength=LONGEST_CURSOR)
_PAGING = [
    *_LOOSE_FILTERS,
    _parameter("limit", "query", _LIMIT),
    _parameter("cursor", "query", _CURSOR),
]
_NO_BODY = {
    "description": "None is needed. A form or a JSON object without fields is taken too.",
    **_content({"type": "object", "maxProperties": 0}, JSON, FORM),
}


# ---- the operations -----------------------------------------------------------------------------------


def operations() -> Iterable[tuple[str, str, dict[str, Any]]]:
    yield from _push()
    yield from _job()
    yield from _job_moves()
    yield from _jobs()
    yield _tasks()
    yield from _bulk()
    yield from _queues()
    yield from _figures()


def _push() -> Iterable[tuple[str, str, dict[str, Any]]]:
    many = {"type": "array", "items": ref("Push"), "minItems": 1, "maxItems": MOST_JOBS}
    lines = {"value": '{"url": "https://app.example/1"}\n{"url": "https://app.example/2"}\n'}
    batch = {"summary": "many", "value": [{"url": "https://app.example/1"}, {"url": "https://app.example/2"}]}
    one = {"summary": "one", "value": SCHEMAS["Push"]["examples"][0]}
    content = {
        **_fields("Push")["content"],
        JSON: {"schema": {"oneOf": [ref("Push"), many]}, "examples": {"one": one, "many": batch}},
        NDJSON: {
            "schema": text(f"One job a line, at most {MOST_JOBS}; all or none."),
            "examples": {"lines": lines},
        },
    }
    stored = {"description": "Stored on disk. Accept: text/plain answers the bare uids, a line each."}
    created = {
        **stored,
        "content": {
            JSON: {"schema": {"oneOf": [ref("Pushed"), ref("PushedMany")]}},
            PLAIN: {"schema": text(examples=[f"{UID}\n"])},
        },
        "headers": {"Location": {"description": "The job, where it is one.", "schema": text()}},
    }
    known = {
        "description": "There already: by its uid, with the same request, the job as it is (a user who may "
        "only push: its uid and state); by its key, that job's uid.",
        "content": {
            JSON: {"schema": {"anyOf": [ref("Pushed"), ref("Job")]}},
            PLAIN: {"schema": text(examples=[f"{UID}\n"])},
        },
        "headers": {"Location": {"required": True, "description": "The job.", "schema": text()}},
    }
    taken = {409: "The uid belongs to a job with another request."}
    yield (
        "post",
        "/add",
        _operation(
            "push",
            "push",
            "Push one job, or many in one commit.",
            {201: created, 200: known},
            _GUARDED,
            _WITH_BODY,
            taken,
            _FULL,
            body={"required": True, "content": content},
        ),
    )


def _job() -> Iterable[tuple[str, str, dict[str, Any]]]:
    job = _answer("The job.", ref("Job"))
    result = _answer("What the target answered, whatever it was.", text(), PLAIN)
    change = {"description": "Without fields nothing changes.", **_fields("Change")}
    plain = (
        ("get", "", "getJob", "The job with body, result and attempts.", {200: job}, (_NO_JOB,), None),
        ("get", "/result", "getResult", "The kept answer.", {200: result}, (_NO_JOB,), None),
        (
            "patch",
            "",
            "changeJob",
            "Change a waiting or paused job.",
            {200: job},
            (_REFUSED, _WITH_BODY),
            change,
        ),
        (
            "delete",
            "",
            "forgetJob",
            "Forget a job that is not running.",
            {204: {"description": "Forgotten."}},
            (_REFUSED,),
            None,
        ),
    )
    for method, below, name, summary, answers, problems, body in plain:
        described = _operation(
            name, "job", summary, answers, _GUARDED, *problems, parameters=[_UID], body=body
        )
        yield method, f"/job/{{uid}}{below}", described


def _job_moves() -> Iterable[tuple[str, str, dict[str, Any]]]:
    moves = {
        "cancel": "Cancel it; a call that runs is cut.",
        "pause": "Pause a waiting job.",
        "resume": "Let a paused job wait again.",
        "retry": "Send a failed or canceled job back to waiting.",
        "run": "Have a waiting job run now.",
    }
    moved = {
        200: _answer("The job.", ref("Job")),
        202: _answer("Noted as a wish; it comes true when the work has stopped.", ref("Job")),
    }
    for move, summary in moves.items():
        described = _operation(
            f"{move}Job",
            "job",
            summary,
            moved,
            _GUARDED,
            _REFUSED,
            _WITH_BODY,
            parameters=[_UID],
            body=_NO_BODY,
        )
        yield "post", f"/job/{{uid}}/{move}", described
    copied = {200: _answer("The new job.", ref("Job"), location="The new job.")}
    again = _operation(
        "duplicateJob",
        "job",
        "Push the same request again.",
        copied,
        _GUARDED,
        _NO_JOB,
        _WITH_BODY,
        _FULL,
        parameters=[_UID],
        body=_NO_BODY,
    )
    yield "post", "/job/{uid}/duplicate", again


def _jobs() -> Iterable[tuple[str, str, dict[str, Any]]]:
    parameters = [
        *_PAGING,
        _parameter("last_uid", "query", text("Go on after that job.", format="uuid")),
    ]
    page = {200: _answer("A page.", ref("Page"))}
    gone = {410: "No page after that job: it is not in this list any more."}
    for path, name, summary, more, also in (
        ("/jobs", "listJobs", "Jobs of all states, newest first.", [], {}),
        ("/jobs/{state}", "listJobsOf", "Jobs of one state.", [_STATE], {404: "No such state."}),
    ):
        described = _operation(
            name, "jobs", summary, page, _GUARDED, gone, also, parameters=[*more, *parameters]
        )
        yield "get", path, described


def _tasks() -> tuple[str, str, dict[str, Any]]:
    """The overview, which scripts get as a list; its refusals are pages too, for those who read them."""
    parameters = [
        _parameter("state", "query", STATE_WORD),
        *_PAGING,
        _parameter("span", "query", text("Of the page: how far its chart goes back.", enum=list(SPANS))),
    ]
    told = "Jobs with how many there are, for `Accept: application/json`; the page of the site for others."
    content = _content(ref("Tasks"))["content"] | _content(text(), HTML)["content"]
    listed = {200: {"description": "A page of jobs, or of the site.", "content": content}}
    described = _operation("listTasks", "jobs", told, listed, _GUARDED, parameters=parameters)
    for status in (answer for number, answer in described["responses"].items() if number != "200"):
        status["content"] = {**status["content"], **_content(text(), HTML)["content"]}
    return "get", "/tasks", described


def _bulk() -> Iterable[tuple[str, str, dict[str, Any]]]:
    progress = _answer("How far it is.", ref("Bulk"))
    answers = {
        200: _answer("Done within a second.", ref("Moved")),
        202: _answer("It goes on, or was cut short: how far it is.", ref("Bulk"), location="How far it is."),
    }
    problems = {404: "No such state.", 409: "No job of that state can be moved so.", 503: "The tasker stops."}
    where = f"The filters, where they are not in the query; at most {FEW} bytes."
    body = {"description": where, **_fields("Choice")}
    dry_run = _parameter("dry_run", "query", truth("Only count."))
    for action in FOR_MANY:
        described = _operation(
            f"{action.value}Jobs",
            "jobs",
            f"{action.value.capitalize()} all jobs of a state that match.",
            answers,
            _GUARDED,
            _WITH_BODY,
            problems,
            parameters=[_STATE, *_FILTERS, dry_run],
            body=body,
        )
        yield "post", f"/jobs/{{state}}/{action.value}", described
    unknown = {404: "No such bulk: of an earlier run, or one that ended long ago."}
    look = _operation(
        "getBulk", "jobs", "How far a bulk is.", {200: progress}, _GUARDED, unknown, parameters=[_BULK_ID]
    )
    yield "get", "/bulk/{id}", look
    stopping = _answer("It ends after the commit under way.", ref("Bulk"))
    cancel = _operation(
        "cancelBulk",
        "jobs",
        "End a bulk; what it moved stays moved.",
        {200: progress, 202: stopping},
        _GUARDED,
        unknown,
        {409: "It has ended already."},
        _WITH_BODY,
        parameters=[_BULK_ID],
        body=_NO_BODY,
    )
    yield "post", "/bulk/{id}/cancel", cancel


def _queues() -> Iterable[tuple[str, str, dict[str, Any]]]:
    queues = {"type": "object", "properties": {"queues": {"type": "array", "items": ref("Queue")}}}
    listed = {200: _answer("Every queue that has live jobs or a rule.", {**queues, "required": ["queues"]})}
    yield "get", "/queues", _operation("listQueues", "queues", "The queues.", listed, _GUARDED)
    described = _operation(
        "setQueue",
        "queues",
        "Pause or limit a queue; a field left out stays as it was.",
        {200: _answer("The queue.", ref("Queue"))},
        _GUARDED,
        _FULL,
        _WITH_BODY,
        parameters=[_parameter("name", "path", PUSH_FIELDS["queue"])],
        body=_fields("Rule"),
    )
    yield "put", "/queues/{name}", described


def _figures() -> Iterable[tuple[str, str, dict[str, Any]]]:
    stats = {200: _answer("Figures.", ref("Stats"))}
    yield "get", "/stats", _operation("getStats", "figures", "How it goes.", stats, _GUARDED)
    series = {200: _answer("Points of a chart.", ref("Series"))}
    span = _parameter("span", "query", text("How far back.", enum=list(SPANS), default=SPANS[0]))
    told = "How it went: the last hour by the minute, day by the quarter of an hour, month by the day."
    history = _operation("getHistory", "figures", told, series, _GUARDED, parameters=[span])
    yield "get", "/stats/history", history
    this = {200: _answer("This document.", {"type": "object"})}
    metrics = {200: _answer("In the text format that was asked for.", text(), PLAIN, _OPENMETRICS)}
    yield "get", "/metrics", _operation("getMetrics", "figures", "Figures for Prometheus.", metrics, _GUARDED)
    yield "get", "/openapi.json", _operation("describe", "figures", "This document.", this, _GUARDED)
    every = {"type": "integer", "enum": list(EVERY), "default": 1}
    listed = {200: _answer("A page.", ref("Audit"))}
    parameters = [_parameter("limit", "query", _LIMIT), _parameter("before", "query", text("In `next`."))]
    audit = _operation("audit", "figures", "Who did what.", listed, _GUARDED, parameters=parameters)
    yield "get", "/audit", audit
    events = {200: _answer("Server-sent events.", text(), EVENTS)}
    busy = {503: "The tasker stops, or too many streams are open."}
    parameters = [_parameter("every", "query", every), _parameter("uid", "query", text(format="uuid"))]
    watch = _operation("watch", "figures", "As it happens.", events, _GUARDED, busy, parameters=parameters)
    yield "get", "/tasks/events", watch
    for path, name, summary, bad in (
        ("/healthz", "getHealth", "Whether it works.", "The event loop was blocked for 5 s within a minute."),
        ("/readyz", "getReadiness", "Whether it is ready.", "It is starting or stopping."),
    ):
        answers = {200: _answer("Yes.", text(), PLAIN), 503: _answer(bad, text(), PLAIN)}
        yield "get", path, {**_operation(name, "figures", summary, answers, _ANY), "security": []}
