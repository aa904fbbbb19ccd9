"""Run every proof for its share of the time; exits 1 on any violation.

The simulation, the power cuts, the kills, the fuzzing and the planted bugs are programs of their
own (`python -m tests.simulation` and so on); this runs them one after another, shows what they say,
and adds up. Its last line is for machines.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# One kill takes this long, start and settling included.
SECONDS_PER_KILL = 1.5


@dataclass(frozen=True, slots=True)
class Proof:
    """One program: what it is given for `budget_s` seconds, and what its output is searched for."""

    name: str
    share: float
    command: Callable[[float], list[str]]
    figures: Mapping[str, str]  # name in the last line: pattern with one group, its last match
    violations: str = ""  # likewise; a program that ends with an error counts as one at least
    environment: Callable[[float], dict[str, str]] = lambda _: {}


def _python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]


def _kills(budget_s: float) -> str:
    return str(max(3, int(budget_s / SECONDS_PER_KILL)))


PROOFS = (
    Proof(
        "simulation",
        0.50,
        lambda s: _python("tests.simulation", "--budget-s", f"{s:.0f}", "--jobs", "2"),
        {
            "gateway_years": r"\(([\d.]+) gateway-years of 32 meters",
            "faults": r"(?m)^(\d+) faults",
        },
        r"(\d+) seeds with violations",
    ),
    Proof(
        "power cuts",
        0.15,
        lambda s: _python("tests.crash", "--budget-s", f"{s:.0f}", "--images", "10000000"),
        {"crash_images": r"crash images=(\d+)"},
        r"violations=(\d+)",
    ),
    Proof(
        "kills",
        0.10,
        lambda _: _python("pytest", "-q", "-p", "no:cacheprovider", "tests/gateway/test_kill.py"),
        {"kills": r"\[(\d+) kills"},
        environment=lambda s: {"GATEWAY_KILLS": _kills(s)},
    ),
    Proof(
        "fuzzing",
        0.10,
        lambda s: _python("tests.fuzz", "--budget-s", f"{s:.0f}"),
        {"fuzz": r"fuzz cases=(\d+)"},
        r"violations=(\d+)",
    ),
    Proof(
        "planted bugs",
        0.15,
        lambda s: _python("tests.mutants", "--budget-s", f"{s:.0f}"),
        {"bugs_caught": r"bugs caught=(\d+/\d+)"},
        r"survived=(\d+)",
    ),
)


def run(proof: Proof, budget_s: float) -> tuple[dict[str, str], int]:
    """Run one and show it; returns its figures, and how many violations it found."""
    share_s = proof.share * budget_s
    print(f"\n== {proof.name}, {share_s:.0f} s", flush=True)
    process = subprocess.Popen(
        proof.command(share_s),
        cwd=ROOT,
        env={**os.environ, **proof.environment(share_s)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    for line in process.stdout or ():
        print(f"  {line}", end="", flush=True)
        lines.append(line)
    failed = process.wait() != 0
    told = "".join(lines)
    figures = {name: _last(pattern, told) for name, pattern in proof.figures.items()}
    violations = int(_last(proof.violations, told)) if proof.violations else 0
    return figures, max(violations, int(failed))


def _last(pattern: str, told: str) -> str:
    found = re.findall(pattern, told)
    return found[-1] if found else "0"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make proof", description=__doc__)
    parser.add_argument("--budget-s", type=float, default=600.0)
    parser.add_argument("--only", choices=[proof.name for proof in PROOFS])
    given = parser.parse_args()
    figures: dict[str, str] = {}
    violations, started_s = 0, time.monotonic()
    for proof in PROOFS:
        if given.only in (None, proof.name):
            found, broken = run(proof, given.budget_s)
            figures |= found
            violations += broken
    print(f"\n{time.monotonic() - started_s:.0f} s in all")
    told = " ".join(f"{name}={value}" for name, value in figures.items())
    print(f"proof {told} violations={violations}", flush=True)
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
