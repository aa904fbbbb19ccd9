"""What a home draws through a day, and the energy that it adds up to.

The shapes are invented typical ones, drawn after how such homes in central India are equipped (LED
lamps, fans, a fridge, a water pump in the morning, a cooler or an air conditioner, a shop with its
day hours); they are no measurement and no statistics. What matters here is that peaks, quiet hours
and quantities are of the right kind: some 3 to 20 units a day.

Rules of this file: integers only. Power is whole watts, constant within a minute, so the energy of
any span is exact: `W * ms` is millijoules, times a multiplier in permille microjoules, and
3,600,000 microjoules are one mWh. How a span is cut into steps never changes its sum. The same
shape and seed give the same curve on every machine (`random.Random` seeded with a string).
"""

import functools
import random
from collections import OrderedDict
from dataclasses import dataclass
from itertools import accumulate

MINUTE_MS = 60_000
DAY_MS = 86_400_000
UJ_PER_MWH = 3_600_000
NORMAL_PERMILLE = 1000

_MINUTES = 1440
_HALF_HOURS = 48
# Days kept per curve: a span usually lies within one day or crosses one midnight.
_DAYS_KEPT = 3


@dataclass(frozen=True, slots=True)
class LoadShape:
    """One kind of home: mean watts at each full hour without the fridge, and how it varies."""

    name: str
    hourly_w: tuple[int, ...]
    fridge_w: int  # drawn while its compressor runs; 0: no fridge
    spread_permille: int  # how far a half-hour may lie from the shape, either way

    def __post_init__(self) -> None:
        if len(self.hourly_w) != 24:  # noqa: PLR2004 - hours of a day
            raise ValueError(f"load shape {self.name}: give 24 hourly values")
        if min(self.hourly_w) < 0 or self.fridge_w < 0:
            raise ValueError(f"load shape {self.name}: watts cannot be negative")
        if not 0 <= self.spread_permille <= NORMAL_PERMILLE:
            raise ValueError(f"load shape {self.name}: spread_permille is 0 to 1000")


# fmt: off
SMALL_HOME = LoadShape(  # two rooms: lamps, fans, television; about 3 units a day
    "small-home",
    (90, 85, 80, 80, 85, 130, 190, 180, 120, 90, 80, 85,
     110, 120, 110, 95, 95, 120, 210, 260, 270, 240, 180, 110),
    fridge_w=0, spread_permille=300)
FAMILY_HOME = LoadShape(  # fridge, pump and mixer in the morning, iron, cooler; about 7 units a day
    "family-home",
    (150, 140, 130, 130, 160, 320, 620, 540, 300, 190, 170, 180,
     230, 240, 220, 190, 200, 260, 420, 520, 500, 420, 300, 190),
    fridge_w=120, spread_permille=350)
AC_HOME = LoadShape(  # as above with an air conditioner at noon and through the night; 20 units
    "ac-home",
    (1150, 1100, 1050, 950, 700, 480, 780, 720, 420, 320, 380, 620,
     900, 1150, 1200, 1000, 620, 480, 640, 820, 900, 1050, 1250, 1250),
    fridge_w=150, spread_permille=300)
SHOP = LoadShape(  # opens at nine, closes at nine: lights, fans, a display fridge; about 9 units
    "shop",
    (45, 45, 45, 45, 45, 45, 50, 60, 140, 420, 520, 540,
     560, 480, 440, 460, 520, 620, 760, 780, 640, 220, 60, 45),
    fridge_w=180, spread_permille=200)
# fmt: on
SHAPES: tuple[LoadShape, ...] = (SMALL_HOME, FAMILY_HOME, AC_HOME, SHOP)


@dataclass(frozen=True, slots=True)
class _Day:
    """One day of a curve: watts of each minute, and millijoules before each minute."""

    watts: tuple[int, ...]
    before_mj: tuple[int, ...]  # one longer than watts: the last is the whole day

    def mj_until(self, ms: int) -> int:
        """Energy from midnight to `ms` after it, in mJ."""
        minute, rest = divmod(ms, MINUTE_MS)
        partial = self.watts[minute] * rest if rest else 0
        return self.before_mj[minute] + partial


