"""Runs a script with the recorder between SQLite and the disk, and reads what it wrote down.

The script tells by marks what it has been promised: `begin n` before its n-th transaction, `done n`
with a fingerprint of the whole database right after the commit returned, `quiet` while there is
nothing to examine yet.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.disk import Image, Step, read_journal

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("recorder.c")


@dataclass(frozen=True, slots=True)
class Recording:
    """The steps of one run, marks among them."""

    name: str
    scenario: str
    steps: list[Step]
    final: Image  # the files as the run left them

    def marks(self) -> list[dict[str, Any]]:
        """What the script said, in order."""
        return [json.loads(step.data) for step in self.steps if step.op == "M"]


def compiler() -> str | None:
    """The C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """Compile the recorder."""
    library = folder / "recorder.so"
    cc = compiler()
    if cc is None:
        raise RuntimeError("no C compiler: apt install gcc")
    subprocess.run(
        [cc, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True
    )
    return library


def record(library: Path, folder: Path, scenario: str, seed: int, **more: str) -> Recording:
    """Run a scenario of `tests.crash.workload` in a process of its own, recorded."""
    shutil.rmtree(folder, ignore_errors=True)
    data, journal = folder / "data", folder / "journal"
    data.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.workload", scenario, str(seed), str(data)],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "CRASH_DIR": str(data),
            "CRASH_JOURNAL": str(journal),
            "PYTHONPATH": str(ROOT),
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the scenario {scenario} failed:\n{done.stderr}")
    steps = read_journal(journal)
    final = {
        path.name: path.read_bytes()
        for path in sorted(data.glob("*.db*"))
        if not path.name.endswith("-shm")
    }
    shutil.rmtree(folder)
    return Recording(f"{scenario} {seed}", scenario, steps, final)
