"""`gateway status`: homes, buses, link and alarms at one look."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gateway.cli.basics import Command, Settings, ask, json_option, pass_settings, print_json
from gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from gateway.cli.render import Block

REFRESH_S = 1.0


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Print it once; also what a pipe gets.")
@json_option
@pass_settings
def command(settings: Settings, once: bool, as_json: bool) -> None:
    """Homes, buses, link and alarms at one look; refreshed until Ctrl-C."""
    answer = ask(settings, "status")
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render, status_views  # noqa: PLC0415 - not for --json

    config = settings.load()
    if once or not render.is_terminal():
        render.show(*status_views.page(answer, config, height=None))
        return
    latest = answer

    def build(height: int) -> "Sequence[Block]":
        nonlocal latest
        try:
            latest = ask(settings, "status")
        except GatewayError as error:
            return [*status_views.page(latest, config, height - 1), status_views.lost(error)]
        return status_views.page(latest, config, height)

    render.watch(build, REFRESH_S)
