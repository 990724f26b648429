"""Jobs in LMDB: one process, one directory, nothing else to run."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from struct import pack, unpack
from time import sleep
from typing import Any, TypeVar

import lmdb

from ..errors import StoreBroken, StoreFull, StoreUnreadable
from ..job import Job, State, from_record
from . import figures
from .base import (
    Caps,
    Change,
    Claimed,
    Details,
    Page,
    Query,
    QueueFigures,
    Settle,
    StoreFigures,
    Then,
    Totals,
    Written,
    ownerless,
)
from .directory import DATA, Directory, take_blocks
from .layout import FORMAT, NOTE, STATE_CODES, TABLES, Txn, readable, refuse_format, uid_key
from .lists import Looker
from .pages import SLICE, Lister, Look, joined
from .requests import Claim, Write
from .tables import Tables
from .walks import names_from, prefixed
from .writer import FULL, Room, Writer

MAP_SIZE = 64 << 30  # bytes of address space, sparse; doubled live when it is full
MOST_UNWRITTEN = 1 << 18  # bytes that the file may be shorter than its last page number says
READERS = 256  # entries of 64 bytes in LMDB's lock file, after a head of 128
NEARLY_FULL = 1 << 20  # bytes free on a disk that may have taken a write in part
LOOK = 0.01  # seconds between two looks at whether a writer that is to open the environment anew still lives

T = TypeVar("T")


def refuse_cut_short(env: Any, path: Path) -> int:
    """The bytes that the file has to have. Raises StoreUnreadable where it has much less.

    Reading a page beyond the end of the file would end the process by SIGBUS.
    """
    whole = int((env.info()["last_pgno"] + 1) * env.stat()["psize"])
    size = (path / DATA).stat().st_size
    if size < whole - min(MOST_UNWRITTEN, whole // 4):
        raise StoreUnreadable(
            f"{path / DATA} was cut short, to {size} of {whole} bytes: put a whole copy back"
        )
    return whole


class LmdbStore:
    """A store in the directory `path`; `map_size` is where the map begins, in bytes."""

    def __init__(self, path: str | Path, *, map_size: int = MAP_SIZE) -> None:
        self._directory = Directory(Path(path))
        self._map_size = map_size
        self._gate = threading.Lock()  # held by a reader in its transaction, and while the map is resized
        self._reopened = threading.Condition(self._gate)
        self._broken: Callable[[BaseException], None] = lambda error: None
        self._env: Any = None
        self._node = self.owner = ""
        self._pages: set[asyncio.Future[Page]] = set()  # under way

    @property
    def path(self) -> Path:
        return self._directory.path

    # ---- opening and closing ----------------------------------------------------------------------

    async def open(self, node: str, caps: Caps) -> None:
        self._node = node
        self._directory.acquire()
        try:
            self._directory.create(lambda path: self._open_env(path).close())
            self._env = self._open_env(self.path)
            epoch = self._begin_epoch()
            self.owner = f"{node}/{epoch}"
            self._tables = Tables(self._env, caps, self.owner, epoch)
            with self._env.begin() as txn:
                self._tables.load(txn)
        except BaseException as error:
            self._let_go()
            if isinstance(error, (lmdb.Error, OSError)):
                raise StoreUnreadable(f"can't open the store {self.path}: {error}") from error
            raise
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(2, "taskpusher-reader")
        self._room = Room(self._measure_room)
        self._writer = Writer(
            self._env, self._tables, self._loop, self._grow, self._reopen, self._fail, self._nearly_full
        )

    def _open_env(self, path: Path) -> Any:
        """LMDB's defaults are the durable flags. A file of another format raises StoreUnreadable."""
        before = os.umask(0o077)
        try:
            take_blocks(path / "lock.mdb", READERS * 64 + 128)
            env = lmdb.open(
                str(path),
                map_size=self._map_size,
                max_dbs=len(TABLES) + 8,
                max_readers=READERS,
                mode=0o700,
                sync=True,
                metasync=True,
                writemap=False,
                max_spare_txns=4,
                lib_version=0,
            )
        finally:
            os.umask(before)
        try:
            if path == self.path:
                self._check_length(env)
            self._check_format(env, new=path != self.path)
        except BaseException:
            env.close()
            raise
        return env

    def _check_length(self, env: Any) -> None:
        """The last commit may have left its last pages unwritten, since nothing uses them: they are added."""
        whole = refuse_cut_short(env, self.path)
        if (self.path / DATA).stat().st_size < whole:
            os.truncate(self.path / DATA, whole)

    def _check_format(self, env: Any, new: bool) -> None:
        try:
            meta = env.open_db(b"meta", create=new)
        except lmdb.NotFoundError:
            raise StoreUnreadable(
                f"{self.path / DATA} is empty or another program's: put the store back, "
                "or choose another --store"
            ) from None
        with env.begin(write=True) as txn:
            found = txn.get(b"format", db=meta)
            if found is not None:
                refuse_format(found, self.path)
                return
            txn.put(b"format", pack(">I", FORMAT), db=meta)
            for name in TABLES:
                env.open_db(name.encode(), txn=txn, create=True)

    def _begin_epoch(self) -> int:
        """The number of this opening; everything claimed under an earlier one is an orphan.

        It is the store's and not the node's: a machine that has a new name must not give old tokens again.
        """
        meta = self._env.open_db(b"meta")
        with self._env.begin(write=True) as txn:
            epoch = int(unpack(">I", txn.get(b"epoch", bytes(4), db=meta))[0]) + 1
            txn.put(b"epoch", pack(">I", epoch), db=meta)
        return epoch

    async def close(self) -> None:
        await self._writer.close()
        await asyncio.gather(*self._pages, return_exceptions=True)
        await self._loop.run_in_executor(None, self._readers.shutdown)
        self._let_go()

    def _let_go(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
        self._directory.release()

    # ---- writing ----------------------------------------------------------------------------------

    def write(self, *changes: Change) -> Awaitable[list[Written]]:
        future: asyncio.Future[list[Written]] = self._loop.create_future()
        request = Write(changes, future)
        if request.adds() and not self._room.check(request.size(), self._writer.full):
            future.set_exception(StoreFull(FULL))
        else:
            self._writer.submit(request)
        return future

    def claim(
        self,
        limit: int,
        now: int,
        due: int | None = None,
        settles: Sequence[Settle] = (),
        then: Then | None = None,
    ) -> Awaitable[Claimed]:
        future: asyncio.Future[Claimed] = self._loop.create_future()
        self._writer.submit(Claim(limit, now, now if due is None else due, settles, then, future))
        return future

    async def renew(self) -> dict[str, Job]:
        """One process owns the directory: it needs no lease, and has its wishes from the pusher itself."""
        return {}

    def watch(self, hint: Callable[[], None], broken: Callable[[BaseException], None]) -> None:
        """No other node writes here, so there are no hints."""
        self._broken = broken

    def _fail(self, error: BaseException) -> None:
        self._broken(error)

    def _grow(self) -> None:
        """Double the map. No transaction may be open in this process meanwhile."""
        with self._gate:
            self._map_size = self._env.info()["map_size"] * 2
            self._env.set_mapsize(self._map_size)

    def _reopen(self) -> Any:
        """Another environment for one that LMDB has given up."""
        with self._gate:
            self._env.close()
            self._env = self._open_env(self.path)
            self._tables.attach(self._env)
            self._reopened.notify_all()
        return self._env

    def _measure_room(self) -> int:
        """Bytes that new jobs may take: of the disk, or inside the file."""
        # a backup that was killed must not keep its pages from being used again
        self._read(lambda txn: self._env.reader_check())
        free, reserve = self._directory.free()
        return max(
            free - reserve,
            free + self._read(lambda txn: figures.free_bytes(self._env, txn, self._tables)) - 2 * reserve,
        )

    def _nearly_full(self) -> bool:
        return self._directory.free()[0] < NEARLY_FULL

    # ---- reading ----------------------------------------------------------------------------------

    def _read(self, look: Callable[[Txn], T]) -> T:
        """Raises StoreBroken where LMDB has given the environment up and there will be no other."""
        with self._gate:
            while True:
                env = self._env
                try:
                    with env.begin(buffers=False) as txn:
                        return look(txn)
                except lmdb.PanicError as error:
                    while self._env is env:  # the writer is about to open another one
                        if not self._writer.lives:
                            raise StoreBroken(f"the store failed: {error}") from error
                        self._reopened.wait(LOOK)

    async def _read_aside(self, look: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._readers, look)

    def _cursor(self, txn: Txn, table: str) -> Any:
        return txn.cursor(self._tables.db(table))

    def _job(self, txn: Txn, uid: bytes) -> Job | None:
        record = txn.get(uid, db=self._tables.db("jobs"))
        return None if record is None else from_record(record)

    def _listed(self, txn: Txn, uid: bytes) -> Job | None:
        """The job, among others: one that can't be read does not spoil them."""
        return readable(uid, txn.get(uid, db=self._tables.db("jobs")))

    async def get(self, uid: str) -> Job | None:
        return self._read(lambda txn: self._job(txn, uid_key(uid)))

    async def details(self, uid: str) -> Details | None:
        return self._read(lambda txn: self._details(txn, uid_key(uid)))

    def _details(self, txn: Txn, uid: bytes) -> Details | None:
        job = self._job(txn, uid)
        return None if job is None else self._tables.details(txn, uid, job)

    async def orphans(self, now: int) -> tuple[list[Job], int | None]:
        def look(txn: Txn) -> tuple[list[Job], int | None]:
            uids = [uid for uid, _ in self._cursor(txn, "running")]
            return ownerless([job for uid in uids if (job := self._listed(txn, uid))], self.owner, now)

        return self._read(look)

    async def expiring(self, now: int, limit: int) -> tuple[list[Job], int | None]:
        return self._read(lambda txn: self._until(txn, "expires", b"", now + 1, limit))

    async def finished(self, state: State, before: int, limit: int) -> tuple[list[Job], int | None]:
        prefix = bytes([STATE_CODES[state]])
        return self._read(lambda txn: self._until(txn, "finished", prefix, before, limit))

    def _until(
        self, txn: Txn, table: str, prefix: bytes, before: int, limit: int
    ) -> tuple[list[Job], int | None]:
        """The first jobs of an index by time that are earlier than `before`; and when the next one is."""
        jobs: list[Job] = []
        for key, uid in prefixed(self._cursor(txn, table), prefix):
            moment = unpack(">Q", key[len(prefix) : len(prefix) + 8])[0]
            if moment >= before or len(jobs) == limit:
                return jobs, moment
            if (job := self._listed(txn, uid)) is not None:
                jobs.append(job)
        return jobs, None

    # ---- lists ------------------------------------------------------------------------------------

    async def page(self, query: Query, cursor: bytes | None, limit: int, most: int = 0) -> Page:
        """In turns: a long look does not keep others from reading."""
        self._pages.add(page := asyncio.ensure_future(self._page(query, cursor, limit, most)))
        page.add_done_callback(self._pages.discard)
        return await page

    async def _page(self, query: Query, cursor: bytes | None, limit: int, most: int) -> Page:
        looker = Looker(self._tables, query, cursor)

        async def read(after: bytes | None, size: int, room: int) -> Look:
            return await self._read_aside(lambda: self._look(looker, after, size, room))

        total = await self._read_aside(lambda: self._known_total(query)) if query.counted() else None
        return await Lister(read, query, limit, most).page(cursor, total)

    def _known_total(self, query: Query) -> int:
        return self._read(lambda txn: figures.total(txn, self._tables, query.state, query.queue))

    def _look(self, looker: Looker, after: bytes | None, size: int, room: int) -> Look:
        """At the next rows of the list, in slices: no read transaction lives longer than one."""
        so_far = Look([], 0, 0, after)
        while True:
            step = min(SLICE, size - so_far.looked)
            left = room - len(so_far.found)
            part = self._read(partial(looker.look, so_far.last, step, left))
            so_far = joined(so_far, part)
            if part.looked < step or so_far.looked >= size:
                return so_far
            sleep(0)  # the event loop waits for the interpreter: it has it at once, not after 5 ms

    async def notes(
        self, prefix: str, *, after: str = "", limit: int = 1000, newest_first: bool = False
    ) -> list[tuple[str, bytes]]:
        start, beyond = NOTE + prefix.encode(), NOTE + after.encode() if after else None
        return self._read(
            lambda txn: [
                (key[len(NOTE) :].decode(errors="replace"), value)
                for key, value in islice(
                    names_from(self._cursor(txn, "meta"), start, beyond, newest_first), limit
                )
            ]
        )

    # ---- figures ----------------------------------------------------------------------------------

    async def counts(self) -> dict[tuple[State, str], int]:
        return self._read(lambda txn: figures.counts(txn, self._tables))

    async def totals(self, most: int) -> Totals:
        return self._read(lambda txn: figures.totals(txn, self._tables, most))

    async def queues(self) -> list[QueueFigures]:
        return await self._read_aside(lambda: self._read(lambda txn: figures.queues(txn, self._tables)))

    async def figures(self) -> StoreFigures:
        self._room.check(1, doubtful=False)  # any room at all: it may have changed since the last push

        def look(txn: Txn) -> StoreFigures:
            size = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
            disk_free, _ = self._directory.free()
            full = self._writer.full or not self._room.enough
            free = figures.free_bytes(self._env, txn, self._tables)
            commits = self._writer.figures
            return StoreFigures("lmdb", str(self.path), size, free, disk_free, full, commits)

        found = self._read(look)
        if self._writer.full:
            self.write()  # of nothing: when the disk has room again, this finds out
        return found
