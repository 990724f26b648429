"""A tasker behind nginx and behind Caddy, on a host of its own and below a path of an app's: the files of
examples/operations, with the ports and certificates of this test and nothing else changed."""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from taskpusher.web.live import MOST_STREAMS

from .program import PATIENCE, Tasker, free_port, installed, until
from .target import Target

FILES = Path(__file__).parents[2] / "examples" / "operations"
AUTH = "app:secret"
MIB = 1 << 20
PLACES = {"host": ("tasker.example", ""), "path": ("app.example", "/tasker")}  # name, prefix


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Proxy:
    """nginx or Caddy with one of our files, before `upstream`, a port."""

    def __init__(self, program: str, place: str, upstream: int, directory: Path) -> None:
        self.name, self.prefix = PLACES[place]
        self._directory, self._upstream = directory, upstream
        self._make_certificate()
        write = {"nginx": self._nginx, "caddy": self._caddy}[program]
        self._log = directory / "said"
        for _ in range(5):
            self.port, self.plain_port = free_port(), free_port()
            line = [installed(program), *write(place)]
            homes = {name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
            with self._log.open("wb") as said:
                self._process = subprocess.Popen(line, stdout=said, stderr=said, env=os.environ | homes)
            until(lambda: self._listens() or self._process.poll() is not None)
            if self._process.poll() is None:  # the port may have been taken meanwhile
                return
        raise AssertionError(self._log.read_text())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _make_certificate(self) -> None:
        authority = trustme.CA()
        mine = authority.issue_cert(self.name)
        self.pem, self.key = self._directory / "cert.pem", self._directory / "cert.key"
        self.pem.write_bytes(b"".join(one.bytes() for one in mine.cert_chain_pems))
        self.key.write_bytes(mine.private_key_pem.bytes())
        self._tls = ssl.create_default_context()
        authority.configure_trust(self._tls)

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    # ---- its configuration ------------------------------------------------------------------------

    def _nginx(self, place: str) -> list[str]:
        text = (FILES / "nginx-host.conf").read_text()
        if place == "path":
            (upstream,) = re.findall(r"^upstream .*?^}\n", text, re.DOTALL | re.MULTILINE)
            tls = re.findall(r"^    (?:listen 443|ssl_).*\n", text, re.MULTILINE)
            app = f"server {{\n{''.join(tls)}server_name {self.name};\nlocation / {{ return 200 app; }}\n"
            text = f"{upstream}{app}{(FILES / 'nginx-path.conf').read_text()}}}\n"
        text = self._here(text, {
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "/etc/ssl/tasker.example.pem": str(self.pem),
            "/etc/ssl/private/tasker.example.key": str(self.key),
        })  # fmt: skip
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.plain_port};")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self._directory}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""  # so that it may enter this test's directory
        (self._directory / "nginx.conf").write_text(
            f"{user}daemon off;\npid {self._directory}/pid;\nerror_log stderr;\nworker_processes 1;\n"
            f"events {{ }}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
        )
        return ["-p", str(self._directory), "-e", "stderr", "-c", str(self._directory / "nginx.conf")]

    def _caddy(self, place: str) -> list[str]:
        text = (FILES / f"Caddyfile-{place}").read_text()
        if place == "path":
            text = f"{self.name} {{\n{text}\nrespond app\n}}\n"
        files = f"\tbind 127.0.0.1\n\ttls {self.pem} {self.key}\n"
        text = self._here(text, {f"{self.name} {{\n": f"https://{self.name}:{self.port} {{\n{files}"})
        (self._directory / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
        return ["run", "--config", str(self._directory / "Caddyfile"), "--adapter", "caddyfile"]

    def _here(self, text: str, places: dict[str, str]) -> str:
        for written, real in ({"127.0.0.1:9900": f"127.0.0.1:{self._upstream}"} | places).items():
            assert text.count(written) == 1, written
            text = text.replace(written, real)
        return text

    # ---- asking through it ------------------------------------------------------------------------

    def connection(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(self.name, self.port)
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        made.sock = self._tls.wrap_socket(raw, server_hostname=self.name)
        return made

    def ask(
        self, method: str, path: str, body: object = None, *, auth: str = AUTH, at: str = "", **headers: str
    ) -> Answer:
        """`path` below the prefix, or with `at` one that the tasker itself has named."""
        connection = self.connection()
        try:
            return answer_to(connection, method, at or self.prefix + path, body, auth, **headers)
        finally:
            connection.close()


def answer_to(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    auth: str = AUTH,
    **headers: str,
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if auth:
        sent["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    if isinstance(body, dict):
        body, sent["Content-Type"] = json.dumps(body), "application/json"
    connection.request(method, path, body, sent)  # type: ignore[arg-type]
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read().decode())


# ---- what each test has -------------------------------------------------------------------------------

SETUPS = [(program, place) for program in ("nginx", "caddy") for place in PLACES]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Proxy, Tasker]]]:
    """Gives a proxy and the tasker behind it; made when a test first asks for that pair."""
    made: dict[tuple[str, str], tuple[Proxy, Tasker]] = {}

    def give(program: str, place: str) -> tuple[Proxy, Tasker]:
        installed(program)
        if (program, place) not in made:
            directory = tmp_path_factory.mktemp(f"{program}-{place}")
            tasker = Tasker(
                f"--store=lmdb:{directory / 'db'}", "--address=127.0.0.1:0", f"--basicauth={AUTH}",
                f"--host={PLACES[place][0]}", f"--root-path={PLACES[place][1]}",
                log=directory / "tasker.log", auth=AUTH,
            ).ready()  # fmt: skip
            try:
                made[program, place] = Proxy(program, place, tasker.port, directory), tasker
            except BaseException:
                tasker.kill()
                raise
        return made[program, place]

    yield give
    for proxy, tasker in made.values():
        proxy.close()
        tasker.kill()


