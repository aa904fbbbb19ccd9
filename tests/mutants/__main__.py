"""`python -m tests.mutants`: plant every bug, run its tests, print and write down who noticed.

Writes CAUGHT.md beside this file when all were tried. Exits 1 when a bug was not noticed: there a
test is missing.
"""

import argparse
import queue
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.report import table
from tests.mutants.run import MUTANTS, Verdict, copy_of_the_tree, try_one
from tests.mutants.seeds import seeds_until_noticed

CAUGHT = Path(__file__).with_name("CAUGHT.md")


@dataclass(frozen=True, slots=True)
class Wish:
    """How to go about it: none is begun after `until_s`, and `seeds` lives simulated with each."""

    jobs: int
    seeds: int
    until_s: float


def all_of(chosen: Sequence[Mutant], wish: Wish) -> list[Verdict]:
    """The bugs, `jobs` at a time, each in a copy of the tree that is its own meanwhile."""
    verdicts = []
    with ExitStack() as stack, ThreadPoolExecutor(wish.jobs) as pool:
        roots: queue.Queue[Path] = queue.Queue()
        for _ in range(wish.jobs):
            roots.put(stack.enter_context(copy_of_the_tree()))

        def one(mutant: Mutant) -> Verdict | None:
            if time.monotonic() > wish.until_s:
                return None
            root = roots.get()
            try:
                return seeds_until_noticed(try_one(mutant, root), root, wish.seeds)
            finally:
                roots.put(root)

        for verdict in pool.map(one, chosen):
            if verdict is None:
                continue
            caught = ", ".join(verdict.caught_by) or f"SURVIVED\n{verdict.told}"
            told = f"  [simulation: seed {verdict.seeds}]" if verdict.seeds else ""
            print(f"{verdict.mutant.name}: {caught}{told}", flush=True)
            verdicts.append(verdict)
    return verdicts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="bugs whose name holds this text")
    parser.add_argument("--seeds", type=int, default=0, help="lives to simulate with each bug")
    parser.add_argument("--budget-s", type=float, help="some of the bugs, by chance, in this time")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not given.only or given.only in mutant.name]
    budget_s = float("inf") if given.budget_s is None else given.budget_s
    if given.budget_s is not None:
        chosen = random.SystemRandom().sample(chosen, len(chosen))
    verdicts = all_of(chosen, Wish(given.jobs, given.seeds, time.monotonic() + budget_s))
    caught = sum(bool(verdict.caught_by) for verdict in verdicts)
    if len(verdicts) == len(MUTANTS) and given.budget_s is None:
        CAUGHT.write_text(table(verdicts, given.seeds), encoding="utf-8")
    print(
        f"bugs caught={caught}/{len(verdicts)} survived={len(verdicts) - caught} "
        f"known={len(MUTANTS)}"
    )
    sys.exit(0 if caught == len(verdicts) else 1)


if __name__ == "__main__":
    main()
