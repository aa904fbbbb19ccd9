"""The journal of supply: every hold placed or lifted, every relay command and what came of it.

A command's row is committed before the relay moves. The holds that stand are derived from this
journal, so that they survive whatever happens to the process.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.moment import Moment
from gateway.core.supply import Hold
from gateway.core.switching import Position
from gateway.store.database import Transaction


@dataclass(frozen=True, slots=True)
class SupplyRow:
    """One row of the supply journal."""

    seq: int
    account: str
    kind: str
    hold: str | None
    position: str | None
    reason: str
    actor: str
    utc_s: int
    trust: str


def record_hold(
    tx: Transaction,
    account: str,
    hold: Hold,
    *,
    placed: bool,
    reason: str,
    actor: str,
    now: Moment,
) -> int:
    """Write that a hold was placed or lifted."""
    kind = "hold_placed" if placed else "hold_lifted"
    return _insert(tx, (account, kind, hold.value, None, reason, actor), now)


def record_command(
    tx: Transaction, account: str, position: Position, *, reason: str, actor: str, now: Moment
) -> int:
    """Write that the switch is about to be driven to `position`."""
    return _insert(tx, (account, "commanded", None, position.value, reason, actor), now)


def record_proof(
    tx: Transaction, account: str, position: Position, *, obeyed: bool, reason: str, now: Moment
) -> int:
    """Write whether the switch was seen to go to `position`."""
    kind = "proven" if obeyed else "not_obeying"
    return _insert(tx, (account, kind, None, position.value, reason, "gateway"), now)


def standing_holds(reader: sqlite3.Connection, account: str) -> frozenset[Hold]:
    """The holds whose last row says placed."""
    rows = reader.execute(
        "SELECT hold, kind, max(seq) FROM supply_log"
        " WHERE account = ? AND hold IS NOT NULL GROUP BY hold",
        (account,),
    )
    return frozenset(Hold(row["hold"]) for row in rows if row["kind"] == "hold_placed")


def last_hold_row(reader: sqlite3.Connection, account: str, hold: Hold) -> SupplyRow | None:
    """The newest row about one hold, or None."""
    row = reader.execute(
        "SELECT seq, account, kind, hold, position, reason, actor, utc_s, trust FROM supply_log"
        " WHERE account = ? AND hold = ? ORDER BY seq DESC LIMIT 1",
        (account, hold.value),
    ).fetchone()
    return SupplyRow(*row) if row else None


def last_command(reader: sqlite3.Connection, account: str) -> Position:
    """Where the switch was last told to go; UNKNOWN before the first command."""
    row = reader.execute(
        "SELECT position FROM supply_log WHERE account = ? AND kind = 'commanded'"
        " ORDER BY seq DESC LIMIT 1",
        (account,),
    ).fetchone()
    return Position(row["position"]) if row else Position.UNKNOWN


def commands_since(reader: sqlite3.Connection, account: str, utc_s: int) -> int:
    """How many relay commands were given at or after `utc_s`, by the clock of their time."""
    return int(
        reader.execute(
            "SELECT count(*) FROM supply_log"
            " WHERE account = ? AND kind = 'commanded' AND utc_s >= ?",
            (account, utc_s),
        ).fetchone()[0]
    )


def rows_of(reader: sqlite3.Connection, account: str, limit: int) -> Iterator[SupplyRow]:
    """The newest rows of an account, newest first."""
    rows = reader.execute(
        "SELECT seq, account, kind, hold, position, reason, actor, utc_s, trust FROM supply_log"
        " WHERE account = ? ORDER BY seq DESC LIMIT ?",
        (account, limit),
    )
    return (SupplyRow(*row) for row in rows)


def rows_after(reader: sqlite3.Connection, seq: int) -> Iterator[SupplyRow]:
    """Rows of all accounts that are newer than `seq`, oldest first."""
    rows = reader.execute(
        "SELECT seq, account, kind, hold, position, reason, actor, utc_s, trust FROM supply_log"
        " WHERE seq > ? ORDER BY seq",
        (seq,),
    )
    return (SupplyRow(*row) for row in rows)


def _insert(tx: Transaction, values: tuple[str | None, ...], now: Moment) -> int:
    cursor = tx.execute(
        "INSERT INTO supply_log (account, kind, hold, position, reason, actor, utc_s, trust)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, now.utc_s, now.trust.name.lower()),
    )
    return int(cursor.lastrowid or 0)
