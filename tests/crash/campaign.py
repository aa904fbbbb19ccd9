"""Cuts the power in a recording at every step, in many ways, and examines what is found."""

import asyncio
import hashlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.store.database import FILE_NAME
from tests.crash.disk import Disk, Image
from tests.crash.examine import Promises, examine, examine_headend, go_on, lay_out
from tests.crash.recording import Recording
from tests.crash.workload import HEADEND

GO_ON_EVERY = 60  # images after which the services are started on what was found
FAST_DISK = Path("/dev/shm")  # images live there when it exists: no real sync is waited for


@dataclass(slots=True)
class Result:
    """Counts of one campaign, and everything that was wrong."""

    images: int = 0  # distinct ones, each opened and examined
    repeated: int = 0  # the same content under the same promises as before: not opened again
    kinds: Counter = field(default_factory=Counter)
    steps: int = 0
    went_on: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        """Sum up two campaigns."""
        self.images += other.images
        self.repeated += other.repeated
        self.kinds += other.kinds
        self.steps += other.steps
        self.went_on += other.went_on
        self.violations += other.violations


def scratch() -> Path | None:
    """Where images live; None for the usual place."""
    return FAST_DISK if FAST_DISK.is_dir() else None


def cuts(recording: Recording, chance: random.Random, torn: int) -> Iterator[tuple]:
    """(step, kind of cut, image, promises) for a cut after each step. `torn` images of each."""
    disk, promises = Disk(), Promises.of(recording.marks())
    for number, step in enumerate(recording.steps):
        if step.op == "M":
            mark = json.loads(step.data)
            promises.hear(mark)
            continue
        disk.take(step)
        if promises.quiet:
            continue
        yield number, "kept", disk.kept, promises
        if disk.quiet:
            continue
        yield number, "dropped", disk.dropped, promises
        for _ in range(torn):
            yield number, "torn", lambda: disk.torn(chance), promises


def run(
    recording: Recording,
    chance: random.Random,
    *,
    torn: int,
    share: float = 1.0,
    until_s: float = float("inf"),
    most: int | None = None,
) -> Result:
    """Examine cuts of a recording; `share` of them, by chance, where all would take too long."""
    result, seen = Result(steps=len(recording.steps)), set()
    headend = recording.scenario == "headend"
    base, look = (HEADEND, examine_headend) if headend else (FILE_NAME, examine)
    with tempfile.TemporaryDirectory(prefix="crash-", dir=scratch()) as name:
        folder = Path(name)
        for number, kind, make, promises in cuts(recording, chance, torn):
            if time.monotonic() > until_s or (most is not None and result.images >= most):
                break
            if share < 1 and chance.random() >= share:
                continue
            image = make()
            content = _digest(image, promises)
            if content in seen:
                result.repeated += 1
                continue
            seen.add(content)
            lay_out(folder, image, base)
            faults = look(folder, promises)
            result.images += 1
            result.kinds[kind] += 1
            if base == FILE_NAME and not faults and result.images % GO_ON_EVERY == 0:
                lay_out(folder, image, base)
                faults = asyncio.run(go_on(folder))
                result.went_on += 1
            result.violations += [
                f"{recording.name}, cut after step {number}, {kind}: {fault}" for fault in faults
            ]
    return result


def _digest(image: Image, promises: Promises) -> bytes:
    digest = hashlib.blake2b(f"{promises.done} {promises.begun}".encode(), digest_size=16)
    for name, content in image.items():
        digest.update(f"{name} {len(content)}".encode())
        digest.update(content)
    return digest.digest()
