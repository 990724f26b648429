"""Stores as earlier versions wrote them, kept as files: later versions have to read them, or to say why not.

`python -m stores.test_formats` in tests/ writes the file of a new format; it is made once and then kept.
"""

import asyncio
import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from taskpusher.stores.base import Query
from taskpusher.stores.check import check
from taskpusher.stores.copies import backup
from taskpusher.stores.layout import FORMAT
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.testing import no_limits

from .damage import make_store

HERE = Path(__file__).parent / "formats"
FORMATS = sorted(int(file.name.partition(".")[0]) for file in HERE.glob("*.mdb.gz"))


def unpacked(number: int, path: Path) -> Path:
    path.mkdir(mode=0o700)
    (path / "data.mdb").write_bytes(gzip.decompress((HERE / f"{number}.mdb.gz").read_bytes()))
    return path


async def told_of(path: Path) -> dict[str, Any]:
    """All that a store tells of its jobs, by uid."""
    store = LmdbStore(path)
    await store.open("node", no_limits)
    jobs = (await store.page(Query(), None, 100)).jobs
    details = {job.uid: await store.details(job.uid) for job in jobs}
    rules = [one.rule for one in await store.queues()]
    await store.close()
    return dict(msgspec.json.decode(msgspec.json.encode({"jobs": details, "rules": rules})))


def test_there_is_a_file_of_every_format() -> None:
    assert [*range(1, FORMAT + 1)] == FORMATS


@pytest.mark.parametrize("number", FORMATS)
async def test_a_store_of_that_format_is_read_as_it_was_written(number: int, tmp_path: Path) -> None:
    path = unpacked(number, tmp_path / "db")
    written = json.loads((HERE / f"{number}.json").read_bytes())
    read = await told_of(path)
    assert read["rules"] == written["rules"]
    assert read["jobs"].keys() == written["jobs"].keys()
    for uid, details in written["jobs"].items():
        job, *rest = read["jobs"][uid].values()
        was, *rest_was = details.values()
        assert job[: len(was)] == was, "later versions may add fields at the end"
        assert rest == rest_was


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_that_format_is_checked_and_backed_up(number: int, tmp_path: Path) -> None:
    path = unpacked(number, tmp_path / "db")
    assert check(path).findings == []
    assert backup(path, tmp_path / "copy").report.findings == []


def write() -> None:
    with TemporaryDirectory() as where:
        store = Path(where) / "db"
        make_store(store)
        (HERE / f"{FORMAT}.mdb.gz").write_bytes(gzip.compress((store / "data.mdb").read_bytes(), mtime=0))
        told = asyncio.run(told_of(store))
    (HERE / f"{FORMAT}.json").write_bytes(msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    write()
