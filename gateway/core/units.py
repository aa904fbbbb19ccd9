"""Rupees and kilowatt-hours as people write them; paise and watt-hours as the ledger keeps them.

Money is an integer of paise, energy an integer of watt-hours, everywhere. Exact rates are
`Fraction`s and are rounded once, half up, by `round_half_up`. No float enters or leaves this file.
"""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

PAISE_PER_RUPEE = 100
WH_PER_KWH = 1000


def round_half_up(exact: Fraction) -> int:
    """Round to the nearest integer, halves away from zero (ROUND_HALF_UP of the billing rules)."""
    doubled = 2 * abs(exact.numerator) + exact.denominator
    magnitude = doubled // (2 * exact.denominator)
    return magnitude if exact.numerator >= 0 else -magnitude


def paise_per_wh(rupees_per_kwh: Decimal) -> Fraction:
    """A rate in rupees per kWh as exact paise per Wh."""
    return Fraction(rupees_per_kwh) * PAISE_PER_RUPEE / WH_PER_KWH


def paise(rupees: Decimal) -> int:
    """A rupee amount as paise. Raises ValueError when it has a fraction of a paisa."""
    scaled = rupees * PAISE_PER_RUPEE
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{rupees} rupees is not a whole number of paise")
    return int(scaled)


def parse_rupees(text: str) -> int:
    """Read an amount such as `50`, `50.00`, `-12.5`, `₹1,234.50` as paise. Raises ValueError."""
    plain = text.strip().removeprefix("₹").replace(",", "").strip()
    try:
        value = Decimal(plain)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in rupees, such as 50.00") from None
    if not value.is_finite() or abs(value) > Decimal(10) ** 10:
        raise ValueError(f"{text!r} is not an amount in rupees, such as 50.00")
    return paise(value)


def format_rupees(amount_paise: int) -> str:
    """Write paise the Indian way: 12345678 is `₹1,23,456.78`."""
    sign = "-" if amount_paise < 0 else ""
    rupees, rest = divmod(abs(amount_paise), PAISE_PER_RUPEE)
    digits = str(rupees)
    head, tail = digits[:-3], digits[-3:]
    groups = [tail]
    while head:
        groups.insert(0, head[-2:])
        head = head[:-2]
    return f"{sign}₹{','.join(groups)}.{rest:02d}"


def format_kwh(energy_wh: int) -> str:
    """Write watt-hours as kWh with three places: 1500 is `1.500`."""
    sign = "-" if energy_wh < 0 else ""
    whole, rest = divmod(abs(energy_wh), WH_PER_KWH)
    return f"{sign}{whole}.{rest:03d}"
