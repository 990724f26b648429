"""The runner of kind `http`: a job becomes a Call, its Answer an Outcome."""

import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import msgspec

from .. import __version__
from ..clock import Clock, SystemClock
from ..job import ErrorClass, Held, Job, Result
from ..masking import masked_url
from ..trace import Trace
from .base import Failure, Outcome, Success
from .call import Answer, BadTarget, Call, CallFailed, Transport

LONGEST_MESSAGE = 500  # characters
FRAMES_KEPT = 512

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110, 9.2.2
METHODS = IDEMPOTENT | {"POST", "PATCH"}  # any other token is sent as well
WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})  # say Content-Length: 0 too (RFC 9110, 8.6)

# What belongs to the connection or to us; a job's own is left out (pushing one is refused before).
OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
TRACE = ("traceparent", "tracestate")  # one without the other would be of another trace
STANDARD = (("User-Agent", f"TaskPusher/{__version__}"), ("Accept", "*/*"))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # in a header value; a tab may stand there
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_USERINFO = re.compile(r"//[^/?#]*@")
_AUTHORITY = re.compile(r"(https?)://(?:([^/?#]*)@)?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")

Headers = tuple[tuple[str, str], ...]


class Frame(msgspec.Struct, frozen=True):
    """What calls to one origin with the same headers share."""

    scheme: str
    host: str
    port: int
    before: str  # header lines up to Accept-Encoding
    after: str  # the server's and the job's
    keyed: bool  # whether the job brings an Idempotency-Key of its own
    traced: bool  # whether the headers bring a trace of their own


class HttpRunner:
    """Calls the job's URL. Times are seconds, sizes bytes; `headers` go with every call."""

    def __init__(
        self,
        transport: Transport,
        *,
        connect_timeout: float = 10.0,
        max_response: int = 65536,
        headers: Iterable[tuple[str, str]] = (),
        clock: Clock | None = None,
    ) -> None:
        self._transport = transport
        self._connect_timeout = connect_timeout
        self._max_response = max_response
        self._headers = tuple(headers)
        for name, value in self._headers:
            if not sendable(name, value) or name.lower() in OURS or name.lower().startswith("tasker-"):
                raise ValueError(f"the header {name!r} can't be sent with every call")
        self._clock = clock or SystemClock()
        self._frames: dict[tuple[str, Headers], Frame] = {}

    async def run(self, held: Held) -> Outcome:
        job = held.job
        wanted = parse_success(job.success)  # first: a record with nonsense there must not go out
        try:
            answer = await self._transport.call(self.call(job, held.body))
        except CallFailed as failure:
            return Failure(failure.error_class, tidy(str(failure)), final=failure.final)
        body = answer.body
        cut = len(body) > self._max_response
        if cut:  # by a transport that does not look at max_response
            body = body[: self._max_response]
        result = Result(answer.status, answer.headers, body, answer.truncated or cut)
        for low, high in wanted:
            if low <= answer.status <= high:
                return Success(result)
        message = tidy(explain(answer, job.success))
        return Failure(ErrorClass.ANSWERED, message, result, retry_after(answer, self._clock))

    async def close(self) -> None:
        await self._transport.close()

    def call(self, job: Job, body: bytes) -> Call:
        """The job's request. Raises BadTarget where the record can't be one."""
        url, method = job.target, job.method
        end = url.find("/", 8)
        prefix, target = (url, "/") if end < 0 else (url[:end], url[end:])
        if "#" in url or "?" in prefix:
            prefix, target = _split(url)
        frame = self._frames.get((prefix, job.headers)) or self._frame(prefix, job.headers)
        if not (target.isascii() and target.isprintable()) or " " in target or not is_method(method):
            raise BadTarget("the job's URL or method has characters that can't be sent; percent-encode them")
        run = "" if job.run == 1 else f"-{job.run}"
        key = "" if frame.keyed else f"Idempotency-Key: {job.uid}{run}\r\n"
        about = f"Tasker-Uid: {job.uid}\r\nTasker-Attempt: {job.attempt}\r\n{key}"
        if job.trace is not None and not frame.traced:
            about += _trace_lines(job.trace)
        length = f"Content-Length: {len(body)}\r\n" if body or method in WITH_LENGTH else ""
        headers = f"{frame.before}{about}{frame.after}{length}"
        return Call(
            method,
            frame.scheme,
            frame.host,
            frame.port,
            target,
            headers.encode("utf-8", "replace"),
            body,
            job.timeout,
            self._connect_timeout,
            self._max_response,
            method in IDEMPOTENT and not job.once,
        )

    def _frame(self, prefix: str, headers: Headers) -> Frame:
        """Compose the header lines that don't change from call to call, and keep them."""
        match = _AUTHORITY.fullmatch(prefix)
        if match is None or not prefix.isascii():
            raise BadTarget("the job's URL is no absolute http or https URL")
        scheme, userinfo, host, port = match.groups()
        default = "443" if scheme == "https" else "80"
        own = [(name, value) for name, value in headers if _may_set(name)]
        for name, value in own:
            if not sendable(name, value):
                raise BadTarget(f"the job's header {name!r} can't be sent")
        names = {name.lower() for name, _ in own}
        authority = host if port in (None, default) else f"{host}:{port}"
        before = [("Host", next((value for name, value in own if name.lower() == "host"), authority))]
        before += [pair for pair in STANDARD if pair[0].lower() not in names]
        if userinfo is not None:
            names.add("authorization")
        after = [pair for pair in self._headers if pair[0].lower() not in names]
        if userinfo is not None and all(name.lower() != "authorization" for name, _ in own):
            after.append(("Authorization", _basic(userinfo)))
        after += [pair for pair in own if pair[0].lower() != "host"]
        frame = Frame(
            scheme,
            host.strip("[]"),
            int(port or default),
            _lines([*before, ("Accept-Encoding", "identity")]),
            _lines(after),
            "idempotency-key" in names,
            any(name.lower() in TRACE for name, _ in after),
        )
        if len(self._frames) >= FRAMES_KEPT:
            self._frames.clear()
        self._frames[prefix, headers] = frame
        return frame


