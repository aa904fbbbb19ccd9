"""`gateway run`: the gateway itself, until it is told to stop.

Rules of this file: logs go to stderr as plain lines, which journald stamps with the time. SIGTERM
and SIGINT end it cleanly with status 0; a broken ledger ends it with status 1 and its message, and
supply stays as it is in either case.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gateway.cli.basics import BROKEN_HINT, Command, Settings, complain, pass_settings
from gateway.cli.failure import EXIT_FAILED
from gateway.core.errors import GatewayError, InvariantBroken
from hardware.api import HardwareError

if TYPE_CHECKING:
    from gateway.documents.config import Config

log = logging.getLogger("gateway")

LEVELS = ("debug", "info", "warning", "error")


@click.command(cls=Command)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="How much is told.")
@pass_settings
def command(settings: Settings, log_level: str) -> None:
    """Run the gateway until it is told to stop."""
    start_logging(log_level)
    config = settings.load()
    try:
        asyncio.run(serve(config))
    except BaseExceptionGroup as group:
        raise click.exceptions.Exit(_explain(group)) from group
    except InvariantBroken as error:  # found while loading, before any loop ran
        raise click.exceptions.Exit(_explain(BaseExceptionGroup("", [error]))) from error


async def serve(config: "Config") -> None:
    """Run one gateway with its local API until SIGTERM or SIGINT."""
    from gateway.app import App, Parts  # noqa: PLC0415 - the drivers are for this command alone
    from gateway.web.local_api import LocalApi  # noqa: PLC0415

    parts = Parts()
    app = App(config, parts)
    parts.extra_tasks.append(LocalApi(app).run)
    running = asyncio.ensure_future(app.run())
    loop = asyncio.get_running_loop()
    stopped_by: list[int] = []

    def stop(number: int) -> None:
        if not stopped_by:
            log.info("stopping: %s", signal.Signals(number).name)
            parts.notify("STOPPING=1")
        stopped_by.append(number)
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    log.info("gateway %s runs; commands reach it on %s", config.gateway_id, config.socket)
    try:
        await running
    except asyncio.CancelledError:
        if not stopped_by:
            raise
    log.info("stopped; supply stays as it is")


def start_logging(level: str) -> None:
    """Plain lines on stderr; with a time only where a person reads them, journald adds its own."""
    by_journal = "JOURNAL_STREAM" in os.environ
    form = "%(levelname)s %(name)s: %(message)s"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(form if by_journal else f"%(asctime)s {form}"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _explain(group: BaseExceptionGroup[BaseException]) -> int:
    """Tell why the gateway had to end; a bug is told with its trace."""
    for error in _leaves(group):
        match error:
            case InvariantBroken():
                complain(f"the ledger is not as it must be: {error}", BROKEN_HINT)
            case GatewayError() | HardwareError():
                complain(str(error), error.hint)
            case _:
                log.error("the gateway failed", exc_info=error)
    return EXIT_FAILED


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
