"""`gateway meter`: find, add, list, read and remove meters."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.basics import (
    Noun,
    Settings,
    act,
    ask,
    complain,
    json_option,
    pass_settings,
    print_json,
)
from gateway.cli.failure import Failure

MAX_ADDRESS = 247
WATTS_PER_KW = 1000

# What a lineman checks when a meter says nothing, the likeliest first.
SILENT_CHECKS = (
    "Has the meter power, and does its display show this address?",
    "Swap the two wires A and B: makers do not agree which is which.",
    "Does the meter use the line's speed and parity? Try: gateway meter scan --bus {bus}",
    "One 120 ohm terminator at each end of the line, none between.",
    "Is the common wire (GND) connected, and the model the right one? See: gateway meter models",
)


@click.group(cls=Noun)
def command() -> None:
    """Find, add, read and remove meters."""


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers and ranges by comma, such as `1-20,33`."""

    name = "numbers"

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the text. Fails as wrong usage."""
        if isinstance(value, tuple):
            return value
        numbers: dict[int, None] = {}
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                self.fail(f"{value!r}: write numbers and ranges, such as 1-20,33", param, ctx)
            span = (int(first), int(last if dash else first))
            if not self._low <= span[0] <= span[1] <= self._high:
                self.fail(f"{part.strip()!r} is not within {self._low} to {self._high}", param, ctx)
            numbers.update(dict.fromkeys(range(span[0], span[1] + 1)))
        return tuple(numbers)


class Words(click.ParamType[tuple[str, ...]]):
    """Words by comma, each one of a list."""

    name = "words"

    def __init__(self, *known: str) -> None:
        self._known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Read the text. Fails as wrong usage."""
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(part.strip().upper() for part in str(value).split(",")))
        for word in words:
            if word not in self._known:
                self.fail(f"{word!r} is not one of {', '.join(self._known)}", param, ctx)
        return words


@command.command()
@click.option("--bus", help="The line to scan; may be left out when there is only one.")
@click.option("--baud", type=Numbers(300, 115200), help="Speeds to try, such as 9600,2400.")
@click.option("--parity", type=Words("N", "E", "O"), help="Parities to try, such as N,E.")
@click.option("--addresses", type=Numbers(1, MAX_ADDRESS), help="Addresses, such as 1-20.")
@click.option("--models/--no-models", default=True, help="Try which model each meter may be.")
@json_option
@pass_settings
def scan(settings: Settings, /, as_json: bool, models: bool, **asked: Any) -> None:
    """Search a line for meters at every speed, parity and address."""
    from gateway.cli import meter_views, render  # noqa: PLC0415 - not for --help

    params = {
        "bus": asked["bus"],
        "bauds": asked["baud"],
        "parities": asked["parity"],
        "addresses": asked["addresses"],
        "models": models,
    }
    with render.progress("Scanning") as update:

        def on_progress(news: Mapping[str, Any]) -> None:
            update(news["done"], news["total"], meter_views.scan_progress(news))

        answer = _scan(settings, params, on_progress)
    if as_json:
        print_json(answer)
    else:
        render.show(*meter_views.scan_report(answer))


def _scan(settings: Settings, params: Mapping[str, Any], on_progress: Any) -> Any:
    """By the running gateway, on its own line; else by this command."""
    from gateway.cli import client  # noqa: PLC0415 - not for --help

    config = settings.load()
    if client.answers(config.socket):
        return act(settings, "meter.scan", on_progress, **params)
    from gateway.cli import offline  # noqa: PLC0415 - only without a gateway
    from gateway.web.reading import parameters  # noqa: PLC0415
    from gateway.web.scanning import ScanAsked  # noqa: PLC0415

    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in params.items()
        if value is not None
    }
    return offline.scan(config, parameters(given, ScanAsked, "meter.scan"), on_progress)


