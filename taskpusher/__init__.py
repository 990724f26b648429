"""TaskPusher gets long work out of a web request: push a URL, get a uid, go on.

What an embedding application needs is here under one name; each module is loaded when it is first asked for,
so that `import taskpusher` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Action",
    "Bulk",
    "Client",
    "Failure",
    "Held",
    "Http11Transport",
    "HttpRunner",
    "HttpxTransport",
    "InvalidField",
    "Job",
    "LmdbStore",
    "MemoryStore",
    "MoveRefused",
    "Query",
    "Refused",
    "Released",
    "RequestFailed",
    "Result",
    "State",
    "Stopping",
    "StoreFull",
    "Success",
    "Targets",
    "TaskPusher",
    "TaskPusherError",
    "UidTaken",
    "UnknownBulk",
    "UnknownJob",
    "Unreachable",
    "User",
    "__version__",
    "create_app",
]

if TYPE_CHECKING:
    from .bulk import Bulk
    from .client import Client
    from .errors import (
        InvalidField,
        MoveRefused,
        Refused,
        RequestFailed,
        Stopping,
        StoreFull,
        TaskPusherError,
        UidTaken,
        UnknownBulk,
        UnknownJob,
        Unreachable,
    )
    from .job import Action, Held, Job, Result, State
    from .pusher import TaskPusher
    from .runners.adapter import HttpxTransport
    from .runners.base import Failure, Released, Success
    from .runners.http import HttpRunner
    from .runners.targets import Targets
    from .runners.transport import Http11Transport
    from .stores.base import Query
    from .stores.lmdb import LmdbStore
    from .stores.memory import MemoryStore
    from .web import User, create_app

_HOMES = {
    "bulk": ("Bulk",),
    "client": ("Client",),
    "errors": (
        "InvalidField",
        "MoveRefused",
        "Refused",
        "RequestFailed",
        "Stopping",
        "StoreFull",
        "TaskPusherError",
        "UidTaken",
        "UnknownBulk",
        "UnknownJob",
        "Unreachable",
    ),
    "job": ("Action", "Held", "Job", "Result", "State"),
    "pusher": ("TaskPusher",),
    "runners.adapter": ("HttpxTransport",),
    "runners.base": ("Failure", "Released", "Success"),
    "runners.http": ("HttpRunner",),
    "runners.targets": ("Targets",),
    "runners.transport": ("Http11Transport",),
    "stores.base": ("Query",),
    "stores.lmdb": ("LmdbStore",),
    "stores.memory": ("MemoryStore",),
    "web": ("User", "create_app"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
