"""`python -m tests.crash --images N --budget-s S`: cut the power until one of them is reached.

Prints counts, then every violation with the recording, the step and the seed to see it again:
`python -m tests.crash --seed SEED --recordings 1 --scenario NAME`. Exits 1 on any violation.
"""

import argparse
import multiprocessing
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.crash.campaign import Result
from tests.crash.jobs import Job, work
from tests.crash.recording import build

MOST_OF_ONE = 3000  # images of one recording: more recordings find more than more cuts of one
# How often each scenario comes in a round, how many torn images a step, what share is examined.
ROUND = (("living", 6, 1.0), ("upgrade", 20, 1.0), ("living", 6, 1.0), ("as shipped", 1, 0.15),
         ("living", 6, 1.0), ("headend", 4, 1.0))  # fmt: skip


def jobs(given: argparse.Namespace, library: Path, seed: int) -> Iterator[Job]:
    """An endless row of jobs, each of another seed."""
    until_s = time.monotonic() + given.budget_s
    number = 0
    while given.recordings is None or number < given.recordings:
        scenario, torn, share = ROUND[number % len(ROUND)]
        if given.scenario is not None:
            scenario, torn, share = given.scenario, 4, 1.0
        yield Job(scenario, seed + number, torn, share, until_s, MOST_OF_ONE, library)
        number += 1


def campaign(given: argparse.Namespace) -> Result:
    """All of it, on as many processes as are asked for."""
    seed = given.seed if given.seed is not None else secrets.randbelow(10**9)
    print(f"seed {seed}", flush=True)
    total, started_s = Result(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recorder-") as name:
        library = build(Path(name))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.jobs, mp_context=context) as pool:
            under_way = []
            for job in jobs(given, library, seed):
                under_way.append(pool.submit(work, job))
                if len(under_way) < 2 * given.jobs:
                    continue
                _collect(total, *under_way.pop(0).result())
                if total.images >= given.images or time.monotonic() - started_s > given.budget_s:
                    break
            for each in under_way:
                if not each.cancel():
                    _collect(total, *each.result())
    return total


def _collect(total: Result, job: Job, result: Result) -> None:
    total.add(result)
    if result.images:
        print(
            f"{job.scenario} {job.seed}: {result.steps} steps, {result.images} images, "
            f"{len(result.violations)} violations",
            flush=True,
        )
    for violation in result.violations[:5]:
        print(f"  {violation}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--budget-s", type=float, default=600.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--recordings", type=int, help="stop after so many")
    parser.add_argument("--scenario", choices=sorted({name for name, _, _ in ROUND}))
    result = campaign(parser.parse_args())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.kinds.items()))
    print(
        f"crash images={result.images} ({kinds}; {result.repeated} more were the same again; "
        f"services started on {result.went_on}) violations={len(result.violations)}"
    )
    sys.exit(1 if result.violations else 0)


if __name__ == "__main__":
    main()
