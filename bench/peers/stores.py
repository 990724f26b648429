"""What the peers keep their jobs in: a server of the bench's own, or a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import programs

REDIS = """
bind 127.0.0.1
port {port}
dir {home}
save ""
appendonly yes
appendfsync {sync}
maxmemory-policy noeviction
daemonize no
"""


@contextmanager
def kept(store: str, home: Path, sync: str = "always") -> Iterator[dict[str, str]]:
    """The store, with what its clients find it by in their environment; `sync` is Redis's appendfsync."""
    found = {"BENCH_DIRECTORY": str(home)}
    if store == "redis":
        with _redis(home, sync) as port:
            yield found | {"BENCH_REDIS_PORT": str(port), "RQ_REDIS_URL": f"redis://127.0.0.1:{port}"}
    elif store == "beanstalkd":
        with _beanstalkd(home) as port:
            yield found | {"BENCH_BEANSTALKD_PORT": str(port)}
    else:
        yield found


@contextmanager
def _redis(home: Path, sync: str) -> Iterator[int]:
    programs.need("redis-server")
    port, config, log = programs.free_port(), home / "redis.conf", home / "redis.log"
    config.write_text(REDIS.format(port=port, home=home, sync=sync))
    with programs.running(["redis-server", config], log) as process:
        programs.listening(process, port, log)
        yield port


@contextmanager
def _beanstalkd(home: Path) -> Iterator[int]:
    programs.need("beanstalkd")
    port, log = programs.free_port(), home / "beanstalkd.log"
    command = ["beanstalkd", "-l", "127.0.0.1", "-p", port, "-b", home, "-f", "0"]
    with programs.running(command, log) as process:
        programs.listening(process, port, log)
        yield port
