"""What the reading commands answer: plain dicts, from the database and, if it runs, live state.

Rules of this file: it changes nothing and never posts. With the daemon down everything comes from
the database, so a balance is as of the last register that was kept; `as_of` says from when. Money
is in paise, energy in Wh, times are ISO 8601 in UTC.
"""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.core.account import Anchor, settle
from gateway.core.moment import Moment, Trust, iso_utc
from gateway.core.policy import CutPermission, Policy, may_cut
from gateway.core.supply import Hold, wanted
from gateway.core.switching import Position, Proof
from gateway.documents.tariff import parse_tariff
from gateway.services.posting import hold_names
from gateway.store import intervals, ledger, registry, supply_log
from gateway.store.ledger import Entry
from gateway.store.registry import AccountRow
from hardware.api import MeterBus, Quantity

if TYPE_CHECKING:
    from gateway.services.bookkeeping import Bookkeeper
    from gateway.services.enforcement import Enforcement, Station
    from gateway.services.health import Health
    from gateway.services.live import LiveAccount
    from gateway.services.recharging import Recharging
    from gateway.services.sync import Sync

OPERATIONS_SHOWN = 12  # rows of the supply journal in one answer
POWER_FRESH_S = 60.0  # as long as a reading may move a relay (bookkeeping.FRESH_S)

_SUPPLY: Mapping[Position, str] = {
    Position.CLOSED: "connected",
    Position.OPEN: "disconnected",
    Position.UNKNOWN: "unknown",
}
_UNITS = {"energy": "Wh", "cess": "Wh", "fixed": "days"}


@dataclass(frozen=True, slots=True)
class Live:
    """The running gateway's parts that have something to say."""

    books: "Bookkeeper"
    enforcement: "Enforcement"
    buses: Mapping[str, MeterBus]
    health: "Health"
    sync: "Sync"
    recharging: "Recharging"


@dataclass(frozen=True)
class Source:
    """Where one answer comes from; made anew for each.

    `live` is None when no daemon runs; `now` is the best clock there is.
    """

    gateway_id: str
    reader: sqlite3.Connection
    zone: ZoneInfo
    policy: Policy
    now: Callable[[], Moment]
    live: Live | None = None

    @cached_property
    def anchors(self) -> Mapping[str, Anchor]:
        """Each meter's newest register on disk at a proven time; read once, for all accounts."""
        return intervals.anchors(self.reader)


@dataclass(frozen=True, slots=True)
class _Balance:
    """An account's money as far as it is known. Times are seconds since 1970."""

    balance_paise: int
    posted_paise: int
    register_wh: int
    posted_register_wh: int
    as_of_utc_s: int
    power_w: int | None
    permission: CutPermission


def account_list(source: Source, *, closed: bool = False) -> list[dict[str, Any]]:
    """Every open account, with `closed` the closed ones too: see `account_show`."""
    rows = sorted(
        registry.accounts(source.reader, closed=closed), key=lambda row: natural(row.name)
    )
    return [_account(source, row) for row in rows]


def account_show(source: Source, name: str) -> dict[str, Any]:
    """One account, open or closed. Raises `AccountUnknown`."""
    return _account(source, registry.account(source.reader, name))


def supply_list(source: Source) -> list[dict[str, Any]]:
    """The supply of every open account: see `supply_show`."""
    names = sorted((row.name for row in registry.accounts(source.reader)), key=natural)
    return [supply_show(source, name) for name in names]


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts M2 before M10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def supply_show(source: Source, name: str) -> dict[str, Any]:
    """One account's supply: what it should be, what it is, why, and what was done lately."""
    row = registry.account(source.reader, name)
    live, station = _live_account(source, name), _station(source, name)
    holds = _holds(source, name)
    rows = list(supply_log.rows_of(source.reader, name, OPERATIONS_SHOWN))
    return {
        "account": name,
        "supply": _supply(source, row),
        "holds": hold_names(holds),
        "wanted": wanted(holds).value,
        "switch": row.switch,
        "position": station.position.value if station else None,
        "commanded": _commanded(source, name, station),
        "feedback": station.switch.feedback().value if station and station.switch else None,
        "proof": station.drive.proof.value if station else _proof_on_record(rows),
        "attempts": station.drive.attempts if station else None,
        "alarm": bool(station and station.drive.alarmed),
        "error": station.error if station else None,
        "load_w": _power_w(live),
        "credit": _credit(_balance(source, row).permission),
        "operations": [
            {
                "seq": entry.seq,
                "at": iso_utc(entry.utc_s),
                "trust": entry.trust,
                "kind": entry.kind,
                "hold": entry.hold,
                "position": entry.position,
                "reason": entry.reason,
                "by": entry.actor,
            }
            for entry in rows
        ],
    }


