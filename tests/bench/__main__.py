"""Run all measurements and print them as a table, or as JSON with --json."""

import argparse
import asyncio
import dataclasses
import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "services"))

from tests.bench import bus, disk, latency, process
from tests.bench.figures import Figure


async def _measure(*, quick: bool) -> list[Figure]:
    figures = await bus.measure(seconds=5.0 if quick else 30.0)
    figures += await latency.measure(rounds=20 if quick else 200)
    figures += await disk.steady_day()
    figures += disk.one_commit()
    figures += await asyncio.to_thread(process.measure, 5.0 if quick else 30.0)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="shorter and less exact")
    options = parser.parse_args()
    figures = asyncio.run(_measure(quick=options.quick))
    if options.json:
        print(json.dumps([dataclasses.asdict(figure) for figure in figures], indent=2))
        return
    print(f"{platform.platform()}, Python {platform.python_version()}")
    for figure in figures:
        aim = f"aim {figure.aim}" if figure.aim else ""
        limit = f"limit {figure.limit}" if figure.limit else ""
        value = f"{figure.value:,.3f}" if figure.value < 10 else f"{figure.value:,.1f}"
        print(f"  {figure.name:<58} {value:>10} {figure.unit:<4} {aim:<14} {limit}")


if __name__ == "__main__":
    main()
