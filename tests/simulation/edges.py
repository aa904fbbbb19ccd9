"""The edges of the gateway that fail: disk, wall clock, relays and the frames of meters.

Each draws from a random source of its own. What a fault needs to know of the world (who is killed)
is handed in.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from gateway.core.moment import Trust
from hardware.api import Contact, LineSettings, PortUnavailable
from hardware.buses.port import Opener, SerialStream
from hardware.sim.memory import MemoryLine
from hardware.sim.relay import SimContact, SimSwitch
from hardware.sim.slave import Slaves
from hardware.sim.wire import Answer

T = TypeVar("T")

# A card takes its time for one commit in so many; the rest are taken to be instant.
SLOW_COMMIT_EVERY = 20
SLOW_COMMIT_S = 2.0


class SimRunner:
    """The ledger's thread: work takes time now and then, and the process may die around it."""

    def __init__(
        self, chance: random.Random, die: Callable[[], None], committed: Callable[[], None]
    ) -> None:
        self._chance = chance
        self._die = die
        self._committed = committed
        self._lock = asyncio.Lock()  # one thread: work is done in the order it was asked for
        self.die_before = False
        self.die_after = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, with its pauses before and after it, to its end."""
        async with self._lock:
            slow = not self._chance.randrange(SLOW_COMMIT_EVERY)
            if slow:
                await asyncio.sleep(self._chance.uniform(0.01, SLOW_COMMIT_S))
            if self.die_before:
                await self._end()
            result = work()
            self._committed()
            if self.die_after:
                await self._end()
            if slow:
                await asyncio.sleep(self._chance.uniform(0.01, 0.2))
            return result

    async def _end(self) -> None:
        self._die()
        await asyncio.get_running_loop().create_future()  # no step of this life is taken again

    def close(self) -> None:
        """Nothing is queued."""


@dataclass
class SimTimeSource:
    """The system clock: true time plus an error, and how far it is believed."""

    start_utc: datetime
    elapsed_s: Callable[[], float]
    error: timedelta = timedelta()
    believed: Trust = Trust.NTP

    def true_utc(self) -> datetime:
        """What the time really is."""
        return self.start_utc + timedelta(seconds=self.elapsed_s())

    def utc(self) -> datetime:
        """The system clock."""
        return max(self.true_utc() + self.error, datetime(2000, 1, 1, tzinfo=UTC))

    def trust(self) -> Trust:
        """How far it may be believed now."""
        return self.believed


class WatchedSwitch(SimSwitch):
    """A switch that tells of each command before the contact moves."""

    def __init__(
        self,
        account: str,
        contact: SimContact,
        told: Callable[[str, Contact], None],
        *,
        with_feedback: bool,
        delay_s: float,
    ) -> None:
        super().__init__(account, contact, with_feedback=with_feedback, delay_s=delay_s)
        self._account = account
        self._told = told

    def _drive(self, to: Contact) -> None:
        if not self.broken:
            self._told(self._account, to)
        super()._drive(to)


@dataclass(slots=True)
class FrameFaults:
    """Chances per thousand of what may happen to one reply on the line."""

    lost: int = 0
    late: int = 0
    garbled: int = 0
    truncated: int = 0
    doubled: int = 0

    @property
    def any(self) -> bool:
        """Whether anything may happen at all."""
        return bool(self.lost or self.late or self.garbled or self.truncated or self.doubled)


class FaultySlaves(Slaves):
    """The meters of the line, whose replies suffer."""

    def __init__(self, units: list, seed: str, fault: Callable[[str], None]) -> None:
        super().__init__(units, seed=seed)
        self.faults = FrameFaults()
        self._by_address = {unit.address: unit for unit in units}
        self._chance = random.Random(f"{seed}/frames")
        self._fault = fault

    def _serve(self, request) -> list[Answer]:
        unit = self._by_address.get(request.unit)
        if unit is None:
            return []
        self.units = [unit]  # the others would only compare addresses
        answers = super()._serve(request)
        if not self.faults.any:
            return answers
        return [each for answer in answers for each in self._spoil(answer)]

    def _spoil(self, answer: Answer) -> list[Answer]:
        chance, faults = self._chance, self.faults
        if chance.randrange(1000) < faults.lost:
            self._fault("frame lost")
            return []
        if chance.randrange(1000) < faults.garbled:
            self._fault("frame garbled")
            data = bytearray(answer.data)
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            answer = Answer(bytes(data), answer.after_s)
        if chance.randrange(1000) < faults.truncated:
            self._fault("frame truncated")
            answer = Answer(answer.data[: chance.randrange(1, len(answer.data))], answer.after_s)
        if chance.randrange(1000) < faults.late:
            self._fault("frame late")
            answer = Answer(answer.data, chance.uniform(0.2, 1.2))
        if chance.randrange(1000) < faults.doubled:
            self._fault("frame doubled")
            return [answer, Answer(answer.data, answer.after_s + chance.uniform(0.0, 0.6))]
        return [answer]


def opener(line: MemoryLine) -> Opener:
    """An opener of `hardware.buses.port` for a line in memory."""

    async def open_line(settings: LineSettings) -> SerialStream:
        stream = SerialStream("/dev/sim")
        try:
            line.connect(stream, settings)
        except OSError as error:
            raise PortUnavailable(f"/dev/sim: {error.strerror}") from error
        await stream.opened()
        return stream

    return open_line


def pull_out(line: MemoryLine) -> None:
    """The master's process is gone: the line is free, and nobody says goodbye."""
    transport, line._transport = line._transport, None
    if transport is not None:
        transport._closing = True
