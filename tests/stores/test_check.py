"""The check finds every damage that is done to a store, names it, and a rebuild mends what can be mended."""

from pathlib import Path
from typing import Any

import lmdb
import pytest
from msgspec.structs import replace

from taskpusher.errors import StoreBroken, StoreLocked, StoreUnreadable
from taskpusher.job import State, to_record
from taskpusher.stores.access import look
from taskpusher.stores.base import Query
from taskpusher.stores.check import SLICE, Check, check, quietly
from taskpusher.stores.copies import rebuilt
from taskpusher.stores.directory import Directory
from taskpusher.stores.findings import REMEDIES, Fault, Report
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.testing import NOW, no_limits

from .damage import DAMAGES, Damage, contents, copied, make_store, spoiling

Sound = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = tmp_path_factory.mktemp("sound") / "db"
    return path, make_store(path)


def found_in(report: Report) -> set[tuple[str, Fault]]:
    return {(one.table, one.fault) for one in report.findings}


def test_nothing_is_found_in_a_sound_store(sound: Sound) -> None:
    path, uids = sound
    report = check(path)
    assert (report.findings, report.wrong, report.pages) == ([], 0, "sound")
    assert report.jobs == len(uids)
    assert report.store == str(path)


def test_a_rebuild_of_a_sound_store_makes_the_same_again(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    assert (rebuilt(path).findings, rebuilt(path).mended) == ([], [])
    assert contents(path) == contents(sound[0])


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name.replace(" ", "_"))
def test_every_damage_is_found_and_mended_or_left_as_it_says(
    damage: Damage, sound: Sound, tmp_path: Path
) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        damage.do(spoiler)
    report = check(path)
    assert found_in(report) == damage.found
    assert all(one.count and one.examples and one.remedy == REMEDIES[one.fault] for one in report.findings)
    assert bool(report.wrong) == (damage.found != {("names", Fault.UNUSED)})
    truth = {name: contents_of(path)[name] for name in ("jobs", "rules")}
    after = rebuilt(path)
    assert found_in(after) == damage.left
    assert {(one.table, one.fault) for one in after.mended} == damage.found - damage.left
    assert found_in(check(path)) == damage.left
    assert {name: contents(path)[name] for name in truth} == truth, "a rebuild changes no job and no rule"


def contents_of(path: Path) -> dict[str, Any]:
    """Like contents(), of a store whose names may be damaged."""
    with lmdb.open(str(path), max_dbs=30, readonly=True, lock=False) as env:
        tables = {name: env.open_db(name.encode(), create=False) for name in ("jobs", "rules")}
        with env.begin() as txn:
            return {name: dict(txn.cursor(db)) for name, db in tables.items()}


