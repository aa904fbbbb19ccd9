"""`gateway account`: open, list, show and close accounts; print their statements."""

import calendar
from datetime import date
from pathlib import Path
from typing import Any

import click

from gateway.cli.basics import (
    Noun,
    Settings,
    act,
    ask,
    json_option,
    pass_settings,
    print_json,
)


@click.group(cls=Noun)
def command() -> None:
    """Open, show and close accounts; print statements."""


class Rupees(click.ParamType[int]):
    """An amount such as `50.00`, as paise."""

    name = "rupees"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text. Fails as wrong usage."""
        from gateway.core.units import parse_rupees  # noqa: PLC0415 - not for --help

        if isinstance(value, int):
            return value
        try:
            return parse_rupees(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Switch(click.ParamType[str]):
    """A supply switch as `hardware.relays.spec` reads it."""

    name = "switch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the text. Fails as wrong usage."""
        from hardware.api import SwitchSpecError  # noqa: PLC0415 - not for --help
        from hardware.relays.spec import parse_switch  # noqa: PLC0415

        try:
            return str(parse_switch(str(value)))
        except SwitchSpecError as error:
            self.fail(f"{error}. {error.hint}", param, ctx)


class Month(click.ParamType[date]):
    """A month such as `2026-11`, as its first day."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Read the text. Fails as wrong usage."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError:
            self.fail(f"{value!r} is not a month such as 2026-11", param, ctx)


def last_of(month: date) -> date:
    """The last day of a month."""
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


@command.command(name="open")
@click.argument("name")
@click.option("--meter", required=True, help="The meter that measures it.")
@click.option(
    "--switch",
    required=True,
    type=Switch(),
    help="gpio:17, gpio:17:active-low, latching:5,6 or none.",
)
@click.option(
    "--tariff",
    "tariff_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The tariff file to charge by.",
)
@click.option(
    "--opening-balance", required=True, type=Rupees(), help="In rupees, such as 50.00 or -12.50."
)
@json_option
@pass_settings
def open_account(
    settings: Settings,
    name: str,
    meter: str,
    switch: str,
    tariff_file: Path,
    opening_balance: int,
    as_json: bool,
) -> None:
    """Open an account on a meter's present register."""
    from gateway.core.errors import TariffError  # noqa: PLC0415 - not for --help
    from gateway.documents.files import read  # noqa: PLC0415

    answer = act(
        settings,
        "account.open",
        account=name,
        meter=meter,
        switch=switch,
        # Read here: the gateway's user may not read a person's own files.
        tariff=read(tariff_file, TariffError),
        tariff_file=tariff_file.name,
        opening_balance_paise=opening_balance,
    )
    _print_account(settings, answer, as_json, f"Account {name} is open.")


@command.command(name="list")
@click.option("--closed", is_flag=True, help="Closed accounts too.")
@json_option
@pass_settings
def list_accounts(settings: Settings, closed: bool, as_json: bool) -> None:
    """List the accounts with balance, supply and reason."""
    answer = ask(settings, "account.list", closed=closed)
    if as_json:
        print_json(answer)
        return
    from gateway.cli import account_views, render  # noqa: PLC0415

    render.show(*account_views.listing(answer))


@command.command()
@click.argument("name")
@json_option
@pass_settings
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Show one account: balance, meter, supply, and when it may be cut."""
    _print_account(settings, ask(settings, "account.show", account=name), as_json, "")


@command.command()
@click.argument("name")
@click.option("--month", type=Month(), help="One month only, such as 2026-11.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet.")
@json_option
@pass_settings
def statement(
    settings: Settings, name: str, month: date | None, as_csv: bool, as_json: bool
) -> None:
    """Print every line of an account with its running balance."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json do not go together")
    answer = ask(
        settings,
        "account.statement",
        account=name,
        first_day=month.isoformat() if month else None,
        last_day=last_of(month).isoformat() if month else None,
    )
    if as_json:
        print_json(answer)
        return
    zone = settings.load().zone
    if as_csv:
        from gateway.cli import statement_csv  # noqa: PLC0415

        click.echo(statement_csv.write(answer, zone), nl=False)
        return
    from gateway.cli import account_views, render  # noqa: PLC0415

    render.show(*account_views.statement(answer, zone, month))


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_settings
def close(settings: Settings, name: str, yes: bool, as_json: bool) -> None:
    """Charge an account to the end of its day, cut it and close it."""
    if not yes:
        click.confirm(
            f"This cuts the supply of {name} and closes the account for good. Go on?",
            abort=True,
            err=True,
        )
    answer = act(settings, "account.close", account=name)
    _print_account(settings, answer, as_json, f"Account {name} is closed.")


def _print_account(settings: Settings, answer: Any, as_json: bool, done: str) -> None:
    if as_json:
        print_json(answer)
        return
    from gateway.cli import account_views, render  # noqa: PLC0415 - not for --json

    if done:
        click.echo(done)
    render.show(*account_views.card(answer, settings.load().zone))
