"""The files of the pages besides their HTML: styles, scripts, pictures; served below /tasks/static/."""

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .problems import Problem
from .requests import query_of, route

PLACE = "/tasks/static"
FOREVER = "private, max-age=31536000, immutable"  # under a URL that names the content; behind a password
ASK_AGAIN = "private, no-cache"  # may be kept, and is asked for by its ETag every time

MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/plain; charset=utf-8",  # a page of ours is made by a template
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


class File(NamedTuple):
    content: bytes
    media: str
    version: str  # a hash of the content


class Static:
    """The files below a directory, by their paths in it. They are read once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def routes(self) -> list[BaseRoute]:
        return [route(f"{PLACE}/{{name:path}}", any_query=True, described=False, GET=self.file)]

    def link(self, prefix: str, name: str) -> str:
        """The path of a file for a page; it changes with the content. `prefix` is the request's. Raises
        KeyError for a file that is not there."""
        return f"{prefix}{PLACE}/{quote(name)}?v={self._files[name].version}"

    async def file(self, request: Request) -> Response:
        asked = query_of(request, {"v"})
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise Problem(404, "No such file", "the pages have no file of that name")
        tag = f'"{found.version}"'
        headers = {
            "ETag": tag,
            "Cache-Control": FOREVER if asked.get("v") == found.version else ASK_AGAIN,
            "Content-Type": found.media,
        }
        if _is_known(tag, request.headers.getlist("if-none-match")):
            return Response(
                status_code=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")}
            )
        return Response(found.content, headers=headers)

    @cached_property
    def _files(self) -> dict[str, File]:
        paths = [path for path in sorted(self._directory.rglob("*")) if path.is_file()]
        return {
            path.relative_to(self._directory).as_posix(): _read(path)
            for path in paths
            if path.suffix in MEDIA
        }


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, MEDIA[path.suffix], sha256(content).hexdigest()[:16])


def _is_known(tag: str, headers: list[str]) -> bool:
    """Whether the client has that version (RFC 9110, 13.1.2): it names it, weak or not, or says `*`."""
    named = [one.strip() for header in headers for one in header.split(",")]
    return any(one == "*" or one.removeprefix("W/") == tag for one in named)
