"""`gateway supply`: show, lock, unlock and test supplies."""

from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.basics import Noun, Settings, act, ask, json_option, pass_settings, print_json
from gateway.cli.failure import EXIT_FAILED, EXIT_HARDWARE


@click.group(cls=Noun)
def command() -> None:
    """Show, lock, unlock and test supplies."""


@command.command()
@click.argument("account", required=False)
@json_option
@pass_settings
def show(settings: Settings, account: str | None, as_json: bool) -> None:
    """Show supply: what it is, why, and what was done lately."""
    if account is None:
        answer = ask(settings, "supply.list")
    else:
        answer = ask(settings, "supply.show", account=account)
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render, supply_views  # noqa: PLC0415 - not for --json

    zone = settings.load().zone
    blocks = supply_views.listing(answer) if account is None else supply_views.card(answer, zone)
    render.show(*blocks)


@command.command()
@click.argument("account")
@click.option("--reason", required=True, help="Why: it is kept in the supply journal.")
@json_option
@pass_settings
def lock(settings: Settings, account: str, reason: str, as_json: bool) -> None:
    """Lock a supply off; no recharge can switch it on until it is unlocked."""
    answer = act(settings, "supply.lock", account=account, reason=reason)
    _print_moved(settings, answer, as_json)
    disobeys = answer["proof"] == "not obeying" or (answer["attempts"] or 0) > 1
    if disobeys and answer["proof"] != "proven":
        raise click.exceptions.Exit(EXIT_HARDWARE)


@command.command()
@click.argument("account")
@click.option("--reason", default="work is done", help="Why: it is kept in the supply journal.")
@json_option
@pass_settings
def unlock(settings: Settings, account: str, reason: str, as_json: bool) -> None:
    """Lift a lineman's lock, and no other."""
    _print_moved(settings, act(settings, "supply.unlock", account=account, reason=reason), as_json)


@command.command()
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_settings
def test(settings: Settings, account: str, yes: bool, as_json: bool) -> None:
    """Test a relay: open it, prove it, close it, prove that."""
    if not yes:
        click.confirm(
            f"This cuts {account} for some seconds. Switch a lamp on there first. Go on?",
            abort=True,
            err=True,
        )

    def on_step(step: Mapping[str, Any]) -> None:
        if not as_json:
            from gateway.cli import render, supply_views  # noqa: PLC0415 - not for --json

            render.show(supply_views.test_step(step))

    answer = act(settings, "supply.test", on_step, account=account)
    if as_json:
        print_json(answer)
    else:
        from gateway.cli import render, supply_views  # noqa: PLC0415

        render.show(*supply_views.test_verdict(answer))
    if answer["verdict"] == "failed":
        raise click.exceptions.Exit(EXIT_HARDWARE)
    if answer["verdict"] != "passed":
        raise click.exceptions.Exit(EXIT_FAILED)


def _print_moved(settings: Settings, answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render, supply_views  # noqa: PLC0415 - not for --json

    render.show(*supply_views.moved(answer, settings.load().zone))
