"""Who did what: every change that somebody asked for, but pushes. The newest are kept in the store."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import msgspec

from .clock import Clock
from .errors import StoreBroken
from .stores.base import Note, Store

log = logging.getLogger("taskpusher")

KEPT = 2000  # entries
PREFIX = "audit/"  # of their names among the notes
READ = 1000  # names at once
PATIENCE = 1.0  # seconds that who asks for entries waits for those under way


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change that was made. What does not apply is empty."""

    at: int  # ms since 1970
    user: str
    remote: str  # the address it came from
    action: str
    job: str = ""  # its uid
    queue: str = ""
    bulk: str = ""  # its id
    state: str = ""  # whose jobs a bulk moves
    filters: dict[str, str] = {}  # which of them
    count: int | None = None  # jobs that a bulk had moved, or if it went on, was to move
    outcome: str = ""  # the state the job came to, or what else there is to say
    id: str = ""  # of the entry itself: where a list goes on


class Audit:
    """The entries in one store."""

    def __init__(self, store: Store, clock: Clock, kept: int = KEPT) -> None:
        self._store, self._clock, self._kept = store, clock, kept
        self._names: deque[str] | None = None  # of all entries, oldest first; read when first needed
        self._reading = asyncio.Lock()
        self._last = (0, 0)  # ms and number of the newest name
        self._writing: set[asyncio.Future[None]] = set()

    async def write(self, *entries: Entry) -> None:
        """Keep the entries, in one commit, and forget the oldest of too many. What keeps them from being kept
        is logged."""
        if not entries:
            return
        written = asyncio.get_running_loop().create_future()
        self._writing.add(written)
        try:
            await self._write(entries)
        finally:
            self._writing.discard(written)
            written.set_result(None)

    async def _write(self, entries: Sequence[Entry]) -> None:
        names: list[str] = []
        known: deque[str] = deque()
        try:
            known = await self._known()
            new = [Note(self._next_name(), msgspec.json.encode(entry)) for entry in entries]
            known.extend(note.name for note in new)
            names = [known.popleft() for _ in range(len(known) - self._kept)]
            await self._store.write(*new, *(Note(old, None) for old in names))
        except StoreBroken:
            raise
        except Exception as error:
            known.extendleft(reversed(names))
            facts = {"action": entries[0].action, "user": entries[0].user, "error": str(error)}
            log.warning("who did this could not be noted", extra=facts)

    async def entries(self, limit: int = 100, before: str = "") -> list[Entry]:
        """The newest, or those older than the entry with the id `before`; newest first. What is being written
        is waited for: who asks may have just been answered."""
        if self._writing:
            await asyncio.wait(self._writing.copy(), timeout=PATIENCE)
        after = f"{PREFIX}{before}" if before else ""
        found = await self._store.notes(PREFIX, after=after, limit=limit, newest_first=True)
        return [_entry(name, value) for name, value in found]

    async def _known(self) -> deque[str]:
        async with self._reading:
            if self._names is None:
                names: deque[str] = deque()
                while page := await self._store.notes(PREFIX, after=names[-1] if names else "", limit=READ):
                    names.extend(name for name, _ in page)
                if names:
                    ms, _, number = names[-1].removeprefix(PREFIX).partition("-")
                    self._last = int(ms), int(number)
                self._names = names
        return self._names

    def _next_name(self) -> str:
        """By time; also while the clock is set back, or two come in one millisecond."""
        ms, number = self._last
        now = self._clock.now()
        if now > ms:
            self._last = now, 0
        else:
            self._last = (ms, number + 1) if number < 9999 else (ms + 1, 0)
        return f"{PREFIX}{self._last[0]:013d}-{self._last[1]:04d}"


def _entry(name: str, value: bytes) -> Entry:
    id = name.removeprefix(PREFIX)
    try:
        return msgspec.structs.replace(msgspec.json.decode(value, type=Entry), id=id)
    except msgspec.MsgspecError:  # of another version
        return Entry(int(id.partition("-")[0]), "", "", "?", id=id)
