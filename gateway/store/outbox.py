"""Events for the head-end, kept until it has acknowledged their sequence."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.moment import Moment
from gateway.store.database import Transaction


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One event; `sequence` rises by one for each and is never used again."""

    sequence: int
    type: str
    subject: str
    utc_s: int
    trust: str
    data: Mapping[str, Any]


def put(tx: Transaction, kind: str, subject: str, data: Mapping[str, Any], now: Moment) -> int:
    """Add an event to this transaction; returns its sequence."""
    cursor = tx.execute(
        "INSERT INTO outbox (type, subject, utc_s, trust, data) VALUES (?, ?, ?, ?, ?)",
        (kind, subject, now.utc_s, now.trust.name.lower(), json.dumps(data, ensure_ascii=False)),
    )
    return int(cursor.lastrowid or 0)


def pending(reader: sqlite3.Connection, after: int, limit: int) -> list[OutboxEvent]:
    """The next events after sequence `after`, oldest first."""
    rows = reader.execute(
        "SELECT sequence, type, subject, utc_s, trust, data FROM outbox"
        " WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    return [
        OutboxEvent(
            row["sequence"],
            row["type"],
            row["subject"],
            row["utc_s"],
            row["trust"],
            json.loads(row["data"]),
        )
        for row in rows
    ]


def acknowledge(tx: Transaction, through: int) -> int:
    """Delete what the head-end has stored, up to `through`; returns how many rows went."""
    tx.execute(
        "UPDATE outbox_acknowledged SET through = ? WHERE through < ?",
        (through, through),
    )
    return tx.execute("DELETE FROM outbox WHERE sequence <= ?", (through,)).rowcount


def counts(reader: sqlite3.Connection) -> tuple[int, int, int]:
    """How many events wait, the newest sequence given out, and the last acknowledged."""
    waiting = reader.execute("SELECT count(*) FROM outbox").fetchone()[0]
    last = reader.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    through = reader.execute("SELECT through FROM outbox_acknowledged").fetchone()[0]
    return waiting, last[0] if last else 0, through
