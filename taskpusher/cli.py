"""The command. `tasker` with no subcommand serves: here all the parts are put together. Subcommands are in
commands/.

Exit codes: 0 stopped as asked, 2 usage, 3 the store is locked or unreadable, 4 the address can't be had,
1 anything else. What is wrong goes to stderr in one sentence.

What serving needs is imported when it serves, so that `tasker --help` answers at once.
"""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__, config, logs
from .commands import Commands, refuse_options_before
from .config import Settings
from .errors import InvalidField, RequestFailed, StoreError, StoreLocked, StoreUnreadable
from .options import Option, answer, help_option
from .values import Address

if TYPE_CHECKING:
    from .clock import Clock
    from .pusher import TaskPusher
    from .runners.targets import Targets
    from .tracing import Tracing
    from .web import App
    from .web.auth import User
    from .web.server import Server

log = getLogger(logs.NAME)

FAILED, USAGE, NO_STORE, NO_ADDRESS = 1, 2, 3, 4
SWITCH = 2e-5  # seconds: the thread that commits asks for the lock after that, three times a commit
LAST_REQUESTS = 0.5  # seconds for requests that are half sent when the work has ended


class CannotListen(Exception):
    """The address can't be had; the message says why and what to do."""


# ---- the command line ---------------------------------------------------------------------------------


def _option(row: config.Setting) -> Option:
    default = f" [{row.default}]" if row.default else ""
    kind: dict[str, Any] = {"is_flag": True} if row.is_flag else {"metavar": row.metavar}
    names = [f"--{row.name}", row.attribute]
    return Option(names, default=None, multiple=row.repeatable, help=row.help + default, **kind)


@click.pass_context
def _command(ctx: click.Context, /, **options: object) -> int:
    if ctx.invoked_subcommand is not None:
        refuse_options_before(ctx.invoked_subcommand, options)
        return 0
    return serve(config.load(options))


