"""`gateway init`: write a commented configuration and make its data folder. Asks nothing."""

import re
import socket
from pathlib import Path

import click

from gateway.cli.basics import Command
from gateway.cli.failure import Failure
from gateway.cli.init_text import config_text

CONFIG_NAME = "gateway.toml"
SERIAL_PORTS = Path("/dev/serial/by-id")


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--id", "gateway_id", help="The gateway's name. Default: this machine's name.")
def command(folder: Path, gateway_id: str | None) -> None:
    """Write a commented configuration and make its data folder."""
    from gateway.documents.config import SAFE_NAME, load_config  # noqa: PLC0415 - not for --help

    target = folder / CONFIG_NAME
    name = gateway_id if gateway_id is not None else _machine_name()
    if not SAFE_NAME.fullmatch(name):
        raise click.UsageError(f"--id {name!r}: 1 to 64 letters, digits, - _ and .")
    ports = sorted(str(port) for port in SERIAL_PORTS.glob("*")) if SERIAL_PORTS.is_dir() else []
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o750)
        with target.open("x", encoding="utf-8") as file:
            file.write(config_text(name, ports))
    except FileExistsError as error:
        raise Failure(
            f"{target} is there already; it is not touched", hint="Name another folder."
        ) from error
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}") from error
    load_config(target)  # what we wrote must be what we read
    click.echo(f"Written: {target}")
    click.echo(f"Ledger:  {folder / 'data'}")
    click.echo("Next:")
    click.echo(f"  1. look at the serial port in {target}")
    click.echo(f"  2. gateway run --config {target}")
    click.echo(f"  3. gateway meter scan --config {target}")


def _machine_name() -> str:
    """This machine's name as a gateway's; two gateways of one broker must differ."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()).lstrip(".")[:64]
    return plain or "GW-1"
