"""The RS-485 bus: polls its meters in turn, answers urgent questions first, outlives its port.

Rules of this file: one task (`run`) drives the line; everybody else leaves wishes. Nothing that a
meter or an adapter does raises out of `run`. What a poll gave is handed to the sinks while the next
request is already on its way, so that their work costs the line nothing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

from hardware.api import (
    BusError,
    BusHealth,
    LineSettings,
    MeterError,
    MeterGarbled,
    MeterIdentity,
    MeterLink,
    MeterReading,
    MeterRefused,
    MeterSilent,
    MeterSpec,
    PollOutcome,
)
from hardware.buses.line import Line
from hardware.buses.port import Opener
from hardware.buses.rotation import MeterDriver, Rotation, Slot
from hardware.buses.share import BusyShare
from hardware.protocols.modbus import ReadRegisters, Refused, Registers

# Urgent reads waiting at once. A gateway has at most one per account in flight; more than all the
# addresses of a line are a fault of the caller.
MAX_URGENT = 256
# An urgent read is worth two more tries: somebody is waiting for its answer. Between them the unit
# rests, because its late reply may come, and the others are polled.
URGENT_TRIES = 3
# After a port is lost or cannot be opened. Opening costs little, and a plugged-in adapter should be
# found at once.
REOPEN_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)

# Sums of times differ in their last bits: without a least wait a step could come a hair too early
# and find nothing to do, over and over.
WAKE_GRAIN_S = 1e-4

OpenLine = Callable[[LineSettings], Awaitable[Line]]


@dataclass(slots=True, eq=False)
class _Urgent:
    """A read that somebody waits for."""

    driver: MeterDriver
    slot: Slot | None  # None: the meter is not attached
    identify: bool
    answer: "asyncio.Future[tuple[MeterIdentity | None, MeterReading]]"
    tries: int = URGENT_TRIES
    ready_at_s: float = 0.0


class Rs485Bus:
    """One serial line with one master and many meters; a `hardware.api.MeterBus`."""

    def __init__(
        self,
        name: str,
        port: str,
        settings: LineSettings,
        *,
        opener: Opener,
        driver_for: Callable[[MeterSpec], MeterDriver],
        poll_interval_s: float = 1.0,
    ) -> None:
        """A bus that is not running yet.

        `opener` opens `port`; `driver_for` makes a meter's driver or raises `ModelUnknown`;
        `poll_interval_s` is the least time between two polls of one meter, 0 for as fast as the
        line allows.
        """
        self._name = name
        self._port = port
        self._settings = settings
        self._opener = opener
        self._driver_for = driver_for
        self._rotation = Rotation(poll_interval_s)
        self._urgent: deque[_Urgent] = deque()
        self._sinks: list[Callable[[PollOutcome], None]] = []
        self._outcomes: list[PollOutcome] = []  # not handed on yet; at most one poll's
        self._wake = asyncio.Event()
        self._exclusive = asyncio.Lock()  # who holds it has the line to himself
        self._is_borrowed = False
        self._line: Line | None = None
        self._running = False
        self._open_failures = 0
        self._last_error: str | None = None
        self._share = BusyShare()

    # --- what everybody may ask -------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The bus's name in the configuration."""
        return self._name

    @property
    def settings(self) -> LineSettings:
        """How characters travel on this line."""
        return self._settings

    def attach(self, meter: MeterSpec) -> None:
        """Start polling `meter`. Raises `ModelUnknown` or `ModelError`."""
        self._rotation.attach(self._driver_for(meter))
        self._wake.set()

    def detach(self, name: str) -> None:
        """Stop polling the meter; unknown names are ignored."""
        self._rotation.detach(name)

    def subscribe(self, sink: Callable[[PollOutcome], None]) -> None:
        """Hand every poll's outcome to `sink`, which must not block and must not raise."""
        self._sinks.append(sink)

    async def read_now(self, name: str) -> MeterReading:
        """Read an attached meter ahead of the queue. Raises a `BusError` or `MeterError`."""
        slot = self._rotation.get(name)
        if slot is None:
            raise BusError(
                f"meter {name} is not on bus {self._name}",
                hint="Add it first: gateway meter add",
            )
        _, reading = await self._ask(slot.driver, slot, identify=False)
        return reading

    async def probe(self, meter: MeterSpec) -> tuple[MeterIdentity, MeterReading]:
        """Read a meter that need not be attached, ahead of the queue. Raises as `read_now`."""
        identity, reading = await self._ask(self._driver_for(meter), None, identify=True)
        return identity or MeterIdentity(meter.model, None), reading

    def health(self) -> BusHealth:
        """Counters now; the object is the caller's to keep."""
        return BusHealth(
            bus=self._name,
            port=self._port,
            settings=self._settings,
            open=self._line is not None,
            last_error=self._last_error,
            busy_share=self._share.at(self._now_s()) if self._running else None,
            meters=self._rotation.links(),
        )

    @contextlib.asynccontextmanager
    async def borrowed(self) -> AsyncIterator[OpenLine]:
        """The port to oneself, for a scan: gives a function that opens it with any settings.

        Each opening closes the one before. Polling pauses meanwhile and goes on afterwards;
        urgent reads wait. Works whether or not the bus is running.
        """
        async with self._exclusive:
            self._is_borrowed = True
            self._hand_on()
            await self._close_line()
            try:
                yield self._open
            finally:
                await self._close_line()
                self._is_borrowed = False
                self._wake.set()

    # --- the task that drives the line ------------------------------------------------------------

    async def run(self) -> None:
        """Poll until cancelled; reopens a lost port by its name."""
        if self._running:
            raise BusError(f"bus {self._name} is running already")
        self._running = True
        self._share.start(self._now_s())
        try:
            while True:
                self._wake.clear()
                async with self._exclusive:
                    rest_s = await self._step()
                if rest_s != 0:
                    self._hand_on()
                    await self._rest(rest_s)
        finally:
            self._running = False
            self._refuse_urgent(BusError(f"bus {self._name} has stopped"))
            if not self._is_borrowed:
                await self._close_line()

    async def _step(self) -> float | None:
        """Do the next thing; gives how long to rest after it (None: until woken)."""
        try:
            if self._line is None:
                await self._open(self._settings)
            now_s = self._now_s()
            for urgent in self._urgent:
                if urgent.ready_at_s <= now_s:
                    self._urgent.remove(urgent)
                    await self._answer(urgent)
                    return 0
            slot = self._rotation.next(now_s)
            if slot is not None:
                await self._poll(slot)
                return 0
            times_s = [urgent.ready_at_s for urgent in self._urgent]
            wake_at_s = self._rotation.wake_at_s(now_s)
            if wake_at_s is not None:
                times_s.append(wake_at_s)
            return max(min(times_s) - now_s, WAKE_GRAIN_S) if times_s else None
        except BusError as error:
            return await self._port_lost(error)

    async def _rest(self, rest_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._wake.wait()

    async def _open(self, settings: LineSettings) -> Line:
        await self._close_line()
        stream = await self._opener(settings)
        self._line = Line(stream, settings, on_sent=self._hand_on)
        self._open_failures = 0
        self._last_error = None
        return self._line

    async def _close_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def _port_lost(self, error: BusError) -> float:
        """Tell whoever waits; gives how long to wait before opening the port again."""
        was_open = self._line is not None
        await self._close_line()
        if was_open or self._last_error is None:
            now_s = self._now_s()
            self._outcomes += [
                PollOutcome(name, now_s, error=error) for name in self._rotation.names()
            ]
        self._last_error = str(error)
        self._refuse_urgent(error)
        delay_s = REOPEN_DELAYS_S[min(self._open_failures, len(REOPEN_DELAYS_S) - 1)]
        self._open_failures += 1
        return delay_s

    # --- reading ----------------------------------------------------------------------------------

    async def _poll(self, slot: Slot) -> None:
        with contextlib.suppress(MeterError):  # it is in the outcome and the counters
            await self._read(slot.driver, slot)

    async def _answer(self, urgent: _Urgent) -> None:
        if urgent.answer.done():
            return  # whoever asked has gone
        try:
            reading = await self._read(urgent.driver, urgent.slot)
            identity = None
            if urgent.identify:
                exchange = partial(self._exchange, urgent.driver, None)
                identity = await urgent.driver.identify(exchange)
        except (MeterError, BusError) as error:
            self._hand_on()
            if isinstance(error, MeterSilent | MeterGarbled) and urgent.tries > 1:
                urgent.tries -= 1
                urgent.ready_at_s = self._free_at_s(urgent.driver)
                self._urgent.append(urgent)
                return
            _set_error(urgent, error)
            if isinstance(error, BusError):
                raise
        except asyncio.CancelledError:
            _set_error(urgent, BusError(f"bus {self._name} has stopped"))
            raise
        else:
            self._hand_on()
            if not urgent.answer.done():
                urgent.answer.set_result((identity, reading))

    async def _read(self, driver: MeterDriver, slot: Slot | None) -> MeterReading:
        """One reading, with counters, turns and outcome kept if the meter is attached."""
        started_s = self._now_s()
        link = slot.link if slot else None
        try:
            reading = await driver.read(partial(self._exchange, driver, link))
        except MeterError as error:
            if self._is_attached(slot):
                self._note_failure(slot, started_s, error)
            raise
        if slot is not None:
            if not self._is_attached(slot):
                # The name may belong to another meter by now: its register is not this one.
                raise MeterError(f"meter {driver.spec.name} was taken off the bus meanwhile")
            now_s = self._now_s()
            self._rotation.succeeded(slot, started_s, now_s)
            self._rotation.not_before(slot, self._free_at_s(driver))
            self._outcomes.append(PollOutcome(driver.spec.name, now_s, reading=reading))
        return reading

    def _is_attached(self, slot: Slot | None) -> TypeGuard[Slot]:
        return slot is not None and self._rotation.get(slot.driver.spec.name) is slot

    def _note_failure(self, slot: Slot, started_s: float, error: MeterError) -> None:
        if isinstance(error, MeterRefused):
            slot.link.refused += 1
        now_s = self._now_s()
        self._rotation.failed(slot, started_s, now_s, str(error))
        self._rotation.not_before(slot, self._free_at_s(slot.driver))
        self._outcomes.append(PollOutcome(slot.driver.spec.name, now_s, error=error))

    async def _exchange(
        self, driver: MeterDriver, link: MeterLink | None, request: ReadRegisters
    ) -> Registers | Refused:
        """One request and its reply on the open line."""
        line = self._open_or_raise()
        before_s = line.wire_s
        try:
            reply = await line.exchange(request, timeout_s=driver.timeout_s, gap_s=driver.gap_s)
        except (MeterSilent, MeterGarbled) as error:
            _count_fault(link, error)
            raise
        self._share.add(self._now_s(), line.wire_s - before_s)
        if link is not None:
            link.turnaround_s = line.turnaround_s
        if isinstance(reply, Registers | Refused):
            return reply
        raise MeterGarbled("a read was answered as if it were a write")

    def _free_at_s(self, driver: MeterDriver) -> float:
        """When the meter may be asked again without holding up the line."""
        return self._line.free_at_s(driver.spec.address) if self._line is not None else 0.0

    def _open_or_raise(self) -> Line:
        if self._line is None:
            raise BusError(f"bus {self._name} is not open")
        return self._line

    # --- wishes and outcomes ----------------------------------------------------------------------

    async def _ask(
        self, driver: MeterDriver, slot: Slot | None, *, identify: bool
    ) -> tuple[MeterIdentity | None, MeterReading]:
        if not self._running:
            raise BusError(f"bus {self._name} is not running", hint="Start it: gateway run")
        if len(self._urgent) >= MAX_URGENT:
            raise BusError(f"bus {self._name} has {MAX_URGENT} urgent reads waiting already")
        urgent = _Urgent(driver, slot, identify, asyncio.get_running_loop().create_future())
        self._urgent.append(urgent)
        self._wake.set()
        return await urgent.answer

    def _refuse_urgent(self, error: BusError) -> None:
        while self._urgent:
            _set_error(self._urgent.popleft(), error)

    def _hand_on(self) -> None:
        """Give the sinks what has come since the last time."""
        outcomes, self._outcomes = self._outcomes, []
        for outcome in outcomes:
            for sink in self._sinks:
                sink(outcome)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _set_error(urgent: _Urgent, error: MeterError | BusError) -> None:
    if not urgent.answer.done():
        urgent.answer.set_exception(error)


def _count_fault(link: MeterLink | None, error: MeterSilent | MeterGarbled) -> None:
    if link is None:
        return
    if isinstance(error, MeterSilent):
        link.timeouts += 1
    else:
        link.garbled += 1