class LoadCurve:
    """The power of one home over street time, which counts in ms from midnight of day 0."""

    def __init__(self, shape: LoadShape, seed: int | str) -> None:
        self.shape = shape
        self._seed = seed
        self._days: OrderedDict[int, _Day] = OrderedDict()

    def power_w(self, at_ms: int) -> int:
        """Watts drawn at `at_ms`."""
        day, within = divmod(at_ms, DAY_MS)
        return self._day(day).watts[within // MINUTE_MS]

    def energy_mj(self, from_ms: int, to_ms: int) -> int:
        """Millijoules used between two times; exact, and additive over any cut of the span."""
        if to_ms < from_ms:
            raise ValueError("a span ends before it begins")
        first, first_ms = divmod(from_ms, DAY_MS)
        last, last_ms = divmod(to_ms, DAY_MS)
        whole = sum(self._day(day).before_mj[-1] for day in range(first, last))
        return whole + self._day(last).mj_until(last_ms) - self._day(first).mj_until(first_ms)

    def _day(self, day: int) -> _Day:
        made = self._days.get(day)
        if made is None:
            watts = _minute_watts(self.shape, random.Random(f"{self._seed}/{day}"))  # noqa: S311 - a simulation
            before = accumulate((watt * MINUTE_MS for watt in watts), initial=0)
            made = self._days[day] = _Day(watts, tuple(before))
            while len(self._days) > _DAYS_KEPT:
                self._days.popitem(last=False)
        return made


@functools.cache
def _minute_means(hourly_w: tuple[int, ...]) -> tuple[int, ...]:
    """Watts of each minute on straight lines between the hours; kept for each shape there is."""
    means = []
    for minute in range(_MINUTES):
        hour, past = divmod(minute, 60)
        here, then = hourly_w[hour], hourly_w[(hour + 1) % 24]
        means.append(here + (then - here) * past // 60)
    return tuple(means)


def _minute_watts(shape: LoadShape, chance: random.Random) -> tuple[int, ...]:
    """One day's watts, minute by minute: the shape bent by half-hours, plus the fridge."""
    spread = shape.spread_permille
    factors = [NORMAL_PERMILLE + chance.randint(-spread, spread) for _ in range(_HALF_HOURS)]
    means = _minute_means(shape.hourly_w)
    watts = []
    for half_hour, factor in enumerate(factors):
        part = means[30 * half_hour : 30 * half_hour + 30]
        watts += [mean * factor // NORMAL_PERMILLE for mean in part]
    if shape.fridge_w:
        minute = -chance.randint(0, 40)
        while minute < _MINUTES:  # the compressor runs a third of the time
            runs, rests = chance.randint(11, 17), chance.randint(22, 34)
            for running in range(max(minute, 0), min(minute + runs, _MINUTES)):
                watts[running] += shape.fridge_w
            minute += runs + rests
    return tuple(watts)


class Load:
    """A home's curve with a multiplier, e.g. to empty a purse sooner; 1000 permille is as drawn."""

    def __init__(self, curve: LoadCurve, multiplier_permille: int = NORMAL_PERMILLE) -> None:
        self.curve = curve
        self.multiplier_permille = multiplier_permille

    @property
    def multiplier_permille(self) -> int:
        """Scales power from now on; 0 switches everything off."""
        return self._multiplier_permille

    @multiplier_permille.setter
    def multiplier_permille(self, permille: int) -> None:
        if permille < 0:
            raise ValueError("a load multiplier cannot be negative")
        self._multiplier_permille = permille

    def power_w(self, at_ms: int) -> int:
        """Watts at `at_ms`, rounded down."""
        return self.curve.power_w(at_ms) * self._multiplier_permille // NORMAL_PERMILLE

    def energy_uj(self, from_ms: int, to_ms: int) -> int:
        """Microjoules used in a span at the present multiplier."""
        return self.curve.energy_mj(from_ms, to_ms) * self._multiplier_permille
