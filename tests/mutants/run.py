"""Runs planted bugs in a copy of the tree: the bug goes in, its tests run, the bug comes out."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import keeping, money, switching
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]
MUTANTS: tuple[Mutant, ...] = (*keeping.MUTANTS, *money.MUTANTS, *switching.MUTANTS)
# What the tests need; not .git, not a virtual environment.
COPIED = ("gateway", "hardware", "tests", "deploy", "pyproject.toml", "README.md")
LONGEST_S = 300
_FAILED = re.compile(r"^FAILED \S+?([^/\s]+\.py::\w+)", re.MULTILINE)
_ERROR = re.compile(r"^ERROR ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said of a bug. `caught_by` names those that noticed it; none: it survived."""

    mutant: Mutant
    caught_by: tuple[str, ...]
    told: str = ""  # the end of what pytest printed, for one that survived or would not run
    seeds: int | None = None  # scenarios until the simulation noticed it; None: it did not


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A copy that bugs may be planted in."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        root = Path(name)
        for each in COPIED:
            source = ROOT / each
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
                shutil.copytree(source, root / each, ignore=ignored)
            else:
                shutil.copy2(source, root / each)
        yield root


def try_one(mutant: Mutant, root: Path) -> Verdict:
    """Plant one bug in the copy at `root`, run its tests, take it out again."""
    before = mutant.plant(root)
    try:
        caught: list[str] = []
        told = ""
        for test in mutant.tests:
            status, told = _pytest(root, shlex.split(test))
            if status not in (0, 1) or _ERROR.search(told):
                return Verdict(mutant, (), f"the tests would not run:\n{told}")
            caught += dict.fromkeys(_FAILED.findall(told))
        return Verdict(mutant, tuple(caught), told)
    finally:
        (root / mutant.file).write_text(before, encoding="utf-8")


def _pytest(root: Path, arguments: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "--maxfail=3", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--no-header", "--tb=no", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=LONGEST_S,
        check=False,
    )
    return done.returncode, done.stdout[-3000:]
