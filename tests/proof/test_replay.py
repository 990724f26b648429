"""What a disk may hold after a power cut."""

from pathlib import Path
from random import Random

from tests.proof.recorder import Event
from tests.proof.replay import Replay

ROOT = Path("/root")
FILE, MOVED = "/root/new/file", "/root/file"


def event(
    kind: str, name: str = FILE, data: bytes = b"", offset: int = 0, other: str = "", dsync: bool = False
) -> Event:
    return Event(kind, dsync, 3, 0.0, offset, name, other, data)


def images(*done: Event, cut: int | None = None) -> set[tuple[tuple[str, bytes | None], ...]]:
    """All that a thousand power cuts leave."""
    replay = Replay(done, ROOT)
    replay.advance(len(done) if cut is None else cut)
    return {tuple(sorted(replay.cut(Random(n)).items())) for n in range(1000)}


MADE = (event("M", "/root/new"), event("C"))
NAMES_SYNCED = (event("S", "/root"), event("s", "/root"), event("S", "/root/new"), event("s", "/root/new"))
SYNCED = (event("S"), event("s"))
DIRECTORY = ("/root/new", None)


def test_a_write_that_was_not_synced_may_be_there_or_not_or_be_only_size() -> None:
    assert images(*MADE, *NAMES_SYNCED, event("W", data=b"ab")) == {
        (DIRECTORY, (FILE, b"")),
        (DIRECTORY, (FILE, b"\0\0")),
        (DIRECTORY, (FILE, b"ab")),
    }


def test_a_write_that_was_synced_stays_and_so_does_one_through_o_dsync() -> None:
    assert images(*MADE, *NAMES_SYNCED, event("W", data=b"ab"), *SYNCED) == {(DIRECTORY, (FILE, b"ab"))}
    assert images(*MADE, *NAMES_SYNCED, event("W", data=b"ab", dsync=True)) == {(DIRECTORY, (FILE, b"ab"))}


def test_a_write_made_during_a_sync_is_not_covered_by_it() -> None:
    begun = (event("S"), event("W", data=b"ab"), event("s"))
    assert (DIRECTORY, (FILE, b"")) in images(*MADE, *NAMES_SYNCED, *begun)


def test_writes_are_torn_at_sectors_and_reordered() -> None:
    torn = images(*MADE, *NAMES_SYNCED, event("W", data=b"a" * 1024), event("W", data=b"b", offset=1024))
    contents = {dict(image)[FILE] for image in torn}
    assert bytes(512) + b"a" * 512 in contents
    assert bytes(1024) + b"b" in contents
    assert not any(content and content[0] != content[511] for content in contents if content)


def test_what_is_under_way_may_be_there() -> None:
    done = (*MADE, *NAMES_SYNCED, event("W", data=b"ab", dsync=True))
    assert len(images(*done, cut=len(done) - 1)) == 3


def test_a_rename_lasts_once_its_directory_was_synced() -> None:
    content = (*MADE, *NAMES_SYNCED, event("W", data=b"ab"), *SYNCED, event("R", other=MOVED))
    there, moved = (DIRECTORY, (FILE, b"ab")), (DIRECTORY, (MOVED, b"ab"))
    assert images(*content) == {there, tuple(sorted(moved))}
    assert images(*content, event("S", "/root"), event("s", "/root")) == {tuple(sorted(moved))}
