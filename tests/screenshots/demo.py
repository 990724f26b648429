"""`tasker` as the pictures need it: on a node called web1, every *.example host at the port $DEMO_TARGET.

Only what the system tells is played: the node's name and the addresses of hosts.
"""

import os
import platform
import socket
import sys
from typing import Any

from taskpusher.cli import main

TARGET = int(os.environ["DEMO_TARGET"])
look_up = socket.getaddrinfo


def found(host: Any, port: Any, *more: Any, **named: Any) -> Any:
    if str(host).endswith(".example"):
        return look_up("127.0.0.1", TARGET, *more, **named)
    return look_up(host, port, *more, **named)


socket.getaddrinfo = found
platform.node = lambda: "web1"

if __name__ == "__main__":
    sys.exit(main())