def statement(
    source: Source, name: str, first_day: date | None = None, last_day: date | None = None
) -> dict[str, Any]:
    """Every ledger line of an account, of some days only if asked, with its running balance.

    `unposted` is what has been used since the last posting; it becomes lines at the next one.
    """
    row = registry.account(source.reader, name)
    entries = list(ledger.entries_of(source.reader, name, first_day=first_day, last_day=last_day))
    if entries:
        opening_paise = entries[0].balance_paise - entries[0].amount_paise
        closing_paise = entries[-1].balance_paise
    else:
        opening_paise = closing_paise = _balance_before(source.reader, name, first_day)
    balance = _balance(source, row)
    whole = last_day is None or last_day.isoformat() >= _last_day(source.reader, name)
    return {
        "account": name,
        "meter": row.meter,
        "gateway": source.gateway_id,
        "from": first_day.isoformat() if first_day else None,
        "to": last_day.isoformat() if last_day else None,
        "opening_balance_paise": opening_paise,
        "closing_balance_paise": closing_paise,
        "energy_wh": sum(entry.quantity for entry in entries if entry.component == "energy"),
        "charges_paise": -sum(entry.amount_paise for entry in entries if entry.kind == "charge"),
        "credits_paise": sum(
            entry.amount_paise for entry in entries if entry.kind in ("credit", "reversal")
        ),
        "lines": [_line(entry) for entry in entries],
        "unposted": {
            "register_from_wh": balance.posted_register_wh,
            "register_to_wh": balance.register_wh,
            "energy_wh": balance.register_wh - balance.posted_register_wh,
            "amount_paise": balance.balance_paise - balance.posted_paise,
            "balance_paise": balance.balance_paise,
            "as_of": iso_utc(balance.as_of_utc_s),
        }
        if whole and row.open
        else None,
    }


def tariff_list(source: Source) -> list[dict[str, Any]]:
    """Every tariff that was ever loaded, and which accounts it charges now."""
    users: dict[int, list[str]] = {}
    for row in registry.accounts(source.reader):
        users.setdefault(row.tariff_id, []).append(row.name)
    found = []
    for stored in registry.tariffs(source.reader):
        tariff = parse_tariff(stored.document, name=f"tariff {stored.name}")
        found.append(
            {
                "tariff": stored.name,
                "digest": stored.digest,
                "source": tariff.source,
                "verified": tariff.verified,
                "versions": [version.effective_from.isoformat() for version in tariff.versions],
                "loaded_at": iso_utc(stored.loaded_utc_s),
                "accounts": users.get(stored.id, []),
            }
        )
    return found


# --- parts ----------------------------------------------------------------------------------------


def _account(source: Source, row: AccountRow) -> dict[str, Any]:
    balance = _balance(source, row)
    live = _live_account(source, row.name)
    return {
        "account": row.name,
        "balance_paise": balance.balance_paise,
        "register_wh": balance.register_wh,
        "supply": _supply(source, row),
        "holds": hold_names(_holds(source, row.name)),
        "posted_balance_paise": balance.posted_paise,
        "as_of": iso_utc(balance.as_of_utc_s),
        "power_w": balance.power_w,
        "meter": row.meter,
        "switch": row.switch,
        "tariff": registry.tariff(source.reader, row.tariff_id).name,
        "credit": _credit(balance.permission),
        "register_verdict": live.verdict.value if live and live.verdict else None,
        "opened_at": iso_utc(row.opened_utc_s),
        "closed_at": iso_utc(row.closed_utc_s) if row.closed_utc_s is not None else None,
    }


def _balance(source: Source, row: AccountRow) -> _Balance:
    live = _live_account(source, row.name)
    if live is None:
        return _balance_on_record(source, row)
    now = source.now()
    as_of_utc_s = _last_posting(source.reader, row.name)
    if live.accepted_at_s is not None:
        age_s = asyncio.get_running_loop().time() - live.accepted_at_s
        as_of_utc_s = now.utc_s - int(age_s)
    return _Balance(
        balance_paise=live.balance_paise,
        posted_paise=live.book.balance_paise,
        register_wh=live.register_wh,
        posted_register_wh=live.book.register_wh,
        as_of_utc_s=as_of_utc_s,
        power_w=_power_w(live),
        permission=may_cut(source.policy, live.balance_paise, now, source.zone),
    )


