"""Serve a simulated street on a pseudo-terminal: `python -m hardware.sim --link /tmp/x/rs485-0`.

Prints who lives where, then serves until interrupted. Point the gateway, mbpoll or any Modbus
master at the link.
"""

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

from hardware.api import LineSettings, ModelError
from hardware.meters.model import ModelLibrary
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import Street
from hardware.sim.wire import Noise


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; the exit status is 0 then, 2 for what cannot be served."""
    options = _parser().parse_args(arguments)
    library = ModelLibrary([options.models_dir] if options.models_dir else [])
    try:
        names = options.models.split(",") if options.models else library.names()
        images = [RegisterImage(library.get(name)) for name in names]
        street = Street(
            options.seed,
            options.homes,
            images,
            multiplier_permille=round(options.multiplier * 1000),
        )
    except (ModelError, ValueError) as error:
        print(f"python -m hardware.sim: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return 2
    noise = Noise(options.seed, flip_ppm=options.noise_ppm)
    line = SimLine(
        options.link,
        street.slaves(),
        LineSettings(options.baud),
        strict_silence=options.strict_silence,
        noise=noise,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    street.follow(time.monotonic, options.speed)
    with line:
        print(_table(street, line), flush=True)  # noqa: T201 - a command line
        stop.wait()
    counters = line.counters
    print(  # noqa: T201 - a command line
        f"{counters.requests} requests, {counters.replies} replies, "
        f"{counters.silence_violations} without silence, {counters.collisions} collisions, "
        f"wire busy {counters.busy_s:.1f} s"
    )
    return 0


def _table(street: Street, line: SimLine) -> str:
    rows = [f"{line.link}  {line.settings}", "home   address  model            serial    Wh"]
    rows += [
        f"{home.name:<6} {home.meter.address:>7}  {home.meter.model:<16} {home.meter.serial}"
        f"  {home.meter.register_wh}  {home.shape}"
        for home in street.homes.values()
    ]
    rows.append("Serving; stop with Ctrl-C.")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hardware.sim", description="Serve a simulated street of meters."
    )
    add = parser.add_argument
    add("--link", type=Path, required=True, help="name of the port, a link to a terminal")
    add("--homes", type=int, default=8, help="how many, at addresses 1 and up (default 8)")
    add("--baud", type=int, default=9600, help="speed of the line (default 9600)")
    add("--seed", default="1", help="another seed, another street (default 1)")
    add("--speed", type=float, default=1.0, help="street seconds per second (default 1)")
    add("--multiplier", type=float, default=1.0, help="scales every load (default 1)")
    add("--models", help="model names by comma, given to homes in turn (default: all)")
    add("--models-dir", type=Path, help="a folder with model files of your own")
    add("--noise-ppm", type=int, default=0, help="bent bytes per million (default 0)")
    add("--strict-silence", action="store_true", help="ignore requests without 3.5 characters")
    return parser


if __name__ == "__main__":
    sys.exit(main())
