"""Secrets left out of what people read: log lines and pages."""

import re
from urllib.parse import unquote_plus

MASK = "***"

_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*:)?//[^/?#\\]*@", re.IGNORECASE)
_SECRET_NAME = re.compile(r"token|key|secret|password|signature", re.IGNORECASE)
_PAIR = re.compile(r"([^=&;?#]+)=([^&;#]*)")


def masked_url(url: str) -> str:
    """The URL without its userinfo and without the values of query fields that are named like secrets.

    Works on any text: what can't be a URL comes back as it is, but for the fields.
    """
    if "@" in url:
        url = _USERINFO.sub(lambda found: f"{found[1] or ''}//{MASK}@", url)
    start = min((at for at in (url.find("?"), url.find("#")) if at >= 0), default=-1)
    if start < 0 or "=" not in url:
        return url
    return url[:start] + _PAIR.sub(_masked_pair, url[start:])


def _masked_pair(pair: re.Match[str]) -> str:
    return f"{pair[1]}={MASK}" if pair[2] and _SECRET_NAME.search(unquote_plus(pair[1])) else pair[0]
