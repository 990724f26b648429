"""The job, its states, and every move between them.

              push                  claim                 success
     (start) ------> WAITING ---------------> RUNNING ------------> COMPLETED
                     ^  |  ^   failed, due later |  |
                     |  |  +---- or released ----+  +--> ERROR     out of attempts, final failure, expired
              resume |  | pause                  |         |
                     |  v                        v         | retry by a person (also from CANCELED)
                    PAUSED <------- pause (command, Python)|
                     |                                     v
     WAITING, PAUSED, RUNNING -- cancel --> CANCELED     WAITING

Nobody but the functions below sets a state. "Scheduled" and "retrying" are no states: such a job waits
with a later `due_ms`.
"""

from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from .errors import MoveRefused, StoreUnreadable
from .trace import Trace


class State(StrEnum):
    __hash__ = str.__hash__  # Enum's own is Python code; the moves look states up for every job

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELED = "canceled"


LIVE = (State.WAITING, State.RUNNING, State.PAUSED)
FINISHED = (State.COMPLETED, State.ERROR, State.CANCELED)


class Action(StrEnum):
    __hash__ = str.__hash__

    # the tasker's own
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"  # for good
    AGAIN = "try again"  # failed, due later
    RELEASE = "release"  # given back, no failure charged
    EXPIRE = "expire"
    STOP = "stop"  # the work stopped, as a wish to cancel asked
    HOLD = "hold"  # the work stopped, as a wish to pause asked
    # a person's
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    RUN = "run"
    EDIT = "edit"
    REMOVE = "delete"


class Wish(StrEnum):
    """What a person wants of a running job that can't be stopped from outside at once."""

    CANCEL = "cancel"
    PAUSE = "pause"


class ErrorClass(StrEnum):
    """What is known about a failed attempt."""

    NOT_SENT = "not_sent"  # refused, DNS, connect timeout, TLS, target not allowed: nothing went out
    UNKNOWN = "unknown"  # sent, then reset, timed out, cut short, not HTTP: it may have been done
    ANSWERED = "answered"  # a status that is no success
    EXPIRED = "expired"  # waited past expires_at
    FAILED = "failed"  # kinds other than http
    CRASHED = "crashed"  # took the tasker down with it too often


class JobError(msgspec.Struct, frozen=True, array_like=True, gc=False):
    error_class: ErrorClass
    message: str


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    percent: float | None = None
    step: int | None = None
    steps: int | None = None
    message: str = ""


class Result(msgspec.Struct, frozen=True, array_like=True):
    """What the last attempt brought back. `body` is cut at max_response bytes."""

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    truncated: bool = False


class AttemptRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt that has ended; the newest 100 are kept."""

    number: int
    started_ms: int
    duration: float  # seconds
    status: int = 0
    error: JobError | None = None


class Job(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """One piece of work. Times are milliseconds since 1970 UTC, 0 = none; durations are seconds.

    The stored record is these fields in this order behind a version byte. New fields go to the end and have
    a default: older records then still read. Bodies, results and attempts are kept beside it.
    """

    uid: str
    kind: str = "http"  # which runner does it
    state: State = State.WAITING

    # what to do
    target: str  # the URL; for other kinds the name of the command or function
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body_size: int = 0  # bytes, kept apart
    success: str = "200"  # the answers that count as success: "200", "200-299", "200,204"
    extra: dict[str, Any] = {}  # what only one kind needs

    # where and when
    host: str = ""  # host[:port] of the URL: for the per-host cap and for filters
    queue: str = "default"
    priority: int = 5  # 0 runs first, 9 last
    seq: int = 0  # the order of pushing, given by the store
    due_ms: int = 0
    delayed: bool = False  # due_ms came of a delay or a backoff, not of a date: a clock that is set moves it
    expires_ms: int = 0
    blocked_by: str = ""  # the limit key whose lane it waits in, while that key is at its cap

    # limits
    timeout: float = 3600.0
    max_attempts: int = 1
    once: bool = False

    # for people
    title: str = ""
    tags: tuple[str, ...] = ()
    key: str = ""
    fingerprint: bytes = b""  # of the request as pushed, when the client chose the uid

    # what happened
    created_ms: int = 0
    started_ms: int = 0  # of the latest attempt
    finished_ms: int = 0
    duration: float = 0.0  # of the latest attempt
    attempt: int = 0  # times the work may have begun, never reset
    failures: int = 0
    crashes: int = 0
    run: int = 1  # one more with each retry by a person
    status: int = 0  # HTTP status of the latest answer
    error: JobError | None = None
    progress: Progress | None = None

    # who holds it
    claim: int = 0  # the token of the claim, 0 = not held
    owner: str = ""  # node/epoch
    lease_until: int = 0  # when the claim ends without news; 0 = holds as long as its owner lives
    wish: Wish | None = None
    revision: int = 0
    trace: Trace | None = None  # of the push; goes on with every call
    era: int = 0  # Clock.era when due_ms was made


class Held(msgspec.Struct, frozen=True, gc=False):
    """A claimed job in the hands of a worker, with its request body."""

    job: Job
    body: bytes = b""


# ---- the table of moves -------------------------------------------------------------------------------

W, R, P, C, E, X = State.WAITING, State.RUNNING, State.PAUSED, State.COMPLETED, State.ERROR, State.CANCELED
ANY = "*"  # every kind without a line of its own

MOVES: dict[tuple[str, State, Action], State | Wish] = {
    (ANY, W, Action.CLAIM): R,
    (ANY, R, Action.SUCCEED): C,
    (ANY, R, Action.FAIL): E,
    (ANY, R, Action.AGAIN): W,
    (ANY, R, Action.RELEASE): W,
    (ANY, R, Action.STOP): X,
    (ANY, R, Action.HOLD): P,
    (ANY, W, Action.EXPIRE): E,
    (ANY, P, Action.EXPIRE): E,
    (ANY, W, Action.CANCEL): X,
    (ANY, P, Action.CANCEL): X,
    (ANY, R, Action.CANCEL): Wish.CANCEL,
    ("http", R, Action.CANCEL): X,
    (ANY, W, Action.PAUSE): P,
    (ANY, R, Action.PAUSE): Wish.PAUSE,
    (ANY, P, Action.RESUME): W,
    (ANY, E, Action.RETRY): W,
    (ANY, X, Action.RETRY): W,
    (ANY, W, Action.RUN): W,
    (ANY, W, Action.EDIT): W,
    (ANY, P, Action.EDIT): P,
    (ANY, W, Action.REMOVE): W,
    (ANY, P, Action.REMOVE): P,
    (ANY, C, Action.REMOVE): C,
    (ANY, E, Action.REMOVE): E,
    (ANY, X, Action.REMOVE): X,
}

# What a person can do instead of a move that is not in the table. "" as action: whatever else was asked.
INSTEAD: dict[tuple[str, State, Action | str], str] = {
    ("http", R, Action.PAUSE): "a call can't be held half way; cancel it, or pause its queue",
    (ANY, R, Action.RETRY): "cancel it first",
    (ANY, W, Action.RETRY): "it waits already; use run to have it run now",
    (ANY, P, Action.RETRY): "resume it",
    (ANY, C, Action.RETRY): "its result stays true; duplicate it to run it again",
    (ANY, P, Action.RUN): "resume it first",
    (ANY, R, Action.RUN): "it runs already",
    (ANY, R, Action.EDIT): "only a waiting or paused job can be changed; cancel it first",
    (ANY, R, Action.REMOVE): "cancel it first",
    (ANY, W, Action.RESUME): "it is not paused",
    (ANY, R, Action.RESUME): "it is not paused",
    (ANY, P, Action.PAUSE): "it is paused already",
    (ANY, X, Action.CANCEL): "it is canceled already",
    (ANY, C, ""): "it has finished; duplicate it to run it again",
    (ANY, E, ""): "it has finished; retry it to run it again",
    (ANY, X, ""): "it has finished; retry it to run it again",
}


def destination(job: Job, action: Action) -> State | Wish:
    """Where `action` takes the job. Raises MoveRefused, with what to do instead."""
    found = MOVES.get((job.kind, job.state, action))
    if found is None and (job.kind, job.state, action) not in INSTEAD:
        found = MOVES.get((ANY, job.state, action))
    if found is None:
        raise MoveRefused(job.uid, job.state, action, _instead(job, action))
    return found


def _instead(job: Job, action: Action) -> str:
    for asked in (action, ""):
        for kind in (job.kind, ANY):
            if hint := INSTEAD.get((kind, job.state, asked)):
                return hint
    return "look at its state first"


NOT_HELD: dict[str, Any] = {"claim": 0, "owner": "", "lease_until": 0, "wish": None}


def _move(job: Job, action: Action, also: dict[str, Any] | tuple[()] = (), **changes: Any) -> Job:
    state = destination(job, action)
    assert isinstance(state, State), f"{action} of a {job.kind} job in {job.state} is a wish"
    changes["state"], changes["revision"] = state, job.revision + 1
    changes.update(also)
    return replace(job, **changes)


# ---- the tasker's moves -------------------------------------------------------------------------------


def claimed(job: Job, claim: int, owner: str, now: int) -> Job:
    """Held by a worker; its attempt counts from here, before anything goes out."""
    return _move(
        job,
        Action.CLAIM,
        attempt=job.attempt + 1,
        claim=claim,
        owner=owner,
        started_ms=now,
        blocked_by="",
        progress=None,
    )


def succeeded(job: Job, now: int, duration: float, status: int) -> Job:
    return _move(job, Action.SUCCEED, NOT_HELD, finished_ms=now, duration=duration, status=status, error=None)


def failed(job: Job, now: int, duration: float, status: int, error: JobError) -> Job:
    """Failed for good."""
    return _move(
        job,
        Action.FAIL,
        NOT_HELD,
        finished_ms=now,
        duration=duration,
        status=status,
        error=error,
        failures=job.failures + 1,
    )


def again(job: Job, due: int, duration: float, status: int, error: JobError, era: int = 0) -> Job:
    """Failed, to be attempted again at `due`, which was made in that era of the clock."""
    return _move(
        job,
        Action.AGAIN,
        NOT_HELD,
        due_ms=due,
        delayed=True,
        era=era,
        duration=duration,
        status=status,
        error=error,
        failures=job.failures + 1,
    )


def released(job: Job, now: int, duration: float, error: JobError, crashes: int = 0) -> Job:
    """Given back in its old place, due as it was: the attempt is spent, no failure is charged."""
    return _move(
        job,
        Action.RELEASE,
        NOT_HELD,
        due_ms=min(job.due_ms, now),
        duration=duration,
        error=error,
        crashes=job.crashes + crashes,
    )


def stopped(job: Job, now: int, duration: float) -> Job:
    """The work has stopped, as the wish on it asked: canceled now, or paused."""
    if job.wish is Wish.PAUSE:
        return _move(job, Action.HOLD, NOT_HELD, due_ms=min(job.due_ms, now), duration=duration)
    return _move(job, Action.STOP, NOT_HELD, finished_ms=now, duration=duration)


def expired(job: Job, now: int) -> Job:
    error = JobError(ErrorClass.EXPIRED, "it was still waiting at its expires_at")
    return _move(job, Action.EXPIRE, finished_ms=now, error=error, blocked_by="", wish=None)


def shifted(job: Job, due: int, era: int) -> Job:
    """The same job after the clock was set: due at what `due` is by the new time."""
    return _move(job, Action.EDIT, due_ms=due, era=era)


# ---- a person's moves ---------------------------------------------------------------------------------


def canceled(job: Job, now: int) -> Job:
    """Canceled; for a running job of another kind than http, the wish to be."""
    where = destination(job, Action.CANCEL)
    if isinstance(where, Wish):
        return replace(job, wish=where, revision=job.revision + 1)
    duration = max(0, now - job.started_ms) / 1000 if job.state is State.RUNNING else job.duration
    return _move(job, Action.CANCEL, NOT_HELD, finished_ms=now, duration=duration, blocked_by="")


def paused(job: Job) -> Job:
    """Paused; for a running job of another kind than http, the wish to be."""
    where = destination(job, Action.PAUSE)
    if isinstance(where, Wish):
        return replace(job, wish=where, revision=job.revision + 1)
    return _move(job, Action.PAUSE, blocked_by="")


def resumed(job: Job) -> Job:
    return _move(job, Action.RESUME)


def retried(job: Job, now: int) -> Job:
    """Sent back by a person: due now, failures forgiven, history kept."""
    return _move(
        job,
        Action.RETRY,
        due_ms=now,
        delayed=False,
        expires_ms=0,
        finished_ms=0,
        failures=0,
        crashes=0,
        run=job.run + 1,
        error=None,
        status=0,
    )


def due_now(job: Job, now: int) -> Job:
    return _move(job, Action.RUN, due_ms=min(job.due_ms, now), delayed=False)


def edited(job: Job, **changes: Any) -> Job:
    """Other fields for a job that waits or is paused."""
    return _move(job, Action.EDIT, **({"blocked_by": ""} | changes))


# ---- the stored record --------------------------------------------------------------------------------

RECORD_VERSION = 1
_PREFIX = bytes([RECORD_VERSION])
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Job)


def to_record(job: Job) -> bytes:
    """The job as stored: a version byte, then its fields as a MessagePack array."""
    return _PREFIX + _encoder.encode(job)


def from_record(record: bytes) -> Job:
    """The job in a stored record. Raises StoreUnreadable for another version or a damaged record."""
    if record[:1] != _PREFIX:
        raise StoreUnreadable(
            f"a job is stored in format {record[0] if record else 'none'}, not {RECORD_VERSION}"
        )
    try:
        return _decoder.decode(record[1:])
    except msgspec.MsgspecError as error:
        raise StoreUnreadable(f"a stored job can't be read: {error}") from error
