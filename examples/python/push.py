"""An app that sends a mail without letting its visitor wait: / pushes a job and goes on, /work does the work.

The standard library is enough. To try it:

    (umask 077; echo app:secret > /tmp/tasker.auth)
    tasker --basicauth @/tmp/tasker.auth
    TASKER_AUTH_FILE=/tmp/tasker.auth python examples/python/push.py
    curl 'localhost:8000/?to=ann@example.org'
"""

import json
import os
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import Request, urlopen

PORT = int(os.environ.get("PORT", "8000"))
APP = os.environ.get("APP_URL", f"http://localhost:{PORT}")
TASKER = os.environ.get("TASKER_URL", "http://localhost:9900")
LOGIN = Path(os.environ.get("TASKER_AUTH_FILE", "/etc/tasker.auth")).read_bytes().strip()  # user:password


def push(**job: object) -> str:
    """Push a job; its uid. Raises OSError when it was not taken."""
    credentials = {"Authorization": "Basic " + b64encode(LOGIN).decode()}
    request = Request(f"{TASKER}/add", data=urlencode(job).encode(), headers=credentials)
    with urlopen(request, timeout=5) as answer:
        return str(json.load(answer)["uid"])


class App(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        to = dict(parse_qsl(url.query)).get("to", "ann@example.org")
        self.answer(self.work(to) if url.path == "/work" else self.page(to))

    def page(self, to: str) -> str:
        """The visitor's page."""
        work = f"{APP}/work?{urlencode({'to': to})}"
        return push(max_attempts=5, url=work, title="Send a mail")

    def work(self, to: str) -> str:
        """The job's page: a 200 says that it is done, anything else that it is to be attempted again.

        A job may run twice, say after a power cut. Its uid stays the same: note it with what was done, to do
        it once.
        """
        uid = self.headers["Tasker-Uid"]
        print(f"job {uid}: a mail to {to}", flush=True)  # here goes the work, as slow as it may be
        return f"sent to {to}"

    def answer(self, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("localhost", PORT), App)
    print(f"at {APP}", flush=True)
    server.serve_forever()
