"""The search for meters on a line: every speed, parity and address that a plan names.

Rules of this file: reads only, and only on a line that nobody else uses (`Rs485Bus.borrowed`). Any
valid frame from an address counts as found, also a refusal. Which model a meter may be is asked of
candidates that are handed in; several may fit, and a person decides.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hardware.api import (
    LineSettings,
    MeterError,
    MeterGarbled,
    MeterSilent,
    PortSettingRefused,
)
from hardware.buses.exchange import Exchange
from hardware.buses.line import SILENCE_CHARACTERS, Line
from hardware.protocols.modbus import (
    MAX_UNIT,
    READ_INPUT_REGISTERS,
    ReadRegisters,
    Refused,
    Registers,
)

# The cheapest question that every Modbus meter answers, if only to say that it will not.
_ASK_BYTES, _ANSWER_BYTES = 8, 9
# A meter that has been found is asked for its model with more patience.
FIT_TIMEOUT_S = 0.5
# When a frame of the wrong unit comes, a slow meter before it may have sent it: ask both again.
PATIENT_FACTOR = 4

OpenLine = Callable[[LineSettings], Awaitable[Line]]


class Fit(Protocol):
    """A model that a meter may be, and what it showed when it was tried."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def word_order(self) -> str:
        """The word order in which its figures make sense."""

    @property
    def as_filed(self) -> bool:
        """Whether that is the order in the model's file."""

    @property
    def voltage_mv(self) -> int:
        """The voltage it showed."""

    @property
    def frequency_mhz(self) -> int:
        """The frequency it showed."""


class Candidate(Protocol):
    """A model to try on meters that are found."""

    async def fit(self, unit: int, exchange: Exchange) -> Fit | None:
        """Try the model on the meter at address `unit`."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What to try. The most usual settings first: a scan may be stopped when all are found."""

    bauds: tuple[int, ...] = (9600, 19200, 2400, 4800)
    parities: tuple[str, ...] = ("N", "E")
    addresses: tuple[int, ...] = tuple(range(1, MAX_UNIT + 1))
    stop_bits: int = 1
    timeout_s: float = 0.15

    def __post_init__(self) -> None:
        if not (self.bauds and self.parities and self.addresses):
            raise ValueError("a scan needs at least one baud rate, one parity and one address")
        for address in self.addresses:
            if not 1 <= address <= MAX_UNIT:
                raise ValueError(f"address {address} is not between 1 and {MAX_UNIT}")
        for parity in self.parities:
            if parity not in ("N", "E", "O"):
                raise ValueError(f"parity {parity!r} is not N, E or O")
        if min(self.bauds) <= 0 or self.timeout_s <= 0:
            raise ValueError("baud rates and the time-out must be above 0")

    @property
    def settings(self) -> list[LineSettings]:
        """The line settings to try, in order."""
        return [
            LineSettings(baud, parity, self.stop_bits)
            for parity in self.parities
            for baud in self.bauds
        ]

    @property
    def steps(self) -> int:
        """How many questions that is."""
        return len(self.settings) * len(self.addresses)

    @property
    def estimate_s(self) -> float:
        """How long it takes if nobody answers; a meter that does changes it little."""
        characters = _ASK_BYTES + _ANSWER_BYTES + SILENCE_CHARACTERS
        return sum(
            len(self.addresses) * (characters * settings.character_s + self.timeout_s)
            for settings in self.settings
        )


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """Where a scan is."""

    settings: LineSettings
    address: int
    done: int
    total: int
    found: int


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """An address that answered. `fits` may be empty, or hold several models with one map."""

    settings: LineSettings
    address: int
    fits: tuple[Fit, ...]


@dataclass(slots=True)
class ScanReport:
    """What a scan has found."""

    meters: list[FoundMeter] = field(default_factory=list)
    # Something came back, but nothing valid: two meters on one address, noise, or a wrong speed.
    garbled: list[tuple[LineSettings, int, str]] = field(default_factory=list)
    refused_settings: list[LineSettings] = field(default_factory=list)  # by our own adapter


async def scan(
    open_line: OpenLine,
    plan: ScanPlan,
    candidates: Sequence[Candidate] = (),
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> ScanReport:
    """Sweep `plan` over a line. Raises `PortUnavailable` when the port is missing or lost."""
    report = ScanReport()
    done = 0
    for settings in plan.settings:
        try:
            line = await open_line(settings)
        except PortSettingRefused:
            report.refused_settings.append(settings)
            done += len(plan.addresses)
            continue
        sweep = _Sweep(line, plan, candidates, report)
        for address in plan.addresses:
            await sweep.visit(address)
            done += 1
            if on_progress is not None:
                on_progress(ScanProgress(settings, address, done, plan.steps, len(report.meters)))
            await asyncio.sleep(0)
    return report


class _Sweep:
    """All addresses at one setting."""

    def __init__(
        self, line: Line, plan: ScanPlan, candidates: Sequence[Candidate], report: ScanReport
    ) -> None:
        self._line = line
        self._plan = plan
        self._candidates = candidates
        self._report = report
        self._known: set[int] = set()
        self._before: int | None = None

    async def visit(self, address: int) -> None:
        """Ask one address; also ask the one before again if its answer seems to come late."""
        before, self._before = self._before, address
        if address in self._known:
            return
        try:
            there = await self._answers(address, self._plan.timeout_s)
        except MeterGarbled:
            patience_s = self._plan.timeout_s * PATIENT_FACTOR
            if before is not None and before not in self._known:
                await self._note(before, patience_s)
            await self._note(address, patience_s)
            return
        if there:
            await self._found(address)

    async def _note(self, address: int, timeout_s: float) -> None:
        try:
            there = await self._answers(address, timeout_s)
        except MeterGarbled as error:
            self._report.garbled.append((self._line.settings, address, str(error)))
            return
        if there:
            await self._found(address)

    async def _answers(self, address: int, timeout_s: float) -> bool:
        request = ReadRegisters(address, READ_INPUT_REGISTERS, 0, 2)
        try:
            await self._line.exchange(request, timeout_s=timeout_s)
        except MeterSilent:
            return False
        return True

    async def _found(self, address: int) -> None:
        self._known.add(address)
        exchange = self._remembering_exchange()
        fits = [await candidate.fit(address, exchange) for candidate in self._candidates]
        good = sorted((fit for fit in fits if fit is not None), key=lambda fit: not fit.as_filed)
        self._report.meters.append(FoundMeter(self._line.settings, address, tuple(good)))

    def _remembering_exchange(self) -> Exchange:
        """An exchange that asks each question once: many models share their registers."""
        heard: dict[ReadRegisters, Registers | Refused | MeterError] = {}

        async def exchange(request: ReadRegisters) -> Registers | Refused:
            if request not in heard:
                heard[request] = await self._ask(request)
            answer = heard[request]
            if isinstance(answer, MeterError):
                raise answer
            return answer

        return exchange

    async def _ask(self, request: ReadRegisters) -> Registers | Refused | MeterError:
        try:
            reply = await self._line.exchange(request, timeout_s=FIT_TIMEOUT_S)
        except MeterError as error:
            return error
        if isinstance(reply, Registers | Refused):
            return reply
        return MeterGarbled(f"unit {request.unit} answered a read as if it were a write")
