"""`gateway tariff`: check, explain, load and list tariffs."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.account import Month
from gateway.cli.basics import (
    Noun,
    Settings,
    act,
    ask,
    json_option,
    pass_settings,
    print_json,
)

if TYPE_CHECKING:
    from gateway.core.tariff import Tariff

MAX_KWH = 1_000_000

_file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group(cls=Noun)
def command() -> None:
    """Check, explain and load tariffs."""


@command.command()
@_file_argument
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check a tariff file and show what it says."""
    tariff = _load(file)
    if as_json:
        print_json(_as_dict(tariff))
        return
    from gateway.cli import render, tariff_views  # noqa: PLC0415 - not for --json

    render.show(*tariff_views.checked(tariff))


@command.command()
@_file_argument
@click.option("--kwh", type=click.IntRange(0, MAX_KWH), default=250, help="Units of the month.")
@click.option("--month", type=Month(), help="Which month, such as 2026-11. Default: this one.")
@json_option
def explain(file: Path, kwh: int, month: date | None, as_json: bool) -> None:
    """Work out a month's bill line by line, and what is debited by when."""
    from gateway.cli import tariff_month  # noqa: PLC0415 - not for --help

    tariff = _load(file)
    # A machine's own idea of the month is good enough for an example.
    first = month or date.today().replace(day=1)  # noqa: DTZ011
    worked = tariff_month.work_out(tariff, kwh, first)
    if as_json:
        print_json(worked)
        return
    from gateway.cli import render, tariff_views  # noqa: PLC0415

    render.show(*tariff_views.explained(worked))


@command.command()
@_file_argument
@click.option("--account", "accounts", multiple=True, help="For this account; may be repeated.")
@json_option
@pass_settings
def load(settings: Settings, file: Path, accounts: tuple[str, ...], as_json: bool) -> None:
    """Charge accounts by a tariff from now on; the month so far is billed anew."""
    from gateway.core.errors import TariffError  # noqa: PLC0415 - not for --help
    from gateway.documents.files import read  # noqa: PLC0415

    answer = act(
        settings,
        "tariff.load",
        # Read here: the gateway's user may not read a person's own files.
        tariff=read(file, TariffError),
        tariff_file=file.name,
        accounts=list(accounts),
    )
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render, tariff_views  # noqa: PLC0415

    render.show(*tariff_views.loaded(answer))


@command.command(name="list")
@json_option
@pass_settings
def list_tariffs(settings: Settings, as_json: bool) -> None:
    """List the tariffs ever loaded, and whom they charge now."""
    answer = ask(settings, "tariff.list")
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render, tariff_views  # noqa: PLC0415

    render.show(*tariff_views.listing(answer, settings.load().zone))


def _load(file: Path) -> "Tariff":
    from gateway.documents.tariff import load_tariff  # noqa: PLC0415 - not for --help

    return load_tariff(file)


def _as_dict(tariff: "Tariff") -> dict[str, Any]:
    from gateway.documents.tariff import tariff_digest  # noqa: PLC0415 - not for --help

    return {
        "tariff": tariff.name,
        "source": tariff.source,
        "verified": tariff.verified,
        "digest": tariff_digest(tariff),
        "versions": [
            {
                "effective_from": version.effective_from.isoformat(),
                "slabs": [
                    {"upto_kwh": slab.upto_kwh, "rupees_per_kwh": str(slab.rupees_per_kwh)}
                    for slab in version.slabs
                ],
                "fixed_rupees": str(version.fixed.rupees) if version.fixed else None,
                "fixed_per": version.fixed.per.value if version.fixed else None,
                "duty_percent_of_energy": str(version.duty_percent_of_energy),
                "cess_rupees_per_kwh": str(version.cess_rupees_per_kwh),
            }
            for version in tariff.versions
        ],
    }
