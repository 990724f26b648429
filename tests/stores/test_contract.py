"""Every store of ours sits the exam."""

from pathlib import Path

from taskpusher.stores.base import Store
from taskpusher.stores.lmdb import LmdbStore
from taskpusher.stores.memory import MemoryStore
from taskpusher.testing import StoreContract


class TestLmdbStore(StoreContract):
    def make_store(self, path: Path) -> Store:
        return LmdbStore(path / "tasker.db")


class TestMemoryStore(StoreContract):
    kept: MemoryStore | None = None

    def make_store(self, path: Path) -> Store:
        self.kept = self.kept or MemoryStore()
        return self.kept


class TestLmdbStoreWithAMapThatHasToGrow(StoreContract):
    """A map too small for anything: every test goes through growth and replayed batches."""

    def make_store(self, path: Path) -> Store:
        return LmdbStore(path / "tasker.db", map_size=160 << 10)
