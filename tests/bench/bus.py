"""How much of the wire's time becomes readings: the real bus on a paced pseudo-terminal."""

import asyncio
import tempfile
from pathlib import Path

from hardware.api import LineSettings, MeterSpec, PollOutcome
from hardware.meters.model import ModelLibrary
from hardware.registry import open_bus
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import EventKind, Street, StreetEvent
from tests.bench.figures import Figure

SILENCE_CHARACTERS = 3.5
MODEL = "sdm120"


async def _readings_per_s(
    meters: int, dead: int, seconds: float, baud: int = 9600
) -> tuple[float, float]:
    """Good readings a second, and the share of time that frames and their silences must take.

    The line itself counts the frames; after each, request or reply, 3.5 characters must be silent.
    """
    library = ModelLibrary()
    street = Street(1, meters, [RegisterImage(library.get(MODEL))])
    names = list(street.homes)
    street.add_events(StreetEvent(0, names[-1 - n], EventKind.METER_DIES) for n in range(dead))
    good = 0

    def count(outcome: PollOutcome) -> None:
        nonlocal good
        good += outcome.reading is not None

    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "rs485"
        with SimLine(link, street.slaves(), LineSettings(baud)) as line:
            bus = open_bus("b", str(link), LineSettings(baud), library, poll_interval_s=0.0)
            for address, name in enumerate(names, start=1):
                bus.attach(MeterSpec(name, "b", address, MODEL))
            bus.subscribe(count)
            street.advance(1)
            task = asyncio.ensure_future(bus.run())
            await asyncio.sleep(8.0 if dead else 2.0)  # until a dead meter is known to be one
            before, needed_before = good, _needed_s(line)
            started = asyncio.get_running_loop().time()
            await asyncio.sleep(seconds)
            elapsed = asyncio.get_running_loop().time() - started
            rate = (good - before) / elapsed
            busy = (_needed_s(line) - needed_before) / elapsed
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if line.counters.silence_violations:
                raise AssertionError(f"{line.counters.silence_violations} frames without silence")
    return rate, busy


def _needed_s(line: SimLine) -> float:
    """Wire time of all frames so far and of the silences they need."""
    frames = line.counters.requests + line.counters.replies
    return line.counters.busy_s + frames * SILENCE_CHARACTERS * line.settings.character_s


async def measure(seconds: float) -> list[Figure]:
    """Bus use for 8 and 32 meters, and what one dead meter of 8 costs."""
    figures = []
    healthy = 0.0
    for meters in (8, 32):
        rate, busy = await _readings_per_s(meters, 0, seconds)
        figures.append(Figure(f"readings, {meters} meters, 9600 baud", rate, "/s"))
        figures.append(Figure(f"wire time / cycle time, {meters} meters", busy, "", "0.95", "1.00"))
        if meters == 8:
            healthy = rate
    rate, _ = await _readings_per_s(8, 1, seconds)
    figures.append(
        Figure("readings kept with one dead meter of 8", rate / healthy, "", "0.95", "1.00")
    )
    return figures
