"""The ports between the gateway and the world: what a meter, a bus and a supply switch are.

Rules of this file: the standard library only, no asyncio, no device. Every value a port carries is
an integer in the unit that its name or its `Quantity` gives. Times are seconds of the monotonic
clock (`asyncio` loop time), never of the wall clock.

Errors form a tree under `HardwareError`; each carries a `hint`, the next thing a lineman can try.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

# --- readings -------------------------------------------------------------------------------------


class Quantity(enum.Enum):
    """What a register measures; the value is its name in files and in JSON."""

    ENERGY_IMPORT = "energy_import_wh"
    ENERGY_EXPORT = "energy_export_wh"
    ACTIVE_POWER = "active_power_w"
    VOLTAGE = "voltage_mv"
    CURRENT = "current_ma"
    POWER_FACTOR = "power_factor_permille"
    FREQUENCY = "frequency_mhz"

    @property
    def unit(self) -> str:
        """The unit of an integer value of this quantity."""
        return _UNITS[self]


_UNITS: Mapping[Quantity, str] = {
    Quantity.ENERGY_IMPORT: "Wh",
    Quantity.ENERGY_EXPORT: "Wh",
    Quantity.ACTIVE_POWER: "W",
    Quantity.VOLTAGE: "mV",
    Quantity.CURRENT: "mA",
    Quantity.POWER_FACTOR: "permille",
    Quantity.FREQUENCY: "mHz",
}


class Quality(enum.Enum):
    """How far a value may be trusted. Only GOOD values may move money or a relay."""

    GOOD = "good"
    IMPLAUSIBLE = "implausible"  # outside the range its meter model gives, or not a number
    STALE = "stale"  # older than its reader allows


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one quantity, an integer in `quantity.unit`, read at a monotonic time."""

    quantity: Quantity
    value: int
    read_at_s: float
    quality: Quality = Quality.GOOD

    @property
    def unit(self) -> str:
        """The unit of `value`."""
        return self.quantity.unit

    def aged(self, now_s: float, max_age_s: float) -> "Reading":
        """This reading as seen at `now_s`: STALE when it is older than `max_age_s`."""
        if now_s - self.read_at_s <= max_age_s:
            return self
        return Reading(self.quantity, self.value, self.read_at_s, Quality.STALE)


@dataclass(frozen=True, slots=True)
class MeterReading:
    """All values of one poll of one meter."""

    meter: str
    read_at_s: float
    values: Mapping[Quantity, Reading]

    def good(self, quantity: Quantity) -> int | None:
        """The value of `quantity` if it was read and is GOOD, else None."""
        reading = self.values.get(quantity)
        if reading is None or reading.quality is not Quality.GOOD:
            return None
        return reading.value


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """What a meter says of itself, besides its readings."""

    model: str
    serial: str | None  # None: the model has no serial-number register


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """What one attempt to read a meter gave: a reading or an error, never both."""

    meter: str
    at_s: float
    reading: MeterReading | None = None
    error: "HardwareError | None" = None


# --- buses ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How characters travel on a serial line."""

    baud: int = 9600
    parity: str = "N"  # N, E or O
    stop_bits: int = 1

    @property
    def character_s(self) -> float:
        """Wire time of one character: start bit, 8 data bits, parity if any, stop bits."""
        bits = 1 + 8 + (self.parity != "N") + self.stop_bits
        return bits / self.baud

    def __str__(self) -> str:
        return f"{self.baud} 8{self.parity}{self.stop_bits}"


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """Where a meter is and what it is: enough to build its driver."""

    name: str
    bus: str
    address: int
    model: str


class LinkState(enum.Enum):
    """How a meter has answered lately."""

    UNKNOWN = "unknown"  # not tried yet
    ANSWERING = "answering"
    SILENT = "silent"  # backed off: tried again at growing intervals


@dataclass(slots=True)
class MeterLink:
    """Counters of one meter on its bus, for `status` and `doctor`."""

    meter: str
    state: LinkState = LinkState.UNKNOWN
    reads: int = 0
    timeouts: int = 0
    garbled: int = 0
    refused: int = 0
    turnaround_s: float | None = None  # of the last good exchange: last byte out to first byte in
    last_good_at_s: float | None = None
    next_try_at_s: float | None = None
    last_error: str | None = None


