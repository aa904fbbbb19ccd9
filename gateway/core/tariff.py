"""What energy costs: a tariff is data with effective dates, a bill a pure function of it.

`bill(tariff, usage)` gives the month-to-date amount of every line, each component rounded once.
What is charged is `bill(now) - posted so far` (see `account`), so the sum of all debits is the
monthly bill to the paisa however often we post.

Slabs are telescopic and run by local calendar month. When the rates change within a month the slab
position is kept. A component that spans several lines (slabs, versions) is rounded cumulatively in
the order of use, so the lines add up to the component's own rounded total, and a line that is
complete never changes again.

The dataclasses are the schema of a tariff file; see `deploy/tariffs` for commented examples.
"""

import calendar
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise

from gateway.core.units import PAISE_PER_RUPEE, WH_PER_KWH, paise_per_wh, round_half_up


class Component(enum.Enum):
    """What a bill line is for."""

    ENERGY = "energy"
    FIXED = "fixed"
    DUTY = "duty"
    CESS = "cess"


class Per(enum.Enum):
    """How a fixed amount becomes a daily one."""

    DAY = "day"
    MONTH = "month"  # the month's amount / days of that month
    YEAR_365 = "month-by-365"  # the month's amount x 12 / 365, in leap years too


@dataclass(frozen=True, slots=True)
class Slab:
    """Energy up to `upto_kwh` of the month at this rate; the last slab has no upper end."""

    rupees_per_kwh: Decimal
    upto_kwh: int | None = None

    def __post_init__(self) -> None:
        _refuse_bad_amount(self.rupees_per_kwh, "rupees_per_kwh")
        if self.upto_kwh is not None and self.upto_kwh <= 0:
            raise ValueError("upto_kwh must be more than 0")


@dataclass(frozen=True, slots=True)
class FixedCharge:
    """A charge by time, whatever is used."""

    rupees: Decimal
    per: Per = Per.MONTH

    def __post_init__(self) -> None:
        _refuse_bad_amount(self.rupees, "rupees")

    def daily_paise(self, day: date) -> Fraction:
        """The exact charge for one day."""
        amount = Fraction(self.rupees) * PAISE_PER_RUPEE
        match self.per:
            case Per.DAY:
                return amount
            case Per.MONTH:
                return amount / calendar.monthrange(day.year, day.month)[1]
            case Per.YEAR_365:
                return amount * 12 / 365


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """The rates in force from one day on, until a later version's day."""

    effective_from: date
    slabs: tuple[Slab, ...]
    fixed: FixedCharge | None = None
    duty_percent_of_energy: Decimal = Decimal(0)
    cess_rupees_per_kwh: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        _refuse_bad_amount(self.duty_percent_of_energy, "duty_percent_of_energy")
        _refuse_bad_amount(self.cess_rupees_per_kwh, "cess_rupees_per_kwh")
        if not self.slabs:
            raise ValueError("at least one slab is needed")
        if self.slabs[-1].upto_kwh is not None:
            raise ValueError("the last slab must have no upto_kwh: all further use falls in it")
        limits = [slab.upto_kwh for slab in self.slabs[:-1]]
        if any(limit is None for limit in limits):
            raise ValueError("only the last slab may be without upto_kwh")
        for lower, upper in pairwise(limits):
            if lower is not None and upper is not None and upper <= lower:
                raise ValueError(f"slabs must rise: {upper} kWh comes after {lower} kWh")


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff order: a name, where its figures come from, and its versions in order of date."""

    name: str
    versions: tuple[TariffVersion, ...]
    source: str = ""
    verified: bool = False  # whether the figures were checked against the order itself

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("name must not be empty")
        if not self.versions:
            raise ValueError("at least one version is needed")
        for earlier, later in pairwise(self.versions):
            if later.effective_from <= earlier.effective_from:
                raise ValueError(
                    f"versions must be in order of date: {later.effective_from} "
                    f"comes after {earlier.effective_from}"
                )

    def version_on(self, day: date) -> TariffVersion:
        """The version in force on `day`; before the first one, the first."""
        current = self.versions[0]
        for version in self.versions:
            if version.effective_from <= day:
                current = version
        return current


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What one local day adds to its month: energy, and whether its fixed charge is due."""

    day: date
    energy_wh: int = 0
    fixed_due: bool = False


@dataclass(frozen=True, slots=True)
class LineKey:
    """What makes a bill line the same line from one posting to the next."""

    component: Component
    effective_from: date
    slab: int = 0  # 1 for the first slab; 0 where slabs do not apply


@dataclass(frozen=True, slots=True)
class BillLine:
    """A month-to-date line. `quantity` is Wh for energy and cess, days for fixed, else 0."""

    key: LineKey
    quantity: int
    rate: str
    amount_paise: int


