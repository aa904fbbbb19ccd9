"""The gateway's card: its first content, and what is left on it by a process that was killed.

Rules of this file: files and rows only; it knows nothing of time passing.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from gateway.core.account import AccountBook
from gateway.core.moment import Moment
from gateway.documents.tariff import tariff_digest, tariff_text
from gateway.store import ledger, outbox, registry
from gateway.store.database import FILE_NAME, Database, InlineRunner
from gateway.store.registry import AccountRow, MeterRow
from tests.simulation.homes import House
from tests.simulation.scenario import ZONE, Scenario

BUS = "rs485-0"
_PARTS = ("", "-wal", "-shm")  # of a SQLite database in WAL mode; the last is rebuilt from the log


def found(folder: Path, scenario: Scenario, houses: list[House], moment: Moment) -> None:
    """Write meters and accounts, as if a lineman had been there."""
    db = Database(folder, InlineRunner())

    def write(tx: Any) -> None:
        tariff = scenario.tariff
        tariff_id = registry.add_tariff(
            tx, tariff_digest(tariff), tariff.name, tariff_text(tariff), 0
        )
        for house, consumer in zip(houses, scenario.consumers, strict=True):
            name, day = house.name, moment.day(ZONE)
            meter = MeterRow(house.meter_name, BUS, house.number, scenario.model, None, 25_000, 0)
            registry.add_meter(tx, meter)
            switch = f"sim:{house.number}" if consumer.switched else "none"
            registry.add_account(
                tx, AccountRow(name, house.meter_name, switch, tariff_id, moment.utc_s)
            )
            book = AccountBook(name, consumer.opening_paise, house.opening_wh, day, moment.proven)
            rows = [ledger.as_event(row) for row in ledger.append_opening(tx, book, moment)]
            outbox.put(tx, "ledger.entries", name, {"entries": rows}, moment)

    db.write_now(write)
    db.close()


def abandon(db: Database) -> None:
    """What the kernel does with a killed process's files: closed they are, put in order not."""
    kept = [Path(f"{db.path}{end}") for end in _PARTS[:2]]
    kept = [name for name in kept if name.exists()]
    for name in kept:
        shutil.copyfile(name, f"{name}.kept")
    db.reader.close()
    db._writer.close()
    if db._lock >= 0:
        os.close(db._lock)
        db._lock = -1
    for end in _PARTS:
        Path(f"{db.path}{end}").unlink(missing_ok=True)
    for name in kept:
        Path(f"{name}.kept").rename(name)


def save_image(folder: Path, image: Path) -> None:
    """Copy the card as it is now: between two commits it is whole, with its log."""
    _copy(folder / FILE_NAME, image)


def put_image_back(folder: Path, image: Path) -> None:
    """Between two lives: the card holds what it held then."""
    Path(f"{folder / FILE_NAME}-shm").unlink(missing_ok=True)
    _copy(image, folder / FILE_NAME)


def _copy(source: Path, target: Path) -> None:
    for end in _PARTS[:2]:
        Path(f"{target}{end}").unlink(missing_ok=True)
        if Path(f"{source}{end}").exists():
            shutil.copyfile(f"{source}{end}", f"{target}{end}")