@dataclass(slots=True)
class BusHealth:
    """State of one line and of each meter on it."""

    bus: str
    port: str
    settings: LineSettings
    open: bool
    last_error: str | None = None
    busy_share: float | None = None  # wire time / elapsed time, over the last minute
    meters: dict[str, MeterLink] = field(default_factory=dict)


class MeterBus(Protocol):
    """One line with one master and many meters.

    The bus owns the order of polls, the silences between frames and the back-off of dead meters.
    Nothing a meter does, or fails to do, raises out of `run`.
    """

    @property
    def name(self) -> str:
        """The bus's name in the configuration."""

    def attach(self, meter: MeterSpec) -> None:
        """Start polling `meter`. Raises `ModelUnknown` if no model file names its model."""

    def detach(self, name: str) -> None:
        """Stop polling the meter; unknown names are ignored."""

    def subscribe(self, sink: Callable[[PollOutcome], None]) -> None:
        """Hand every poll's outcome to `sink`, which must not block and must not raise."""

    async def run(self) -> None:
        """Poll until cancelled; reopens a lost port by its name."""

    async def read_now(self, name: str) -> MeterReading:
        """Read an attached meter ahead of the queue. Raises a `BusError` or `MeterError`."""

    async def probe(self, meter: MeterSpec) -> tuple[MeterIdentity, MeterReading]:
        """Read a meter that need not be attached, ahead of the queue. Raises as `read_now`."""

    def health(self) -> BusHealth:
        """Counters now; the object is the caller's to keep."""


# --- supply switches ------------------------------------------------------------------------------


class Contact(enum.Enum):
    """A supply contact: CLOSED carries load, OPEN does not."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"


class SupplySwitch(Protocol):
    """A relay or contactor in one consumer's supply."""

    @property
    def spec(self) -> str:
        """How this switch is written in commands and in the database, e.g. `gpio:17`."""

    @property
    def commanded(self) -> Contact:
        """What the switch was last told, or what its line showed when it was claimed."""

    async def connect(self) -> None:
        """Close the contact. Raises `SwitchError`. Returns when the command is given."""

    async def disconnect(self) -> None:
        """Open the contact. Raises `SwitchError`. Returns when the command is given."""

    def feedback(self) -> Contact:
        """What an auxiliary contact shows; UNKNOWN when none is wired."""

    def close(self) -> None:
        """Let go of the device without moving the contact where the hardware allows that."""


# --- errors ---------------------------------------------------------------------------------------


class HardwareError(Exception):
    """Root of everything a driver raises. `hint` says what to try next."""

    hint: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class BusError(HardwareError):
    """The line itself cannot be used."""


class PortUnavailable(BusError, OSError):
    """The serial port is missing, taken by another program, or was unplugged."""

    hint = "Check that the adapter is plugged in and that no other program has the port open."


class PortSettingRefused(BusError, ValueError):
    """The port does not take this baud rate, parity or stop bits."""

    hint = "Choose settings the adapter supports; 9600 8N1 works on all."


class MeterError(HardwareError):
    """One meter did not give a usable answer; the others are not concerned."""


class MeterSilent(MeterError, TimeoutError):
    """No complete reply came in time."""

    hint = "Check power, address, A/B wires, termination, baud rate and parity."


class MeterGarbled(MeterError):
    """Something came back, but no valid reply to this request."""

    hint = "Two meters may share this address, or the line is noisy: check termination and shield."


class MeterRefused(MeterError):
    """The meter answered that it will not serve this request (an exception response)."""

    hint = "The model file may not fit this meter: check the model name and register addresses."


class ModelError(HardwareError, ValueError):
    """A meter model file is wrong."""


class ModelUnknown(ModelError, LookupError):
    """No model file has this name."""

    hint = "List the names with: gateway meter models"


class SwitchError(HardwareError):
    """A supply switch cannot be used."""


class SwitchSpecError(SwitchError, ValueError):
    """A switch is written in a way that no driver understands."""

    hint = "Write gpio:17, gpio:17:active-low, gpio:17:feedback=27, latching:5,6 or none."


class SwitchUnavailable(SwitchError, OSError):
    """The pin or device is missing or in use."""

    hint = "Check the pin number, and that no other account or program uses it."
