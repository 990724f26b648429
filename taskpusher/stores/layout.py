"""How jobs lie in LMDB: the tables and their keys.

Truth:     jobs      uid -> record (no bodies)           bodies    uid -> request body
           results   uid -> Result                       attempts  uid, number u32 -> AttemptRecord
           rules     queue -> QueueRule                  meta      name -> value, also of each Note
Derived:   ready     lane u32, priority u8, due_ms u64, seq u64 -> uid
           due       due_ms, seq -> uid                  paused    seq -> uid
           running   uid -> owner                        finished  state u8, finished_ms, seq -> uid
           expires   expires_ms, seq -> uid              keys      hash of key -> uid
           counts    state u8, queue u32 -> n            names     hash of lane -> u32, u32 -> lane
"""

import logging
from pathlib import Path
from struct import Struct, pack
from typing import Any
from uuid import UUID

import msgspec

from ..errors import StoreUnreadable
from ..job import AttemptRecord, Job, Result, State, from_record
from .base import QueueRule

logger = logging.getLogger("taskpusher")

Txn = Any  # lmdb.Transaction: the library has no types
Row = tuple[bytes, bytes]

FORMAT = 1

TABLES = (
    "jobs", "bodies", "results", "attempts", "rules", "meta",
    "ready", "due", "running", "paused", "finished", "expires", "keys", "counts", "names",
)  # fmt: skip

NOTE = b"note:"  # before the names of notes in meta

STATE_CODES = {state: code for code, state in enumerate(State)}
STATES = tuple(State)

encode = msgspec.msgpack.encode
decode_rule = msgspec.msgpack.Decoder(QueueRule).decode
decode_attempt = msgspec.msgpack.Decoder(AttemptRecord).decode
decode_result = msgspec.msgpack.Decoder(Result).decode
pack_place = Struct(">QQ").pack  # a moment in ms, seq
unpack_place = Struct(">QQ").unpack_from


def uid_key(uid: str) -> bytes:
    return bytes.fromhex(uid.replace("-", ""))


def finished_key(job: Job) -> bytes:
    return pack(">BQQ", STATE_CODES[job.state], job.finished_ms, job.seq)


def readable(uid: bytes, record: bytes | None) -> Job | None:
    """The job in a record; None, and a line in the log, for one that is damaged: the others go on."""
    try:
        return None if record is None else from_record(record)
    except StoreUnreadable as error:
        logger.error("left a job out that can't be read", extra={"uid": UUID(bytes=uid), "error": error})
        return None


def refuse_format(found: bytes | None, path: Path) -> None:
    """Raises StoreUnreadable for a store of another format."""
    number = None if found is None else int.from_bytes(found, "big")
    if number != FORMAT:
        raise StoreUnreadable(
            f"the store {path} has format {number}, this tasker reads {FORMAT}: "
            "use the tasker that wrote it, or a newer one"
        )
