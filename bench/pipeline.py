"""A bare pipeline: LMDB with group commit and httptools, no product around it: the most a drain can be."""

import asyncio
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

import httptools
import lmdb


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.waiter: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(body)

    async def call(self, request: bytes) -> bytes:
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return await self.waiter


class Commits:
    """One writer thread; what comes during a commit shares the next."""

    def __init__(self, env: lmdb.Environment, loop: asyncio.AbstractEventLoop) -> None:
        self.env, self.loop = env, loop
        self.waiting, self.done = env.open_db(b"waiting"), env.open_db(b"done")
        self.pending: list = []
        self.idle = True
        self.lock = threading.Lock()
        self.queue: SimpleQueue = SimpleQueue()
        threading.Thread(target=self.run, daemon=True).start()

    def submit(self, key: bytes | None, result: bytes) -> asyncio.Future:
        future = self.loop.create_future()
        with self.lock:
            self.pending.append((key, result, future))
            wake, self.idle = self.idle, False
        if wake:
            self.loop.call_soon(self.flush)
        return future

    def flush(self) -> None:
        with self.lock:
            batch, self.pending = self.pending, []
        self.queue.put(batch)

    def run(self) -> None:
        while True:
            batch = self.queue.get()
            while batch:
                answers = []
                with self.env.begin(write=True) as txn:
                    cursor = txn.cursor(self.waiting)
                    for key, result, future in batch:
                        if key is not None:
                            txn.put(key, result, db=self.done)
                        item = None
                        if cursor.first():
                            item = cursor.item()
                            cursor.delete()
                        answers.append((future, item))
                self.loop.call_soon_threadsafe(self.answer, answers)
                with self.lock:
                    batch, self.pending = self.pending, []
                    self.idle = not batch

    def answer(self, answers: list) -> None:
        for future, item in answers:
            future.set_result(item)


async def _drain(url: str, jobs: int, concurrency: int, below: str) -> float:
    parts = urlsplit(url)
    directory = tempfile.mkdtemp(dir=below)
    env = lmdb.open(directory, map_size=1 << 32, max_dbs=4, lib_version=0)
    commits = Commits(env, asyncio.get_running_loop())
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    with env.begin(write=True) as txn:
        for number in range(jobs):
            txn.put(struct.pack(">Q", number), request, db=commits.waiting)
    loop = asyncio.get_running_loop()

    async def work() -> None:
        _, connection = await loop.create_connection(Connection, parts.hostname, parts.port)
        item = await commits.submit(None, b"")
        while item is not None:
            body = await connection.call(request)
            item = await commits.submit(item[0], body)
        connection.transport.close()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    seconds = time.perf_counter() - begun
    with env.begin() as txn:
        assert txn.stat(commits.done)["entries"] == jobs, txn.stat(commits.done)
    shutil.rmtree(directory)
    return jobs / seconds


def run(url: str, jobs: int, concurrency: int, below: Path) -> float:
    """Jobs/s, measured in a process of its own, with the LMDB directory `below` that one."""
    command = [sys.executable, __file__, url, str(jobs), str(concurrency), str(below)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    import uvloop

    print(uvloop.run(_drain(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
