"""A gateway whose card was put back to an older image has another history from there on.

The gateway cannot know it: it goes on counting from where the image stands. Here it shows as
another event under a sequence that is taken. What the old history told from that sequence on is
then set aside (in `conflicts`, for people), the entries that came with it leave the copy, and each
recharge whose receipt was among it is sent again: the image may not hold it. A gateway that does
hold it answers with the first receipt and credits nothing.

Rules of this file: called within a transaction of `copy`; it only moves rows and reopens notes.
"""

import json
import logging
import sqlite3

_log = logging.getLogger(__name__)


def is_set_aside(db: sqlite3.Connection, gateway: str, sequence: int, event_id: str) -> bool:
    """Whether this event belongs to a history that was replaced: a late copy of it is no news."""
    row = db.execute(
        "SELECT 1 FROM conflicts WHERE gateway = ? AND sequence = ? AND id = ?",
        (gateway, sequence, event_id),
    ).fetchone()
    return row is not None


def set_aside(db: sqlite3.Connection, gateway: str, first: int) -> None:
    """Replace the gateway's history from sequence `first` on by what will come."""
    rows = db.execute(
        "SELECT type, data FROM events WHERE gateway = ? AND sequence >= ?", (gateway, first)
    ).fetchall()
    reopened = 0
    for row in rows:
        data = json.loads(row["data"])
        if row["type"] == "ledger.entries":
            _take_out(db, gateway, data.get("entries"))
        elif row["type"] == "recharge.receipt":
            reopened += _reopen(db, gateway, data.get("recharge_id"))
    span = (gateway, first)
    db.execute(
        "INSERT OR IGNORE INTO conflicts SELECT * FROM events WHERE gateway = ? AND sequence >= ?",
        span,
    )
    db.execute("DELETE FROM events WHERE gateway = ? AND sequence >= ?", span)
    db.execute("DELETE FROM gaps WHERE gateway = ? AND first >= ?", span)
    db.execute(
        "UPDATE gaps SET last = ? WHERE gateway = ? AND last >= ?", (first - 1, gateway, first)
    )
    db.execute(
        "UPDATE gateways SET through = min(through, ?) WHERE gateway = ?", (first - 1, gateway)
    )
    _log.warning(
        "%s counts anew from %s, its card was restored: %s events set aside, %s recharges reopened",
        gateway,
        first,
        len(rows),
        reopened,
    )


def _take_out(db: sqlite3.Connection, gateway: str, entries: object) -> None:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("seq"), int):
            db.execute(
                "DELETE FROM entries WHERE gateway = ? AND account = ? AND seq = ?",
                (gateway, entry.get("account"), entry["seq"]),
            )


def _reopen(db: sqlite3.Connection, gateway: str, recharge_id: object) -> int:
    return db.execute(
        "UPDATE issued SET outcome = NULL, settled = 0, receipt = NULL"
        " WHERE gateway = ? AND recharge_id = ?",
        (gateway, recharge_id),
    ).rowcount
