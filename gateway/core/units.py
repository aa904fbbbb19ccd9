"""Rupees and kilowatt-hours as people write them; paise and watt-hours as the ledger keeps them.

Money is an integer of paise, energy an integer of watt-hours, everywhere. Exact rates are
`Fraction`s and are rounded once, half up, by `round_half_up`. No float enters or leaves this file.
"""

import functools
import re
from decimal import Decimal
from fractions import Fraction

PAISE_PER_RUPEE = 100
WH_PER_KWH = 1000

# Commas only where Indian or western grouping puts them: a decimal comma, as in 50,00, must not be
# read as five thousand rupees. At most 10^10 rupees, so that a slip of the keyboard stays small.
_AMOUNT = re.compile(
    r"(?P<sign>[+-]?)\s*₹?\s*"
    r"(?P<rupees>[0-9]{1,10}|[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}|[0-9]{1,3}(?:,[0-9]{3})+)"
    r"(?P<rest>\.[0-9]{1,9})?"
)


def round_half_up(exact: Fraction) -> int:
    """Round to the nearest integer, halves away from zero (ROUND_HALF_UP of the billing rules)."""
    doubled = 2 * abs(exact.numerator) + exact.denominator
    magnitude = doubled // (2 * exact.denominator)
    return magnitude if exact.numerator >= 0 else -magnitude


# Asked for with each reading; a gateway knows a few rates and limits.
@functools.lru_cache(maxsize=256)
def paise_per_wh(rupees_per_kwh: Decimal) -> Fraction:
    """A rate in rupees per kWh as exact paise per Wh."""
    return Fraction(rupees_per_kwh) * PAISE_PER_RUPEE / WH_PER_KWH


@functools.lru_cache(maxsize=256)
def paise(rupees: Decimal) -> int:
    """A rupee amount as paise. Raises ValueError unless it is a whole number of paise."""
    if not rupees.is_finite():
        raise ValueError(f"{rupees} is not an amount in rupees")
    scaled = Fraction(rupees) * PAISE_PER_RUPEE
    if scaled.denominator != 1:
        raise ValueError(f"{rupees} rupees is not a whole number of paise")
    return scaled.numerator


def parse_rupees(text: str) -> int:
    """Read an amount such as `50`, `50.00`, `-₹1,23,456.78` as paise. Raises ValueError."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount in rupees, such as 50.00")
    plain = match["sign"] + match["rupees"].replace(",", "") + (match["rest"] or "")
    return paise(Decimal(plain))


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
