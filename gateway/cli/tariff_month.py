"""A worked month: what a use of so many units costs, and what has been debited by which day.

Pure. The use is spread evenly over the days of the month, in whole watt-hours; the bill is the very
function that charges accounts.
"""

import calendar
from datetime import date, timedelta
from typing import Any

from gateway.core.tariff import DayUsage, Tariff, bill, total_paise
from gateway.core.units import WH_PER_KWH

MILESTONES = (1, 5, 10, 15, 20, 25)  # days of the month, and its last


def work_out(tariff: Tariff, kwh: int, first: date) -> dict[str, Any]:
    """The bill of the month that begins on `first`, as plain data."""
    length = calendar.monthrange(first.year, first.month)[1]
    total_wh = kwh * WH_PER_KWH
    days = [
        DayUsage(
            first + timedelta(days=n),
            total_wh * (n + 1) // length - total_wh * n // length,
            fixed_due=True,
        )
        for n in range(length)
    ]
    lines = bill(tariff, days)
    total = total_paise(lines)
    return {
        "tariff": tariff.name,
        "source": tariff.source,
        "verified": tariff.verified,
        "month": f"{first:%Y-%m}",
        "energy_wh": total_wh,
        "lines": [
            {
                "component": line.key.component.value,
                "effective_from": line.key.effective_from.isoformat(),
                "slab": line.key.slab or None,
                "quantity": line.quantity,
                "rate": line.rate,
                "amount_paise": line.amount_paise,
            }
            for line in lines
        ],
        "total_paise": total,
        "paise_per_kwh": (2 * total + kwh) // (2 * kwh) if kwh else None,
        "debited": [_debited(tariff, days, number) for number in sorted({*MILESTONES, length})],
    }


def _debited(tariff: Tariff, days: list[DayUsage], number: int) -> dict[str, Any]:
    """What has been debited when day `number` closes, and what that day alone costs."""
    until, before = total_paise(bill(tariff, days[:number])), 0
    if number > 1:
        before = total_paise(bill(tariff, days[: number - 1]))
    return {
        "day": days[number - 1].day.isoformat(),
        "energy_wh": sum(day.energy_wh for day in days[:number]),
        "debited_paise": until,
        "this_day_paise": until - before,
    }
