"""Which rows of the indexes a job has, by its record alone; for the check, and for making them anew.

The writer has code of its own for this (tables.py): a check that asked it would repeat its mistakes.
"""

from collections.abc import Callable
from struct import error, pack

from ..job import FINISHED, LIVE, Job, State
from .numbers import short_hash

DERIVED = ("ready", "due", "running", "paused", "finished", "expires", "keys", "counts", "names")
BY_JOB = ("ready", "due", "running", "paused", "finished", "expires", "keys")  # each row is of one job

OutOfRange = error  # what pack says of a number that does not fit

Row = tuple[str, bytes, bytes]  # table, key, value
LaneNumber = Callable[[tuple[str, str]], bytes]


def rows_of(uid: bytes, job: Job, number: LaneNumber) -> list[Row]:
    """The rows; `number` gives a lane's four bytes. Raises OutOfRange where the job has no place."""
    state = job.state
    if state is State.RUNNING:
        rows = [("running", uid, job.owner.encode())]
    elif state in FINISHED:
        code = tuple(State).index(state)
        rows = [("finished", pack(">BQQ", code, job.finished_ms, job.seq), uid)]
    elif state is State.PAUSED:
        rows = [("paused", pack(">Q", job.seq), uid)]
    else:
        place = pack(">QQ", job.due_ms, job.seq)
        lane = number((job.queue, job.blocked_by)) + pack(">B", job.priority)
        rows = [("ready", lane + place, uid), ("due", place, uid)]
    if job.expires_ms and state in (State.WAITING, State.PAUSED):
        rows.append(("expires", pack(">QQ", job.expires_ms, job.seq), uid))
    if job.key and state in LIVE:
        rows.append(("keys", short_hash(job.key), uid))
    return rows


def uid_in(table: str, key: bytes, value: bytes) -> bytes:
    """Whose row it is."""
    return key if table == "running" else value