def is_method(method: str) -> bool:
    return method in METHODS or _TOKEN.fullmatch(method) is not None


def sendable(name: str, value: str) -> bool:
    """Whether a header can't break out of its line (RFC 9110, 5.5 and 5.6.2)."""
    return _TOKEN.fullmatch(name) is not None and _UNPRINTABLE.search(value) is None


def _may_set(name: str) -> bool:
    lower = name.lower()
    return lower not in OURS and not lower.startswith("tasker-")


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value.strip()}\r\n" for name, value in pairs)


def _trace_lines(trace: Trace) -> str:
    return _lines([("traceparent", trace.parent), *([("tracestate", trace.state)] if trace.state else [])])


def _split(url: str) -> tuple[str, str]:
    """Origin and path?query of a URL with a fragment, or with a query right behind the host."""
    url = url.partition("#")[0]
    ends = [end for end in (url.find("/", 8), url.find("?", 8)) if end >= 0]
    end = min(ends, default=len(url))
    target = url[end:]
    return url[:end], target if target.startswith("/") else "/" + target


def _basic(userinfo: str) -> str:
    """RFC 7617. A colon that is percent-encoded belongs to the user's name, as far as that goes."""
    user, _, password = userinfo.partition(":")
    return "Basic " + b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode("ascii")


# ---- what counts as success ---------------------------------------------------------------------------


@lru_cache(256)
def parse_success(text: str) -> tuple[tuple[int, int], ...]:
    """The ranges, both ends included, of "200", "200-299", "2xx" and lists of them with commas.

    Raises ValueError with a sentence.
    """
    ranges = []
    for part in text.lower().split(","):
        match = re.fullmatch(r"(\d{3})(?:-(\d{3}))?|([1-9])xx", part.strip(), re.ASCII)
        if match is None:
            what = part.strip()
            raise ValueError(f"{what!r} is no status: send 200, 200-299, 2xx, or a list such as 200,204")
        first, last, hundred = match.groups()
        low = int(hundred) * 100 if hundred else int(first)
        high = low + 99 if hundred else int(last or first)
        if not 200 <= low <= high <= 999:
            raise ValueError(f"{part.strip()!r} is no range of final statuses: they go from 200 to 999")
        ranges.append((low, high))
    return tuple(ranges)


# ---- what to say --------------------------------------------------------------------------------------


def tidy(message: str) -> str:
    """One line without control characters, of at most 500 characters."""
    line = _CONTROL.sub(" ", message).strip()
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


def explain(answer: Answer, success: str) -> str:
    """Why this answer is no success, and what to do about it."""
    status = answer.status
    if 300 <= status < 400 and (location := _header(answer, "location")):
        # RFC 9110, 10.2.2. What stands before the @ is a password.
        place = masked_url(_USERINFO.sub("//", location))
        place = place if len(place) <= 300 else place[:300] + "…"
        return f"answered {status} to {place}; redirects are not followed: use that URL"
    if 200 <= status < 300:
        return f"answered {status}; success is {success}: set success=200-299"
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"answered {status}{phrase}"


def retry_after(answer: Answer, clock: Clock) -> float | None:
    """Seconds (RFC 9110, 10.2.3): a number, or a date from now; never negative; None if it's neither."""
    value = (_header(answer, "retry-after") or "").strip()
    if re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return max(0.0, float(value))
    if not value:
        return None
    try:
        # A date without a zone is in GMT (RFC 9110, 5.6.7); `timestamp` would take it for local time.
        moment = parsedate_to_datetime(value)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, zoned.timestamp() - clock.now() / 1000)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _header(answer: Answer, name: str) -> str | None:
    for key, value in answer.headers:
        if key.lower() == name:
            return value
    return None
