"""`gateway sync`: the link to the head-end."""

import click

from gateway.cli.basics import Noun, Settings, ask, json_option, pass_settings, print_json


@click.group(cls=Noun)
def command() -> None:
    """The link to the head-end."""


@command.command()
@json_option
@pass_settings
def status(settings: Settings, as_json: bool) -> None:
    """Show the link, and what waits for the head-end."""
    answer = ask(settings, "sync.status")
    if as_json:
        print_json(answer)
        return
    from gateway.cli import client, render, status_views  # noqa: PLC0415 - not for --json

    config = settings.load()
    running = client.answers(config.socket)
    render.show(*status_views.sync(answer, config, running=running))
