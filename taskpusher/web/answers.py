"""The answers that are no refusals, and the headers that every answer carries."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

# RFC 9111, 5.2.2.5: what jobs hold is nobody's to keep; the others stop browsers from guessing and telling.
SECURITY: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)

# For the pages: nothing inline, nothing from elsewhere, in nobody's frame.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# For what a target sent: even opened in a browser it may do nothing.
BODY_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

_encoder = msgspec.json.Encoder()


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _encoder.encode(content)


class Text(Response):
    media_type = "text/plain"


class Html(Response):
    """A page. Its forms are sent with their Origin, which no-referrer would make `null`: then nobody could
    tell them from another site's."""

    media_type = "text/html"

    def __init__(
        self, content: str, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, {**PAGE_HEADERS, **(headers or {})})


class Nothing(Response):
    def __init__(self) -> None:
        super().__init__(status_code=204)
