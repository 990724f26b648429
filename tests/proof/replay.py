"""What a disk may hold after a power cut: built from a recording, for any moment of it.

A write is on the disk once its file has been synced after it, and one through O_DSYNC when it is done. Every
other one may be there, or not, or by some of its sectors alone, each for itself; so may what was under way
at the cut. A name made, changed or removed stays so once its directory has been synced; what the directories
were told since then may be lost, from some moment on or each for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .recorder import Event

SECTOR = 512  # bytes that a disk writes as a whole, or not at all


@dataclass
class Change:
    """Of a file's content, that no sync has covered yet: a write, or without data a truncate."""

    number: int
    offset: int
    data: bytes | None
    kept: bool = False  # though an earlier one may not be

    def end(self) -> int:
        return self.offset + len(self.data or b"")


@dataclass
class File:
    content: bytearray = field(default_factory=bytearray)  # that the disk has for certain
    changes: list[Change] = field(default_factory=list)


@dataclass
class Naming:
    """A directory's entry: made, moved or removed."""

    number: int
    kind: str
    name: str
    other: str
    file: File | None
    kept: bool = False


class Replay:
    """A recording up to a moment, which moves on."""

    def __init__(self, events: Sequence[Event], root: Path) -> None:
        self._events, self._root = events, str(root.resolve())
        self.at = 0  # events done
        self._names: dict[str, File | None] = {}  # as the program sees them; None: a directory
        self._namings: list[Naming] = []
        self._begun: dict[tuple[str, int], int] = {}  # syncs under way

    def advance(self, to: int) -> None:
        for number in range(self.at, to):
            self._do(number, self._events[number])
        self.at = to

    def _do(self, number: int, event: Event) -> None:
        if event.kind == "W":
            self._written(number, event)
        elif event.kind == "T":
            self._file(event.name).changes.append(Change(number, event.offset, None))
        elif event.kind == "S":
            self._begun[event.name, event.fd] = number
        elif event.kind == "s":
            self._synced(event.name, self._begun.pop((event.name, event.fd)))
        elif event.kind in "CMRU":
            self._named(number, event)
        elif event.kind not in "OIF":
            raise AssertionError(f"this can't be replayed: {event}")

    def _file(self, name: str) -> File:
        file = self._names[name]
        assert file is not None, name
        return file

    def _written(self, number: int, event: Event) -> None:
        file = self._file(event.name)
        change = Change(number, event.offset, event.data, kept=event.dsync)
        if event.dsync and not any(overlap(change, other) for other in file.changes):
            apply(file.content, change)
        else:
            file.changes.append(change)

    def _synced(self, name: str, begun: int) -> None:
        if (file := self._names.get(name)) is not None:
            for change in file.changes:
                if change.number < begun:
                    apply(file.content, change)
            file.changes = [change for change in file.changes if change.number > begun]
        else:
            for naming in self._namings:
                if naming.number < begun and (naming.other or naming.name).rpartition("/")[0] == name:
                    naming.kept = True

    def _named(self, number: int, event: Event) -> None:
        if event.kind in "CM":
            self._names[event.name] = File() if event.kind == "C" else None
            file = self._names[event.name]
        else:
            file = self._names.pop(event.name)
            if event.kind == "R":
                self._names[event.other] = file
        other = event.other if event.kind == "R" else ""
        self._namings.append(Naming(number, event.kind, event.name, other, file))

    # ---- what is on the disk now ------------------------------------------------------------------

    def whole(self) -> dict[str, bytes | None]:
        """Every file below the root, all that was done kept; None: a directory."""
        return {name: None if file is None else complete(file) for name, file in self._names.items()}

    def cut(self, random: Random) -> dict[str, bytes | None]:
        """The same, as the power goes now."""
        names = self._names_left(random)
        keep, torn = random.choice((0.0, 0.0, 0.2, 0.5, 0.8)), random.choice((0.0, 0.5, 1.0))
        under_way = self._events[self.at] if self.at < len(self._events) else None
        found: dict[str, bytes | None] = {}
        for name, file in names.items():
            if not all(part in names for part in parents(name, self._root)):
                continue
            if file is None:
                found[name] = None
                continue
            more = [] if under_way is None or self._names.get(under_way.name) is not file else [under_way]
            found[name] = left(file, [event for event in more if event.kind == "W"], keep, torn, random)
        return found

    def _names_left(self, random: Random) -> dict[str, File | None]:
        """The journal of a file system loses its end; without one, any of what it was told may be lost."""
        loose = [naming.number for naming in self._namings if not naming.kept]
        if random.random() < 0.5:
            kept = set(loose[: random.randint(0, len(loose))])
        else:
            kept = {number for number in loose if random.random() < 0.5}
        names: dict[str, File | None] = {}
        for naming in self._namings:
            if not naming.kept and naming.number not in kept:
                continue
            if naming.kind in "UR":
                names.pop(naming.name, None)
            if naming.kind in "CMR":
                names[naming.other or naming.name] = naming.file
        return names


def overlap(one: Change, other: Change) -> bool:
    return other.data is None or (one.offset < other.end() and other.offset < one.end())


def apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        put(content, change.offset, b"")
        del content[change.offset :]
    else:
        put(content, change.offset, change.data)


def put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def complete(file: File) -> bytes:
    content = bytearray(file.content)
    for change in file.changes:
        apply(content, change)
    return bytes(content)


def left(file: File, under_way: list[Event], keep: float, torn: float, random: Random) -> bytes:
    """What is left of a file: each change is kept with the chance `keep`, and torn with the chance `torn`."""
    content = bytearray(file.content)
    changes = [*file.changes, *(Change(0, event.offset, event.data) for event in under_way)]
    for change in changes:
        if change.kept:
            apply(content, change)
        elif change.data is not None and random.random() < torn:
            for offset, sector in sectors(change):
                if random.random() < keep:
                    put(content, offset, sector)
        elif random.random() < keep:
            apply(content, change)
    if changes and random.random() < 0.5:  # a file's size may be on the disk without what it is for
        size = max(change.end() for change in changes)
        content.extend(bytes(max(0, size - len(content))))
    return bytes(content)


def sectors(change: Change) -> list[tuple[int, bytes]]:
    assert change.data is not None
    first = SECTOR - change.offset % SECTOR
    starts = [0, *range(first, len(change.data), SECTOR)]
    ends = [*starts[1:], len(change.data)]
    return [(change.offset + start, change.data[start:end]) for start, end in zip(starts, ends, strict=True)]


def parents(name: str, root: str) -> list[str]:
    parts = name.removeprefix(root).split("/")[1:-1]
    return ["/".join([root, *parts[:n]]) for n in range(1, len(parts) + 1)]
