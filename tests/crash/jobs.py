"""One recording and its cuts as a job for another process."""

import logging
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.crash.campaign import Result, run, scratch
from tests.crash.recording import record


@dataclass(frozen=True, slots=True)
class Job:
    """One recording and its cuts. `torn` images after each step, `share` of all examined."""

    scenario: str
    seed: int
    torn: int
    share: float
    until_s: float
    most: int
    library: Path


def work(job: Job) -> tuple[Job, Result]:
    """Record and cut, in a process of its own."""
    logging.disable(logging.CRITICAL)
    if time.monotonic() > job.until_s:
        return job, Result()
    with tempfile.TemporaryDirectory(prefix="record-", dir=scratch()) as name:
        recording = record(job.library, Path(name) / "run", job.scenario, job.seed)
    chance = random.Random(job.seed)
    return job, run(
        recording,
        chance,
        torn=job.torn,
        share=job.share,
        until_s=job.until_s,
        most=job.most,
    )
