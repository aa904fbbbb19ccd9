"""One consumer's money: from a register reading to the charges it brings.

`settle(book, ...)` is the only way energy becomes money. It is pure: metering calls it on every
reading to know the running balance and throws the result away; the ledger writes it only when
something must be posted. Both therefore always agree.

Rules:
- Energy is `register now - register at the last posting`, whatever polls were lost between.
- A charge is `bill(month to date) - posted this month`, line by line.
- A day's fixed charge falls due once, when a later day is proven to have begun.
- Energy between two readings on different days is spread evenly over the time between them and
  cut at each local midnight, so each month bills its own part at its own slab position.
- While the date is not proven the account stays on its last day: nothing falls due by time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from gateway.core.moment import Moment, days_between, midnight_utc_s
from gateway.core.tariff import BillLine, Component, DayUsage, LineKey, Tariff, bill

# A proven date further ahead than this is taken for a fault of the clock, not for a long outage:
# it would post hundreds of days of fixed charges at once.
MAX_GAP_DAYS = 400


@dataclass(frozen=True, slots=True)
class PostedLine:
    """What has been posted of one bill line this month."""

    quantity: int
    amount_paise: int


@dataclass(frozen=True, slots=True)
class AccountBook:
    """An account as its ledger entries leave it. Everything here is re-derived from them at start.

    `days` and `posted` cover the calendar month of `day`, the account's current day.
    """

    account: str
    balance_paise: int
    register_wh: int
    day: date
    day_proven: bool
    days: tuple[DayUsage, ...] = ()
    posted: Mapping[LineKey, PostedLine] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Charge:
    """One line to post: a debit of `amount_paise` (negative when something is given back).

    `quantity` is Wh for energy and cess, days for fixed. Energy lines say which stretch of the
    register they are for.
    """

    day: date
    key: LineKey
    quantity: int
    rate: str
    amount_paise: int
    register_from_wh: int | None = None
    register_to_wh: int | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A register reading at a proven time, the start of a stretch of use to be spread over days."""

    register_wh: int
    utc_s: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """The account after its charges, and the charges."""

    book: AccountBook
    charges: tuple[Charge, ...]


def settle(
    book: AccountBook,
    tariff: Tariff,
    register_wh: int,
    now: Moment,
    zone: ZoneInfo,
    *,
    anchor: Anchor | None = None,
    closing: bool = False,
) -> Settlement:
    """Charge everything up to `register_wh` and `now`.

    `anchor` is the last reading at a proven time, if one is newer than the last posting.
    `closing` makes the current day's fixed charge due as well, for an account's last bill.
    Raises ValueError when the register is behind the last posting: that is for `register` to judge.
    """
    if register_wh < book.register_wh:
        raise ValueError(f"register {register_wh} Wh is behind {book.register_wh} Wh")
    today = accounting_day(book, now, zone)
    charges: list[Charge] = []
    if today != book.day and book.day_proven:
        stretch = _Stretch.of(book, register_wh, now, zone, anchor)
        for day in days_between(book.day, today):
            end_wh = stretch.register_at(midnight_utc_s(day + timedelta(days=1), zone))
            book, posted = _post(book, tariff, day, end_wh, fixed_due=True)
            charges.extend(posted)
    book, posted = _post(book, tariff, today, register_wh, fixed_due=closing and now.proven)
    charges.extend(posted)
    if now.proven and not book.day_proven:
        book = replace(book, day_proven=True)
    return Settlement(book, tuple(charges))


def accounting_day(book: AccountBook, now: Moment, zone: ZoneInfo) -> date:
    """The day to charge to: the local day when it is proven and not behind, else the last one."""
    if not now.proven:
        return book.day
    today = now.day(zone)
    if not book.day_proven:
        return today
    if today <= book.day or (today - book.day).days > MAX_GAP_DAYS:
        return book.day
    return today


def credited(book: AccountBook, amount_paise: int) -> AccountBook:
    """The account after a credit (or a reversal, negative)."""
    return replace(book, balance_paise=book.balance_paise + amount_paise)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Use between two readings, taken as even over the time between them."""

    from_wh: int
    from_s: int
    to_wh: int
    to_s: int

    @classmethod
    def of(
        cls, book: AccountBook, register_wh: int, now: Moment, zone: ZoneInfo, anchor: Anchor | None
    ) -> "_Stretch":
        start = Anchor(book.register_wh, midnight_utc_s(book.day, zone))
        if anchor is not None and start.utc_s <= anchor.utc_s <= now.utc_s:
            # The anchor may be older than a posting made while the time was unknown.
            start = Anchor(
                min(max(anchor.register_wh, book.register_wh), register_wh), anchor.utc_s
            )
        return cls(start.register_wh, start.utc_s, register_wh, now.utc_s)

    def register_at(self, utc_s: int) -> int:
        if utc_s <= self.from_s:
            return self.from_wh
        if utc_s >= self.to_s:
            return self.to_wh
        span_s = self.to_s - self.from_s
        return self.from_wh + (self.to_wh - self.from_wh) * (utc_s - self.from_s) // span_s


def _post(
    book: AccountBook, tariff: Tariff, day: date, register_wh: int, *, fixed_due: bool
) -> tuple[AccountBook, list[Charge]]:
    """Charge one day up to `register_wh`; a day of another month starts that month's bill."""
    same_month = (day.year, day.month) == (book.day.year, book.day.month)
    days = _with_usage(
        book.days if same_month else (),
        DayUsage(day, register_wh - book.register_wh, fixed_due),
    )
    posted = book.posted if same_month else {}
    lines = bill(tariff, days)
    charges = list(_difference(lines, posted, day, book.register_wh, register_wh))
    after = replace(
        book,
        balance_paise=book.balance_paise - sum(charge.amount_paise for charge in charges),
        register_wh=register_wh,
        day=day,
        days=days,
        posted={line.key: PostedLine(line.quantity, line.amount_paise) for line in lines},
    )
    return after, charges


def _with_usage(days: tuple[DayUsage, ...], more: DayUsage) -> tuple[DayUsage, ...]:
    if not more.energy_wh and not more.fixed_due:
        return days
    before = [usage for usage in days if usage.day < more.day]
    after = [usage for usage in days if usage.day > more.day]
    for usage in days:
        if usage.day == more.day:
            more = DayUsage(
                more.day, usage.energy_wh + more.energy_wh, usage.fixed_due or more.fixed_due
            )
    return (*before, more, *after)


def _difference(
    lines: tuple[BillLine, ...],
    posted: Mapping[LineKey, PostedLine],
    day: date,
    from_wh: int,
    to_wh: int,
) -> Iterator[Charge]:
    """Lines of the bill minus what is posted of each; lines that vanished are given back."""
    nothing = PostedLine(0, 0)
    gone = [BillLine(key, 0, "", 0) for key in posted if key not in {line.key for line in lines}]
    position_wh = from_wh
    for line in (*gone, *lines):
        before = posted.get(line.key, nothing)
        quantity = line.quantity - before.quantity
        amount_paise = line.amount_paise - before.amount_paise
        if not quantity and not amount_paise:
            continue
        if line.key.component is Component.ENERGY and quantity > 0:
            end_wh = min(position_wh + quantity, to_wh)
            yield Charge(day, line.key, quantity, line.rate, amount_paise, position_wh, end_wh)
            position_wh = end_wh
        else:
            yield Charge(day, line.key, quantity, line.rate, amount_paise)
