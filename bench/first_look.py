"""A first look at speed: drain, add and latency of a real tasker against nginx on loopback.

    python bench/first_look.py [--jobs 20000] [--profile FILE.svg]

Needs nginx, and wrk for the add figures. Beside each drain it runs a bare pipeline (LMDB with group commit
and httptools, no product around it) in the same run, since only the ratio holds between machines.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pipeline

NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 10000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "ok"; }} }} }}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def target():
    """nginx answering "ok"."""
    directory, port = tempfile.mkdtemp(), free_port()
    config = Path(directory, "nginx.conf")
    config.write_text(NGINX.format(dir=directory, port=port))
    process = subprocess.Popen(["nginx", "-p", directory, "-c", str(config)])
    wait_for(port)
    try:
        yield f"http://127.0.0.1:{port}/x"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)


def wait_for(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


@contextmanager
def tasker(concurrency: int):
    directory, port = tempfile.mkdtemp(), free_port()
    command = [sys.executable, "-m", "taskpusher", f"--address=127.0.0.1:{port}"]
    command.append(f"--concurrency={concurrency}")
    command += [f"--store=lmdb:{directory}/tasker.db", "--log-level=warning"]
    process = subprocess.Popen(command)
    wait_for(port)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(directory)


def call(url: str, data: bytes | None = None, kind: str = "application/json", method: str | None = None):
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drain(jobs: int, concurrency: int, url: str, profile: str | None) -> tuple[float, float, float]:
    """Jobs/s of the drain, of the NDJSON push before it, and CPU microseconds a job."""
    with tasker(concurrency) as (base, pid):
        call(f"{base}/queues/default", b'{"paused": true}', method="PUT")
        line = json.dumps({"url": url}).encode()
        begun = time.perf_counter()
        for _ in range(jobs // 1000):
            call(f"{base}/add", b"\n".join([line] * 1000), "application/x-ndjson")
        pushed = jobs / (time.perf_counter() - begun)
        spy = None
        if profile:
            spy = subprocess.Popen(["py-spy", "record", "-d4", "-r200", "-t", "-o", profile, "-p", str(pid)])
            time.sleep(1)
        used, begun = cpu(pid), time.perf_counter()
        call(f"{base}/queues/default", b'{"paused": false}', method="PUT")
        while call(f"{base}/jobs/completed?limit=1")["total"] < jobs:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        used = cpu(pid) - used
        if spy:
            spy.wait()
        return jobs / seconds, pushed, used / jobs * 1e6


def add(seconds: int = 4) -> str:
    """wrk with 32 keep-alive connections on POST /add; the jobs are due in a day."""
    script = Path(tempfile.mkdtemp(), "add.lua")
    script.write_text(
        'wrk.method = "POST"\nwrk.body = "url=http%3A%2F%2F127.0.0.1%3A9%2Fx&delay=1d"\n'
        'wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"\n'
    )
    with tasker(4) as (base, _):
        command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "--latency", "-s", str(script), f"{base}/add"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)
    bad = re.search(r"Non-2xx.*", out)
    return (
        f"{rate}/s, p50 {_percentile(out, 50)}, p99 {_percentile(out, 99)}{' ' + bad.group(0) if bad else ''}"
    )


def _percentile(out: str, which: int) -> str:
    return re.search(rf"^\s+{which}%\s+(\S+)", out, re.MULTILINE).group(1)


async def latency(rate: int = 500, seconds: int = 5) -> str:
    """Milliseconds from sending POST /add to the call arriving at a target in this process."""
    sent: dict[int, float] = {}
    waits: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                number = int(head.split(b" ", 2)[1][1:])
                waits.append(time.perf_counter() - sent[number])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tasker(16) as (base, _):
        host, own = "127.0.0.1", int(base.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection(host, own)
        begun = time.perf_counter()
        for number in range(rate * seconds):
            await asyncio.sleep(max(0, begun + number / rate - time.perf_counter()))
            body = f"url=http%3A%2F%2F127.0.0.1%3A{port}%2F{number}"
            sent[number] = time.perf_counter()
            writer.write(
                "POST /add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            if number % 50 == 0:
                while reader._buffer:  # answers are not looked at here
                    await reader.read(1 << 16)
        for _ in range(100):
            if len(waits) < rate * seconds:
                await asyncio.sleep(0.05)
        writer.close()
    server.close()
    waits.sort()
    p99 = waits[int(len(waits) * 0.99)] if waits else float("nan")
    return f"{len(waits)} calls, p50 {statistics.median(waits) * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=20000)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[4, 16, 50, 200])
    parser.add_argument("--profile", help="write a py-spy flame graph of the drain")
    parser.add_argument("--only", choices=["drain", "add", "latency"])
    options = parser.parse_args()
    if options.only in (None, "drain"):
        with target() as url:
            for concurrency in options.in_flight:
                bare = pipeline.run(url, options.jobs, concurrency)
                ours, pushed, micros = drain(options.jobs, concurrency, url, options.profile)
                print(
                    f"drain, {concurrency:3} in flight: {ours:7,.0f}/s, {micros:.0f} us CPU a job; "
                    f"bare pipeline {bare:7,.0f}/s; ratio {ours / bare:.2f}; NDJSON push {pushed:,.0f}/s",
                    flush=True,
                )
    if options.only in (None, "add"):
        print("add, form, 32 connections:", add(), flush=True)
    if options.only in (None, "latency"):
        print("push to hit at 500/s:", asyncio.run(latency()), flush=True)


if __name__ == "__main__":
    main()
