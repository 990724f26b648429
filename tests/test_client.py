"""The client of the HTTP API: where it asks, what it makes of answers, what it says when there are none."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from taskpusher import Client, InvalidField, Refused, Unreachable
from taskpusher.client import parse_server

UID = "01990b2e-6c1f-7000-9d3c-5a0f7be1c2d4"
PATIENCE = 10.0  # seconds until something that shall happen has not


class Answering:
    """A transport that answers all requests alike, and knows what it was asked."""

    def __init__(
        self, answer: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
    ) -> None:
        self.asked: list[httpx.Request] = []
        self._answer = answer
        self.transport = httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer(request) if callable(self._answer) else self._answer

    @property
    def url(self) -> str:
        return str(self.asked[-1].url)


def problem(status: int, **fields: object) -> httpx.Response:
    headers = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, headers=headers, content=json.dumps({"status": status, **fields}))


def ok(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"uid": UID, "state": "waiting", "uids": [UID], "jobs": [], "next": None})


# ---- where it asks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "address", "credentials"),
    [
        ("http://localhost:9900", "http://localhost:9900", None),
        ("localhost:9900", "http://localhost:9900", None),
        ("https://host/tasker/", "https://host/tasker", None),
        ("http://me:p%40ss@host", "http://host", ("me", "p@ss")),
        ("http://[::1]:9900", "http://[::1]:9900", None),
        ("unix:/run/tasker.sock", "unix:/run/tasker.sock", None),
    ],
)
def test_an_address_is_read_and_shown_without_its_password(
    written: str, address: str, credentials: tuple[str, str] | None
) -> None:
    assert parse_server(written) == (address, credentials)
    with Client(written) as client:
        assert client.server == address


@pytest.mark.parametrize(
    "written", ["ftp://host", "http://", "", "http://h:port", "http://h/?a=b", "unix:", "h\0"]
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(InvalidField, match="write "):
        Client(written)


@pytest.mark.parametrize("server", ["http://host/tasker", "http://host/tasker/"])
def test_every_request_goes_below_the_path_of_the_server(server: str) -> None:
    answering = Answering(ok)
    with Client(server, transport=answering.transport) as client:
        client.push("http://app/", priority=3)
        client.push_many([{"url": "http://app/"}])
        client.job(UID)
        client.move(UID, "run")
        client.queues()
        client.set_queue("a/b é.", paused=True)
        client.set_queue("..", paused=True)
        client.stats()
        list(client.pages("errors", 5, queue="a b"))
        client.result(UID)
    assert [f"{request.method} {request.url.raw_path.decode()}" for request in answering.asked] == [
        "POST /tasker/add",
        "POST /tasker/add",
        f"GET /tasker/job/{UID}",
        f"POST /tasker/job/{UID}/run",
        "GET /tasker/queues",
        "PUT /tasker/queues/a%2Fb%20%C3%A9.",
        "PUT /tasker/queues/%2E%2E",
        "GET /tasker/stats",
        "GET /tasker/jobs/errors?limit=5&queue=a+b",
        f"GET /tasker/job/{UID}/result",
    ]
    assert json.loads(answering.asked[0].content) == {"url": "http://app/", "priority": 3}
    assert answering.asked[1].headers["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize("link", ["/jobs/waiting?limit=2&cursor=ab", "/inner/jobs/waiting?limit=2&cursor=ab"])
def test_pages_are_followed_whatever_path_the_tasker_thinks_it_is_below(link: str) -> None:
    def pages(request: httpx.Request) -> httpx.Response:
        last = "cursor" in request.url.params
        return httpx.Response(200, json={"jobs": [{"uid": UID}], "next": None if last else link})

    answering = Answering(pages)
    with Client("https://host/outer", transport=answering.transport) as client:
        assert len(list(client.pages("waiting", 2))) == 2
    assert answering.url == "https://host/outer/jobs/waiting?limit=2&cursor=ab"


def test_a_page_is_asked_for_when_it_is_wanted() -> None:
    answering = Answering(lambda request: httpx.Response(200, json={"jobs": [], "next": "/jobs?cursor=ab"}))
    with Client(transport=answering.transport) as client:
        next(client.pages())
        assert len(answering.asked) == 1


@pytest.mark.parametrize(
    ("server", "given", "sent"),
    [
        ("http://h", None, None),
        ("http://a:b@h", None, "Basic YTpi"),
        ("http://a:b@h", ("c", "d"), "Basic Yzpk"),
        ("http://h", ("c", "d"), "Basic Yzpk"),
    ],
)
def test_given_credentials_go_before_those_of_the_address(
    server: str, given: tuple[str, str] | None, sent: str | None
) -> None:
    answering = Answering(ok)
    with Client(server, given, transport=answering.transport) as client:
        client.stats()
    assert answering.asked[0].headers.get("Authorization") == sent


# ---- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (problem(404, detail="no job has it", field="uid"), "uid: no job has it"),
        (problem(422, detail="priority must be a number", field="priority"), "priority must be a number"),
        (problem(409, detail="cancel it first"), "cancel it first"),
        (problem(401, detail="curl -u"), "http://h asks for a user and a password: give --basicauth"),
        (httpx.Response(401, text="no"), "http://h asks for a user and a password"),
        (httpx.Response(404, text="<html>"), "http://h answers 404, but not as a tasker does"),
        (problem(500), "http://h answers 500, but not as a tasker does"),
        (httpx.Response(502, text="<html>"), "http://h answers 502: what stands there reaches no tasker"),
        (httpx.Response(301, headers={"Location": "https://h/"}), "301, to https://h/: give --server"),
        (httpx.Response(200, text="hello"), "answers 200, but not as a tasker does: is --server right?"),
        (httpx.Response(200, content=b"\xff"), "not as a tasker does"),
    ],
)
def test_a_refusal_says_what_to_do(answer: httpx.Response, said: str) -> None:
    with (
        Client("http://h", transport=Answering(answer).transport) as client,
        pytest.raises(Refused) as refused,
    ):
        client.stats()
    assert said in str(refused.value)
    assert refused.value.status == answer.status_code


def test_a_refusal_names_the_job_of_a_batch() -> None:
    answering = Answering(problem(422, detail="url is bad", field="url", index=7))
    with Client(transport=answering.transport) as client, pytest.raises(Refused) as refused:
        client.push_many([{"url": "x"}])
    assert (refused.value.field, refused.value.index) == ("url", 7)


def test_a_wrong_password_is_told_and_not_shown() -> None:
    with (
        Client("http://me:secret@h", transport=Answering(problem(401)).transport) as client,
        pytest.raises(Refused) as refused,
    ):
        client.stats()
    assert "http://h knows no such user and password" in str(refused.value)
    assert "secret" not in str(refused.value)


# ---- when nobody answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said", "sent"),
    [
        (httpx.ConnectError("refused"), "no tasker answers at http://h: is it running? --server", False),
        (httpx.ConnectTimeout("late"), "no tasker answers at http://h", False),
        (httpx.ReadTimeout("late"), "http://h did not answer in time", True),
        (httpx.RemoteProtocolError("cut"), "http://h broke the connection off", True),
    ],
)
def test_no_answer_is_told_in_a_sentence(error: Exception, said: str, sent: bool) -> None:
    with (
        Client("http://me:secret@h", transport=Answering(error).transport) as client,
        pytest.raises(Unreachable, match="http://h") as unreachable,
    ):
        client.stats()
    assert said in str(unreachable.value)
    assert "secret" not in str(unreachable.value)
    assert unreachable.value.sent is sent


def test_after_a_push_without_an_answer_it_says_that_it_may_have_been_done() -> None:
    with (
        Client(transport=Answering(httpx.ReadError("cut")).transport) as client,
        pytest.raises(Unreachable, match="whether it was done is not known"),
    ):
        client.push("http://app/")


# ---- over real sockets --------------------------------------------------------------------------------


@contextmanager
def served(listener: socket.socket, tls: ssl.SSLContext | None = None) -> Iterator[list[bytes]]:
    """Answers one request with figures; its head."""
    heads: list[bytes] = []

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection, tls.wrap_socket(connection, server_side=True) if tls else connection as stream:
                stream.settimeout(PATIENCE)
                heads.append(stream.recv(65536))
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        except OSError:  # who called did not like our certificate
            pass

    with listener:
        listener.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        yield heads
        thread.join()


def test_a_unix_socket_is_asked_as_localhost(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with served(listener) as heads, Client(f"unix:{tmp_path / 's'}") as client:
        assert client.stats() == {}
    assert heads[0].startswith(b"GET /stats HTTP/1.1\r\n")
    assert b"\r\nHost: localhost\r\n" in heads[0]


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with served(listener), Client(url) as client:
        assert client.stats() == {}


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_checked_against_the_authorities_of_the_machine_or_ssl_cert_file(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem") if trusted else "")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listener.getsockname()[1]}/tasker"
    with served(listener, tls) as heads, Client(url) as client:
        if trusted:
            assert client.stats() == {}
        else:
            with pytest.raises(Unreachable, match=r"is not trusted \(.*\): SSL_CERT_FILE can name"):
                client.stats()
    assert heads == [] or heads[0].startswith(b"GET /tasker/stats ")


def test_https_to_a_tasker_without_tls_is_told() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"https://localhost:{listener.getsockname()[1]}"
    with (
        served(listener),
        Client(url) as client,
        pytest.raises(Unreachable, match="speaks no TLS: write http://"),
    ):
        client.stats()


def test_a_tasker_that_hangs_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.1) as client,
        pytest.raises(Unreachable, match="did not answer in time"),
    ):
        client.stats()


def test_the_example_of_the_module_is_true() -> None:
    answering = Answering(ok)
    with Client("https://jobs.example/tasker/", ("app", "secret"), transport=answering.transport) as tasker:
        uid: Any = tasker.push("https://app.example/work", max_attempts=5)["uid"]
        assert tasker.job(uid)["state"] == "waiting"
