"""A scan for meters as plain data: what to try, how far it is, what it found.

The gateway runs it on its own line while polling pauses; the command itself runs it when no gateway
does. Rules of this file: it decides nothing that `hardware.buses.scan` decides.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.errors import Refused
from gateway.store.registry import MeterRow
from gateway.web.rpc import INVALID_PARAMS, RequestError
from hardware.api import LineSettings, MeterBus
from hardware.buses.rs485 import Rs485Bus
from hardware.buses.scan import FoundMeter, ScanPlan, ScanProgress, ScanReport, scan
from hardware.meters.fit import ModelCandidate
from hardware.meters.model import ModelLibrary

# A bar needs no more, and a slow terminal no flood.
PROGRESS_EVERY_S = 0.1

OnProgress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class ScanAsked:
    """Parameters of `meter.scan`; what is left out is tried as usual, see `ScanPlan`."""

    bus: str | None = None
    bauds: tuple[int, ...] | None = None
    parities: tuple[str, ...] | None = None
    addresses: tuple[int, ...] | None = None
    stop_bits: int | None = None
    timeout_ms: int | None = None
    models: bool = True

    def plan(self) -> ScanPlan:
        """The plan that this asks for. Raises `RequestError`."""
        asked: dict[str, Any] = {}
        for name in ("bauds", "parities", "addresses", "stop_bits"):
            if getattr(self, name) is not None:
                asked[name] = getattr(self, name)
        if self.timeout_ms is not None:
            asked["timeout_s"] = self.timeout_ms / 1000
        try:
            return ScanPlan(**asked)
        except ValueError as error:
            raise RequestError(INVALID_PARAMS, str(error)) from error


def choose_bus(buses: Mapping[str, MeterBus], name: str | None) -> Rs485Bus:
    """The line to scan: the one named, or the only one there is. Raises `Refused`."""
    if name is None and len(buses) > 1:
        raise Refused(
            f"there are {len(buses)} buses: {', '.join(buses)}", hint="Name one with --bus."
        )
    if not buses:
        raise Refused(
            "the configuration has no bus", hint="Add [bus.rs485-0] with a port to it, and restart."
        )
    bus = buses.get(name) if name is not None else next(iter(buses.values()))
    if bus is None:
        raise Refused(f"there is no bus {name}; known: {', '.join(buses)}")
    if not isinstance(bus, Rs485Bus):
        raise Refused(f"bus {bus.name} is not a serial line that can be scanned")
    return bus


async def run_scan(
    bus: Rs485Bus,
    asked: ScanAsked,
    library: ModelLibrary,
    meters: Sequence[MeterRow],
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Scan a line. Raises `RequestError`, or a `BusError` when the port is missing or lost."""
    plan = asked.plan()
    candidates = [ModelCandidate(model) for model in library.load_all()[0]] if asked.models else []
    loop = asyncio.get_running_loop()
    started_s = told_s = loop.time()
    on_progress(_progress(bus, plan, ScanProgress(plan.settings[0], 0, 0, plan.steps, 0)))

    def tell(progress: ScanProgress) -> None:
        nonlocal told_s
        if loop.time() - told_s >= PROGRESS_EVERY_S or progress.done == progress.total:
            told_s = loop.time()
            on_progress(_progress(bus, plan, progress))

    async with bus.borrowed() as open_line:
        report = await scan(open_line, plan, candidates, tell)
    return _report(bus, plan, report, meters) | {"took_s": round(loop.time() - started_s, 1)}


def _progress(bus: Rs485Bus, plan: ScanPlan, progress: ScanProgress) -> dict[str, Any]:
    return {
        "bus": bus.name,
        "settings": str(progress.settings),
        "address": progress.address,
        "done": progress.done,
        "total": progress.total,
        "found": progress.found,
        "estimate_s": round(plan.estimate_s, 1),
    }


def _report(
    bus: Rs485Bus, plan: ScanPlan, report: ScanReport, meters: Sequence[MeterRow]
) -> dict[str, Any]:
    known = {row.address: row for row in meters if row.bus == bus.name}
    return {
        "bus": bus.name,
        "bus_settings": _settings(bus.settings),
        "asked": plan.steps,
        "meters": [_found(meter, bus, known) for meter in report.meters],
        "garbled": [
            {**_settings(settings), "address": address, "detail": detail}
            for settings, address, detail in report.garbled
        ],
        "refused_settings": [str(settings) for settings in report.refused_settings],
    }


def _found(meter: FoundMeter, bus: Rs485Bus, known: Mapping[int, MeterRow]) -> dict[str, Any]:
    row = known.get(meter.address) if meter.settings == bus.settings else None
    return {
        **_settings(meter.settings),
        "address": meter.address,
        "meter": row.name if row else None,
        "model": row.model if row else None,
        "fits": [
            {
                "model": fit.model,
                "word_order": fit.word_order,
                "as_filed": fit.as_filed,
                "voltage_mv": fit.voltage_mv,
                "frequency_mhz": fit.frequency_mhz,
            }
            for fit in meter.fits
        ],
    }


def _settings(settings: LineSettings) -> dict[str, Any]:
    return {"baud": settings.baud, "parity": settings.parity, "stop_bits": settings.stop_bits}
