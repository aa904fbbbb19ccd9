"""What every command shares: where the configuration is, how errors end, how JSON is printed.

Rules of this file: it is imported by `gateway --help`, so nothing here is slow to import.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.failure import EXIT_FAILED, EXIT_HARDWARE, EXIT_USAGE, Failure
from gateway.core.errors import ConfigError, GatewayError
from hardware.api import HardwareError

if TYPE_CHECKING:
    from gateway.documents.config import Config

BROKEN_HINT = "Keep the data directory as it is, and send it to the developers."

CONFIG_VARIABLE = "GATEWAY_CONFIG"
CONFIG_PLACES = (Path("gateway.toml"), Path("/etc/prepaid-gateway/config.toml"))

F = TypeVar("F", bound=Callable[..., Any])


def exit_code_of(error: GatewayError | HardwareError | Failure) -> int:
    """How a command ends that failed by this."""
    from gateway.web.rpc import INVALID_PARAMS, RequestError  # noqa: PLC0415 - not for --help

    if isinstance(error, Failure):
        return error.exit_code
    if isinstance(error, RequestError) and error.code == INVALID_PARAMS:
        return EXIT_USAGE
    return EXIT_HARDWARE if isinstance(error, HardwareError) else EXIT_FAILED


def complain(message: str, hint: str = "") -> None:
    """Tell an error on stderr: what happened, and what to try."""
    click.echo(f"gateway: {message}", err=True)
    if hint:
        click.echo(f"    try: {hint}", err=True)


@dataclass(slots=True)
class Settings:
    """What was given on the command line before and after the noun; the last --config wins."""

    config_file: Path | None = None

    @property
    def path(self) -> Path:
        """The configuration file. Raises `ConfigError` when there is none."""
        if self.config_file is not None:
            return self.config_file
        named = os.environ.get(CONFIG_VARIABLE)
        if named:
            return Path(named)
        for place in CONFIG_PLACES:
            if place.is_file():
                return place
        places = " and ".join(str(place) for place in CONFIG_PLACES)
        raise ConfigError(
            f"there is no configuration: {places} do not exist",
            hint="Write one with: gateway init   or name one with --config FILE",
        )

    def load(self) -> "Config":
        """Read the configuration. Raises `ConfigError`."""
        from gateway.documents.config import load_config  # noqa: PLC0415 - not for --help

        return load_config(self.path)


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def _take_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).config_file = value


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_take_config,
        help="The configuration file.",
    )


class Command(click.Command):
    """A command that takes --config."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.append(_config_option())


class Noun(click.Group):
    """A group of commands; it takes --config too, and so do they."""

    command_class = Command

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.append(_config_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order in which they are written."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first line."""
        rows = [
            (name, command.get_short_help_str(limit=200))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def json_option(function: F) -> F:
    """Add `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")(
        function
    )


def print_json(answer: Any) -> None:
    """An answer as JSON: money in paise, energy in Wh, times in UTC."""
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def ask(settings: Settings, method: str, **params: Any) -> Any:
    """Ask a reading question of the running gateway, or of its database when none runs."""
    from gateway.cli import client  # noqa: PLC0415 - not for --help

    config = settings.load()
    if client.answers(config.socket):
        return client.call(config.socket, method, params, timeout_s=client.READ_TIMEOUT_S)
    from gateway.cli import offline  # noqa: PLC0415 - only without a gateway: it takes longer

    return offline.read_record(config, method, params)


def act(
    settings: Settings,
    method: str,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    **params: Any,
) -> Any:
    """Have the running gateway do something. Raises `DaemonUnreachable`, or `Failure`."""
    from gateway.cli import client  # noqa: PLC0415 - not for --help

    config = settings.load()
    return client.call(
        config.socket, method, params, timeout_s=client.ACT_TIMEOUT_S, on_progress=on_progress
    )
