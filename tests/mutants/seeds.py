"""How many simulated lives of a gateway it takes until the simulation notices a planted bug."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.mutants.run import Verdict

DAYS = 5.0  # of each life
ONE_LIFE_S = 120.0  # a bug that makes a life endless is noticed as well
_VIOLATION = re.compile(r"^seed (\d+) at [\d.]+ d: (\w+)", re.MULTILINE)


def seeds_until_noticed(verdict: Verdict, root: Path, seeds: int) -> Verdict:
    """Plant the bug again and simulate lives 1, 2, 3 ... until one of them breaks a rule."""
    if not verdict.mutant.simulated or not seeds:
        return verdict
    before = verdict.mutant.plant(root)
    try:
        for seed in range(1, seeds + 1):
            rule = _broken_rule(root, seed)
            if rule:
                caught = (*verdict.caught_by, f"simulation: {rule}")
                return replace(verdict, seeds=seed, caught_by=caught)
    finally:
        (root / verdict.mutant.file).write_text(before, encoding="utf-8")
    return verdict


def _broken_rule(root: Path, seed: int) -> str:
    """The invariant that this life breaks, or how else it ended; empty when all went well."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--days", str(DAYS)]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ONE_LIFE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "a life without end"
    found = _VIOLATION.search(done.stdout)
    if found:
        return found[2]
    return "the gateway ended" if done.returncode else ""
