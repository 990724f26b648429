"""What systemd and a service tell each other: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

The variables are removed from the environment once read: a child of ours must not speak for us.
"""

import asyncio
import os
import socket
from collections.abc import MutableMapping

FIRST_FD = 3  # SD_LISTEN_FDS_START

Environment = MutableMapping[str, str]


class Notifier:
    """Tells the service manager how it goes; tells nobody where there is none."""

    def __init__(self, environ: Environment = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of Linux' abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period = _watchdog_period(environ)
        self._pings: asyncio.Task[None] | None = None

    def ready(self) -> None:
        """Say that requests are answered, and from now on that the event loop turns."""
        self.say("READY=1")
        if self._period and self._address:
            self._pings = asyncio.get_running_loop().create_task(self._ping())

    def stopping(self) -> None:
        """Say that the stop has begun. The watchdog goes on being told: a long drain is no hang."""
        self.say("STOPPING=1")

    def close(self) -> None:
        if self._pings is not None:
            self._pings.cancel()
            self._pings = None

    def say(self, message: str) -> None:
        """Send `message`; a manager that does not listen is no reason to fail."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), self._address)
        except OSError:
            pass

    async def _ping(self) -> None:
        while True:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self._period)


def _watchdog_period(environ: Environment) -> float:
    """Seconds between two pings, half of what is allowed; 0 where nobody waits for them."""
    allowed, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not allowed.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(allowed) / 1_000_000 / 2


def inherited_sockets(environ: Environment = os.environ) -> list[socket.socket]:
    """The listening sockets handed over by socket activation; none where there was no activation.

    Raises OSError for a descriptor that is no listening stream socket.
    """
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    sockets = []
    for number in range(FIRST_FD, FIRST_FD + int(count)):
        os.set_inheritable(number, False)
        listener = socket.socket(fileno=number)
        sockets.append(listener)
        if listener.type != socket.SOCK_STREAM or not listener.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise OSError(f"descriptor {number} from systemd is no listening stream socket")
        listener.setblocking(False)
    return sockets