@pytest.fixture(params=SETUPS, ids="-".join)
def pair(request: pytest.FixtureRequest, behind: Callable[..., tuple[Proxy, Tasker]]) -> tuple[Proxy, Tasker]:
    return behind(*request.param)


@pytest.fixture
def proxy(pair: tuple[Proxy, Tasker]) -> Proxy:
    return pair[0]


# ---- the tests ----------------------------------------------------------------------------------------


def test_a_pushed_job_runs_and_its_location_leads_through_the_proxy(proxy: Proxy, target: Target) -> None:
    pushed = proxy.ask("POST", "/add", {"url": f"{target.url}/work"})
    uid = pushed.json["uid"]
    assert (pushed.status, pushed.headers["Location"]) == (201, f"{proxy.prefix}/job/{uid}")
    until(lambda: proxy.ask("GET", "", at=pushed.headers["Location"]).json["state"] == "completed")
    assert proxy.ask("GET", f"/job/{uid}/result").text == "ok"
    copy = proxy.ask("POST", f"/job/{uid}/duplicate")
    assert proxy.ask("GET", "", at=copy.headers["Location"]).status == 200


def test_the_next_links_of_a_list_lead_through_the_proxy_to_its_end(proxy: Proxy) -> None:
    lines = b'{"url": "http://localhost:1/", "delay": "1h", "queue": "paged"}\n' * 5
    uids = proxy.ask("POST", "/add", lines, Content_Type="application/x-ndjson").json["uids"]
    path, seen = f"{proxy.prefix}/jobs/waiting?queue=paged&limit=2", []
    while path:
        page = proxy.ask("GET", "", at=path).json
        seen += [job["uid"] for job in page["jobs"]]
        path = page["next"]
    assert seen[-5:] == uids


def test_what_is_percent_encoded_in_a_path_stays_so(proxy: Proxy) -> None:
    answer = proxy.ask("PUT", "/queues/a%2Fb%20%C3%BC", {"concurrency": 2})
    assert (answer.status, answer.json["name"]) == (200, "a/b ü")


def test_bodies_up_to_what_tasker_takes_come_through_whole(proxy: Proxy, target: Target) -> None:
    frame = len(json.dumps({"url": f"{target.url}/big", "body": ""}))
    body = "x" * (10 * MIB - frame)
    pushed = proxy.ask("POST", "/add", {"url": f"{target.url}/big", "body": body})
    assert pushed.status == 201, pushed.text
    until(lambda: len(target.calls) == 1)
    assert len(target.calls[0].body) == len(body)
    refused = proxy.ask("POST", "/add", {"url": f"{target.url}/big", "body": body + "x"})
    assert (refused.status, refused.headers["Content-Type"]) == (413, "application/problem+json")
    assert "--max-body" in refused.text


