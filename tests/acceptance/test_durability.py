"""Many pushes share a commit. That each is answered after it: see tests/proof/ack_order.py."""

import asyncio
from pathlib import Path

from taskpusher.pusher import TaskPusher
from taskpusher.stores.lmdb import LmdbStore


async def test_many_adds_share_a_commit(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "db")
    async with TaskPusher(store, {}, concurrency=50) as pusher:
        before = store._writer.commits
        for _ in range(5):
            await asyncio.gather(*(pusher.push("http://localhost:1/", delay="1h") for _ in range(200)))
        commits = store._writer.commits - before
    assert 1000 / commits >= 10, f"1000 adds, 200 at once, took {commits} commits"
