"""The head-end's database: every event once, and what follows from them.

Rules of this file: plain SQLite, one file, one process that writes at a time; what is acknowledged
is committed first (`synchronous=FULL`). Events are kept by (gateway, sequence): a copy that comes
again changes nothing, another event under a known sequence begins another history (`history`).
Entries, balances and receipts are derived from the events as they are stored.
"""

import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.core.errors import DatabaseBusy, DatabaseDamaged, StoreError
from gateway.core.recharge import Outcome
from gateway.headend import history

SCHEMA = """
CREATE TABLE IF NOT EXISTS gateways (
    gateway TEXT PRIMARY KEY,
    through INTEGER NOT NULL DEFAULT 0,   -- everything up to here is stored, or known to be gone
    state TEXT NOT NULL DEFAULT 'unknown',
    history INTEGER NOT NULL DEFAULT 1    -- how often it began anew from an older card, and 1
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    gateway TEXT NOT NULL, sequence INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    subject TEXT NOT NULL, time TEXT NOT NULL, timetrust TEXT NOT NULL, data TEXT NOT NULL,
    history INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (gateway, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS conflicts (    -- events of a history that a restored card has replaced
    gateway TEXT NOT NULL, sequence INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    subject TEXT NOT NULL, time TEXT NOT NULL, timetrust TEXT NOT NULL, data TEXT NOT NULL,
    history INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (gateway, sequence, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (         -- sequences the gateway has deleted and we never had
    gateway TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (gateway, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    gateway TEXT NOT NULL, account TEXT NOT NULL, seq INTEGER NOT NULL,
    amount_paise INTEGER NOT NULL, balance_paise INTEGER NOT NULL, entry TEXT NOT NULL,
    PRIMARY KEY (gateway, account, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issued (
    recharge_id TEXT PRIMARY KEY, gateway TEXT NOT NULL, seq INTEGER NOT NULL,
    account TEXT NOT NULL, amount_paise INTEGER NOT NULL, reverses TEXT, note TEXT NOT NULL,
    digest TEXT NOT NULL, outcome TEXT, settled INTEGER NOT NULL DEFAULT 0, receipt TEXT,
    UNIQUE (gateway, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS issued_open ON issued (settled, gateway, seq);
"""

# What the copy needs of a ledger entry, in the order of its columns.
_ENTRY = {"account": str, "seq": int, "amount_paise": int, "balance_paise": int}

# No sequence and no sum in paise comes near it, and a thousand of them still fit a database's sum.
MAX_NUMBER = 10**15

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event as a gateway sends it; the schema of `up/events` is an array of these."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: dict[str, Any]
    sequence: int
    timetrust: str

    def __post_init__(self) -> None:
        if self.specversion != "1.0":
            raise ValueError(f"specversion {self.specversion!r} is not 1.0")
        if not 1 <= self.sequence <= MAX_NUMBER:
            raise ValueError(f"sequence must be 1 to {MAX_NUMBER}")
        datetime.fromisoformat(self.time)