def _balance_on_record(source: Source, row: AccountRow) -> _Balance:
    """Charged up to the newest register on disk, just as the daemon would at its start."""
    posted = ledger.load_book(source.reader, row.name)
    as_of_utc_s, book = _last_posting(source.reader, row.name), posted
    anchor = source.anchors.get(row.meter) if row.open else None
    if anchor and anchor.utc_s > as_of_utc_s and anchor.register_wh >= posted.register_wh:
        stored = registry.tariff(source.reader, row.tariff_id)
        tariff = parse_tariff(stored.document, name=f"tariff {stored.name}")
        then = Moment(datetime.fromtimestamp(anchor.utc_s, UTC), Trust.OPERATOR)
        book = settle(posted, tariff, anchor.register_wh, then, source.zone).book
        as_of_utc_s = anchor.utc_s
    return _Balance(
        balance_paise=book.balance_paise,
        posted_paise=posted.balance_paise,
        register_wh=book.register_wh,
        posted_register_wh=posted.register_wh,
        as_of_utc_s=as_of_utc_s,
        power_w=None,
        permission=may_cut(source.policy, book.balance_paise, source.now(), source.zone),
    )


def _credit(permission: CutPermission) -> dict[str, Any]:
    next_at = permission.next_at
    return {
        "reason": permission.reason.value,
        "cut_allowed": permission.allowed,
        "next_cut_at": iso_utc(int(next_at.timestamp())) if next_at else None,
    }


def _live_account(source: Source, name: str) -> "LiveAccount | None":
    return source.live.books.live.accounts.get(name) if source.live else None


def _station(source: Source, name: str) -> "Station | None":
    return source.live.enforcement.stations.get(name) if source.live else None


def _power_w(live: "LiveAccount | None") -> int | None:
    """What flows now; what flowed a while ago is not told as if it did."""
    if live is None or live.reading is None:
        return None
    age_s = asyncio.get_running_loop().time() - live.reading.read_at_s
    return live.reading.good(Quantity.ACTIVE_POWER) if age_s <= POWER_FRESH_S else None


def _holds(source: Source, name: str) -> frozenset[Hold]:
    live = _live_account(source, name)
    return live.holds if live else supply_log.standing_holds(source.reader, name)


def _supply(source: Source, row: AccountRow) -> str:
    if row.switch == "none":
        return _SUPPLY[Position.CLOSED]
    if source.live is not None and row.open:
        station = _station(source, row.name)
        return _SUPPLY[station.position if station else Position.UNKNOWN]
    return _SUPPLY[supply_log.last_command(source.reader, row.name)]


def _commanded(source: Source, name: str, station: "Station | None") -> str:
    if station is not None and station.switch is not None:
        return station.switch.commanded.value
    return supply_log.last_command(source.reader, name).value


def _proof_on_record(rows: list[supply_log.SupplyRow]) -> str:
    """What came of the last command; `rows` are newest first."""
    for row in rows:
        match row.kind:
            case "proven":
                return Proof.PROVEN.value
            case "not_obeying":
                return Proof.DISOBEYED.value
            case "commanded":
                break
    return Proof.NONE.value


def _line(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": iso_utc(entry.utc_s),
        "trust": entry.trust,
        "day": entry.day,
        "day_proven": bool(entry.day_proven),
        "kind": entry.kind,
        "component": entry.component,
        "slab": entry.slab or None,
        "effective_from": entry.effective_from,
        "register_from_wh": entry.register_from_wh,
        "register_to_wh": entry.register_to_wh,
        "quantity": entry.quantity,
        "unit": _UNITS.get(entry.component or "", ""),
        "rate": entry.rate,
        "amount_paise": entry.amount_paise,
        "balance_paise": entry.balance_paise,
        "recharge_id": entry.recharge_id,
        "reverses": entry.reverses,
        "note": entry.note,
    }


def _balance_before(reader: sqlite3.Connection, name: str, day: date | None) -> int:
    row = reader.execute(
        "SELECT balance_paise FROM entries WHERE account = ? AND day < ? ORDER BY seq DESC LIMIT 1",
        (name, day.isoformat() if day else "9999"),
    ).fetchone()
    return int(row[0]) if row else 0


def _last_posting(reader: sqlite3.Connection, name: str) -> int:
    row = reader.execute(
        "SELECT utc_s FROM entries WHERE account = ? ORDER BY seq DESC LIMIT 1", (name,)
    ).fetchone()
    return int(row[0]) if row else 0


def _last_day(reader: sqlite3.Connection, name: str) -> str:
    row = reader.execute("SELECT max(day) FROM entries WHERE account = ?", (name,)).fetchone()
    return str(row[0] or "")
