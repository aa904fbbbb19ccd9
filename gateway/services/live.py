"""What is known of each account between postings: in memory, and always re-derivable.

`LiveAccount.book` is the account as posted; `running` is the same settled up to the last accepted
reading. The difference costs no card write: after a crash the next register reading brings it back.

An account lives in the moment of its last accepted reading: while its meter is silent its day does
not change and nothing falls due. When the meter answers again, what was used meanwhile is spread
over the days of the silence, each month at its own slabs.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from gateway.core.account import AccountBook, Anchor, Settlement, settle
from gateway.core.moment import Moment, Trust
from gateway.core.policy import CutPermission
from gateway.core.register import RegisterGate, RegisterLimits, Verdict, judge
from gateway.core.supply import Hold
from gateway.core.tariff import Tariff
from gateway.store.registry import AccountRow
from hardware.api import MeterReading, Quantity


@dataclass(slots=True)
class LiveMeter:
    """The last that was heard of a meter, whether or not an account is bound to it."""

    name: str
    reading: MeterReading | None = None  # the last poll that gave anything
    error: str | None = None  # of the last poll, if it gave nothing


@dataclass(slots=True)
class LiveAccount:
    """One open account at work. `accepted_at_s` is loop time, as readings are."""

    row: AccountRow
    tariff: Tariff
    book: AccountBook
    running: AccountBook
    holds: frozenset[Hold]
    gate: RegisterGate
    limits: RegisterLimits
    anchor: Anchor | None = None
    verdict: Verdict | None = None  # of the last good reading
    accepted_at_s: float | None = None  # when the register was last accepted since the start
    accepted_at: Moment | None = None  # the same as wall time
    permission: CutPermission | None = None  # of the last judgement
    reading: MeterReading | None = None

    @property
    def name(self) -> str:
        """The account's name."""
        return self.row.name

    @property
    def balance_paise(self) -> int:
        """Posted plus running."""
        return self.running.balance_paise

    @property
    def register_wh(self) -> int:
        """The last accepted register."""
        return self.gate.accepted_wh

    def see(self, reading: MeterReading, at_s: float, now: Moment, zone: ZoneInfo) -> bool:
        """Take in a poll; returns whether its register was accepted."""
        self.reading = reading
        register_wh = reading.good(Quantity.ENERGY_IMPORT)
        if register_wh is None:
            return False
        self.gate, self.verdict = judge(self.gate, register_wh, at_s, self.limits)
        if not self.verdict.accepted:
            return False
        self.accepted_at_s, self.accepted_at = reading.read_at_s, now
        self.running = self.settled(zone).book
        if now.proven and self.running.day == self.book.day:
            # A day that has changed is posted first, from the last anchor of the day before.
            self.anchor = Anchor(self.register_wh, now.utc_s)
        return True

    def settled(
        self, zone: ZoneInfo, *, tariff: Tariff | None = None, closing: bool = False
    ) -> Settlement:
        """The posted account charged up to the last accepted reading.

        By its own tariff, or by another that is about to take its place.
        """
        at = self.accepted_at or Moment(datetime.fromtimestamp(0, UTC), Trust.NONE)
        return settle(
            self.book,
            tariff or self.tariff,
            self.gate.accepted_wh,
            at,
            zone,
            anchor=self.anchor,
            closing=closing,
        )

    def rebase(self, book: AccountBook, zone: ZoneInfo) -> None:
        """Take over what was just posted; readings that came meanwhile stay counted."""
        self.book = book
        self.running = self.settled(zone).book
        at = self.accepted_at
        if at is not None and at.proven and self.running.day == book.day:
            self.anchor = Anchor(self.register_wh, at.utc_s)

    def fresh(self, loop_s: float, max_age_s: float) -> bool:
        """Whether an accepted register is recent enough to move a relay."""
        return self.accepted_at_s is not None and loop_s - self.accepted_at_s <= max_age_s


@dataclass(slots=True)
class LiveState:
    """All accounts and meters at work, by name."""

    accounts: dict[str, LiveAccount] = field(default_factory=dict)
    meters: dict[str, LiveMeter] = field(default_factory=dict)

    def by_meter(self, meter: str) -> LiveAccount | None:
        """The account that is charged by this meter."""
        for account in self.accounts.values():
            if account.row.meter == meter:
                return account
        return None
