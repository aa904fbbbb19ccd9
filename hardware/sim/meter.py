"""One simulated meter: it counts what its load draws, shows it in its model's registers, and fails.

Rules of this file: no clock; time is what `advance` is told, in whole ms of street time. Energy is
counted in microjoules without rounding and shown in the steps of the real meter's register; the
total only grows, whatever the faults make the meter answer. The supply contact is downstream of
the meter: while it is open the load is 0 and the voltage stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware.api import Quantity
from hardware.sim.image import RegisterImage
from hardware.sim.load import UJ_PER_MWH, Load
from hardware.sim.relay import SimContact
from hardware.sim.slave import ReplyFault

MWH_PER_WH = 1000

NOMINAL_MV = 236_000  # a light evening on a 230 V feeder
SAG_MV_PER_KW = 1_500  # what the service wire drops per kilowatt
POWER_FACTOR_PERMILLE = 950
FREQUENCY_MHZ = 49_980
FREQUENCY_SWING_MHZ = 60


@dataclass(slots=True)
class MeterFaults:
    """What is wrong with a meter now; all off at first. Counts are spent one reply at a time."""

    dead: bool = False
    stuck: bool = False  # answers with the registers of the moment it got stuck
    garble_replies: int = 0
    late_replies: int = 0
    late_by_s: float = 1.0  # how late a late reply starts
    turnaround_s: float = 0.0  # of every reply; a slow meter
    zero_until_ms: int = 0  # street time: it reboots, and its registers read 0


class SimMeter:
    """A meter of a shipped or a user's model at one address of a line."""

    def __init__(
        self,
        name: str,
        address: int,
        image: RegisterImage,
        load: Load,
        contact: SimContact | None = None,
        *,
        serial: str,
        register_wh: int = 0,
        start_ms: int = 0,
    ) -> None:
        self.name = name
        self.address = address
        self.image = image
        self.load = load
        self.contact = contact or SimContact()
        self.serial = serial
        self.faults = MeterFaults()
        self._total_uj = register_wh * MWH_PER_WH * UJ_PER_MWH
        self._used_uj = 0
        self._now_ms = start_ms
        self._stuck_values: Mapping[Quantity, int] | None = None

    @property
    def model(self) -> str:
        """The model file's name."""
        return self.image.model

    @property
    def connected(self) -> bool:
        """Whether the home has supply."""
        return self.contact.closed

    # --- truth ------------------------------------------------------------------------------------

    def advance(self, to_ms: int) -> None:
        """Count the load up to street time `to_ms`, at the contact's present position."""
        if to_ms < self._now_ms:
            raise ValueError(f"meter {self.name}: street time ran backwards")
        if self.connected:
            used_uj = self.load.energy_uj(self._now_ms, to_ms)
            self._used_uj += used_uj
            self._total_uj += used_uj
        self._now_ms = to_ms

    @property
    def used_mwh(self) -> int:
        """Energy the home has drawn since the start, whatever the register was made to show."""
        return self._used_uj // UJ_PER_MWH

    @property
    def energy_mwh(self) -> int:
        """The cumulative register, unrounded."""
        return self._total_uj // UJ_PER_MWH

    @property
    def register_wh(self) -> int:
        """The cumulative register as the meter shows it: whole steps of its model."""
        step_wh = self.image.step_wh
        return self.energy_mwh // MWH_PER_WH // step_wh * step_wh

    @property
    def power_w(self) -> int:
        """What the home draws now."""
        return self.load.power_w(self._now_ms) if self.connected else 0

    def values(self) -> dict[Quantity, int]:
        """Everything the meter measures now, in each quantity's unit."""
        power_w = self.power_w
        voltage_mv = NOMINAL_MV - SAG_MV_PER_KW * power_w // 1000
        volt_amperes = power_w * 1000 // POWER_FACTOR_PERMILLE
        minute = self._now_ms // 60_000
        swing_mhz = minute * 37 % FREQUENCY_SWING_MHZ - FREQUENCY_SWING_MHZ // 2
        return {
            Quantity.ENERGY_IMPORT: self.register_wh,
            Quantity.ENERGY_EXPORT: 0,
            Quantity.ACTIVE_POWER: power_w,
            Quantity.VOLTAGE: voltage_mv,
            Quantity.CURRENT: volt_amperes * 1_000_000 // voltage_mv,
            Quantity.POWER_FACTOR: POWER_FACTOR_PERMILLE if power_w else 1000,
            Quantity.FREQUENCY: FREQUENCY_MHZ + swing_mhz,
        }

    # --- what the line sees -----------------------------------------------------------------------

    def registers(self, function: int, address: int, count: int) -> Sequence[int] | None:
        """The words at `address`, or None where the model has no registers."""
        if self._now_ms < self.faults.zero_until_ms:
            return self.image.read(function, address, count, {}, "0")
        if not self.faults.stuck:
            self._stuck_values = None
        elif self._stuck_values is None:
            self._stuck_values = self.values()
        values = self._stuck_values or self.values()
        return self.image.read(function, address, count, values, self.serial)

    def reply_fault(self) -> ReplyFault:
        """How the next reply leaves the meter; spends one garbled or late reply."""
        faults = self.faults
        after_s = faults.turnaround_s
        if faults.dead:
            return ReplyFault(missing=True)
        garbled = faults.garble_replies > 0
        faults.garble_replies -= garbled
        if faults.late_replies > 0:
            faults.late_replies -= 1
            after_s = faults.late_by_s
        return ReplyFault(after_s=after_s, garbled=garbled)

    # --- faults that need more than a field -------------------------------------------------------

    def get_stuck(self) -> None:
        """Freeze the registers as they are now; `faults.stuck = False` frees them."""
        self.faults.stuck = True
        self._stuck_values = self.values()

    def reboot(self, for_s: float) -> None:
        """Answer 0 in every register for `for_s` of street time, then the right values again."""
        self.faults.zero_until_ms = self._now_ms + round(for_s * 1000)

    def jump(self, by_wh: int) -> None:
        """Move the register, as a failing meter does; not below 0."""
        self._total_uj = max(0, self._total_uj + by_wh * MWH_PER_WH * UJ_PER_MWH)

    def swap(self, serial: str, register_wh: int = 0) -> None:
        """Put another meter of the same model in its place, with its own serial and register."""
        self.serial = serial
        self._total_uj = register_wh * MWH_PER_WH * UJ_PER_MWH
        self.faults = MeterFaults()
