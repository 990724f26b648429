"""What a request asks: its path and method, its query, the fields in its body. Each is checked here."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import InvalidField
from ..job import State
from ..masking import masked_url
from ..uid import parse_uid
from .auth import User
from .bodies import content_type, read_body, read_fields
from .problems import Problem, wrong_method

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

STATES = {state.value: state for state in State} | {"errors": State.ERROR, "runing": State.RUNNING}
FILTERS = ("queue", "kind", "host", "tag", "url")
FEW = 16 * 1024  # bytes of fields that are no job's

_COMPLETE_HOST = re.compile(r"https?://[^/?#@]*/.*", re.DOTALL)


def route(path: str, *, any_query: bool = False, **endpoints: Endpoint) -> Route:
    """One path with an endpoint for each method, so that a 405 names all of them. HEAD is GET's."""
    allowed = sorted({*endpoints, *(["HEAD"] if "GET" in endpoints else [])})

    async def dispatch(request: Request) -> Response:
        endpoint = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise wrong_method(", ".join(allowed))
        if request.scope["query_string"] and not any_query and not path.startswith("/jobs"):
            query_of(request, set())
        return await endpoint(request)

    # methods=() would mean GET alone
    route = Route(path, dispatch, name=path)
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


def refuse_guessing(url: str) -> None:
    """A prefix that ends inside of a secret would tell it letter by letter to who is not shown it."""
    if not _COMPLETE_HOST.fullmatch(url):
        raise InvalidField("url", "must hold the whole host and a / after it, without a user")
    if masked_url(url) != url:
        raise InvalidField("url", "holds a value that is masked for users who only look; end before it")


def state_of(request: Request) -> State | None:
    word = request.path_params.get("state")
    if word is None:
        return None
    if word not in STATES:
        states = "waiting, running, paused, completed, errors and canceled"
        raise Problem(404, "No such state", f"there is no such list; there are {states}", field="state")
    return STATES[word]


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
