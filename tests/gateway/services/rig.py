"""A gateway's services over a real ledger file, a hand on clock, meter and relay."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.core.moment import Moment, Trust
from gateway.core.policy import Policy
from gateway.core.recharge import Outcome
from gateway.core.tariff import FixedCharge, Slab, Tariff, TariffVersion
from gateway.documents.signed import SigningKey
from gateway.services.alarms import Alarms
from gateway.services.bookkeeping import Bookkeeper
from gateway.services.commissioning import Commissioning, SwitchGrammar
from gateway.services.enforcement import Enforcement
from gateway.services.recharging import Recharging
from gateway.store import ledger, outbox
from gateway.store.database import Database
from hardware.api import (
    BusHealth,
    Contact,
    LineSettings,
    MeterIdentity,
    MeterReading,
    MeterSilent,
    MeterSpec,
    PollOutcome,
    Quality,
    Quantity,
    Reading,
)
from hardware.sim.relay import SimContact, SimSwitch

ZONE = ZoneInfo("Asia/Kolkata")
RUPEE = 100


def tariff(rate: str = "5.00", name: str = "test", **more) -> Tariff:
    return Tariff(name, (TariffVersion(date(2026, 1, 1), (Slab(Decimal(rate)),), **more),))


FIXED = {"fixed": FixedCharge(Decimal("30.00"))}


@dataclass
class HandClock:
    """Wall time moves only by hand; monotonic time runs with it."""

    utc: datetime = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)  # 11:30 in India
    trust: Trust = Trust.NTP
    start_s: float = 1000.0
    passed_s: float = 0.0

    def monotonic(self) -> float:
        return self.start_s + self.passed_s

    def now(self) -> Moment:
        return Moment(self.utc, self.trust)

    def advance(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)
        self.passed_s += seconds


@dataclass
class HandBus:
    """A bus whose meters answer what the test says."""

    name: str = "rs485-0"
    registers: dict[str, int | None] = field(default_factory=dict)
    quality: Quality = Quality.GOOD
    power: dict[str, int] = field(default_factory=dict)
    attached: dict[str, MeterSpec] = field(default_factory=dict)
    sinks: list[Callable[[PollOutcome], None]] = field(default_factory=list)

    def attach(self, meter: MeterSpec) -> None:
        self.attached[meter.name] = meter

    def detach(self, name: str) -> None:
        self.attached.pop(name, None)

    def subscribe(self, sink) -> None:
        self.sinks.append(sink)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def reading(self, name: str, quality: Quality = Quality.GOOD) -> MeterReading:
        register_wh = self.registers.get(name)
        at_s = asyncio.get_running_loop().time()
        if register_wh is None:
            raise MeterSilent(f"{name} is silent")
        values = {
            Quantity.ENERGY_IMPORT: Reading(Quantity.ENERGY_IMPORT, register_wh, at_s, quality),
            Quantity.ACTIVE_POWER: Reading(
                Quantity.ACTIVE_POWER, self.power.get(name, 0), at_s, Quality.GOOD
            ),
        }
        return MeterReading(name, at_s, values)

    async def read_now(self, name: str) -> MeterReading:
        return self.reading(name, self.quality)

    async def probe(self, meter: MeterSpec):
        return MeterIdentity(meter.model, None), self.reading(meter.name)

    def poll(self, name: str, quality: Quality = Quality.GOOD) -> None:
        at_s = asyncio.get_running_loop().time()
        try:
            outcome = PollOutcome(name, at_s, reading=self.reading(name, quality))
        except MeterSilent as error:
            outcome = PollOutcome(name, at_s, error=error)
        for sink in self.sinks:
            sink(outcome)

    def health(self) -> BusHealth:
        return BusHealth(self.name, "hand", LineSettings(), open=True)


class Rig:
    """One gateway, restartable on the same data directory."""

    def __init__(self, data_dir: Path, policy: Policy | None = None, keys=None) -> None:
        self.data_dir = data_dir
        self.policy = policy or Policy()
        self.keys = keys or {}
        self.clock = HandClock()
        self.bus = HandBus()
        self.contacts: dict[str, SimContact] = {}
        self.tasks: list[asyncio.Task] = []
        self.start()

    def start(self) -> None:
        """Assemble everything anew on the database, as after a power cut."""
        self.db = Database(self.data_dir)
        self.alarms = Alarms()
        self.books = Bookkeeper(self.db, self.clock, ZONE, self.policy, self.alarms)
        self.enforcement = Enforcement(self.books, self._open_switch)
        grammar = SwitchGrammar(canonical=str, pins=lambda text: frozenset())
        self.bus.sinks.clear()
        self.commissioning = Commissioning(
            self.books, self.enforcement, {"rs485-0": self.bus}, grammar
        )
        self.recharging = Recharging(self.books, "GW-1", self.keys)
        self.commissioning.load()
        self.bus.subscribe(self.books.observe)

    def _open_switch(self, spec: str, assumed: Contact) -> SimSwitch:
        contact = self.contacts.setdefault(spec, SimContact(closed=False))
        return SimSwitch(spec.removeprefix("sim:"), contact, with_feedback=False)

    def run(self) -> None:
        """Start the loops, for tests of what they do by themselves."""
        self.tasks = [
            asyncio.ensure_future(self.books.run()),
            asyncio.ensure_future(self.enforcement.run()),
        ]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        self.enforcement.close()
        self.db.close()

    async def restart(self) -> None:
        """Lose all memory, keep the disk."""
        await self.stop()
        self.clock.start_s, self.clock.passed_s = 5.0, 0.0
        self.start()

    async def home(
        self,
        name="A-1",
        meter="M1",
        switch="sim:1",
        balance_paise=50 * RUPEE,
        plan=None,
        at_wh=1000,
    ):
        """A meter and an account on it."""
        self.bus.registers.setdefault(meter, at_wh)
        await self.commissioning.add_meter(
            MeterSpec(meter, "rs485-0", len(self.bus.attached) + 1, "sdm120")
        )
        return await self.commissioning.open_account(
            name, meter, switch, plan or tariff(), balance_paise
        )

    def use(self, wh: int, meter="M1", seconds: float = 600.0) -> None:
        """Energy flows for a while and the meter is polled."""
        self.clock.advance(seconds)
        self.bus.registers[meter] += wh
        self.bus.poll(meter)

    async def settle(self) -> None:
        """Do by hand once what the loops do: post what is due, move the relays."""
        self.books._days_closed_at_s = float("-inf")
        self.books._look_at_all()
        await self.books._work()
        await self.enforcement.cycle()

    def account(self, name="A-1"):
        return self.books.account(name)

    def entries(self, name="A-1"):
        return list(ledger.entries_of(self.db.reader, name))

    def events(self, kind: str | None = None):
        found = outbox.pending(self.db.reader, 0, 10_000)
        return [event for event in found if kind is None or event.type == kind]

    def closed(self, switch="sim:1") -> bool:
        return self.contacts[switch].closed


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition the loops bring about."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


KEY = SigningKey.generate()


def note(recharge_id="R-1", amount_paise=100 * RUPEE, account="A-1", gateway="GW-1", **more):
    body = {
        "v": 1,
        "gateway": gateway,
        "account": account,
        "recharge_id": recharge_id,
        "amount_paise": amount_paise,
        "currency": "INR",
        **more,
    }
    return KEY.sign(json.dumps(body).encode(), "office-1", "recharge+jws").encode()


__all__ = [
    "FIXED",
    "KEY",
    "RUPEE",
    "ZONE",
    "HandBus",
    "HandClock",
    "Outcome",
    "Rig",
    "note",
    "tariff",
    "until",
]
