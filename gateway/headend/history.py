"""A gateway whose card was put back to an older image has another history from there on.

The gateway cannot know it: it goes on counting from where the image stands. Here it shows as
another event under a sequence that is taken. What the old history told from that sequence on is
then set aside (in `conflicts`, for people), the entries that came with it leave the copy, and each
recharge whose receipt was among it is sent again: the image may not hold it. A gateway that does
hold it answers with the first receipt and credits nothing.

Histories are numbered, and each event belongs to one: a batch of the new history that comes after a
later one replaces what is left of the old, and nothing of its own. A broker keeps the order of one
sender's messages; one that let the old history's overtake the new one's would be believed.

Rules of this file: called within a transaction of `copy`; it only moves rows and reopens notes.
"""

import json
import logging
import sqlite3

_log = logging.getLogger(__name__)


def add_columns(db: sqlite3.Connection) -> None:
    """Bring a database from before histories were numbered up to date."""
    for table in ("gateways", "events", "conflicts"):
        known = {row["name"] for row in db.execute(f"PRAGMA table_info({table})")}
        if "history" not in known:
            db.execute(f"ALTER TABLE {table} ADD COLUMN history INTEGER NOT NULL DEFAULT 1")


def number(db: sqlite3.Connection, gateway: str) -> int:
    """The number of the history that the gateway is in."""
    row = db.execute("SELECT history FROM gateways WHERE gateway = ?", (gateway,)).fetchone()
    return int(row["history"])


def is_set_aside(db: sqlite3.Connection, gateway: str, sequence: int, event_id: str) -> bool:
    """Whether this event belongs to a history that was replaced: a late copy of it is no news."""
    row = db.execute(
        "SELECT 1 FROM conflicts WHERE gateway = ? AND sequence = ? AND id = ?",
        (gateway, sequence, event_id),
    ).fetchone()
    return row is not None


def set_aside(db: sqlite3.Connection, gateway: str, first: int) -> int:
    """Replace older histories from sequence `first` on, where an event conflicts; gives its number.

    The conflict with an event of the present history begins another one.
    """
    now = number(db, gateway)
    held = db.execute(
        "SELECT history FROM events WHERE gateway = ? AND sequence = ?", (gateway, first)
    ).fetchone()
    if held["history"] == now:
        now += 1
        db.execute("UPDATE gateways SET history = ? WHERE gateway = ?", (now, gateway))
    which = "FROM events WHERE gateway = ? AND sequence >= ? AND history < ?"
    old = (gateway, first, now)
    rows = db.execute(f"SELECT type, data {which}", old).fetchall()
    reopened = 0
    for row in rows:
        data = json.loads(row["data"])
        if row["type"] == "ledger.entries":
            _take_out(db, gateway, data.get("entries"))
        elif row["type"] == "recharge.receipt":
            reopened += _reopen(db, gateway, data.get("recharge_id"))
    db.execute(f"INSERT OR IGNORE INTO conflicts SELECT * {which}", old)
    db.execute(f"DELETE {which}", old)
    _forget_gaps(db, gateway, first)
    _log.warning(
        "%s counts anew from %s, its card was restored: %s events set aside, %s recharges reopened",
        gateway,
        first,
        len(rows),
        reopened,
    )
    return now


def _forget_gaps(db: sqlite3.Connection, gateway: str, first: int) -> None:
    """What the old history had deleted, the new one may still send."""
    db.execute("DELETE FROM gaps WHERE gateway = ? AND first >= ?", (gateway, first))
    db.execute(
        "UPDATE gaps SET last = ? WHERE gateway = ? AND last >= ?", (first - 1, gateway, first)
    )
    db.execute(
        "UPDATE gateways SET through = min(through, ?) WHERE gateway = ?", (first - 1, gateway)
    )


def _take_out(db: sqlite3.Connection, gateway: str, entries: object) -> None:
    """Remove entries that a set-aside event brought, unless newer ones have their numbers."""
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("seq"), int):
            text = json.dumps(entry, ensure_ascii=False)
            db.execute(
                "DELETE FROM entries WHERE gateway = ? AND account = ? AND seq = ? AND entry = ?",
                (gateway, entry.get("account"), entry["seq"], text),
            )


def _reopen(db: sqlite3.Connection, gateway: str, recharge_id: object) -> int:
    return db.execute(
        "UPDATE issued SET outcome = NULL, settled = 0, receipt = NULL"
        " WHERE gateway = ? AND recharge_id = ?",
        (gateway, recharge_id),
    ).rowcount