@dataclass(frozen=True, slots=True)
class AccountCopy:
    """An account as its entries tell: `balance_paise` of the newest, and their sum."""

    account: str
    balance_paise: int
    sum_paise: int
    entries: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A signed note and what became of it. `outcome` is None until the gateway has answered."""

    recharge_id: str
    gateway: str
    seq: int
    account: str
    amount_paise: int
    reverses: str | None
    note: str
    digest: str  # SHA-256 (hex) of the note, by which a gateway names one it could not read
    outcome: str | None = None
    settled: bool = False  # it need not be sent again
    receipt: Mapping[str, Any] | None = None


class HeadendCopy:
    """The database, open. Raises `StoreError` when SQLite cannot do what is asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._in_words():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            history.add_columns(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction, whole or not at all."""
        with self._in_words():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # --- what gateways send -----------------------------------------------------------------------

    def store(self, gateway: str, events: Sequence[CloudEvent]) -> int:
        """Store a batch; returns what may be acknowledged of it: the end of the unbroken row.

        Never more than the batch itself: a gateway whose card was restored counts from behind what
        is stored here, and must be able to go on.
        """
        with self.transaction() as db:
            _known(db, gateway)
            for event in events:
                self._store_one(db, gateway, event)
            through = _advance(db, gateway)
        last = max((event.sequence for event in events), default=0)
        return min(through, last)

    def gone(self, gateway: str, acknowledged: int) -> None:
        """The gateway has deleted everything up to `acknowledged`: do not wait for it."""
        with self.transaction() as db:
            through = _known(db, gateway)
            if acknowledged <= through:
                return
            have = [
                row["sequence"]
                for row in db.execute(
                    "SELECT sequence FROM events WHERE gateway = ? AND sequence > ?"
                    " AND sequence <= ? ORDER BY sequence",
                    (gateway, through, acknowledged),
                )
            ]
            first = through + 1
            for sequence in [*have, acknowledged + 1]:
                if sequence > first:
                    db.execute(
                        "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?)",
                        (gateway, first, sequence - 1),
                    )
                first = sequence + 1
            db.execute("UPDATE gateways SET through = ? WHERE gateway = ?", (acknowledged, gateway))
            _advance(db, gateway)

    def note_state(self, gateway: str, state: str) -> None:
        """Remember whether a gateway is online."""
        with self.transaction() as db:
            _known(db, gateway)
            db.execute("UPDATE gateways SET state = ? WHERE gateway = ?", (state, gateway))

    def _store_one(self, db: sqlite3.Connection, gateway: str, event: CloudEvent) -> None:
        row = (
            gateway, event.sequence, event.id, event.type, event.subject, event.time,
            event.timetrust, json.dumps(event.data, ensure_ascii=False),
            history.number(db, gateway),
        )  # fmt: skip
        fresh = db.execute("INSERT OR IGNORE INTO events VALUES (?,?,?,?,?,?,?,?,?)", row).rowcount
        if not fresh:
            held = db.execute(
                "SELECT id FROM events WHERE gateway = ? AND sequence = ?",
                (gateway, event.sequence),
            ).fetchone()
            if held["id"] == event.id or history.is_set_aside(db, gateway, *row[1:3]):
                return
            now = history.set_aside(db, gateway, event.sequence)
            db.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?)", (*row[:-1], now))
        if event.type == "ledger.entries":
            _store_entries(db, gateway, event.data)
        elif event.type == "recharge.receipt":
            _settle(db, gateway, "recharge_id", event.data.get("recharge_id"), event.data)
        elif event.type == "recharge.rejected":
            _settle(db, gateway, "digest", event.data.get("digest"), event.data)

    # --- what was issued --------------------------------------------------------------------------

    def open_notes(self, limit: int) -> list[Issued]:
        """Notes that must be sent until their receipt comes, oldest first."""
        rows = self._rows("SELECT * FROM issued WHERE settled = 0 ORDER BY seq LIMIT ?", limit)
        return [_issued(row) for row in rows]

    def issued(self, recharge_id: str) -> Issued | None:
        """A note by its recharge."""
        rows = self._rows("SELECT * FROM issued WHERE recharge_id = ?", recharge_id)
        return _issued(rows[0]) if rows else None

    def notes(self, gateway: str) -> list[Issued]:
        """All notes for one gateway, in order of `seq`."""
        rows = self._rows("SELECT * FROM issued WHERE gateway = ? ORDER BY seq", gateway)
        return [_issued(row) for row in rows]

    # --- what can be asked ------------------------------------------------------------------------

    def gateways(self) -> dict[str, str]:
        """Each gateway heard of, and its state: online, offline or unknown."""
        rows = self._rows("SELECT gateway, state FROM gateways ORDER BY gateway")
        return {row["gateway"]: row["state"] for row in rows}

    def through(self, gateway: str) -> int:
        """Everything up to this sequence is stored, or known to be gone."""
        rows = self._rows("SELECT through FROM gateways WHERE gateway = ?", gateway)
        return int(rows[0]["through"]) if rows else 0

    def accounts(self, gateway: str) -> dict[str, AccountCopy]:
        """Balances by account. SQLite takes the bare column from the row of the maximum."""
        rows = self._rows(
            "SELECT account, max(seq), balance_paise, sum(amount_paise) AS sum_paise,"
            " count(*) AS entries FROM entries WHERE gateway = ? GROUP BY account ORDER BY account",
            gateway,
        )
        return {
            row["account"]: AccountCopy(
                row["account"], row["balance_paise"], row["sum_paise"], row["entries"]
            )
            for row in rows
        }

    def entries(self, gateway: str, account: str) -> list[dict[str, Any]]:
        """An account's entries as the gateway sent them, in order."""
        rows = self._rows(
            "SELECT entry FROM entries WHERE gateway = ? AND account = ? ORDER BY seq",
            gateway,
            account,
        )
        return [json.loads(row["entry"]) for row in rows]

    def conflicts(self, gateway: str) -> int:
        """How many events belong to a history that a restored card has replaced."""
        return self._count("SELECT count(*) FROM conflicts WHERE gateway = ?", gateway)

    def events(self, gateway: str) -> int:
        """How many events are stored."""
        return self._count("SELECT count(*) FROM events WHERE gateway = ?", gateway)

    def gaps(self, gateway: str) -> list[tuple[int, int]]:
        """Ranges of sequences that the gateway deleted and that never came here."""
        rows = self._rows("SELECT first, last FROM gaps WHERE gateway = ? ORDER BY first", gateway)
        return [(row["first"], row["last"]) for row in rows]

    def _rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._in_words():
            return self._db.execute(sql, values).fetchall()

    def _count(self, sql: str, *values: Any) -> int:
        return int(self._rows(sql, *values)[0][0])

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # for the caller to explain
        except sqlite3.DatabaseError as error:
            text = str(error)
            if "malformed" in text or "not a database" in text:
                raise DatabaseDamaged(f"{self.path} is damaged: {text}") from error
            if "locked" in text:
                raise DatabaseBusy(f"{self.path} is locked by another program") from error
            raise StoreError(f"{self.path} cannot be used: {text}") from error


def _known(db: sqlite3.Connection, gateway: str) -> int:
    """Make sure there is a row for the gateway; returns how far it has come."""
    db.execute("INSERT OR IGNORE INTO gateways (gateway) VALUES (?)", (gateway,))
    row = db.execute("SELECT through FROM gateways WHERE gateway = ?", (gateway,)).fetchone()
    return int(row["through"])


def _advance(db: sqlite3.Connection, gateway: str) -> int:
    """Move `through` to the end of the unbroken row of sequences; returns it."""
    through = start = _known(db, gateway)
    rows = db.execute(
        "SELECT sequence FROM events WHERE gateway = ? AND sequence > ? ORDER BY sequence",
        (gateway, through),
    )
    for row in rows:
        if row["sequence"] != through + 1:
            break
        through += 1
    if through != start:
        db.execute("UPDATE gateways SET through = ? WHERE gateway = ?", (through, gateway))
    return through


def _store_entries(db: sqlite3.Connection, gateway: str, data: Mapping[str, Any]) -> None:
    """Derive rows from the entries; what is no entry stays in the event, for a person to see."""
    entries = data.get("entries")
    for entry in entries if isinstance(entries, list) else ():
        facts = [entry.get(name) for name in _ENTRY] if isinstance(entry, dict) else []
        kinds_fit = [type(fact) for fact in facts] == list(_ENTRY.values())
        if not kinds_fit or any(abs(fact) > MAX_NUMBER for fact in facts if isinstance(fact, int)):
            _log.warning("%s sent a ledger entry that cannot be read: %r", gateway, entry)
            continue
        # Replaced where it differs: a history that a restored card has ended may have left another
        # entry under this number, in an event that is still to be set aside.
        db.execute(
            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
            (gateway, *facts, json.dumps(entry, ensure_ascii=False)),
        )


def _settle(
    db: sqlite3.Connection, gateway: str, column: str, value: Any, receipt: Mapping[str, Any]
) -> None:
    """Note what became of a recharge. What may yet succeed stays open; a success stays one."""
    try:
        outcome = Outcome(receipt.get("outcome"))
    except ValueError:
        return
    db.execute(
        f"UPDATE issued SET outcome = ?, settled = ?, receipt = ?"  # noqa: S608 - two fixed names
        f" WHERE {column} = ? AND gateway = ?"
        " AND coalesce(outcome, '') NOT IN ('CREDITED', 'ALREADY_CREDITED')",
        (
            outcome.value,
            int(not outcome.transient),
            json.dumps(receipt, ensure_ascii=False),
            value,
            gateway,
        ),
    )


def _issued(row: sqlite3.Row) -> Issued:
    receipt = json.loads(row["receipt"]) if row["receipt"] else None
    return Issued(
        row["recharge_id"],
        row["gateway"],
        row["seq"],
        row["account"],
        row["amount_paise"],
        row["reverses"],
        row["note"],
        row["digest"],
        row["outcome"],
        bool(row["settled"]),
        receipt,
    )
