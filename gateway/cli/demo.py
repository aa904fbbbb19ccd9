"""`gateway demo`: the real gateway on a simulated street, with a proof at the end."""

from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.basics import print_json
from gateway.cli.failure import EXIT_FAILED

MAX_HOMES = 25  # a relay each, on the pins a Raspberry Pi has


@click.command("demo")
@click.option("--speed", default=60.0, show_default=True, help="How much faster the day passes.")
@click.option("--seconds", default=100.0, show_default=True, help="How long the story takes.")
@click.option(
    "--homes", default=8, show_default=True, type=click.IntRange(1, MAX_HOMES), help="Homes."
)
@click.option("--plain", is_flag=True, help="Print lines instead of drawing a screen.")
@click.option("--json", "as_json", is_flag=True, help="Print the proof alone, as JSON.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save a drawing of the screen as SVG.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the ledger and all else in this folder.",
)
def command(
    speed: float,
    seconds: float,
    homes: int,
    *,
    plain: bool,
    as_json: bool,
    picture: Path | None,
    keep: Path | None,
) -> None:
    """Watch a simulated street of prepaid homes run itself, and prove that nothing was lost.

    No hardware is needed. The serial bus, the ledger, the relays' pins and MQTT are the real code.
    """
    from gateway.demo.play import DemoOptions, run  # noqa: PLC0415 - it is slow to import

    options = DemoOptions(
        speed, seconds, homes, plain=plain, quiet=as_json, picture=picture, folder=keep
    )
    proof = run(options)
    if as_json:
        print_json({**asdict(proof), "proved": proof.holds})
    if not proof.holds:
        raise click.exceptions.Exit(EXIT_FAILED)
