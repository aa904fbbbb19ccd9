"""Tables, triggers and migrations. The one place that uses sqlite-utils' migrations.

Rules the database itself enforces, whatever the code above it does:
- `entries` and `supply_log` are append-only; an entry's running balance must follow from the one
  before it; a recharge_id is there once for ever.
- An outbox row may be deleted only when the head-end has acknowledged its sequence.
- Sequences are never used twice (AUTOINCREMENT), though rows are deleted.

A migration, once released, is never edited: add the next one.
"""

import sqlite3

from sqlite_utils import Database as SqliteUtilsDatabase
from sqlite_utils.migrations import Migrations

migrations = Migrations("gateway")

REGISTRY = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE meters (
    name TEXT PRIMARY KEY,
    bus TEXT NOT NULL,
    address INTEGER NOT NULL,
    model TEXT NOT NULL,
    serial TEXT,
    max_w INTEGER NOT NULL CHECK (max_w > 0),
    added_utc_s INTEGER NOT NULL,
    removed_utc_s INTEGER
) STRICT;
CREATE UNIQUE INDEX meters_on_the_line ON meters (bus, address) WHERE removed_utc_s IS NULL;

CREATE TABLE tariffs (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    loaded_utc_s INTEGER NOT NULL
) STRICT;
CREATE TRIGGER tariffs_are_kept BEFORE DELETE ON tariffs
BEGIN SELECT RAISE(ABORT, 'tariffs are kept'); END;
CREATE TRIGGER tariffs_are_not_edited BEFORE UPDATE ON tariffs
BEGIN SELECT RAISE(ABORT, 'tariffs are not edited'); END;

CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    meter TEXT NOT NULL REFERENCES meters (name),
    switch TEXT NOT NULL,
    tariff_id INTEGER NOT NULL REFERENCES tariffs (id),
    opened_utc_s INTEGER NOT NULL,
    closed_utc_s INTEGER
) STRICT;
CREATE UNIQUE INDEX accounts_by_meter ON accounts (meter) WHERE closed_utc_s IS NULL;
CREATE UNIQUE INDEX accounts_by_switch ON accounts (switch)
    WHERE closed_utc_s IS NULL AND switch <> 'none';
"""

LEDGER = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES accounts (name),
    kind TEXT NOT NULL CHECK (kind IN ('opening', 'credit', 'reversal', 'charge')),
    component TEXT,
    effective_from TEXT,
    slab INTEGER NOT NULL DEFAULT 0,
    quantity INTEGER NOT NULL DEFAULT 0,
    rate TEXT NOT NULL DEFAULT '',
    amount_paise INTEGER NOT NULL,
    balance_paise INTEGER NOT NULL,
    register_from_wh INTEGER,
    register_to_wh INTEGER,
    day TEXT NOT NULL,
    day_proven INTEGER NOT NULL CHECK (day_proven IN (0, 1)),
    utc_s INTEGER NOT NULL,
    trust TEXT NOT NULL,
    recharge_id TEXT,
    reverses TEXT,
    note TEXT NOT NULL DEFAULT '',
    CHECK ((kind = 'charge') = (component IS NOT NULL)),
    CHECK ((kind IN ('credit', 'reversal')) = (recharge_id IS NOT NULL)),
    CHECK (register_from_wh IS NULL OR register_to_wh >= register_from_wh)
) STRICT;
CREATE INDEX entries_by_account ON entries (account, seq);
CREATE UNIQUE INDEX recharges_once ON entries (recharge_id) WHERE recharge_id IS NOT NULL;

CREATE TRIGGER entries_follow BEFORE INSERT ON entries
WHEN NEW.balance_paise <> NEW.amount_paise + coalesce(
    (SELECT balance_paise FROM entries WHERE account = NEW.account ORDER BY seq DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'an entry''s balance must follow from the one before it'); END;
CREATE TRIGGER entries_are_kept BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are kept'); END;
CREATE TRIGGER entries_are_not_edited BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are not edited'); END;

CREATE TABLE supply_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES accounts (name),
    kind TEXT NOT NULL CHECK (kind IN
        ('hold_placed', 'hold_lifted', 'commanded', 'proven', 'not_obeying')),
    hold TEXT,
    position TEXT,
    reason TEXT NOT NULL,
    actor TEXT NOT NULL,
    utc_s INTEGER NOT NULL,
    trust TEXT NOT NULL,
    CHECK ((kind IN ('hold_placed', 'hold_lifted')) = (hold IS NOT NULL)),
    CHECK ((hold IS NULL) = (position IS NOT NULL))
) STRICT;
CREATE INDEX supply_log_by_account ON supply_log (account, seq);
CREATE TRIGGER supply_log_is_kept BEFORE DELETE ON supply_log
BEGIN SELECT RAISE(ABORT, 'the supply log is kept'); END;
CREATE TRIGGER supply_log_is_not_edited BEFORE UPDATE ON supply_log
BEGIN SELECT RAISE(ABORT, 'the supply log is not edited'); END;
"""

SYNC = """
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    utc_s INTEGER NOT NULL,
    trust TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE TABLE outbox_acknowledged (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    through INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_acknowledged VALUES (1, 0);
CREATE TRIGGER outbox_waits_for_the_head_end BEFORE DELETE ON outbox
WHEN OLD.sequence > (SELECT through FROM outbox_acknowledged)
BEGIN SELECT RAISE(ABORT, 'the head-end has not acknowledged this event'); END;
CREATE TRIGGER acknowledgements_only_rise BEFORE UPDATE ON outbox_acknowledged
WHEN NEW.through < OLD.through
BEGIN SELECT RAISE(ABORT, 'an acknowledgement is not taken back'); END;

-- One row for all meters: a row each would cost ten times the card writes.
CREATE TABLE intervals (
    utc_s INTEGER NOT NULL,
    trust TEXT NOT NULL,
    readings TEXT NOT NULL
) STRICT;
"""


@migrations()
def m001_registry(db: SqliteUtilsDatabase) -> None:
    """Meters, tariffs, accounts, settings."""
    _run(db, REGISTRY)


@migrations()
def m002_ledger(db: SqliteUtilsDatabase) -> None:
    """The journal of money and the journal of supply."""
    _run(db, LEDGER)


@migrations()
def m003_sync(db: SqliteUtilsDatabase) -> None:
    """What waits for the head-end, and interval readings."""
    _run(db, SYNC)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an open database to the newest schema; each migration commits whole or not at all."""
    migrations.apply(SqliteUtilsDatabase(connection))


def unknown_migrations(connection: sqlite3.Connection) -> list[str]:
    """Migrations in the database that this program does not know: it was made by a newer one."""
    applied = migrations.applied(SqliteUtilsDatabase(connection))
    return sorted({migration.name for migration in applied} - _KNOWN)


_KNOWN = {step.__name__ for step in (m001_registry, m002_ledger, m003_sync)}


def _run(db: SqliteUtilsDatabase, script: str) -> None:
    """Execute statements one by one: `executescript` would commit the migration half-way."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.conn.execute(statement)
            statement = ""
