"""What a check found, and what becomes of it."""

from enum import StrEnum
from uuid import UUID

import msgspec

EXAMPLES = 3  # named of each kind


class Fault(StrEnum):
    """How a row can be wrong."""

    DAMAGED = "damaged"  # pages of the file
    UNREADABLE = "unreadable"  # what it holds can't be decoded
    INCONSISTENT = "inconsistent"  # a job says things that don't go together
    SHARED = "shared"  # two jobs have the same place or key
    MISSING = "missing"  # the job's row is not there
    STRAY = "stray"  # a row that no job has
    WRONG = "wrong"  # it says something else than the job
    ORPHANED = "orphaned"  # kept beside a job that is not there
    MISCOUNTED = "miscounted"
    BEHIND = "behind"  # a counter that has to be ahead of the jobs
    UNUSED = "unused"  # takes a little room, and that is all


REBUILT = {
    Fault.MISSING: "--rebuild adds it",
    Fault.STRAY: "--rebuild removes it",
    Fault.WRONG: "--rebuild writes it anew",
    Fault.ORPHANED: "--rebuild removes it",
    Fault.MISCOUNTED: "--rebuild counts anew",
    Fault.BEHIND: "--rebuild raises it",
    Fault.UNUSED: "harmless; --rebuild removes it",
}
LEFT = {
    Fault.DAMAGED: "can't be mended: put a backup back",
    Fault.UNREADABLE: "left as it is; --rebuild --set-aside moves it to files in lost/",
    Fault.INCONSISTENT: "left as it is: look at the job, then cancel or forget it",
    Fault.SHARED: "left as it is: forget one of the two jobs and push it again",
}
REMEDIES = REBUILT | LEFT


class Example(msgspec.Struct, frozen=True):
    at: str  # a job's uid, or the key of another row
    what: str


class Finding(msgspec.Struct):
    """All that is wrong in the same way in the same table."""

    table: str
    fault: Fault
    count: int
    examples: list[Example]
    remedy: str


class Report(msgspec.Struct):
    """What the store holds and what is wrong with it. Bytes: of the file, and of it what nothing uses."""

    store: str
    jobs: int
    rows: int
    bytes: int
    free: int
    pages: str
    findings: list[Finding] = []
    mended: list[Finding] = []  # by a rebuild
    wrong: int = 0  # rows, of the findings

    def __post_init__(self) -> None:
        self.wrong = sum(one.count for one in self.findings if one.fault is not Fault.UNUSED)


class Findings:
    """Gathers them: counts all, keeps a few."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, Fault], Finding] = {}

    def add(self, table: str, fault: Fault, at: bytes | str, what: str) -> None:
        found = self._found.get((table, fault))
        if found is None:
            found = self._found[table, fault] = Finding(table, fault, 0, [], REMEDIES[fault])
        found.count += 1
        if len(found.examples) < EXAMPLES:
            found.examples.append(Example(at if isinstance(at, str) else named(at), what))

    def all(self) -> list[Finding]:
        return list(self._found.values())


def named(key: bytes) -> str:
    """A job's uid; any other key in hexadecimal digits."""
    return str(UUID(bytes=bytes(key))) if len(key) == 16 else bytes(key).hex()
