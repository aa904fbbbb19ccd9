"""What the auditor knows: the two journals as they were committed, and what it has seen since.

Rules of this file: built from committed rows only, by sums of its own; no figure is taken from the
gateway's memory.
"""

import copy
import sqlite3
from collections import deque
from dataclasses import dataclass, field

from gateway.store import ledger, supply_log
from gateway.store.ledger import Entry
from gateway.store.supply_log import SupplyRow


@dataclass(slots=True)
class AccountFacts:
    """One account, summed up from its rows."""

    account: str
    entries: int = 0
    sum_paise: int = 0
    balance_paise: int = 0  # as the last entry says
    opening_wh: int = 0
    register_wh: int = 0
    energy_wh: int = 0  # sum of all energy lines
    fixed_days: dict[str, int] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    told: str | None = None  # a command's row that no movement has used yet
    last_told: str | None = None

    def add(self, entry: Entry) -> None:
        """One entry more."""
        self.entries += 1
        self.sum_paise += entry.amount_paise
        self.balance_paise = entry.balance_paise
        if entry.kind == "opening":
            self.opening_wh = self.register_wh = entry.register_to_wh or 0
        if entry.register_to_wh is not None:
            self.register_wh = max(self.register_wh, entry.register_to_wh)
        if entry.component == "energy":
            self.energy_wh += entry.quantity
        if entry.component == "fixed":
            self.fixed_days[entry.day] = self.fixed_days.get(entry.day, 0) + entry.quantity
            while len(self.fixed_days) > 800:
                del self.fixed_days[next(iter(self.fixed_days))]

    def add_supply(self, row: SupplyRow) -> None:
        """One row of the supply journal more."""
        if row.kind == "hold_placed":
            self.holds.add(str(row.hold))
        elif row.kind == "hold_lifted":
            self.holds.discard(str(row.hold))
        elif row.kind == "commanded":
            self.told = self.last_told = row.position


@dataclass(slots=True)
class Facts:
    """Everything that was committed."""

    accounts: dict[str, AccountFacts] = field(default_factory=dict)
    recharges: dict[str, int] = field(default_factory=dict)  # recharge_id: paise
    doubled: list[str] = field(default_factory=list)
    last_entry: int = 0
    last_supply: int = 0

    def read(self, reader: sqlite3.Connection) -> tuple[list[Entry], list[SupplyRow]]:
        """Take in what was committed since the last time."""
        entries = list(ledger.entries_after(reader, self.last_entry))
        rows = list(supply_log.rows_after(reader, self.last_supply))
        for entry in entries:
            self.of(entry.account).add(entry)
            self.last_entry = entry.seq
            if entry.recharge_id is not None:
                if entry.recharge_id in self.recharges:
                    self.doubled.append(entry.recharge_id)
                self.recharges[entry.recharge_id] = entry.amount_paise
        for row in rows:
            self.of(row.account).add_supply(row)
            self.last_supply = row.seq
        return entries, rows

    def of(self, account: str) -> AccountFacts:
        """One account."""
        return self.accounts.setdefault(account, AccountFacts(account))

    def kept(self) -> "Facts":
        """A copy, for an image of the card."""
        return copy.deepcopy(self)


@dataclass(slots=True)
class Seen:
    """What was seen of one home, apart from the journals. Times are loop time."""

    moves_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    since_s: dict[str, float] = field(default_factory=dict)  # since when something has been wrong
    registers: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=64))
    last_closed: bool = True
