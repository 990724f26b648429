"""What a request asks: its path and method, its query, the fields in its body. Each is checked here."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import InvalidField
from ..filters import parse
from ..job import State
from ..masking import masked_url
from ..stores.base import Query
from ..uid import parse_uid
from .auth import User
from .bodies import content_type, read_body, read_fields
from .problems import Problem, wrong_method

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

STATES = {state.value: state for state in State} | {"errors": State.ERROR, "runing": State.RUNNING}
PLAIN_FILTERS = ("queue", "kind", "host", "tag", "url")
FILTERS = (*PLAIN_FILTERS, "q")
LONGEST_CURSOR = 512  # characters
FEW = 16 * 1024  # bytes of fields that are no job's

_COMPLETE_HOST = re.compile(r"https?://[^/?#@]*/.*", re.DOTALL)


def route(path: str, *, any_query: bool = False, described: bool = True, **endpoints: Endpoint) -> Route:
    """One path with an endpoint for each method, so that a 405 names all of them. HEAD is GET's.

    `described`: it belongs to the API, which /openapi.json has; pages for people do not.
    """
    allowed = sorted({*endpoints, *(["HEAD"] if "GET" in endpoints else [])})

    async def dispatch(request: Request) -> Response:
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise wrong_method(", ".join(allowed))
        if request.scope["query_string"] and not any_query and not path.startswith("/jobs"):
            query_of(request, set())
        response = await endpoint(request)
        request.scope["answered"] = path, response
        return response

    # methods=() would mean GET alone
    route = Route(path, dispatch, name=path, include_in_schema=described)
    route.methods = set()
    return route


def masked(request: Request) -> bool:
    user: User = request.scope["user"]
    return user.role != "all"


def uid_of(request: Request) -> str:
    return checked("uid", parse_uid, request.path_params["uid"])


def checked(field: str, reader: Callable[[Any], T], value: object) -> T:
    try:
        return reader(value)
    except ValueError as error:
        raise InvalidField(field, str(error)) from None


def refuse_guessing(url: str, field: str = "url") -> None:
    """A prefix that ends inside of a secret would tell it letter by letter to who is not shown it."""
    what = "" if field == "url" else "url: "
    if not _COMPLETE_HOST.fullmatch(url):
        raise InvalidField(field, f"{what}must hold the whole host and a / after it, without a user")
    if masked_url(url) != url:
        raise InvalidField(
            field, f"{what}holds a value that is masked for users who only look; end before it"
        )


def state_of(request: Request) -> State | None:
    word = request.path_params.get("state")
    if word is None:
        return None
    if word not in STATES:
        states = "waiting, running, paused, completed, errors and canceled"
        raise Problem(404, "No such state", f"there is no such list; there are {states}", field="state")
    return STATES[word]


def state_named(word: object) -> State:
    """The state of that name, or of one that lists have. Raises ValueError."""
    if word not in STATES:
        raise ValueError(f"must be one of {', '.join(STATES)}")
    return STATES[str(word)]


def query_of(request: Request, known: set[str]) -> dict[str, str]:
    """The query, each of its fields once. Raises InvalidField for another field than those known."""
    asked: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            instead = f"those are {', '.join(sorted(known))}" if known else "there are none here"
            raise InvalidField(name[:100], f"is not a field of this query; {instead}")
        if name in asked:
            raise InvalidField(name, "is given twice; send it once")
        asked[name] = value
    return asked


def cursor_of(text: str | None) -> bytes | None:
    """Where a page of a list begins, from its link. Raises InvalidField."""
    if text is None:
        return None
    if len(text) > LONGEST_CURSOR or not re.fullmatch(r"(?:[0-9a-f]{2})+", text):
        raise InvalidField("cursor", "is none of ours; follow the `next` link as it is")
    return bytes.fromhex(text)


def chosen(state: State | None, filters: Mapping[str, str], now: int, hidden: bool) -> Query:
    """What those of FILTERS ask for, at `now` in ms; `hidden`: for a user who only looks.

    Raises InvalidField, also for what is given as a filter of its own and in `q`.
    """
    query = parse(filters.get("q", ""), now)
    if hidden and query.url:
        refuse_guessing(query.url, "q")
    for name in PLAIN_FILTERS:
        if value := filters.get(name):
            if getattr(query, name):
                raise InvalidField(name, "is given twice, here and in q; send it once")
            query = replace(query, **{name: value})
    if hidden and filters.get("url"):
        refuse_guessing(query.url)
    return replace(query, state=state, masked=hidden)


async def fields_of(request: Request, most: int) -> Mapping[str, object]:
    """The fields in the body, which has at most so many bytes."""
    headers = dict(request.scope["headers"])
    body = await read_body(headers, request.receive, most)
    if not body.strip():  # many clients name a content type for nothing
        return {}
    header = headers.get(b"content-type", b"")
    return read_fields(content_type(header), header, body)


async def no_fields(request: Request, most: int) -> None:
    for name in await fields_of(request, min(FEW, most)):
        raise InvalidField(name[:100], "is not taken here; this needs no fields, send an empty body")
