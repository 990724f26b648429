"""The forms of the pages, as browsers send them."""

import asyncio
from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.requests import Request

from ...errors import InvalidField
from ..bodies import FORM as URLENCODED
from ..bodies import content_type, read_body
from ..problems import Problem

MOST_FIELDS = 1000
LONG = 64 * 1024  # bytes of a form that are taken apart in a thread: others shall not wait


class Form(dict[str, str]):
    """The fields of a form, by name; `all` gives each value of one that may come several times."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def all(self, name: str) -> list[str]:
        return [value for each, value in self._pairs if each == name]


async def form_of(request: Request, most: int, known: Collection[str], several: Collection[str] = ()) -> Form:
    """The form in the body, which has at most so many bytes. `several`: fields that may come more than once.

    Raises InvalidField for another field than those known, and for one that comes twice.
    """
    headers = dict(request.scope["headers"])
    body = await read_body(headers, request.receive, most)
    if body and content_type(headers.get(b"content-type", b"")) != URLENCODED:
        detail = f"a page's form is sent as {URLENCODED.decode()}"
        raise Problem(415, "Not a form", detail, field="Content-Type")
    pairs = _pairs(body) if len(body) < LONG else await asyncio.to_thread(_pairs, body)
    seen: set[str] = set()
    for name, _ in pairs:
        if name not in known and name not in several:
            raise InvalidField(name[:100], "is not a field of this form; load the page again")
        if name in seen and name not in several:
            raise InvalidField(name, "is given twice; send it once")
        seen.add(name)
    return Form(pairs)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Problem(400, "Not a form", f"the form can't be read: {str(error)[:100]}") from None
