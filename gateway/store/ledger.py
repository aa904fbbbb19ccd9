"""The journal of money: the only module that writes an amount.

An entry is never changed. `amount_paise` is signed as the consumer sees it: a credit is positive, a
charge negative. `balance_paise` is the running balance right after it; the schema refuses one that
does not follow. An account's state is derived from its entries and from nothing else (`load_book`).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from gateway.core.account import AccountBook, Charge, PostedLine
from gateway.core.errors import InvariantBroken
from gateway.core.moment import Moment
from gateway.core.recharge import Applied, Recharge
from gateway.core.tariff import Component, DayUsage, LineKey
from gateway.store.database import Transaction

COLUMNS = (
    "seq, account, kind, component, effective_from, slab, quantity, rate, amount_paise,"
    " balance_paise, register_from_wh, register_to_wh, day, day_proven, utc_s, trust,"
    " recharge_id, reverses, note"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One ledger row, as stored and as sent to the head-end."""

    seq: int
    account: str
    kind: str
    component: str | None
    effective_from: str | None
    slab: int
    quantity: int
    rate: str
    amount_paise: int
    balance_paise: int
    register_from_wh: int | None
    register_to_wh: int | None
    day: str
    day_proven: int
    utc_s: int
    trust: str
    recharge_id: str | None
    reverses: str | None
    note: str


def as_event(entry: Entry) -> dict[str, Any]:
    """An entry as the head-end receives it: every column under its own name."""
    return asdict(entry)


@dataclass(frozen=True, slots=True)
class _Draft:
    """What differs from entry to entry; the rest is the same for a whole posting."""

    kind: str
    amount_paise: int
    day: date
    charge: Charge | None = None
    register_wh: int | None = None
    recharge: Recharge | None = None
    note: str = ""


def append_opening(
    tx: Transaction, book: AccountBook, now: Moment, *, note: str = ""
) -> list[Entry]:
    """The first entry of an account: its opening balance and register."""
    draft = _Draft("opening", book.balance_paise, book.day, register_wh=book.register_wh, note=note)
    return _append(tx, book.account, [draft], now, day_proven=book.day_proven)


def append_charges(
    tx: Transaction, book: AccountBook, charges: Iterable[Charge], now: Moment
) -> list[Entry]:
    """Post the charges that lead to `book`, the account after them.

    Raises `InvariantBroken` if the ledger's balance does not come out at the book's.
    """
    drafts = [_Draft("charge", -charge.amount_paise, charge.day, charge) for charge in charges]
    entries = _append(tx, book.account, drafts, now, day_proven=book.day_proven)
    _pair_check(tx, book)
    return entries


def append_recharge(
    tx: Transaction, book: AccountBook, recharge: Recharge, now: Moment, *, note: str
) -> list[Entry]:
    """Post a credit or a reversal that leads to `book`. A repeated recharge_id is refused here."""
    kind = "credit" if recharge.amount_paise > 0 else "reversal"
    draft = _Draft(kind, recharge.amount_paise, book.day, recharge=recharge, note=note)
    entries = _append(tx, book.account, [draft], now, day_proven=book.day_proven)
    _pair_check(tx, book)
    return entries


def applied(reader: sqlite3.Connection, recharge_id: str) -> Applied | None:
    """What the ledger remembers of a recharge, or None."""
    row = reader.execute(
        "SELECT recharge_id, account, amount_paise, seq, balance_paise, reverses FROM entries"
        " WHERE recharge_id = ?",
        (recharge_id,),
    ).fetchone()
    if row is None:
        return None
    taken_back = reader.execute(
        "SELECT coalesce(sum(-amount_paise), 0) FROM entries WHERE account = ? AND reverses = ?",
        (row["account"], recharge_id),
    ).fetchone()[0]
    return Applied(
        recharge_id=row["recharge_id"],
        account=row["account"],
        amount_paise=row["amount_paise"],
        ledger_seq=row["seq"],
        balance_paise=row["balance_paise"],
        reverses=row["reverses"],
        reversed_paise=taken_back,
    )


def entries_of(
    reader: sqlite3.Connection,
    account: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
) -> Iterator[Entry]:
    """An account's entries in order, optionally only those of some days."""
    rows = reader.execute(
        f"SELECT {COLUMNS} FROM entries WHERE account = ? AND day >= ? AND day <= ? ORDER BY seq",  # noqa: S608 - a constant list of columns
        (
            account,
            first_day.isoformat() if first_day else "",
            last_day.isoformat() if last_day else "9999",
        ),
    )
    return (Entry(*row) for row in rows)


