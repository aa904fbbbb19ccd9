"""`gateway headend`: a small head-end, for a trial and for a utility that has none yet.

Rules of this file: its commands need no gateway and no gateway's configuration; all that a
head-end knows is in the database named by --db, and its secret in the file named by --key.
"""

import asyncio
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gateway.cli.basics import json_option, print_json

_PATH = click.Path(dir_okay=False, path_type=Path)
_db_option = click.option(
    "--db", type=_PATH, default=Path("headend.db"), show_default=True, help="The database."
)
_key_option = click.option("--key", "key_file", type=_PATH, required=True, help="The key file.")


@click.group()
def command() -> None:
    """A small head-end: keys, signed recharges, receipts."""


@command.command()
@click.argument("file", type=_PATH)
@click.option("--kid", default="office-1", show_default=True, help="The key's name.")
def keygen(file: Path, kid: str) -> None:
    """Make a signing key in FILE.

    Prints the line for the configuration of each gateway that shall believe it.
    """
    from gateway.headend.issuer import create_key  # noqa: PLC0415 - not for --help

    key = create_key(file, kid)
    click.echo(f"The secret key is in {file}: keep a copy in a safe, and show it to nobody.")
    click.echo("Put this into the configuration of every gateway that shall believe it:\n")
    click.echo(f"[keys.recharge]\n{key.config_line}")


@command.command()
@_key_option
@_db_option
@click.option("--gateway", "gateway_id", required=True, help="The gateway's id.")
@click.option("--account", required=True, help="The account to credit.")
@click.option("--amount", "rupees", required=True, help="In rupees, such as 500.00.")
@click.option("--id", "recharge_id", help="The payment's own number; it is credited once.")
@json_option
def sign(
    key_file: Path,
    db: Path,
    gateway_id: str,
    account: str,
    rupees: str,
    recharge_id: str | None,
    as_json: bool,
) -> None:
    """Sign a recharge and print it.

    `headend serve` on the same database also sends it until its receipt comes.
    """
    amount_paise = _amount_paise(rupees)
    with _opened(db) as copy:
        issued = _issuer(copy, key_file).recharge(gateway_id, account, amount_paise, recharge_id)
    _print_note(issued, as_json=as_json)


@command.command()
@_key_option
@_db_option
@click.argument("recharge_id")
@click.option("--amount", "rupees", help="A part of it, in rupees; without it, all that is left.")
@json_option
def reverse(key_file: Path, db: Path, recharge_id: str, rupees: str | None, as_json: bool) -> None:
    """Take back a recharge, or a part of it.

    Only one that was issued here; prints the signed reversal.
    """
    amount_paise = _amount_paise(rupees) if rupees is not None else None
    with _opened(db) as copy:
        issued = _issuer(copy, key_file).reversal(recharge_id, amount_paise)
    _print_note(issued, as_json=as_json)


@command.command()
@_db_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The broker.")
@click.option("--port", type=int, help="Its port; by default 1883, or 8883 with TLS.")
@click.option("--ca-file", type=_PATH, help="Use TLS, and believe this authority.")
@click.option("--cert-file", type=_PATH, help="The client certificate.")
@click.option("--key-file", type=_PATH, help="Its private key.")
@click.option("--username", help="The broker's user.")
@click.option("--password-file", type=_PATH, help="A file with the user's password.")
@click.option("--client-id", default="head-end", show_default=True, help="Its name at the broker.")
def serve(db: Path, client_id: str, **broker: Any) -> None:
    """Collect reports and send recharges.

    Acknowledges what it has stored; sends each recharge again until its receipt comes. Runs until
    it is stopped.
    """
    import logging  # noqa: PLC0415 - not for --help

    from gateway.documents.config import mqtt_config  # noqa: PLC0415
    from gateway.headend.collector import Collector, collector_options  # noqa: PLC0415
    from gateway.link.mqtt import MqttLink  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    mqtt = mqtt_config(**broker)
    with _opened(db) as copy:
        link = MqttLink(collector_options(client_id, mqtt), random.random)
        click.echo(f"Collecting from {mqtt.host}:{mqtt.port} into {db}; stop it with Ctrl-C.")
        try:
            asyncio.run(Collector(copy, link).run())
        except KeyboardInterrupt:
            click.echo("Stopped.")


@command.command()
@_db_option
@click.argument("gateway_id")
@json_option
def show(db: Path, gateway_id: str, as_json: bool) -> None:
    """Show what is known of a gateway.

    Its accounts with their balances, and the recharges that are still without a receipt.
    """
    with _opened(db) as copy:
        accounts = list(copy.accounts(gateway_id).values())
        notes = [note for note in copy.notes(gateway_id) if not note.settled]
        answer = {
            "gateway": gateway_id,
            "state": copy.gateways().get(gateway_id, "unknown"),
            "through": copy.through(gateway_id),
            "accounts": [asdict(account) for account in accounts],
            "open_recharges": [
                {"recharge_id": n.recharge_id, "account": n.account, "amount_paise": n.amount_paise}
                for n in notes
            ],
        }
    if as_json:
        print_json(answer)
        return
    from gateway.cli import render  # noqa: PLC0415 - not for --json
    from gateway.core.units import format_rupees  # noqa: PLC0415

    render.show(
        render.Facts(
            [
                ("Gateway", f"{gateway_id} ({answer['state']})"),
                ("Events stored", f"up to {answer['through']}"),
                ("Without receipt", str(len(notes))),
            ]
        ),
        render.Table(
            [
                render.Column("Account"),
                render.Column("Balance", right=True),
                render.Column("Entries", right=True),
            ],
            [[one.account, format_rupees(one.balance_paise), str(one.entries)] for one in accounts],
        ),
    )


def _amount_paise(rupees: str) -> int:
    """An amount as a person typed it. Raises `BadParameter`."""
    from gateway.core.units import parse_rupees  # noqa: PLC0415 - not for --help

    try:
        return parse_rupees(rupees)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from None


def _opened(db: Path) -> Any:
    """The head-end's database, closed at the end of a `with`."""
    import contextlib  # noqa: PLC0415 - not for --help

    from gateway.headend.copy import HeadendCopy  # noqa: PLC0415

    return contextlib.closing(HeadendCopy(db))


def _issuer(copy: Any, key_file: Path) -> Any:
    from gateway.headend.issuer import Issuer, load_key  # noqa: PLC0415 - not for --help

    return Issuer(copy, load_key(key_file))


def _print_note(issued: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(issued))
    else:
        click.echo(issued.note)
