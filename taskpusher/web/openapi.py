"""`GET /openapi.json`: the whole API, described in OpenAPI 3.1. The tests hold it against the routes, against
the tables of fields, and against every answer that they get.
"""

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .. import __version__
from .answers import Json
from .operations import head, operations
from .requests import route
from .schemas import SCHEMAS


class Describer:
    """The endpoint. The paths in the document are those below `prefix`, where the tasker is served."""

    def routes(self) -> list[BaseRoute]:
        return [route("/openapi.json", GET=self.describe)]

    async def describe(self, request: Request) -> Response:
        return Json({**document(), "servers": [{"url": request.scope["prefix"] or "/"}]})


@cache
def document() -> dict[str, Any]:
    """The description, without the place where it is served."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, described in operations():
        paths.setdefault(path, {})[method] = described
    for item in paths.values():
        if "get" in item:
            item["head"] = head(item["get"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TaskPusher",
            "version": __version__,
            "description": "Push a URL, get a uid, go on: the tasker keeps the job and calls the URL. "
            "Times are RFC 3339, UTC, with milliseconds; durations are seconds; null is nothing. In forms "
            "and queries numbers and truth values are text: 1, 0, true, false, yes, no, on, off.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"basic": []}],
        "tags": [{"name": name} for name in ("push", "job", "jobs", "queues", "figures")],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "Where users are named."}
            },
        },
    }
