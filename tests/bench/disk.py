"""What a steady day writes to the card: 32 homes, a proven clock, a head-end that acknowledges."""

import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.moment import Moment, Trust
from gateway.store import outbox
from gateway.store.database import Database, InlineRunner
from tests.bench.figures import Figure
from tests.gateway.services.rig import FIXED, RUPEE, Rig, tariff

HOMES = 32
INTERVALS = 96


def _bytes_written() -> int:
    """Bytes this process has sent towards the disk (proc(5), /proc/PID/io, write_bytes)."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise OSError("/proc/self/io has no write_bytes")


async def steady_day() -> list[Figure]:
    """A day of quarter-hour intervals, acknowledgements and one day's close for all homes."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        rig = Rig(Path(folder))
        for number in range(1, HOMES + 1):
            await rig.home(
                f"A-{number}",
                f"M{number}",
                f"sim:{number}",
                balance_paise=5000 * RUPEE,
                plan=tariff(**FIXED),
            )
        await rig.settle()
        before = _bytes_written()
        for _ in range(INTERVALS):
            rig.clock.advance(900)
            for number in range(1, HOMES + 1):
                rig.use(60, f"M{number}", seconds=0)
            await rig.settle()
            await _acknowledge_all(rig)
        written = _bytes_written() - before
        postings = len([entry for entry in rig.entries() if entry.kind == "charge"])
        await rig.stop()
    return [
        Figure("card writes per meter and day, 32 meters", written / HOMES / 1000, "kB", "< 100"),
        Figure("ledger lines per account of that day", postings, ""),
    ]


async def _acknowledge_all(rig: Rig) -> None:
    _, last, _ = outbox.counts(rig.db.reader)
    await rig.books.acknowledge(last)


def one_commit() -> list[Figure]:
    """A durable commit of one event beside a bare write and fsync on the same disk."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        db = Database(Path(folder), InlineRunner())
        now = Moment(datetime(2026, 11, 24, tzinfo=UTC), Trust.NTP)
        commit_s = _median_s(lambda: db.write_now(lambda tx: outbox.put(tx, "x", "s", {}, now)))
        db.close()
        with (Path(folder) / "bare").open("wb") as file:

            def write_and_sync() -> None:
                file.write(b"x" * 4096)
                file.flush()
                os.fdatasync(file.fileno())

            sync_s = _median_s(write_and_sync)
    return [
        Figure("one durable commit / one 4 KiB write and fdatasync", commit_s / sync_s, ""),
        Figure("one durable commit", commit_s * 1000, "ms"),
    ]


def _median_s(work: Callable[[], object], rounds: int = 200) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]
