"""A street of homes on a real serial bus, and a gateway on it, in one process.

The wire is a pseudo-terminal as slow as its baud rate; relays hang on gpiozero's mock pins, and
what a driver puts on a pin moves the contact in that home's supply. The gateway is configured by a
file, as anywhere. Used by the demo, the benchmarks and the tests.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.app import App, Parts
from gateway.core.moment import Moment, Trust
from gateway.core.tariff import Tariff
from gateway.documents.config import load_config
from hardware.api import Contact, HardwareError, LineSettings, MeterSpec, SupplySwitch
from hardware.relays.mock import watched_factory
from hardware.relays.opening import open_switch
from hardware.relays.spec import GpioSpec, LatchingSpec, parse_switch
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.relay import SimContact
from hardware.sim.street import Home, Street

ZONE = ZoneInfo("Asia/Kolkata")
BUS = "rs485-0"
MODELS = ("sdm120", "sdm230", "mfm383", "em6400")
# One home has a latching relay, the others a held one each; pins that are pulled down at boot.
SWITCHES = ("gpio:17", "gpio:27", "latching:23,24", "gpio:22:active-low", "gpio:25", "gpio:16")
FREE_PINS = (12, 13, 18, 19, 20, 21, 26, 9, 10, 11, 14, 15, 2, 3, 4, 5, 6, 7, 8)


class ScaledClock:
    """Wall time from `start`, `speed` times as fast as the event loop's."""

    def __init__(self, start: datetime, speed: float) -> None:
        self._start = start
        self._speed = speed
        self._from_s = asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        """Seconds of the street's time."""
        return (asyncio.get_running_loop().time() - self._from_s) * self._speed

    def now(self) -> Moment:
        """The street's wall time; it is proven, as if by NTP."""
        return Moment(self._start + timedelta(seconds=self.monotonic()), Trust.NTP)


@dataclass(frozen=True, slots=True)
class Household:
    """How one home begins."""

    opening_paise: int
    multiplier_permille: int = 1000


@dataclass(frozen=True, slots=True)
class TownPlan:
    """What to build."""

    folder: Path
    households: Sequence[Household]
    tariff: Tariff
    start: datetime  # local wall time at which the street wakes
    speed: float = 1.0
    seed: int = 1
    baud: int = 9600
    poll_interval_s: float = 0.2
    models: Sequence[str] = MODELS
    config: str = ""  # more lines for the configuration file: policy, keys, mqtt


class Town:
    """The street, its line and its gateway."""

    def __init__(self, plan: TownPlan) -> None:
        """Build the street; nothing runs yet. Needs a running event loop."""
        self.plan = plan
        self.link = plan.folder / BUS
        self.config_file = plan.folder / "gateway.toml"
        self._write_config()
        self.config = load_config(self.config_file)
        clock = ScaledClock(plan.start, plan.speed)
        self._contacts: dict[int, tuple[SimContact, bool, bool | None]] = {}
        self._factory = watched_factory(self._pin_moved)
        parts = Parts(clock=clock, open_switch=self._open_switch, notify=lambda _: None)
        self.app = App(self.config, parts)
        library = self.app.library
        local = plan.start.astimezone(ZONE)
        self.street = Street(
            plan.seed,
            len(plan.households),
            [RegisterImage(library.get(name)) for name in plan.models],
            start_minute=local.hour * 60 + local.minute,
        )
        self.line = SimLine(self.link, self.street.slaves(), LineSettings(plan.baud))
        self._run: asyncio.Task[None] | None = None

    @property
    def homes(self) -> Mapping[str, Home]:
        """The homes by account."""
        return self.street.homes

    async def start(self) -> None:
        """Plug in the line, start the gateway, commission every home as a lineman would."""
        self.line.open()
        self.street.follow(time.monotonic, self.plan.speed)
        self._run = asyncio.create_task(self.app.run(), name="gateway")
        switches = self._switches()
        for number, (home, household) in enumerate(
            zip(self.homes.values(), self.plan.households, strict=True)
        ):
            self.street.sync()
            home.load.multiplier_permille = household.multiplier_permille
            switch = switches[number] if number < len(switches) else "none"
            self._wire(home, switch)
            meter = f"M{number + 1}"
            model = self.plan.models[number % len(self.plan.models)]
            await self._add_meter(MeterSpec(meter, BUS, number + 1, model))
            await self.app.commissioning.open_account(
                home.name, meter, switch, self.plan.tariff, household.opening_paise
            )

    async def stop(self) -> None:
        """Stop the gateway and unplug the line. Raises what ended the gateway before."""
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._run
        self.line.close()

    async def _add_meter(self, spec: MeterSpec) -> None:
        try:
            await self.app.commissioning.add_meter(spec)
        except HardwareError:  # the port may not be open yet
            await asyncio.sleep(0.3)
            await self.app.commissioning.add_meter(spec)

    def _switches(self) -> list[str]:
        return [*SWITCHES, *(f"gpio:{pin}" for pin in FREE_PINS)]

    def _wire(self, home: Home, switch: str) -> None:
        """Connect the pins of a switch to the contact of a home."""
        spec = parse_switch(switch)
        if isinstance(spec, GpioSpec):
            self._contacts[spec.pin] = (home.contact, not spec.active_low, None)
        elif isinstance(spec, LatchingSpec):
            self._contacts[spec.connect_pin] = (home.contact, True, True)
            self._contacts[spec.disconnect_pin] = (home.contact, True, False)

    def _pin_moved(self, pin: int, level: bool) -> None:
        """A relay follows its pin; a coil of a latching relay moves it only while energised."""
        if pin not in self._contacts:
            return
        contact, active_level, coil_closes = self._contacts[pin]
        active = level == active_level
        if coil_closes is None:
            contact.command(active)
        elif active:
            contact.command(coil_closes)

    def _open_switch(self, spec: str, assumed: Contact) -> SupplySwitch:
        return open_switch(spec, factory=self._factory, assumed=assumed)

    def _write_config(self) -> None:
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(
            f"[gateway]\nid = 'DEMO-1'\ndata_dir = 'data'\n"
            f"{self.plan.config}\n"
            f"[bus.{BUS}]\nport = '{self.link}'\nbaud = {self.plan.baud}\n"
            f"poll_interval_s = {self.plan.poll_interval_s}\n",
            encoding="utf-8",
        )
