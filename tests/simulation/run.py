"""One scenario from its first boot to its last check."""

import asyncio
import contextlib
import gc
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation import clock
from tests.simulation.audit import Auditor
from tests.simulation.play import Play
from tests.simulation.scenario import DAY_S, Scenario
from tests.simulation.trace import Trace
from tests.simulation.world import World

# A hanging relay is told again once an hour at most; then everything must have come to rest.
QUIET_DOWN_S = 4000.0
# Both sides connect anew (20 s at most), one batch may have to be sent again (30 s); then a minute.
SETTLE_S = 110.0


@dataclass(slots=True)
class Result:
    """What came of one scenario."""

    seed: int
    days: float
    meters: int
    digest: str
    faults: Counter[str]
    lives: int
    checks: int
    steps: int
    violations: list[tuple[float, str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # the newest that matter, if something broke


def run(scenario: Scenario, *, echo: bool = False) -> Result:
    """Play a scenario in a folder of its own."""
    shm = Path("/dev/shm")
    base = str(shm) if shm.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sim-", dir=base) as name, _quiet_burial():
        return _played(scenario, Path(name), Trace(echo=echo))


def _played(scenario: Scenario, folder: Path, trace: Trace) -> Result:
    logging.disable(logging.CRITICAL)  # what it would tell an operator is not read here
    warnings.simplefilter("ignore", RuntimeWarning)  # coroutines of killed lives are never awaited
    loop = clock.VirtualLoop()
    auditor: list[Auditor] = []
    failures = []
    try:
        clock.run(_main(scenario, folder, trace, auditor), loop)
    except (clock.Stuck, clock.Spinning) as error:
        failures = [(loop.time(), "time_moves_on", str(error))]
    audit = auditor[0]
    result = Result(
        scenario.seed,
        audit.world.elapsed_s / DAY_S,
        len(scenario.consumers),
        trace.digest,
        trace.faults,
        audit.world.lives,
        audit.checks,
        loop.steps,
        audit.violations + failures,
    )
    if result.violations:
        subject = result.violations[0][2].split(":")[0]
        words = (subject, "KILL", "BOOT", "IMAGE", "VIOLATION", "END", "FAULT")
        result.lines = trace.about(words)
    return result


@contextlib.contextmanager
def _quiet_burial():
    """Killed gateways are thrown away at the end; what their ruins say then is of no interest."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = before


async def _main(scenario: Scenario, folder: Path, trace: Trace, found: list[Auditor]) -> None:
    world = World(scenario, folder, trace)
    play = Play(world)
    audit = Auditor(world, play)
    found.append(audit)
    world.found()
    world.boot()
    tasks = [
        asyncio.ensure_future(each)
        for each in (
            world.collector.run(),
            world.keep_pace(),
            play.keep_alive(),
            audit.run(),
        )
    ]
    acts = [asyncio.ensure_future(play.faults())]
    acts += [asyncio.ensure_future(play.consumer(house)) for house in world.houses]
    try:
        await _until(lambda: world.elapsed_s >= scenario.days * DAY_S or bool(audit.violations))
        if not audit.violations:
            await _epilogue(world, play, audit, acts)
    finally:
        for task in (*acts, *tasks):
            task.cancel()
        await asyncio.wait([*acts, *tasks])
        for task in (*acts, *tasks):
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]
        await world.stop()
        world.copy.close()


async def _until(condition: Callable[[], bool], limit_s: float = 1e12) -> bool:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + limit_s
    while not condition():
        if loop.time() >= until_s:
            return False
        await asyncio.sleep(60.0 if limit_s > QUIET_DOWN_S else 10.0)
    return True


async def _epilogue(
    world: World, play: Play, audit: Auditor, acts: list["asyncio.Task[None]"]
) -> None:
    """The faults end, everything comes to rest, and the last questions are asked."""
    for task in acts:
        task.cancel()
    await asyncio.wait(acts)
    await play.end_of_faults()
    await _until(lambda: bool(audit.violations), QUIET_DOWN_S)
    world.be_busy(int(1800.0 / world.scenario.busy_poll_s))
    for house in world.houses:
        house.meter.catch_up()
        house.load.multiplier_permille = 0
    await asyncio.sleep(600.0)
    if world.app is None:
        audit.at_end()
        return
    for house in world.houses:
        await world.app.books.post(house.name)
    world.broker.go_down()
    world.broker.come_up()
    await _until(lambda: not any(True for check in _open(audit)), SETTLE_S)
    audit.at_end()


def _open(audit: Auditor):
    from tests.simulation import invariants  # noqa: PLC0415

    for check in (invariants.the_outbox_is_empty, invariants.every_recharge_has_arrived):
        yield from check(audit)
