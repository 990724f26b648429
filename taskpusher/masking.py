"""Secrets left out of what people read: log lines and pages."""

import re
from urllib.parse import unquote_plus

MASK = "***"

_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*:)?//[^/?#\\]*@", re.IGNORECASE)
_SECRET_NAME = re.compile(r"token|key|secret|password|signature", re.IGNORECASE)
_FIELD = re.compile(r"[^&;#]+")


def masked_url(url: str) -> str:
    """The URL without its userinfo and without the values of query fields that are named like secrets.

    Works on any text: what can't be a URL comes back as it is, but for the fields.
    """
    if "@" in url:
        url = _USERINFO.sub(lambda found: f"{found[1] or ''}//{MASK}@", url)
    start = min((at for at in (url.find("?"), url.find("#")) if at >= 0), default=-1)
    if start < 0 or "=" not in url:
        return url
    return url[:start] + _FIELD.sub(_masked_field, url[start:])


def _masked_field(field: re.Match[str]) -> str:
    name, _, value = field[0].partition("=")
    return f"{name}={MASK}" if value and _SECRET_NAME.search(unquote_plus(name)) else field[0]
