"""A client of the HTTP API: what the subcommands of `tasker` ask with, and other programs may.

    with Client("https://jobs.example/tasker/", ("app", "secret")) as tasker:
        uid = tasker.push("https://app.example/work", max_attempts=5)["uid"]
        print(tasker.job(uid)["state"])

Answers come as the JSON of docs/api.md. A tasker that does not answer raises Unreachable, one that will not
Refused. Nothing is sent twice by itself, redirects are not followed, and proxies of the environment are not
used: the tasker is nearly always next door.
"""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec

from . import __version__
from .errors import InvalidField, Refused, Unreachable

SERVER = "http://localhost:9900"
TIMEOUT = 30.0  # seconds that any step of a request may take
CONNECT_TIMEOUT = 5.0
MOST_LISTED = 100  # jobs a page; the API gives no more


class Client:
    """One tasker, asked over HTTP; its connection is kept. Use it as a context manager, or call `close`.

    `server` is http://HOST[:PORT][/PATH], https, or unix:PATH for a socket; a user and a password in it are
    used unless `credentials` (name, password) are given. `timeout` in seconds, for each step of a request.
    `transport` is for tests. Raises InvalidField.
    """

    def __init__(
        self,
        server: str = SERVER,
        credentials: tuple[str, str] | None = None,
        *,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.server, within = parse_server(server)
        user, base = credentials or within, self.server
        if base.startswith("unix:"):
            transport = transport or httpx.HTTPTransport(uds=base.removeprefix("unix:"))
            base = "http://localhost"
        self._http = httpx.Client(
            base_url=base,
            auth=httpx.BasicAuth(*user) if user else None,
            headers={"User-Agent": f"TaskPusher/{__version__}", "Accept": "application/json"},
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
            # the machine's certificates, or those that SSL_CERT_FILE names: an own authority's too
            verify=ssl.create_default_context() if base.startswith("https:") else False,
            transport=transport,
            trust_env=False,
        )
        self._has_user = user is not None

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- jobs -------------------------------------------------------------------------------------

    def push(self, url: str, **fields: object) -> dict[str, Any]:
        """Push one job; the fields are those of `POST /add`. `{"uid", "state"}`, where a live job has the
        same `key` with `"duplicate": true`; where the same `uid` was pushed before, that job."""
        return self._object("POST", "/add", {"url": url, **fields})

    def push_many(self, jobs: Sequence[Mapping[str, object]]) -> list[str]:
        """Push up to 10,000 jobs, all or none; their uids in that order."""
        lines = b"\n".join(map(msgspec.json.encode, jobs))
        answer = self._ask("POST", "/add", lines, {"Content-Type": "application/x-ndjson"})
        return list(self._read(answer)["uids"])

    def job(self, uid: str) -> dict[str, Any]:
        return self._object("GET", f"/job/{_segment(uid)}")

    def result(self, uid: str) -> bytes:
        """The body that the job's target answered."""
        return self._ask("GET", f"/job/{_segment(uid)}/result").content

    def move(self, uid: str, action: str) -> dict[str, Any]:
        """cancel, pause, resume, retry, run or duplicate it: the job after that. While it carries a `wish`,
        the move has been noted and comes true when the work has stopped."""
        return self._object("POST", f"/job/{_segment(uid)}/{_segment(action)}")

    def pages(self, state: str = "", limit: int = MOST_LISTED, **filters: str) -> Iterator[dict[str, Any]]:
        """Page after page of the jobs in that state, or of all; `limit` jobs a page. Each is asked for when
        it is wanted. The filters are queue, kind, host, tag, url and q."""
        path = f"/jobs/{_segment(state)}" if state else "/jobs"
        query: Mapping[str, str] | str = {"limit": str(limit), **filters}
        while True:
            page = self._object("GET", path, query=query)
            yield page
            if page["next"] is None:
                return
            # Its path is as the tasker sees itself, which may not be as a proxy in front shows it.
            query = urlsplit(page["next"]).query

    def move_all(self, action: str, state: str, *, dry_run: bool = False, **filters: str) -> dict[str, Any]:
        """Do it to all jobs in that state that match the filters: `{"count"}`, or where that takes longer
        how far it is, with an `id` for `bulk`."""
        path = f"/jobs/{_segment(state)}/{_segment(action)}"
        return self._object("POST", path, {**filters, "dry_run": dry_run})

    def bulk(self, bulk: str) -> dict[str, Any]:
        """How far it is."""
        return self._object("GET", f"/bulk/{_segment(bulk)}")

    def cancel_bulk(self, bulk: str) -> dict[str, Any]:
        """End it; what it moved stays moved."""
        return self._object("POST", f"/bulk/{_segment(bulk)}/cancel")

    # ---- queues and figures -----------------------------------------------------------------------

    def queues(self) -> dict[str, Any]:
        return self._object("GET", "/queues")

    def set_queue(self, name: str, **rule: object) -> dict[str, Any]:
        """Set `paused`, `concurrency` (0 or None: no limit) or both; the queue after that."""
        return self._object("PUT", f"/queues/{_segment(name)}", rule)

    def stats(self) -> dict[str, Any]:
        return self._object("GET", "/stats")

    # ---- asking -----------------------------------------------------------------------------------

    def _object(
        self,
        method: str,
        path: str,
        fields: Mapping[str, object] | None = None,
        query: Mapping[str, str] | str | None = None,
    ) -> dict[str, Any]:
        body = None if fields is None else msgspec.json.encode(fields)
        headers = {} if body is None else {"Content-Type": "application/json"}
        if isinstance(query, str):
            path, query = f"{path}?{query}", None
        return self._read(self._ask(method, path, body, headers, query))

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer, if it is a success. Raises Unreachable, Refused."""
        try:
            answer = self._http.request(method, path, content=body, headers=headers, params=query)
        except httpx.HTTPError as error:
            raise self._unreachable(error, method) from error
        if not answer.is_success:
            raise self._refused(answer)
        return answer

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused(answer.status_code, self._no_tasker(answer)) from None

    # ---- what went wrong --------------------------------------------------------------------------

    def _unreachable(self, error: httpx.HTTPError, method: str) -> Unreachable:
        said = " ".join(str(error).split())
        if isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in said:
            why = said.rpartition("failed: ")[2].partition(" (_ssl")[0]
            hint = "SSL_CERT_FILE can name a file with the certificate of your own authority"
            return Unreachable(f"the certificate of {self.server} is not trusted ({why}): {hint}")
        if isinstance(error, httpx.ConnectError) and "[SSL" in said:
            return Unreachable(f"{self.server} speaks no TLS: write http:// if that is meant")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unreachable(f"no tasker answers at {self.server}: is it running? --server says where")
        late = isinstance(error, httpx.TimeoutException)
        what = "did not answer in time" if late else "broke the connection off"
        unsure = "" if method == "GET" else "; whether it was done is not known: look before you repeat it"
        return Unreachable(f"{self.server} {what}{unsure}", sent=True)

    def _refused(self, answer: httpx.Response) -> Refused:
        problem = _problem(answer)
        status = answer.status_code
        detail, field, index = problem.get("detail"), problem.get("field"), problem.get("index")
        if status == 401:
            why = "knows no such user and password" if self._has_user else "asks for a user and a password"
            detail = f"{self.server} {why}: give --basicauth user:password, or --basicauth @FILE"
        elif not isinstance(detail, str):
            return Refused(status, self._no_tasker(answer))
        elif isinstance(field, str) and field not in detail:
            detail = f"{field}: {detail}"
        return Refused(
            status,
            detail,
            field if isinstance(field, str) else None,
            index if isinstance(index, int) else None,
        )

    def _no_tasker(self, answer: httpx.Response) -> str:
        """What to say of an answer that no tasker gives."""
        if answer.is_redirect:
            there = answer.headers.get("Location", "")[:200]
            return f"{self.server} answers {answer.status_code}, to {there}: give --server as it is there"
        if answer.status_code in (502, 503, 504):
            return f"{self.server} answers {answer.status_code}: what stands there reaches no tasker"
        return f"{self.server} answers {answer.status_code}, but not as a tasker does: is --server right?"


class Server(NamedTuple):
    """Where a tasker is, as it may be shown; and the user and password that stood in the address."""

    address: str
    credentials: tuple[str, str] | None


def parse_server(written: str) -> Server:
    """http://HOST[:PORT][/PATH], https, unix:PATH, or HOST:PORT alone. Raises InvalidField."""
    if written.startswith("unix:"):
        if written == "unix:":
            raise InvalidField("server", "names no socket; write unix:/run/tasker.sock")
        return Server(written, None)
    wrong = InvalidField("server", "is no address of a tasker; write http://HOST:PORT, https://HOST/PATH")
    try:
        parts = urlsplit(written if "://" in written else f"http://{written}")
        port = f":{parts.port}" if parts.port is not None else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        address = f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")
        httpx.URL(address)
    except (ValueError, httpx.InvalidURL):
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise wrong
    if parts.username is None:
        return Server(address, None)
    return Server(address, (unquote(parts.username), unquote(parts.password or "")))


def _segment(text: str) -> str:
    """One segment of a path; a dot alone would be taken for a step."""
    return quote(text, safe="").replace(".", "%2E") if text.strip(".") == "" else quote(text, safe="")


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem of the answer (RFC 9457); empty when it holds none."""
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