def test_the_password_passes_through_and_a_missing_one_is_asked_for(proxy: Proxy) -> None:
    assert proxy.ask("GET", "/stats").status == 200
    missing = proxy.ask("GET", "/stats", auth="")
    assert (missing.status, missing.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
    assert proxy.ask("GET", "/stats", auth="app:wrong").status == 401
    assert proxy.ask("GET", "/readyz", auth="").text == "ok\n"


def test_another_host_gets_nothing_done(pair: tuple[Proxy, Tasker]) -> None:
    proxy, tasker = pair
    before = tasker.number("waiting")
    answer = proxy.ask("POST", "/add", {"url": "http://localhost:1/", "delay": "1h"}, Host="evil.example")
    assert answer.status != 201
    assert "uid" not in answer.text
    assert tasker.number("waiting") == before


@pytest.mark.parametrize(("program", "place"), SETUPS)
def test_a_tasker_that_was_not_told_its_name_says_which_option_it_needs(
    program: str, place: str, start: Callable[..., Tasker], tmp_path: Path
) -> None:
    proxy = Proxy(program, place, start(f"--root-path={PLACES[place][1]}").port, tmp_path)
    try:
        answer = proxy.ask("GET", "/stats", auth="")
    finally:
        proxy.close()
    assert answer.status == 421
    assert f"--host {proxy.name}" in answer.json["detail"]


def test_a_page_of_the_same_origin_may_push_and_one_of_another_may_not(proxy: Proxy) -> None:
    job = {"url": "http://localhost:1/", "delay": "1h"}
    mine = f"https://{proxy.name}:{proxy.port}"
    assert proxy.ask("POST", "/add", job, Origin=mine).status == 201
    assert proxy.ask("POST", "/add", job, Origin="https://evil.example").status == 403


def test_headers_of_forwarding_change_nothing(proxy: Proxy) -> None:
    forwarded = {
        "X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "gopher", "X_Forwarded_Prefix": "/evil",
        "X_Forwarded_For": "127.0.0.1", "Forwarded": "host=evil.example",
    }  # fmt: skip
    answer = proxy.ask("POST", "/add", {"url": "http://localhost:1/", "delay": "1h"}, **forwarded)
    assert answer.headers["Location"] == f"{proxy.prefix}/job/{answer.json['uid']}"
    assert proxy.ask("GET", "/stats", auth="", **forwarded).status == 401


def test_a_stream_of_events_comes_through_as_it_is_told(proxy: Proxy) -> None:
    connection = proxy.connection()
    try:
        token = base64.b64encode(AUTH.encode()).decode()
        path = f"{proxy.prefix}/tasks/events"
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"

        def tick() -> Any:
            while not (line := answer.readline()).startswith(b"data:"):
                assert line, "the stream has ended"
            return json.loads(line[len("data:") :])

        before = tick()["states"]["waiting"]
        proxy.ask("POST", "/add", {"url": "http://localhost:1/", "delay": "1h"})
        until(lambda: tick()["states"]["waiting"] == before + 1)
    finally:
        connection.close()


def test_a_stream_whose_reader_has_gone_is_ended_by_the_proxy(proxy: Proxy) -> None:
    token = base64.b64encode(AUTH.encode()).decode()

    def status() -> int:
        connection = proxy.connection()
        try:
            path = f"{proxy.prefix}/tasks/events"
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            answer.readline()
            return answer.status
        finally:
            connection.close()

    for _ in range(MOST_STREAMS + 10):
        until(lambda: status() == 200, within=5)


def test_connections_to_the_tasker_are_kept(pair: tuple[Proxy, Tasker]) -> None:
    proxy, tasker = pair
    connection = proxy.connection()
    try:
        for _ in range(20):
            assert answer_to(connection, "GET", f"{proxy.prefix}/stats").status == 200
        # local address and port, remote ones, state (1: established); numbers in hex
        rows = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        to_tasker = [state for _, remote, state in rows if int(remote.partition(":")[2], 16) == tasker.port]
        assert to_tasker.count("01") in range(1, 4), to_tasker
    finally:
        connection.close()


def test_nginx_sends_plain_http_to_https(behind: Callable[..., tuple[Proxy, Tasker]]) -> None:
    proxy, _ = behind("nginx", "host")
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain_port, timeout=PATIENCE)
    answer = answer_to(connection, "GET", "/jobs?limit=1", auth="", Host=proxy.name)
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{proxy.name}/jobs?limit=1")


# ---- streams ------------------------------------------------------------------------------------------


class Stream:
    """An upstream that sends one event, and the next when it is told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port = self._listener.getsockname()[1]
        self.go_on = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"9\r\ndata: 1\n\n\r\n"
            )
            if self.go_on.wait(PATIENCE):
                connection.sendall(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    def close(self) -> None:
        self.go_on.set()
        self._listener.close()
        self._thread.join()


@pytest.mark.parametrize(("program", "place"), SETUPS)
def test_an_event_is_passed_on_before_the_next_one_comes(program: str, place: str, tmp_path: Path) -> None:
    installed(program)
    upstream = Stream()
    try:
        proxy = Proxy(program, place, upstream.port, tmp_path)
        try:
            connection = proxy.connection()
            connection.request("GET", f"{proxy.prefix}/events")
            answer = connection.getresponse()
            assert answer.read1(100) == b"data: 1\n\n"
            upstream.go_on.set()
            assert answer.read() == b"data: 2\n\n"
            connection.close()
        finally:
            proxy.close()
    finally:
        upstream.close()
