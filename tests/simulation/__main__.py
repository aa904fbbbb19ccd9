"""`python -m tests.simulation`: play scenarios by seed, print figures, exit 1 on any violation.

`--seeds 0-99 --days 30 --budget-s 600 --jobs 2` plays many; `--seed N --verbose` replays one with
its whole trace; `--shrink` looks for the fewest kinds of faults with which it still fails.
"""

import argparse
import itertools
import secrets
import sys
import time
from collections.abc import Iterator

from tests.simulation.campaign import METER_YEARS, Total, Wish, play, play_all, shrink
from tests.simulation.run import Result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one only")
    parser.add_argument("--seeds", help="first and last, as in 0-99; without it fresh ones")
    parser.add_argument("--days", type=float, default=5.0)
    parser.add_argument("--budget-s", type=float, default=1e9)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--meters", type=int, help="instead of what the seed says")
    parser.add_argument("--quiet-poll-s", type=float, help="instead of what the seed says")
    parser.add_argument("--calm", type=float, default=1.0, help="faults so many times rarer")
    parser.add_argument("--without", default="", help="kinds of faults to leave out, by comma")
    parser.add_argument("--verbose", action="store_true", help="print the trace")
    parser.add_argument("--shrink", action="store_true")
    return parser.parse_args()


def seeds(given: argparse.Namespace) -> Iterator[int]:
    if given.seed is not None:
        return iter((given.seed,))
    if given.seeds is None:
        first = secrets.randbelow(10**9)
        print(f"seeds from {first}")
        return itertools.count(first)
    first, _, last = given.seeds.partition("-")
    return iter(range(int(first), int(last or first) + 1))


def main() -> int:
    given = arguments()
    without = tuple(name for name in given.without.split(",") if name)
    wishes = (
        Wish(seed, given.days, given.meters, given.quiet_poll_s, without, given.calm)
        for seed in seeds(given)
    )
    total, started_s = Total(), time.monotonic()
    if given.seed is not None:
        wish = next(wishes)
        result = play(wish, echo=given.verbose)
        total.add(wish, result)
        print(f"trace {result.digest}")
        _tell(wish, result)
    else:
        for wish, result in play_all(wishes, given.jobs, given.budget_s):
            if isinstance(result, str):
                total.broken.append((wish, result))
                print(f"seed {wish.seed}: the simulation failed: {result}\n  {wish.command()}")
            else:
                total.add(wish, result)
                _tell(wish, result)
    if given.shrink and total.failed:
        wish, result = total.failed[0]
        small = shrink(wish, result.violations[0][1], 600.0)
        print(f"still fails without {', '.join(small.without)}:\n  {small.command()}")
    _sum_up(total, time.monotonic() - started_s)
    return 1 if total.failed or total.broken else 0


def _tell(wish: Wish, result: Result) -> None:
    for at_s, name, text in result.violations[:4]:
        print(f"seed {wish.seed} at {at_s / 86400:.3f} d: {name}: {text}", flush=True)
    if result.violations:
        print(f"  {wish.command()}")
        for line in result.lines[-12:]:
            print(f"    {line}")


def _sum_up(total: Total, lasted_s: float) -> None:
    years = total.meter_days / METER_YEARS
    print(f"{total.scenarios} scenarios, {total.days:.0f} gateway-days, {total.meter_days:.0f} "
          f"meter-days ({years:.2f} gateway-years of 32 meters), {total.lives} lives, "
          f"{total.checks} checks, {lasted_s:.0f} s")  # fmt: skip
    for kind, count in sorted(total.faults.items()):
        print(f"  {count:8d} {kind}")
    print(f"{sum(total.faults.values())} faults, {len(total.failed)} seeds with violations")


if __name__ == "__main__":
    sys.exit(main())
