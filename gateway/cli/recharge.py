"""`gateway recharge`: apply a signed recharge by hand, where no link brings it."""

from typing import Any, BinaryIO

import click

from gateway.cli.basics import Noun, Settings, act, json_option, pass_settings, print_json
from gateway.cli.failure import EXIT_FAILED, Failure

MAX_NOTE_BYTES = 4096  # as `documents.signed` takes it; a whole file by mistake is told here
GOOD = ("CREDITED", "ALREADY_CREDITED")


@click.group(cls=Noun)
def command() -> None:
    """Apply signed recharges by hand."""


@command.command()
@click.argument("file", type=click.File("rb"), default="-")
@json_option
@pass_settings
def apply(settings: Settings, file: BinaryIO, as_json: bool) -> None:
    """Apply a signed recharge from a file, or from standard input.

    The same note can be applied any number of times: it is credited once.
    """
    note = file.read(MAX_NOTE_BYTES + 1)
    if len(note) > MAX_NOTE_BYTES:
        raise Failure(f"this is longer than a recharge ({MAX_NOTE_BYTES} bytes): is it the file?")
    text = note.decode("ascii", errors="replace").strip()
    if not text:
        raise Failure("there is no recharge in it", hint="Give a file, or paste the note.")
    answer: Any = act(settings, "recharge.apply", note=text)
    if as_json:
        print_json(answer)
    else:
        from gateway.cli import recharge_views, render  # noqa: PLC0415 - not for --json

        render.show(*recharge_views.receipt(answer))
    if answer["outcome"] not in GOOD:
        raise click.exceptions.Exit(EXIT_FAILED)
