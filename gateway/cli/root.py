"""The root of the `gateway` command. Nouns are imported only when they are used.

Rules of this file: it knows of each noun its module and one line of help, so that `gateway --help`
imports nothing. A noun whose module is not installed is not offered.
"""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from gateway.cli.basics import BROKEN_HINT, Noun, complain, exit_code_of
from gateway.cli.failure import EXIT_FAILED, Failure
from gateway.core.errors import GatewayError, InvariantBroken
from hardware.api import HardwareError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what it is for."""

    module: str
    help: str


ENTRIES: dict[str, Entry] = {
    "run": Entry("gateway.cli.run", "Run the gateway until it is told to stop."),
    "init": Entry("gateway.cli.init", "Write a commented configuration and make its data folder."),
    "demo": Entry("gateway.cli.demo", "Show a street of prepaid homes that runs itself."),
    "status": Entry("gateway.cli.status", "Homes, buses, link and alarms at one look."),
    "doctor": Entry("gateway.cli.doctor", "Check everything and say what to do next."),
    "meter": Entry("gateway.cli.meter", "Find, add, read and remove meters."),
    "account": Entry("gateway.cli.account", "Open, show and close accounts; print statements."),
    "supply": Entry("gateway.cli.supply", "Show, lock, unlock and test supplies."),
    "tariff": Entry("gateway.cli.tariff", "Check, explain and load tariffs."),
    "recharge": Entry("gateway.cli.recharge", "Apply signed recharges by hand."),
    "sync": Entry("gateway.cli.sync", "The link to the head-end."),
    "headend": Entry("gateway.cli.headend", "A small head-end: keys, signed recharges, receipts."),
}


class Root(Noun):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands whose modules are there, in the order of a first day's work."""
        return [name for name in ENTRIES if importlib.util.find_spec(ENTRIES[name].module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command: its module holds it under the name `command`."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: Any = importlib.import_module(ENTRIES[cmd_name].module).command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, ENTRIES[name].help) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take only words that are text: no file, database or terminal takes half a character."""
        for word in args:
            try:
                word.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"{word!r} is not text in UTF-8") from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that a person can mend is told in words, never as a trace."""
        try:
            return super().invoke(ctx)
        except (GatewayError, HardwareError, Failure) as error:
            if os.environ.get("DEBUG") == "1":
                raise
            complain(str(error), error.hint)
            ctx.exit(exit_code_of(error))
        except InvariantBroken as error:
            if os.environ.get("DEBUG") == "1":
                raise
            complain(f"the ledger is not as it must be: {error}", BROKEN_HINT)
            ctx.exit(EXIT_FAILED)


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from gateway import __version__  # noqa: PLC0415 - only when asked

        click.echo(f"prepaid-gateway {__version__}")
        ctx.exit()


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def cli() -> None:
    """Prepaid electricity on this machine: meters, accounts, supply.

    The configuration is the file given with --config, else GATEWAY_CONFIG, ./gateway.toml or
    /etc/prepaid-gateway/config.toml. Exit status: 0 done, 1 refused or failed, 2 wrong usage,
    3 a meter, line or relay does not work. DEBUG=1 shows where an error comes from.
    """


def main() -> None:
    """The console script."""
    cli(prog_name="gateway")


def all_commands() -> Iterator[tuple[str, str]]:
    """Every command as `noun verb` with its one line of help, in the order of `--help`."""
    context = click.Context(cli, info_name="gateway")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            for verb in command.list_commands(context):
                inner = command.get_command(context, verb)
                if inner is not None and not inner.hidden:
                    yield f"{name} {verb}", inner.get_short_help_str(limit=200)
        elif command is not None and not command.hidden:
            yield name, command.get_short_help_str(limit=200)
