"""One SQLite file, one writer, one transaction at a time.

WAL with `synchronous=FULL`: in power-cut images of this set-up no acknowledged row was lost, with
NORMAL most images lost some. The writer runs on its own thread, so that a slow card never makes the
bus or the broker wait; reads go over a second connection that cannot write.

The daemon holds a lock file beside the database: a second daemon on the same data is refused.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.core.errors import DatabaseBusy, DatabaseDamaged, DatabaseMissing, StoreError

T = TypeVar("T")
Transaction = sqlite3.Connection  # a connection between BEGIN IMMEDIATE and COMMIT

FILE_NAME = "gateway.db"
BUSY_TIMEOUT_MS = 5_000  # a reporting tool may hold a read lock; nobody else may write
# 1,000 pages of 4 KiB: each checkpoint writes a page once, however often it changed meanwhile, so a
# rarer one wears the card less; 4 MB are still read back in a moment at start.
WAL_CHECKPOINT_PAGES = 1000


class Runner(Protocol):
    """Runs the writer's work: on its thread in the product, at once in a simulation."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` to its end and return what it returns, also when the caller is cancelled."""

    def close(self) -> None:
        """Finish what is queued."""


class ThreadRunner:
    """One thread, so writes keep the order in which they were asked for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Finish what is queued."""
        self._pool.shutdown(wait=True)


class InlineRunner:
    """Runs at once, in the caller: for simulations and tools."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` now."""
        return work()

    def close(self) -> None:
        """Nothing is queued."""


class Database:
    """The gateway's database, open for its one writer."""

    def __init__(self, data_dir: Path, runner: Runner | None = None) -> None:
        self.path = data_dir / FILE_NAME
        self._runner = runner if runner is not None else ThreadRunner()
        self._lock = _take_lock(data_dir)
        try:
            self._writer = _open_writer(self.path)
            self.reader = open_reader(data_dir)
        except BaseException:
            os.close(self._lock)
            raise

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one durable transaction; it commits whole or leaves no trace.

        Raises what `work` raises, or `StoreError` when SQLite cannot write (disk full, damaged).
        """
        return await self._runner.run(lambda: self._in_transaction(work))

    def write_now(self, work: Callable[[Transaction], T]) -> T:
        """The same, before the event loop runs: at start."""
        return self._in_transaction(work)

    def close(self) -> None:
        """Finish queued writes and close; safe to call twice."""
        self._runner.close()
        self.reader.close()
        self._writer.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _in_transaction(self, work: Callable[[Transaction], T]) -> T:
        with _sqlite_in_words(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        return result


def open_reader(data_dir: Path) -> sqlite3.Connection:
    """A connection that can only read, with or without a daemon. Raises `DatabaseMissing`."""
    path = data_dir / FILE_NAME
    if not path.exists():
        raise DatabaseMissing(f"there is no database at {path}")
    with _sqlite_in_words(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    return connection


def _open_writer(path: Path) -> sqlite3.Connection:
    # Late: commands that only read must not wait for a schema library they do not use.
    from gateway.store import schema  # noqa: PLC0415

    with _sqlite_in_words(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        try:
            for pragma in (
                f"busy_timeout={BUSY_TIMEOUT_MS}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                f"wal_autocheckpoint={WAL_CHECKPOINT_PAGES}",
            ):
                connection.execute(f"PRAGMA {pragma}")
            _refuse_damaged_or_newer(connection, path)
            schema.migrate(connection)
        except BaseException:
            connection.close()
            raise
    path.chmod(0o640)
    return connection


def _refuse_damaged_or_newer(connection: sqlite3.Connection, path: Path) -> None:
    verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
    if verdict != "ok":
        raise DatabaseDamaged(f"{path} is damaged: {verdict}")
    from gateway.store import schema  # noqa: PLC0415 - as above

    newer = schema.unknown_migrations(connection)
    if newer:
        raise StoreError(
            f"{path} was written by a newer version ({', '.join(newer)})",
            hint="Install the version that wrote it, or a later one.",
        )


def _take_lock(data_dir: Path) -> int:
    """Lock the data directory for this process; the kernel lets go when the process ends."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreError(
            f"{data_dir} cannot be used: {error.strerror}",
            hint="Check [gateway] data_dir, and that this user may write there.",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DatabaseBusy(f"another gateway already runs on {data_dir}") from None
    return handle


@contextmanager
def _sqlite_in_words(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with something to try."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a rule of the schema: for the caller to explain, or a bug to be seen
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            raise DatabaseDamaged(f"{path} is damaged: {text}") from error
        if "locked" in text or "busy" in text:
            raise DatabaseBusy(f"{path} is locked by another program") from error
        hint = "Free some space on the card." if "full" in text else ""
        raise StoreError(f"{path} cannot be written: {text}", hint=hint) from error
