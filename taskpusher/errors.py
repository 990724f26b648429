"""Every error of TaskPusher.

TaskPusherError
├── InvalidField         a field of a push, a query or a setting that can't be taken   (HTTP 422)
├── UnknownJob           no job has that uid                                           (404)
├── MoveRefused          the job's state does not allow that move                      (409)
├── UidTaken             that uid belongs to another request                           (409)
├── KeyTaken             a live job holds that key                                     (409)
├── StaleEdit            the job changed since it was read                             (409)
├── ClaimLost            the job is no longer held under that claim; never shown to a client
├── CursorGone           a page after a job that is not known any more                 (410)
├── RequestFailed        a tasker asked over HTTP did not do it                        (exit 1)
│   ├── Unreachable      no answer came
│   └── Refused          it, or a proxy in front of it, answered that it will not
├── UnknownBulk          no bulk has that id                                           (404)
├── Stopping             no bulk begins any more                                       (503)
└── StoreError
    ├── StoreFull        no room on the disk; goes on when there is room again         (507)
    ├── StoreLocked      another process owns the directory                            (exit 3)
    ├── StoreUnreadable  not a store, of a newer version, or no permission             (exit 3)
    └── StoreBroken      the disk failed while writing; nothing may be answered        (exit 1)
"""


class TaskPusherError(Exception):
    """The base of all of them."""


class InvalidField(TaskPusherError, ValueError):
    """`field` can't be taken; `detail` says why and what to send instead."""

    def __init__(self, field: str, detail: str, index: int | None = None) -> None:
        self.field = field
        self.detail = detail
        self.index = index  # which job of a batch, from 0
        super().__init__(f"{field}: {detail}")

    def at(self, index: int) -> "InvalidField":
        """The same error, for job number `index` of a batch."""
        return InvalidField(self.field, self.detail, index)


class UnknownJob(TaskPusherError, LookupError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"no job has the uid {uid}; it may have been removed or pruned")


class MoveRefused(TaskPusherError):
    """The job is in `state`; the message says what to do instead."""

    def __init__(self, uid: str, state: str, action: str, instead: str) -> None:
        self.uid, self.state, self.action = uid, state, action
        super().__init__(f"can't {action} a job that is {state}: {instead}")


class UidTaken(TaskPusherError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"the uid {uid} belongs to a job with another request; send a new uid")


class KeyTaken(TaskPusherError):
    def __init__(self, key: str, holder: str) -> None:
        self.key, self.holder = key, holder
        super().__init__(f"the key {key!r} is held by job {holder}; wait for it or cancel it first")


class StaleEdit(TaskPusherError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"job {uid} changed meanwhile; read it again")


class ClaimLost(TaskPusherError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"job {uid} is no longer held under this claim")


class CursorGone(TaskPusherError, LookupError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"no page after {uid}: that job is not in this list any more; follow `next` instead")


class RequestFailed(TaskPusherError):
    """A tasker that was asked over HTTP did not do it; the message says what to do."""


class Unreachable(RequestFailed):
    """No answer came. `sent`: the request may have arrived, so it may have been done all the same."""

    def __init__(self, message: str, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(message)


class Refused(RequestFailed):
    """It was answered with the HTTP `status`; `field` and `index`, of a batch, say where the fault is."""

    def __init__(self, status: int, message: str, field: str | None = None, index: int | None = None) -> None:
        self.status, self.field, self.index = status, field, index
        super().__init__(message)


class UnknownBulk(TaskPusherError, LookupError):
    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"no bulk has the id {uid}; it may be of an earlier run, or have ended long ago")


class Stopping(TaskPusherError):
    def __init__(self) -> None:
        super().__init__("the tasker stops, and nothing was done; send it again when it runs")


class StoreError(TaskPusherError):
    """The store can't do it."""


class StoreFull(StoreError):
    """There is no room on the disk; nothing was stored."""


class StoreLocked(StoreError):
    def __init__(self, path: str, pid: int | None) -> None:
        self.path, self.pid = path, pid
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"the store {path} is in use by {holder}: stop it first, or choose another --store")


class StoreUnreadable(StoreError):
    """The store can't be opened; the message says why."""


class StoreBroken(StoreError):
    """The disk failed while writing: what was being written is neither kept nor lost for certain."""