def test_all_that_can_be_mended_at_once_leaves_the_store_as_it_was(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        for table in ("ready", "due", "running", "paused", "finished", "expires", "keys", "counts", "names"):
            spoiler.txn.drop(spoiler.db[table], delete=False)
    assert check(path).wrong > len(sound[1])
    assert rebuilt(path).wrong == 0
    assert contents(path) == contents(sound[0])


async def test_a_rebuilt_store_goes_on_where_it_was(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        for table in ("ready", "counts", "names", "keys"):
            spoiler.txn.drop(spoiler.db[table], delete=False)
    rebuilt(path)
    store = LmdbStore(path)
    await store.open("node", no_limits)
    claimed = await store.claim(9, NOW)
    assert [held.job.uid for held in claimed.jobs] == [sound[1]["blocked"], sound[1]["waiting"]]
    assert claimed.jobs[1].body == b"x" * 5000
    assert (await store.page(Query(State.PAUSED), None, 9)).total == 1
    await store.close()
    assert check(path).wrong == 0


def test_what_cannot_be_read_is_set_aside_when_asked(sound: Sound, tmp_path: Path) -> None:
    path, uid = copied(sound[0], tmp_path / "db"), sound[1]["waiting"]
    with spoiling(path, sound[1]) as spoiler:
        spoiler.put("jobs", spoiler.key("waiting"), b"\x01garbage")
        spoiler.put("results", spoiler.key("completed"), b"\xff")
        spoiler.put("rules", bytes(16), b"\xfe")
        kept = spoiler.key("waiting").hex(), spoiler.key("completed").hex()
    assert rebuilt(path, set_aside=True).wrong == 0
    lost = {file.name: file.read_bytes() for file in (path / "lost").iterdir()}
    assert lost == {
        f"jobs-{kept[0]}": b"\x01garbage",
        f"bodies-{kept[0]}": b"x" * 5000,
        f"results-{kept[1]}": b"\xff",
        f"rules-{bytes(16).hex()}": b"\xfe",
    }
    assert {file.stat().st_mode & 0o777 for file in (path / "lost").iterdir()} == {0o600}
    assert (path / "lost").stat().st_mode & 0o777 == 0o700
    report = check(path)
    assert (report.wrong, report.jobs) == (0, len(sound[1]) - 1)
    assert uid.replace("-", "") == kept[0]


def test_many_of_a_kind_are_counted_and_a_few_are_named(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        for number in range(3 * SLICE):
            spoiler.put("due", number.to_bytes(16, "big"), spoiler.key("paused"))
    (finding,) = check(path).findings
    assert (finding.table, finding.fault, finding.count) == ("due", Fault.STRAY, 3 * SLICE)
    assert [one.at for one in finding.examples] == [sound[1]["paused"]] * 3
    assert "paused" in finding.examples[0].what
    assert rebuilt(path).wrong == 0


def test_damaged_pages_are_found_and_not_touched(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    data = bytearray((path / "data.mdb").read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        if b"http://localhost/x" in data[page : page + 4096]:  # the jobs'
            data[page + 8 : page + 12] = b"\xa5" * 4
    before = bytes(data)
    (path / "data.mdb").write_bytes(before)
    report = check(path)
    assert found_in(report) == {("data.mdb", Fault.DAMAGED)}
    assert report.pages == "damaged"
    with pytest.raises(StoreBroken, match="put a backup back"):
        rebuilt(path)
    assert (path / "data.mdb").read_bytes() == before


def test_a_file_that_cannot_be_read_page_by_page_is_told_as_damaged(
    sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("taskpusher.stores.check.lmdb.verify.verify", refuse)
    report = check(sound[0])
    assert found_in(report) == {("data.mdb", Fault.DAMAGED)}
    assert "Input/output error" in report.findings[0].examples[0].what


def test_a_table_that_the_store_does_not_have_is_no_fault_where_it_would_be_empty(
    sound: Sound, tmp_path: Path
) -> None:
    """An older version may not have known it."""
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        spoiler.txn.drop(spoiler.db["rules"], delete=True)
    assert check(path).findings == []


def test_a_map_that_the_tasker_has_made_bigger_is_followed(sound: Sound) -> None:
    class Growing:
        def __init__(self, env: Any) -> None:
            self._env, self.resized = env, False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._env, name)

        def begin(self) -> Any:
            if not self.resized:
                raise lmdb.MapResizedError("mdb_txn_begin")
            return self._env.begin()

        def set_mapsize(self, size: int) -> None:
            self.resized = size == 0  # as large as it is now

    with look(sound[0]) as env:
        seen = Check(env, quietly)
        seen._env = Growing(env)
        seen.run()
    assert (seen.jobs, seen.found.all()) == (len(sound[1]), [])


def test_a_job_that_has_no_place_in_an_index_is_set_aside_when_asked(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        spoiler.put("jobs", spoiler.key("waiting"), to_record(replace(spoiler.job("waiting"), priority=300)))
        key = spoiler.key("waiting").hex()
    assert rebuilt(path).wrong
    assert rebuilt(path, set_aside=True).wrong == 0
    assert f"jobs-{key}" in {file.name for file in (path / "lost").iterdir()}
    assert check(path).jobs == len(sound[1]) - 1


def test_the_notes_of_a_job_that_cannot_be_read_stay_with_it(sound: Sound, tmp_path: Path) -> None:
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        key = spoiler.key("completed")
        spoiler.put("jobs", key, b"\x01garbage")
    before = [row for row in contents(path)["attempts"] if row.startswith(key)]
    rebuilt(path)
    assert [row for row in contents(path)["attempts"] if row.startswith(key)] == before != []


def test_a_rebuild_tells_how_far_it_is(sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskpusher.stores.rebuild.CHUNK", 2)
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        spoiler.txn.drop(spoiler.db["due"], delete=False)
    told: list[tuple[int, int]] = []
    assert rebuilt(path, told=lambda done, total: told.append((done, total))).wrong == 0
    assert len(told) > 3 and all(done <= total for done, total in told)


def test_a_table_that_breaks_off_is_told_and_the_others_are_looked_at(
    sound: Sound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as it goes without the pages, which can't be looked at while a tasker writes."""

    def broken(self: Check) -> None:
        raise lmdb.CorruptedError("mdb_cursor_get")

    monkeypatch.setattr(Check, "_bodies", broken)
    path = copied(sound[0], tmp_path / "db")
    with spoiling(path, sound[1]) as spoiler:
        spoiler.delete("due", spoiler.row("later", "due")[0])
    assert found_in(check(path)) == {("bodies", Fault.DAMAGED), ("due", Fault.MISSING)}


def test_a_store_that_lmdb_cannot_read_is_told_as_such(sound: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(env: Any) -> None:
        raise lmdb.PageNotFoundError("mdb_stat")

    monkeypatch.setattr("taskpusher.stores.check.room_of", broken)
    with pytest.raises(StoreUnreadable, match="can't read the store"):
        check(sound[0])


async def test_a_rebuild_needs_the_store_for_itself_and_a_check_does_not(
    sound: Sound, tmp_path: Path
) -> None:
    path = copied(sound[0], tmp_path / "db")
    owner = Directory(path)
    owner.acquire()
    assert check(path).wrong == 0
    with pytest.raises(StoreLocked, match="process"):
        rebuilt(path)
    owner.release()


@pytest.mark.parametrize("look", [check, rebuilt])
def test_a_store_that_is_not_there_is_not_made(look: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match="no store at"):
        look(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_it_is_told_how_far_it_is(sound: Sound) -> None:
    told: list[tuple[int, int]] = []
    check(sound[0], lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > len(sound[1])
