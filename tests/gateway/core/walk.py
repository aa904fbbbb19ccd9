"""An account walked through time by `settle`, with all it was charged."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worked import IST, LV1

from gateway.core.account import AccountBook, Anchor, Charge, settle
from gateway.core.moment import Moment, Trust
from gateway.core.tariff import Component, Tariff

OPENING_WH = 4_321_987
OPENING_PAISE = 100_000


@dataclass
class Walk:
    """Every posting of one account, as metering and the ledger make them together."""

    book: AccountBook
    tariff: Tariff = LV1
    anchor: Anchor | None = None
    charges: list[Charge] = field(default_factory=list)

    @classmethod
    def opened(cls, moment: Moment, tariff: Tariff = LV1) -> "Walk":
        """An account opened at `moment`."""
        day = moment.day(IST)
        book = AccountBook("A-1", OPENING_PAISE, OPENING_WH, day, moment.proven)
        return cls(book, tariff, Anchor(OPENING_WH, moment.utc_s) if moment.proven else None)

    def post(self, moment: Moment, register_wh: int, *, closing: bool = False) -> list[Charge]:
        """Post a reading; returns what it brought."""
        done = settle(
            self.book, self.tariff, register_wh, moment, IST, anchor=self.anchor, closing=closing
        )
        self.book = done.book
        self.charges += done.charges
        if moment.proven:
            self.anchor = Anchor(register_wh, moment.utc_s)
        return list(done.charges)

    def month_paise(self) -> dict[tuple[int, int], int]:
        """What was charged, by calendar month of the charge's day."""
        sums: dict[tuple[int, int], int] = defaultdict(int)
        for charge in self.charges:
            sums[charge.day.year, charge.day.month] += charge.amount_paise
        return dict(sums)

    def quantity(self, component: Component) -> int:
        """The net quantity of a component over all charges."""
        return quantity(self.charges, component)


def quantity(charges: list[Charge], component: Component) -> int:
    """The net quantity of a component."""
    return sum(charge.quantity for charge in charges if charge.key.component is component)


def moment_s(utc_s: int, trust: Trust = Trust.NTP) -> Moment:
    """Seconds since 1970 as a moment."""
    return Moment(datetime.fromtimestamp(utc_s, UTC), trust)