tasker = Commands(
    "tasker",
    callback=_command,
    invoke_without_command=True,
    params=[
        *(_option(row) for row in config.SETTINGS),
        answer("version", lambda ctx: f"tasker {__version__}"),
        help_option(),
    ],
    add_help_option=False,
    subcommand_metavar="[COMMAND …]",
    help="Keep jobs on disk and call their URLs; or do what COMMAND says.",
    epilog="Every option has an environment variable TASKER_… and a key in a TOML file.",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    code = run(arguments)
    if threading.active_count() > 1:
        # A name lookup that hangs can't be ended, and the interpreter would wait for its thread.
        _exit_now(code)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code. Errors are told in one sentence on stderr."""
    try:
        return int(tasker.main(arguments, "tasker", standalone_mode=False) or 0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "tasker"
        return _failed(USAGE, f"{error.format_message().rstrip('.')}; {command} --help lists the options")
    except click.Abort:  # Ctrl-C before serving began: stopped as asked
        return 0
    except InvalidField as error:
        return _failed(USAGE, str(error))
    except (StoreLocked, StoreUnreadable) as error:
        return _failed(NO_STORE, str(error))
    except CannotListen as error:
        return _failed(NO_ADDRESS, str(error))
    except (StoreError, RequestFailed) as error:
        return _failed(FAILED, str(error))


def _failed(code: int, sentence: str) -> int:
    print(f"tasker: {' '.join(sentence.split())}", file=sys.stderr)
    return code


# ---- serving ------------------------------------------------------------------------------------------


def serve(settings: Settings) -> int:
    """Serve until asked to stop; the exit code.

    Raises InvalidField, CannotListen and the store's errors, when it can't begin.
    """
    logs.set_up(settings.log_level, settings.log_format)
    recent = logs.Recent().listen()
    sys.setswitchinterval(SWITCH)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, recent))
    except (InvalidField, CannotListen, StoreError):
        raise
    except Exception:
        log.critical("stopped by an error", exc_info=True)
        _exit_now()  # the threads of what is half open must not keep a failed process alive
    finally:
        recent.close()
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings, recent: logs.Recent) -> None:
    from .runners.targets import Targets
    from .systemd import Notifier
    from .web.server import Server

    stop = StopSignals()
    notifier = Notifier()
    targets = Targets.parse(settings.target_allow, settings.target_deny)
    tracing = _tracing(settings)
    pusher = _pusher(settings, targets, tracing)
    # Listening comes first, so that no job has been called yet when the address turns out to be taken. What
    # is sent meanwhile waits in the socket.
    sockets = await _listen(settings, pusher)
    targets.listening([name[:2] for one in sockets if isinstance(name := one.getsockname(), tuple)])
    try:
        await pusher.start()
    except BaseException:
        for one in sockets:
            one.close()
        raise
    pusher.broken.add_done_callback(_give_up)
    app = _app(settings, pusher, sockets, recent)
    server = Server(app, app.close)
    await server.start(sockets)
    gc.freeze()  # what is loaded stays: looking through it for garbage would hold everybody up for 20 ms
    _say_started(settings, pusher, sockets)
    notifier.ready()
    await stop.asked.wait()
    notifier.stopping()
    await _stop(settings, pusher, server, stop)
    if tracing is not None:
        await tracing.close()
    notifier.close()


async def _stop(settings: Settings, pusher: "TaskPusher", server: "Server", stop: "StopSignals") -> None:
    """The requests go on being answered until the work has ended; jobs pushed meanwhile are kept."""

    def hurry() -> None:
        pusher.hurry()
        server.hurry()

    stop.again = hurry
    if stop.count > 1:
        hurry()
    log.info("stopping", extra={"on_stop": settings.on_stop, "grace": settings.grace})
    await pusher.stop(drain=settings.on_stop == "drain", grace=settings.grace)
    await server.stop(0.0 if stop.count > 1 else LAST_REQUESTS)
    await pusher.close()
    log.info("stopped")


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP: the first asks to stop, each one more calls `again`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.count = 0
        self.again: Callable[[], None] = lambda: None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup
            loop.add_signal_handler(number, self._came)

    def _came(self) -> None:
        self.count += 1
        self.asked.set()
        if self.count > 1:
            self.again()


def _give_up(broken: "asyncio.Future[BaseException]") -> None:
    """The store or a worker failed: nothing may be answered any more, for nobody knows what has been kept.

    So the process goes without the clean-up that would answer the requests under way, and would wait for a
    writer that may hang in the failed disk.
    """
    if not broken.cancelled():
        log.critical(
            "the store or a worker failed; nothing more is answered", extra={"error": broken.result()}
        )
        _exit_now()


def _exit_now(code: int = FAILED) -> NoReturn:
    logs.flush()
    os._exit(code)


# ---- the parts ----------------------------------------------------------------------------------------


def _pusher(settings: Settings, targets: "Targets", tracing: "Tracing | None") -> "TaskPusher":
    from .clock import SystemClock
    from .pusher import TaskPusher
    from .stores.lmdb import LmdbStore
    from .stores.memory import MemoryStore

    clock = SystemClock()
    return TaskPusher(
        LmdbStore(settings.store.path) if settings.store.kind == "lmdb" else MemoryStore(),
        {"http": _http_runner(settings, targets, clock)},
        concurrency=settings.concurrency,
        per_host=settings.per_host,
        timeout=settings.timeout,
        max_attempts=settings.max_attempts,
        success=settings.success,
        max_body=settings.max_body,
        keep=settings.keep,
        keep_errors=settings.keep_errors,
        error_callback=settings.error_callback,
        tracing=tracing,
        clock=clock,
    )


def _tracing(settings: Settings) -> "Tracing | None":
    """What makes spans, if it shall. Raises InvalidField where the extra is not installed."""
    if not settings.tracing:
        return None
    try:
        from .tracing import exporting

        return exporting()
    except ImportError as error:
        what = f"{error.name or 'OpenTelemetry'} is missing; install it: pip install 'taskpusher[otel]'"
        raise InvalidField("--tracing", what) from None


def _http_runner(settings: Settings, targets: "Targets", clock: "Clock") -> Any:
    from .runners.http import HttpRunner

    if settings.proxy is None:
        from .runners.transport import Http11Transport

        transport: Any = Http11Transport(targets=targets)
    else:
        import httpx

        from .runners.adapter import HttpxTransport

        # No cap on connections: calls that were cut would hold their places in the pool for ever.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=settings.concurrency, keepalive_expiry=2.0
        )
        proxied = httpx.AsyncHTTPTransport(proxy=settings.proxy, trust_env=False, limits=limits)
        transport = HttpxTransport(proxied, targets)
    return HttpRunner(
        transport,
        connect_timeout=settings.connect_timeout,
        max_response=settings.max_response,
        headers=settings.header,
        clock=clock,
    )


def _app(
    settings: Settings, pusher: "TaskPusher", sockets: Sequence[socket.socket], recent: logs.Recent
) -> "App":
    from .web import create_app

    bound = [spoken for spoken in map(_address, sockets) if spoken is not None]
    return create_app(
        pusher,
        users=_users(settings),
        hosts=_names(settings, bound),
        any_host_literal=any(address.is_every_interface for address in bound),
        root_path=settings.root_path,
        max_body=settings.max_body,
        settings=config.shown_settings(settings),
        recent=recent,
    )


def _users(settings: Settings) -> "list[User]":
    from .web.auth import User

    return [
        *(User(one.name, one.password, "all") for one in settings.basicauth),
        *(User(one.name, one.password, "add") for one in settings.basicauth_add),
        *(User(one.name, one.password, "readonly") for one in settings.basicauth_readonly),
    ]


def _names(settings: Settings, bound: Sequence[Address]) -> list[str]:
    """What a client may call us by: --host, the address, loopback; IPv6 in brackets, as in a Host header."""
    names = [*settings.host, "localhost", "127.0.0.1", "::1", settings.address.host]
    names += [address.host for address in bound]
    return [
        f"[{name}]" if ":" in name else name
        for name in dict.fromkeys(names)
        if not Address(name, 0).is_every_interface
    ]


async def _listen(settings: Settings, pusher: "TaskPusher") -> list[socket.socket]:
    """Sockets that listen: systemd's, or else the address'. Raises CannotListen, InvalidField, StoreError."""
    from .systemd import inherited_sockets
    from .web.server import bind

    try:
        if sockets := inherited_sockets():
            config.refuse_open_door([one for one in map(_address, sockets) if one is not None], settings)
            log.info("listening on the sockets of systemd", extra={"ignored_address": settings.address})
            return sockets
        return bind(settings.address)
    except OSError as error:
        await _refuse_locked(pusher)
        raise CannotListen(_why(error, settings.address)) from error


async def _refuse_locked(pusher: "TaskPusher") -> None:
    """A second tasker on the same directory is told so, rather than that the address is taken."""
    await pusher.store.open(pusher.node, lambda job: ())
    await pusher.store.close()


def _why(error: OSError, address: Address) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host {address.host} is not known: check --address"
    if error.errno == errno.EADDRINUSE:
        return f"the address {address} is in use: stop what listens there, or choose another --address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to listen on {address}: choose a port from 1024 on with --address"
    return f"can't listen on {address}: {error.strerror or error}"


def _address(listener: socket.socket) -> Address | None:
    """Where it listens; None for a Unix socket, which other machines can't reach."""
    name = listener.getsockname()
    return Address(str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def _say_started(settings: Settings, pusher: "TaskPusher", sockets: Sequence[socket.socket]) -> None:
    from .web.server import spoken_address

    log.info(
        "started",
        extra={
            "version": __version__,
            "pid": os.getpid(),
            "store": os.path.abspath(settings.store.path) if settings.store.path else "memory:",
            "address": ",".join(map(spoken_address, sockets)),
            "auth": "on" if settings.has_users else "off",
        },
    )
