"""Which meters, tariffs and accounts there are. Rows are closed or removed, never deleted."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.errors import AccountUnknown, AlreadyExists, InUse, MeterUnknown, NotFound
from gateway.core.moment import Moment, Trust
from gateway.store.database import Transaction


@dataclass(frozen=True, slots=True)
class MeterRow:
    """A meter on a line. `max_w` is the most its supply can deliver, for judging its register."""

    name: str
    bus: str
    address: int
    model: str
    serial: str | None
    max_w: int
    added_utc_s: int
    removed_utc_s: int | None = None


@dataclass(frozen=True, slots=True)
class TariffRow:
    """A tariff file as loaded: its text, and a digest of its meaning."""

    id: int
    digest: str
    name: str
    document: str
    loaded_utc_s: int


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account bound to a meter, a supply switch and a tariff."""

    name: str
    meter: str
    switch: str
    tariff_id: int
    opened_utc_s: int
    closed_utc_s: int | None = None

    @property
    def open(self) -> bool:
        """Whether it is still charged."""
        return self.closed_utc_s is None


_METER = "SELECT name, bus, address, model, serial, max_w, added_utc_s, removed_utc_s FROM meters"
_TARIFF = "SELECT id, digest, name, document, loaded_utc_s FROM tariffs"
_ACCOUNT = "SELECT name, meter, switch, tariff_id, opened_utc_s, closed_utc_s FROM accounts"


def add_meter(tx: Transaction, meter: MeterRow) -> None:
    """Add a meter, or bring a removed one back under its name. Raises `AlreadyExists`."""
    known = tx.execute(f"{_METER} WHERE name = ?", (meter.name,)).fetchone()
    if known and known["removed_utc_s"] is None:
        raise AlreadyExists(f"there is already a meter {meter.name}")
    other = tx.execute(
        f"{_METER} WHERE bus = ? AND address = ? AND removed_utc_s IS NULL",
        (meter.bus, meter.address),
    ).fetchone()
    if other:
        raise AlreadyExists(
            f"address {meter.address} on {meter.bus} is meter {other['name']} already",
            hint="Two meters must not share an address: give one of them another.",
        )
    tx.execute(
        "INSERT INTO meters VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET"
        " bus = excluded.bus, address = excluded.address, model = excluded.model,"
        " serial = excluded.serial, max_w = excluded.max_w, added_utc_s = excluded.added_utc_s,"
        " removed_utc_s = NULL",
        (
            meter.name,
            meter.bus,
            meter.address,
            meter.model,
            meter.serial,
            meter.max_w,
            meter.added_utc_s,
        ),
    )


def remove_meter(tx: Transaction, name: str, utc_s: int) -> None:
    """Take a meter off the list. Raises `MeterUnknown`, or `InUse` by an account."""
    account = tx.execute(f"{_ACCOUNT} WHERE meter = ? AND closed_utc_s IS NULL", (name,)).fetchone()
    if account:
        raise InUse(
            f"meter {name} serves account {account['name']}",
            hint=f"Close the account first: gateway account close {account['name']}",
        )
    changed = tx.execute(
        "UPDATE meters SET removed_utc_s = ? WHERE name = ? AND removed_utc_s IS NULL",
        (utc_s, name),
    )
    if not changed.rowcount:
        raise MeterUnknown(f"there is no meter {name}")


def meters(reader: sqlite3.Connection) -> list[MeterRow]:
    """The meters in service, by name."""
    rows = reader.execute(f"{_METER} WHERE removed_utc_s IS NULL ORDER BY name")
    return [MeterRow(*row) for row in rows]


def meter(reader: sqlite3.Connection, name: str) -> MeterRow:
    """One meter in service. Raises `MeterUnknown`."""
    row = reader.execute(f"{_METER} WHERE name = ? AND removed_utc_s IS NULL", (name,)).fetchone()
    if row is None:
        raise MeterUnknown(f"there is no meter {name}")
    return MeterRow(*row)


