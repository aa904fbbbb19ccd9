"""Many scenarios on a few processes, and the shrinking of one that fails.

Rules of this file: a scenario is a seed and nothing else; how many run at a time changes no result.
"""

import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace

from tests.simulation.run import Result, run
from tests.simulation.scenario import Kind, Scenario, make

# Processes are renewed after so many runs, so that no leak of one adds up.
RUNS_OF_A_PROCESS = 40
METER_YEARS = 32 * 365.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What to play: the scenario of a seed, for some days."""

    seed: int
    days: float
    meters: int | None = None
    quiet_poll_s: float | None = None
    without: tuple[str, ...] = ()
    calm: float = 1.0

    def scenario(self) -> Scenario:
        """As data."""
        made = make(
            self.seed,
            self.days,
            meters=self.meters,
            quiet_poll_s=self.quiet_poll_s,
            calm=self.calm,
        )
        return made.without(Kind(name) for name in self.without)

    def command(self) -> str:
        """How to see it again."""
        more = f" --meters {self.meters}" if self.meters else ""
        more += f" --quiet-poll-s {self.quiet_poll_s:g}" if self.quiet_poll_s else ""
        more += f" --calm {self.calm:g}" if self.calm != 1 else ""
        more += f" --without {','.join(self.without)}" if self.without else ""
        return f"python -m tests.simulation --seed {self.seed} --days {self.days:g}{more} --verbose"


@dataclass(slots=True)
class Total:
    """Sums over all scenarios played."""

    scenarios: int = 0
    days: float = 0.0
    meter_days: float = 0.0
    lives: int = 0
    checks: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[Wish, Result]] = field(default_factory=list)
    broken: list[tuple[Wish, str]] = field(default_factory=list)  # the simulation itself failed

    def add(self, wish: Wish, result: Result) -> None:
        """One more."""
        self.scenarios += 1
        self.days += result.days
        self.meter_days += result.days * result.meters
        self.lives += result.lives
        self.checks += result.checks
        self.faults.update(result.faults)
        if result.violations:
            self.failed.append((wish, result))


def play(wish: Wish, *, echo: bool = False) -> Result:
    """Play one wish in this process."""
    return run(wish.scenario(), echo=echo)


def play_all(
    wishes: Iterable[Wish], jobs: int, budget_s: float
) -> Iterator[tuple[Wish, Result | str]]:
    """Play wishes on `jobs` processes until they or the time are used up, as they end."""
    until_s = time.monotonic() + budget_s
    left = iter(wishes)
    while time.monotonic() < until_s:
        batch = list(itertools.islice(left, RUNS_OF_A_PROCESS * jobs))
        if not batch:
            return
        yield from _play_batch(batch, jobs, until_s)


def _play_batch(
    batch: list[Wish], jobs: int, until_s: float
) -> Iterator[tuple[Wish, Result | str]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool:
        under_way: dict[Future[Result], Wish] = {}
        for wish in batch:
            if time.monotonic() >= until_s:
                break
            under_way[pool.submit(play, wish)] = wish
            if len(under_way) > jobs:
                yield from _ended(under_way)
        while under_way:
            yield from _ended(under_way)


def _ended(under_way: dict[Future[Result], Wish]) -> Iterator[tuple[Wish, Result | str]]:
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        wish, error = under_way.pop(future), future.exception()
        yield wish, future.result() if error is None else f"{type(error).__name__}: {error}"


def shrink(wish: Wish, name: str, budget_s: float) -> Wish:
    """The same violation with as few kinds of faults as can be found in the time."""
    until_s = time.monotonic() + budget_s
    kept = list(wish.scenario().kinds)
    for kind in sorted(kept, key=lambda kind: kind.value):
        if time.monotonic() >= until_s:
            break
        fewer = replace(wish, without=(*wish.without, kind.value))
        if any(found == name for _, found, _ in play(fewer).violations):
            wish = fewer
    return wish
