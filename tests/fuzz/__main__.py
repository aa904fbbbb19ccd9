"""`python -m tests.fuzz --budget-s S`: every target for its share of the time; counts cases.

With atheris installed the search is guided by coverage, in a process for each target; without it,
inputs are changed by chance. A case that fails is printed and kept in a file, to be seen again with
`python -m tests.fuzz --target NAME --replay FILE`. Exits 1 when one failed.
"""

import argparse
import importlib.util
import logging
import re
import secrets
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.run import TARGETS, chance_run, target_of
from tests.fuzz.target import Target

GUIDED = importlib.util.find_spec("atheris") is not None
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One target's run: how many cases, and what was wrong with the last, if anything."""

    target: str
    cases: int
    fault: str = ""


def by_chance(target: Target, budget_s: float, seed: int) -> Outcome:
    """Inputs changed by chance, in this process."""
    cases, fault, data = chance_run(target, seed, budget_s=budget_s)
    return Outcome(target.name, cases, f"{fault}\n{data!r}" if fault else "")


def guided(target: Target, budget_s: float, seed: int) -> Outcome:
    """Inputs chosen by the lines they reach, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as name:
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, name]
        done = subprocess.run(
            [*command, str(int(budget_s)), str(seed)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        found = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
        cases = int(found[-1]) if found else 0
        fault = "" if done.returncode == 0 else _fault(target, done.stdout or done.stderr, name)
    return Outcome(target.name, cases, fault)


def _fault(target: Target, told: str, folder: str) -> str:
    """What libFuzzer said, and where the failing input now is."""
    for path in sorted(Path(folder).glob("failed-*")):
        kept = Path(tempfile.gettempdir()) / f"{target.name.replace(' ', '-')}-{path.name}"
        kept.write_bytes(path.read_bytes())
        again = f"python -m tests.fuzz --target {target.name!r} --replay {kept}"
        return f"{told[-3000:]}\n{path.read_bytes()[:2000]!r}\nsee it again: {again}"
    return told[-3000:]


def replay(target: Target, path: Path) -> None:
    """Run one kept case; raises what is wrong."""
    target.make()(path.read_bytes())


def campaign(chosen: Sequence[Target], budget_s: float, jobs: int, seed: int) -> list[Outcome]:
    """Every target for an equal share of the time."""
    print(f"seed {seed}, {'guided by coverage' if GUIDED else 'by chance'}", flush=True)
    share_s = budget_s * jobs / len(chosen)
    one = guided if GUIDED else by_chance
    outcomes = []
    with ThreadPoolExecutor(jobs if GUIDED else 1) as pool:
        for outcome in pool.map(lambda target: one(target, share_s, seed), chosen):
            print(f"{outcome.target}: {outcome.cases} cases {outcome.fault}", flush=True)
            outcomes.append(outcome)
    return outcomes


def main() -> None:
    """The command line."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--budget-s", type=float, default=300.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--target", choices=[target.name for target in TARGETS])
    parser.add_argument("--replay", type=Path, metavar="FILE")
    given = parser.parse_args()
    chosen = [target_of(given.target)] if given.target else list(TARGETS)
    if given.replay:
        try:
            replay(chosen[0], given.replay)
        except Exception:  # noqa: BLE001 - whatever it is, it is to be seen
            traceback.print_exc()
            sys.exit(1)
        return
    seed = given.seed if given.seed is not None else secrets.randbelow(2**31)
    outcomes = campaign(chosen, given.budget_s, given.jobs, seed)
    failed = sum(bool(outcome.fault) for outcome in outcomes)
    cases = sum(outcome.cases for outcome in outcomes)
    print(f"fuzz cases={cases} targets={len(outcomes)} violations={failed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