def add_tariff(tx: Transaction, digest: str, name: str, document: str, utc_s: int) -> int:
    """Keep a tariff's text; the same content again gives the same id."""
    tx.execute(
        "INSERT INTO tariffs (digest, name, document, loaded_utc_s) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (digest) DO NOTHING",
        (digest, name, document, utc_s),
    )
    row = tx.execute("SELECT id FROM tariffs WHERE digest = ?", (digest,)).fetchone()
    return int(row["id"])


def tariff(reader: sqlite3.Connection, tariff_id: int) -> TariffRow:
    """One tariff. Raises `NotFound`."""
    row = reader.execute(f"{_TARIFF} WHERE id = ?", (tariff_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no tariff {tariff_id}")
    return TariffRow(*row)


def tariffs(reader: sqlite3.Connection) -> list[TariffRow]:
    """All tariffs ever loaded, oldest first."""
    return [TariffRow(*row) for row in reader.execute(f"{_TARIFF} ORDER BY id")]


def add_account(tx: Transaction, account: AccountRow) -> None:
    """Add an account. Raises `AlreadyExists` when its name, meter or switch is taken."""
    for row in tx.execute(_ACCOUNT):
        if row["name"] == account.name:
            raise AlreadyExists(f"there is already an account {account.name}")
        if row["closed_utc_s"] is not None:
            continue
        if row["meter"] == account.meter:
            raise AlreadyExists(f"meter {account.meter} serves account {row['name']} already")
        if row["switch"] == account.switch != "none":
            raise AlreadyExists(f"switch {account.switch} serves account {row['name']} already")
    tx.execute(
        "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, NULL)",
        (
            account.name,
            account.meter,
            account.switch,
            account.tariff_id,
            account.opened_utc_s,
        ),
    )


def close_account(tx: Transaction, name: str, utc_s: int) -> None:
    """Mark an open account closed. Raises `AccountUnknown`."""
    changed = tx.execute(
        "UPDATE accounts SET closed_utc_s = ? WHERE name = ? AND closed_utc_s IS NULL",
        (utc_s, name),
    )
    if not changed.rowcount:
        raise AccountUnknown(f"there is no open account {name}")


def assign_tariff(tx: Transaction, account: str, tariff_id: int) -> None:
    """Charge an account by another tariff from its next posting on."""
    tx.execute("UPDATE accounts SET tariff_id = ? WHERE name = ?", (tariff_id, account))


def accounts(reader: sqlite3.Connection, *, closed: bool = False) -> list[AccountRow]:
    """The open accounts by name; with `closed`, the closed ones too."""
    where = "" if closed else "WHERE closed_utc_s IS NULL "
    return [AccountRow(*row) for row in reader.execute(f"{_ACCOUNT} {where}ORDER BY name")]


def account(reader: sqlite3.Connection, name: str) -> AccountRow:
    """One account, open or closed. Raises `AccountUnknown`."""
    row = reader.execute(f"{_ACCOUNT} WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise AccountUnknown(f"there is no account {name}")
    return AccountRow(*row)


def setting(reader: sqlite3.Connection, key: str) -> str | None:
    """One remembered value of the gateway itself."""
    row = reader.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
    return row["value"] if row else None


def time_floor(reader: sqlite3.Connection) -> Moment | None:
    """The last proven time that was remembered, with who proved it."""
    text = setting(reader, "time_floor")
    if text is None:
        return None
    utc_s, _, trust = text.partition(" ")
    return Moment(datetime.fromtimestamp(int(utc_s), UTC), Trust[trust.upper()])


def remember_time(tx: Transaction, now: Moment) -> None:
    """Keep a proven time, below which no lesser source is believed after a restart."""
    remember(tx, "time_floor", f"{now.utc_s} {now.trust.name.lower()}")


def remember(tx: Transaction, key: str, value: str) -> None:
    """Set a remembered value."""
    tx.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
