"""A tariff of Chhattisgarh LV-1 shape, and its bill worked out independently with `decimal`.

Rates as in the worked examples of 2025-26 (energy 4.10 / 4.20 / 5.60 / 6.60 / 8.30 by slab, fixed
20.00 a month by days of the month, duty 11 % of energy, cess 0.10 per kWh). The calculation here
shares no code with the product: it multiplies decimals the way a billing clerk does.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from gateway.core.moment import Moment, Trust
from gateway.core.tariff import DayUsage, FixedCharge, Slab, Tariff, TariffVersion

IST = ZoneInfo("Asia/Kolkata")
SLABS = (
    (100, Decimal("4.10")),
    (200, Decimal("4.20")),
    (400, Decimal("5.60")),
    (600, Decimal("6.60")),
    (None, Decimal("8.30")),
)
FIXED, DUTY, CESS = Decimal("20.00"), Decimal("0.11"), Decimal("0.10")


def version(effective_from=date(2025, 7, 1), slabs=SLABS, **changes):
    """The worked tariff's version, with changes."""
    given = {
        "fixed": FixedCharge(FIXED),
        "duty_percent_of_energy": DUTY * 100,
        "cess_rupees_per_kwh": CESS,
    }
    rows = tuple(Slab(rate, upto) for upto, rate in slabs)
    return TariffVersion(effective_from, rows, **(given | changes))


LV1 = Tariff("LV-1", (version(),))


def to_paise(rupees):
    """Rupees as paise, half up."""
    return int((rupees * 100).quantize(Decimal(1), ROUND_HALF_UP))


def energy_rupees(energy_wh, slabs=SLABS):
    """Telescopic energy charge of a month's use, exact."""
    left, lower, rupees = Decimal(energy_wh) / 1000, Decimal(0), Decimal(0)
    for upto, rate in slabs:
        part = left if upto is None else min(left, upto - lower)
        rupees += part * rate
        left -= part
        lower = Decimal(upto or 0)
    return rupees


def bill_paise(energy_wh, fixed_days, days_in_month):
    """The month-to-date bill, each component rounded once."""
    energy = energy_rupees(energy_wh)
    return (
        to_paise(energy)
        + to_paise(FIXED * fixed_days / days_in_month)
        + to_paise(energy * DUTY)
        + to_paise(CESS * energy_wh / 1000)
    )


def month_of(first, energies_wh, fixed_due=True):
    """Consecutive days' usage from `first`."""
    return [
        DayUsage(date(first.year, first.month, first.day + n), wh, fixed_due)
        for n, wh in enumerate(energies_wh)
    ]


def days_in(day):
    """Days of the month of `day`."""
    return monthrange(day.year, day.month)[1]


def at(day, clock=time(12), trust=Trust.NTP):
    """A local wall time in India."""
    return Moment(datetime.combine(day, clock, IST).astimezone(UTC), trust)
