"""The homes of a simulated street: load, meter, contact; each brought up to now when it is asked.

A `hardware.sim.street.Street` moves all its homes for each reply; over years of polls that is most
of the work. Here each meter is moved only when somebody looks at it. Load is drawn by the hour,
from a random source of its own, so that no fault shifts what a home consumes.
"""

import random
from collections.abc import Callable

from hardware.api import Quantity
from hardware.sim.image import RegisterImage
from hardware.sim.load import NORMAL_PERMILLE, Load, LoadCurve
from hardware.sim.meter import SimMeter
from hardware.sim.relay import SimContact

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Mean watts by the hour of a middling home: some 8 units a day.
_SHAPE = (180, 170, 160, 160, 180, 330, 560, 500, 320, 240, 230, 250,
          300, 320, 300, 270, 280, 340, 480, 560, 540, 440, 330, 220)  # fmt: skip


class HourlyCurve(LoadCurve):
    """Watts constant within an hour; a day's draw is 24 numbers."""

    def __init__(self, seed: str, scale_permille: int) -> None:
        self._seed = seed
        self._scale_permille = scale_permille
        self._known: tuple[int, tuple[int, ...], int] = (-1, (), 0)

    def power_w(self, at_ms: int) -> int:
        """Watts drawn at `at_ms`."""
        day, within = divmod(at_ms, DAY_MS)
        return self._watts(day)[0][within // HOUR_MS]

    def energy_mj(self, from_ms: int, to_ms: int) -> int:
        """Millijoules used between two times; exact, and additive over any cut of the span."""
        total = 0
        while from_ms < to_ms:
            day, within = divmod(from_ms, DAY_MS)
            watts, whole_mj = self._watts(day)
            if within == 0 and to_ms - from_ms >= DAY_MS:
                total += whole_mj
                from_ms += DAY_MS
                continue
            hour = within // HOUR_MS
            end_ms = min(to_ms, day * DAY_MS + (hour + 1) * HOUR_MS)
            total += watts[hour] * (end_ms - from_ms)
            from_ms = end_ms
        return total

    def _watts(self, day: int) -> tuple[tuple[int, ...], int]:
        if self._known[0] != day:
            chance = random.Random(f"{self._seed}/{day}")
            watts = tuple(
                mean * self._scale_permille * chance.randrange(500, 1500) // 1_000_000
                for mean in _SHAPE
            )
            self._known = (day, watts, sum(watts) * HOUR_MS)
        return self._known[1], self._known[2]


class LazyMeter(SimMeter):
    """A simulated meter that moves itself up to now before it answers."""

    now_ms: Callable[[], int]
    answered_ms = 0
    spike_wh = 0  # added to what the register shows, until
    spike_until_ms = 0

    def catch_up(self) -> None:
        """Count the load up to now."""
        now_ms = self.now_ms()
        if now_ms > self._now_ms:
            self.advance(now_ms)

    def registers(self, function: int, address: int, count: int):
        """As the meter's, at this moment."""
        self.catch_up()
        self.answered_ms = self._now_ms
        return super().registers(function, address, count)

    def shown(self) -> dict[Quantity, int]:
        """Register and power as a reading would give them, without a wire."""
        self.catch_up()
        self.answered_ms = self._now_ms
        if self._now_ms < self.faults.zero_until_ms:
            return {Quantity.ENERGY_IMPORT: 0, Quantity.ACTIVE_POWER: 0}
        if self.faults.stuck and self._stuck_values is not None:
            register_wh = self._stuck_values[Quantity.ENERGY_IMPORT]
            power_w = self._stuck_values[Quantity.ACTIVE_POWER]
        else:
            register_wh, power_w = self.register_wh, self.power_w
            if self._now_ms < self.spike_until_ms:
                register_wh += self.spike_wh
        return {Quantity.ENERGY_IMPORT: register_wh, Quantity.ACTIVE_POWER: power_w}

    def values(self):
        """As the meter's, with a spike while there is one."""
        values = super().values()
        if self._now_ms < self.spike_until_ms:
            values[Quantity.ENERGY_IMPORT] += self.spike_wh
        return values


class House:
    """One door."""

    def __init__(
        self,
        number: int,
        seed: str,
        image: RegisterImage,
        now_ms: Callable[[], int],
        scale_permille: int,
    ) -> None:
        chance = random.Random(f"{seed}/house/{number}")
        self.number = number
        self.name = f"A-{100 + number}"
        self.meter_name = f"M{number}"
        self.contact = SimContact()
        self.load = Load(HourlyCurve(f"{seed}/load/{number}", scale_permille), NORMAL_PERMILLE)
        self.meter = LazyMeter(
            self.meter_name,
            number,
            image,
            self.load,
            self.contact,
            serial=str(chance.randrange(10_000_000, 100_000_000)),
            register_wh=chance.randrange(50_000, 9_000_000) // 10 * 10,
            start_ms=now_ms(),
        )
        self.meter.now_ms = now_ms
        self.contact.before_move = self.meter.catch_up
        self.opening_wh = self.meter.register_wh
        # What the auditor must know of a home: which of its promises cannot be kept, and why.
        self.register_untrue = False  # swapped, or moved by hand: what it shows is not what flowed
        self.busy_until_s = 0.0  # until when its meter is asked often
        self.relay_broken = False
        self.relay_repaired_at_s = 0.0
        self.meter_ill_until_s = 0.0
        self.spike_allowed_wh = 0  # what the product's limits let a false register pass for a while
