"""A bus of readings without a wire: a `hardware.api.MeterBus` for long runs of many meters.

Its meters fail as those on the wire do, seen from where the gateway sees them: silent, garbled,
late, out of range. What happens to the bytes is played on the wired scenarios, which are slower.
"""

import asyncio
import random
from collections.abc import Callable

from hardware.api import (
    BusError,
    BusHealth,
    LineSettings,
    LinkState,
    MeterError,
    MeterGarbled,
    MeterIdentity,
    MeterLink,
    MeterReading,
    MeterSilent,
    MeterSpec,
    PollOutcome,
    Quality,
    Quantity,
    Reading,
)
from hardware.sim.memory import MemoryLine
from tests.simulation.edges import FrameFaults
from tests.simulation.homes import LazyMeter

# A meter that does not answer is asked less and less often, as on the wire.
SILENT_AFTER = 2
BACKOFF_S = (0.5, 2.0, 8.0, 30.0, 120.0, 300.0)


class PaperRotation:
    """What whoever changes a line's pace expects of a bus; here each meter has its own."""

    def __init__(self) -> None:
        self._interval_s = 0.0
        self._slots: dict[str, object] = {}


class PaperBus:
    """All meters of a line, each polled at its own pace."""

    def __init__(
        self,
        name: str,
        meters: dict[str, LazyMeter],
        line: MemoryLine,
        faults: Callable[[], FrameFaults],
        chance: random.Random,
        fault: Callable[[str], None],
        interval_s: Callable[[str], float],
    ) -> None:
        self.name = name
        self._meters = meters
        self._line = line
        self._faults = faults
        self._chance = chance
        self._fault = fault
        self._rotation = PaperRotation()
        self._interval_s = interval_s
        self._asked_at_s: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._attached: dict[str, MeterLink] = {}
        self._failures: dict[str, int] = {}
        self._sinks: list[Callable[[PollOutcome], None]] = []
        self._urgent: list[None] = []
        self._open = False
        self._error: str | None = None

    def attach(self, meter: MeterSpec) -> None:
        """Start polling `meter`."""
        self._attached[meter.name] = MeterLink(meter.name)

    def detach(self, name: str) -> None:
        """Stop polling the meter."""
        self._attached.pop(name, None)

    def subscribe(self, sink: Callable[[PollOutcome], None]) -> None:
        """Hand every poll's outcome to `sink`."""
        self._sinks.append(sink)

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now_s = loop.time()
            self._open = self._line.plugged
            self._error = None if self._open else "the simulated port is unplugged"
            due_s = now_s + (86400.0 if self._open else 5.0)
            for name, link in list(self._attached.items()):
                if not self._open:
                    self._tell(PollOutcome(name, now_s, error=BusError("unplugged")))
                    continue
                if self._due_s(name, link) <= now_s:
                    self._asked_at_s[name] = now_s
                    self._poll(name, link, now_s)
                due_s = min(due_s, self._due_s(name, link))
            try:
                async with asyncio.timeout_at(max(due_s, now_s + 0.5)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def read_now(self, name: str) -> MeterReading:
        """Read a meter ahead of the queue."""
        await asyncio.sleep(0.1)
        reading = self._read(name, asyncio.get_running_loop().time())
        self._tell(PollOutcome(name, reading.read_at_s, reading=reading))
        return reading

    async def probe(self, meter: MeterSpec) -> tuple[MeterIdentity, MeterReading]:
        """Read a meter that need not be attached."""
        return MeterIdentity(meter.model, None), await self.read_now(meter.name)

    def health(self) -> BusHealth:
        """Counters now."""
        health = BusHealth(self.name, "/dev/paper", LineSettings(), self._open, self._error)
        health.meters = dict(self._attached)
        return health

    def _due_s(self, name: str, link: MeterLink) -> float:
        """When a meter is to be asked: by its pace, or by its back-off while it is silent."""
        asked_s = self._asked_at_s.get(name, float("-inf"))
        return max(asked_s + self._interval_s(name), link.next_try_at_s or 0.0)

    def _poll(self, name: str, link: MeterLink, now_s: float) -> None:
        try:
            reading = self._read(name, now_s)
        except MeterError as error:
            failures = self._failures[name] = self._failures.get(name, 0) + 1
            link.timeouts += 1
            link.state = LinkState.SILENT if failures >= SILENT_AFTER else link.state
            link.next_try_at_s = now_s + BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
            self._tell(PollOutcome(name, now_s, error=error))
            return
        self._failures.pop(name, None)
        link.reads += 1
        link.state, link.last_good_at_s, link.next_try_at_s = LinkState.ANSWERING, now_s, None
        self._tell(PollOutcome(name, now_s, reading=reading))

    def _read(self, name: str, now_s: float) -> MeterReading:
        meter, faults = self._meters[name], self._faults()
        if meter.faults.dead:
            raise MeterSilent(f"no answer from {name}")
        noise = self._line.wire.noise
        if faults.any or noise.flip_ppm:
            self._suffer(name, faults, noise.flip_ppm + noise.drop_ppm)
        shown = meter.shown()
        values = {quantity: Reading(quantity, value, now_s) for quantity, value in shown.items()}
        if faults.any and self._chance.randrange(1000) < faults.garbled // 10:
            self._fault("value out of range")
            energy = Quantity.ENERGY_IMPORT
            values[energy] = Reading(energy, 0, now_s, Quality.IMPLAUSIBLE)
        return MeterReading(name, now_s, values)

    def _suffer(self, name: str, faults: FrameFaults, noise_ppm: int) -> None:
        chance = self._chance
        for kind, permille, error in (
            ("frame lost", faults.lost, MeterSilent),
            ("frame late", faults.late, MeterSilent),
            ("frame garbled", faults.garbled, MeterGarbled),
            ("frame truncated", faults.truncated, MeterGarbled),
            ("noise", 30 * noise_ppm // 1000, MeterGarbled),
        ):
            if permille and chance.randrange(1000) < permille:
                self._fault(kind)
                raise error(f"no valid answer from {name} (simulated)")

    def _tell(self, outcome: PollOutcome) -> None:
        for sink in self._sinks:
            sink(outcome)
