"""Registers of all meters at quarter-hours: evidence, plots, and where to resume after an outage.

One row holds all meters of one moment. Old rows go when the table is longer than `KEEP_ROWS`.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.core.account import Anchor
from gateway.core.moment import Moment, Trust
from gateway.store.database import Transaction

INTERVAL_S = 900
KEEP_ROWS = 400 * 96  # four hundred days of quarter-hours; 32 meters take about 40 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """Register (Wh) and power (W, None when unknown) of each meter at one moment."""

    utc_s: int
    trust: str
    readings: Mapping[str, tuple[int, int | None]]


def append(tx: Transaction, readings: Mapping[str, tuple[int, int | None]], now: Moment) -> None:
    """Keep one moment's readings and drop the oldest row when there are too many."""
    cursor = tx.execute(
        "INSERT INTO intervals VALUES (?, ?, ?)",
        (now.utc_s, now.trust.name.lower(), json.dumps(readings, separators=(",", ":"))),
    )
    tx.execute("DELETE FROM intervals WHERE rowid <= ?", ((cursor.lastrowid or 0) - KEEP_ROWS,))


def newest(reader: sqlite3.Connection, limit: int) -> Iterator[Interval]:
    """The newest rows, newest first."""
    rows = reader.execute(
        "SELECT utc_s, trust, readings FROM intervals ORDER BY rowid DESC LIMIT ?", (limit,)
    )
    for row in rows:
        readings = {name: tuple(pair) for name, pair in json.loads(row["readings"]).items()}
        yield Interval(row["utc_s"], row["trust"], readings)


def anchors(reader: sqlite3.Connection) -> dict[str, Anchor]:
    """Each meter's newest reading at a proven time, from the last two days of rows."""
    found: dict[str, Anchor] = {}
    for interval in newest(reader, limit=200):
        if not Trust[interval.trust.upper()].proven:
            continue
        for name, (register_wh, _) in interval.readings.items():
            found.setdefault(name, Anchor(register_wh, interval.utc_s))
    return found