def entries_after(reader: sqlite3.Connection, seq: int) -> Iterator[Entry]:
    """Entries of all accounts that are newer than `seq`, oldest first."""
    rows = reader.execute(f"SELECT {COLUMNS} FROM entries WHERE seq > ? ORDER BY seq", (seq,))  # noqa: S608 - a constant list of columns
    return (Entry(*row) for row in rows)


def load_book(reader: sqlite3.Connection, account: str) -> AccountBook:
    """Derive an account's state from its entries. Raises `InvariantBroken` if they disagree."""
    last = reader.execute(
        "SELECT balance_paise, day, day_proven FROM entries WHERE account = ?"
        " ORDER BY seq DESC LIMIT 1",
        (account,),
    ).fetchone()
    if last is None:
        raise InvariantBroken(f"account {account} has no entries, not even its opening")
    summed, register_wh = reader.execute(
        "SELECT sum(amount_paise), max(register_to_wh) FROM entries WHERE account = ?", (account,)
    ).fetchone()
    if summed != last["balance_paise"]:
        raise InvariantBroken(
            f"account {account}: entries sum to {summed} paise, balance says {last[0]}"
        )
    day = date.fromisoformat(last["day"])
    days, posted = _month(reader, account, day)
    return AccountBook(
        account, summed, register_wh, day, bool(last["day_proven"]), tuple(days), posted
    )


def _month(
    reader: sqlite3.Connection, account: str, day: date
) -> tuple[list[DayUsage], dict[LineKey, PostedLine]]:
    """Usage by day and amounts by bill line, of the calendar month of `day`."""
    month = f"{day:%Y-%m}"
    charges = "FROM entries WHERE account = ? AND kind = 'charge' AND day LIKE ? || '-%'"
    by_day = reader.execute(
        "SELECT day, sum(quantity) FILTER (WHERE component = 'energy') AS energy_wh,"
        f" sum(quantity) FILTER (WHERE component = 'fixed') > 0 AS fixed {charges}"
        " GROUP BY day ORDER BY day",
        (account, month),
    )
    days = [
        DayUsage(date.fromisoformat(row["day"]), row["energy_wh"] or 0, bool(row["fixed"]))
        for row in by_day
    ]
    by_line = reader.execute(
        "SELECT component, effective_from, slab, sum(quantity), sum(amount_paise) "
        f"{charges} GROUP BY component, effective_from, slab",
        (account, month),
    )
    posted = {
        LineKey(Component(component), date.fromisoformat(version), slab): PostedLine(
            quantity, -amount_paise
        )
        for component, version, slab, quantity, amount_paise in by_line
        if quantity or amount_paise
    }
    return days, posted


def _append(
    tx: Transaction, account: str, drafts: Sequence[_Draft], now: Moment, *, day_proven: bool
) -> list[Entry]:
    row = tx.execute(
        "SELECT balance_paise FROM entries WHERE account = ? ORDER BY seq DESC LIMIT 1", (account,)
    ).fetchone()
    balance_paise = row[0] if row else 0
    entries = []
    for draft in drafts:
        balance_paise += draft.amount_paise
        values = (
            account,
            draft.kind,
            *_charge_values(draft.charge),
            draft.amount_paise,
            balance_paise,
            draft.charge.register_from_wh if draft.charge else draft.register_wh,
            draft.charge.register_to_wh if draft.charge else draft.register_wh,
            draft.day.isoformat(),
            int(day_proven),
            now.utc_s,
            now.trust.name.lower(),
            draft.recharge.recharge_id if draft.recharge else None,
            draft.recharge.reverses if draft.recharge else None,
            draft.note,
        )
        marks = ", ".join("?" * (len(values) + 1))
        cursor = tx.execute(f"INSERT INTO entries ({COLUMNS}) VALUES ({marks})", (None, *values))  # noqa: S608 - marks only
        entries.append(Entry(int(cursor.lastrowid or 0), *values))
    return entries


def _charge_values(charge: Charge | None) -> tuple[str | None, str | None, int, int, str]:
    if charge is None:
        return None, None, 0, 0, ""
    key = charge.key
    return (
        key.component.value,
        key.effective_from.isoformat(),
        key.slab,
        charge.quantity,
        charge.rate,
    )


def _pair_check(tx: Transaction, book: AccountBook) -> None:
    """The balance computed in memory and the one on disk must be the same, before the commit."""
    stored = tx.execute(
        "SELECT balance_paise FROM entries WHERE account = ? ORDER BY seq DESC LIMIT 1",
        (book.account,),
    ).fetchone()[0]
    if stored != book.balance_paise:
        raise InvariantBroken(
            f"account {book.account}: memory says {book.balance_paise} paise, ledger {stored}"
        )