@dataclass(slots=True)
class _Run:
    """Consecutive days under one version, summed."""

    version: TariffVersion
    month_day: date  # any day of the month: a fixed charge is the same on all of them
    energy_wh: int = 0
    fixed_days: int = 0

    @property
    def fixed_paise(self) -> Fraction:
        """The exact fixed charge of all its days."""
        fixed = self.version.fixed
        return self.fixed_days * fixed.daily_paise(self.month_day) if fixed else Fraction()


def bill(tariff: Tariff, days: Iterable[DayUsage]) -> tuple[BillLine, ...]:
    """The month-to-date bill of one calendar month's days, in order of date.

    Lines come grouped by component; lines without any quantity are left out. A tariff without a
    fixed charge still has a fixed line, of 0 paise, that counts the days: the ledger rebuilds an
    account's days from its charges, and a corrected tariff may charge for them later. Raises
    ValueError when days are of different months, out of order or negative.
    """
    runs = list(_runs(tariff, days))
    exact: list[tuple[LineKey, int, str, Fraction]] = []
    energy_paise: list[Fraction] = []
    position_wh = 0
    for run in runs:
        run_paise = Fraction()
        for number, slab, used_wh in _split(run.version.slabs, position_wh, run.energy_wh):
            amount = used_wh * paise_per_wh(slab.rupees_per_kwh)
            key = LineKey(Component.ENERGY, run.version.effective_from, number)
            exact.append((key, used_wh, f"{slab.rupees_per_kwh}/kWh", amount))
            run_paise += amount
        energy_paise.append(run_paise)
        position_wh += run.energy_wh
    for run in runs:
        if run.fixed_days:  # counted even where nothing is due: see the docstring
            key = LineKey(Component.FIXED, run.version.effective_from)
            fixed = run.version.fixed or FixedCharge(Decimal(0))
            rate = f"{fixed.rupees}/{fixed.per.value}"
            exact.append((key, run.fixed_days, rate, run.fixed_paise))
    for run, base_paise in zip(runs, energy_paise, strict=True):
        if run.version.duty_percent_of_energy and run.energy_wh:
            key = LineKey(Component.DUTY, run.version.effective_from)
            percent = run.version.duty_percent_of_energy
            exact.append((key, 0, f"{percent}%", base_paise * Fraction(percent) / 100))
    for run in runs:
        if run.version.cess_rupees_per_kwh and run.energy_wh:
            key = LineKey(Component.CESS, run.version.effective_from)
            cess = run.version.cess_rupees_per_kwh
            amount = run.energy_wh * paise_per_wh(cess)
            exact.append((key, run.energy_wh, f"{cess}/kWh", amount))
    return tuple(_rounded(exact))


def total_paise(lines: Iterable[BillLine]) -> int:
    """The bill's sum."""
    return sum(line.amount_paise for line in lines)


def _runs(tariff: Tariff, days: Iterable[DayUsage]) -> Iterator[_Run]:
    previous: date | None = None
    current: _Run | None = None
    for usage in days:
        if previous is not None and usage.day <= previous:
            raise ValueError(f"{usage.day} is not after {previous}")
        if previous is not None and (usage.day.year, usage.day.month) != (
            previous.year,
            previous.month,
        ):
            raise ValueError(f"{usage.day} is not in the month of {previous}")
        if usage.energy_wh < 0:
            raise ValueError(f"{usage.day} has negative energy: {usage.energy_wh} Wh")
        previous = usage.day
        version = tariff.version_on(usage.day)
        if current is None or current.version is not version:
            if current is not None:
                yield current
            current = _Run(version, usage.day)
        current.energy_wh += usage.energy_wh
        current.fixed_days += usage.fixed_due
    if current is not None:
        yield current


def _split(
    slabs: tuple[Slab, ...], position_wh: int, energy_wh: int
) -> Iterator[tuple[int, Slab, int]]:
    """Cut `energy_wh`, used after `position_wh` of the month, at the slab limits."""
    remaining_wh = energy_wh
    for number, slab in enumerate(slabs, start=1):
        if remaining_wh <= 0:
            return
        room_wh = remaining_wh
        if slab.upto_kwh is not None:
            room_wh = min(remaining_wh, max(0, slab.upto_kwh * WH_PER_KWH - position_wh))
        if room_wh:
            yield number, slab, room_wh
            position_wh += room_wh
            remaining_wh -= room_wh


def _rounded(exact: Iterable[tuple[LineKey, int, str, Fraction]]) -> Iterator[BillLine]:
    """Round each component once, cumulatively over its lines."""
    for _, group in groupby(exact, key=lambda line: line[0].component):
        running, rounded_before = Fraction(), 0
        for key, quantity, rate, amount in group:
            running += amount
            rounded = round_half_up(running)
            yield BillLine(key, quantity, rate, rounded - rounded_before)
            rounded_before = rounded


def _refuse_bad_amount(value: Decimal, name: str) -> None:
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value}")