@command.command()
@click.argument("name")
@click.option("--bus", required=True, help="The line it is on, as the configuration calls it.")
@click.option("--address", required=True, type=click.IntRange(1, MAX_ADDRESS))
@click.option("--model", required=True, help="Its model: gateway meter models lists them.")
@click.option(
    "--max-kw",
    type=click.FloatRange(0, 1000, min_open=True),
    help="The most its supply can deliver; what exceeds it is not believed. Default 25.",
)
@json_option
@pass_settings
def add(
    settings: Settings,
    name: str,
    bus: str,
    address: int,
    model: str,
    max_kw: float | None,
    as_json: bool,
) -> None:
    """Add a meter, if it answers with a plausible register."""
    from gateway.cli import meter_views, render  # noqa: PLC0415 - not for --help

    max_w = round(max_kw * WATTS_PER_KW) if max_kw is not None else None
    try:
        answer = act(
            settings, "meter.add", meter=name, bus=bus, address=address, model=model, max_w=max_w
        )
    except Failure as failure:
        if failure.kind not in ("MeterSilent", "MeterGarbled"):
            raise
        if failure.kind == "MeterSilent":
            complain(f"nothing answers at address {address} on {bus}; {name} is not added")
        else:
            complain(f"{failure}; {name} is not added")
        click.echo("    check, in this order:", err=True)
        for number, check in enumerate(SILENT_CHECKS, start=1):
            click.echo(f"    {number}. {check.format(bus=bus)}", err=True)
        raise click.exceptions.Exit(failure.exit_code) from failure
    if as_json:
        print_json(answer)
    else:
        render.show(*meter_views.added(answer))


@command.command(name="list")
@json_option
@pass_settings
def list_meters(settings: Settings, as_json: bool) -> None:
    """List the meters, how they answer and what they last said."""
    answer = ask(settings, "meter.list")
    if as_json:
        print_json(answer)
        return
    from gateway.cli import meter_views, render  # noqa: PLC0415

    render.show(*meter_views.listing(answer))


@command.command()
@click.argument("name")
@json_option
@pass_settings
def read(settings: Settings, name: str, as_json: bool) -> None:
    """Read a meter now, ahead of the queue."""
    from gateway.cli import client  # noqa: PLC0415 - not for --help

    config = settings.load()
    if client.answers(config.socket):
        answer = act(settings, "meter.read", meter=name)
    else:
        from gateway.cli import offline  # noqa: PLC0415 - only without a gateway

        answer = offline.read_meter(config, name)
    if as_json:
        print_json(answer)
        return
    from gateway.cli import meter_views, render  # noqa: PLC0415

    render.show(*meter_views.reading(answer, config.zone))


@command.command()
@click.argument("name")
@json_option
@pass_settings
def remove(settings: Settings, name: str, as_json: bool) -> None:
    """Take a meter out of service; its account must be closed."""
    answer = act(settings, "meter.remove", meter=name)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Meter {name} is out of service.")


@command.command()
@json_option
@pass_settings
def models(settings: Settings, as_json: bool) -> None:
    """List the meter models this gateway can read."""
    from gateway.core.errors import ConfigError  # noqa: PLC0415 - not for --help
    from hardware.meters.model import ModelLibrary  # noqa: PLC0415

    try:
        folder = settings.load().models
    except ConfigError:
        if settings.config_file is not None:
            raise
        folder = None  # the shipped models can be listed on any machine
    found, faults = ModelLibrary([folder] if folder else []).load_all()
    rows = [
        {
            "model": model.name,
            "maker": model.maker,
            "description": model.description,
            "settings": str(model.line),
            "quantities": [quantity.value for quantity in model.registers],
        }
        for model in found
    ]
    if as_json:
        print_json(rows)
    else:
        from gateway.cli import meter_views, render  # noqa: PLC0415

        render.show(*meter_views.models(rows))
    for fault in faults:
        complain(str(fault), fault.hint)
    if faults:
        raise click.exceptions.Exit(1)
