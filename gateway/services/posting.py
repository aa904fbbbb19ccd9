"""One posting: charges, a credit, holds and the events that tell of them, in one transaction.

Prepared on the event loop from the live state, written on the ledger's thread, and taken over by
the live state only after the commit. Whoever moves money or a hold goes through here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from gateway.core.account import AccountBook, Settlement, credited
from gateway.core.moment import Moment
from gateway.core.recharge import Outcome, Recharge
from gateway.core.supply import Hold, wanted
from gateway.services.live import LiveAccount
from gateway.store import ledger, outbox, supply_log
from gateway.store.database import Transaction
from gateway.store.ledger import Entry


@dataclass(frozen=True, slots=True)
class HoldMove:
    """A hold to place or to lift, and who wants it why."""

    hold: Hold
    placed: bool
    reason: str
    actor: str


@dataclass(slots=True)
class Posting:
    """Everything that is to happen to one account at once."""

    live: LiveAccount
    now: Moment
    settlement: Settlement
    moves: tuple[HoldMove, ...] = ()
    recharge: Recharge | None = None
    road: str = ""
    entries: list[Entry] = field(default_factory=list)
    receipt: Mapping[str, Any] | None = None

    @property
    def book(self) -> AccountBook:
        """The account after it."""
        if self.recharge is None:
            return self.settlement.book
        return credited(self.settlement.book, self.recharge.amount_paise)

    @property
    def holds(self) -> frozenset[Hold]:
        """The holds after it."""
        placed = {move.hold for move in self.moves if move.placed}
        lifted = {move.hold for move in self.moves if not move.placed}
        return frozenset((self.live.holds | placed) - lifted)

    def write(self, tx: Transaction) -> None:
        """Write it all: entries, holds, events, receipt."""
        name, now = self.live.name, self.now
        self.entries = []
        if self.settlement.charges:
            self.entries += ledger.append_charges(
                tx, self.settlement.book, self.settlement.charges, now
            )
        if self.recharge is not None:
            self.entries += ledger.append_recharge(
                tx, self.book, self.recharge, now, note=self.road
            )
        if self.entries:
            rows = [ledger.as_event(entry) for entry in self.entries]
            outbox.put(tx, "ledger.entries", name, {"entries": rows}, now)
        for move in self.moves:
            self._write_move(tx, move)
        if self.recharge is not None:
            self.receipt = receipt(
                self.recharge,
                Outcome.CREDITED,
                self.road,
                balance_paise=self.book.balance_paise,
                holds=self.holds,
                ledger_seq=self.entries[-1].seq,
            )
            outbox.put(tx, "recharge.receipt", name, self.receipt, now)

    def take_over(self, zone: ZoneInfo) -> None:
        """After the commit: the live account becomes what was written."""
        self.live.holds = self.holds
        self.live.rebase(self.book, zone)

    def _write_move(self, tx: Transaction, move: HoldMove) -> None:
        supply_log.record_hold(
            tx,
            self.live.name,
            move.hold,
            placed=move.placed,
            reason=move.reason,
            actor=move.actor,
            now=self.now,
        )
        event = {
            "account": self.live.name,
            "hold": move.hold.value,
            "change": "placed" if move.placed else "lifted",
            "reason": move.reason,
            "by": move.actor,
            "holds": hold_names(self.holds),
        }
        outbox.put(tx, "supply.hold", self.live.name, event, self.now)


def receipt(
    recharge: Recharge,
    outcome: Outcome,
    road: str,
    *,
    balance_paise: int | None,
    holds: frozenset[Hold] = frozenset(),
    ledger_seq: int | None = None,
) -> dict[str, Any]:
    """The body of a `recharge.receipt`; what is not known of the account is null."""
    known = balance_paise is not None
    return {
        "recharge_id": recharge.recharge_id,
        "account": recharge.account,
        "outcome": outcome.value,
        "amount_paise": recharge.amount_paise,
        "balance_paise": balance_paise,
        "supply": wanted(holds).value if known else None,
        "holds": hold_names(holds),
        "ledger_seq": ledger_seq,
        "road": road,
    }


def hold_names(holds: frozenset[Hold]) -> list[str]:
    """Holds as people and the head-end read them, in a fixed order."""
    return sorted(hold.value for hold in holds)
