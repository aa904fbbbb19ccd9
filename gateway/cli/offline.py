"""What the commands can do when no gateway runs: read its database, and use its lines themselves.

Rules of this file: nothing is written. A line is opened for us alone, as the gateway does, so a
gateway that starts meanwhile waits for it instead of talking into it.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.core.errors import BusUnknown, DatabaseMissing, StoreError
from gateway.core.moment import Moment
from gateway.core.policy import Policy
from gateway.documents.config import Config
from gateway.documents.policy import load_policy
from gateway.services.overview import reading_values
from gateway.services.queries import Source
from gateway.services.timekeeping import SystemTimeSource
from gateway.store import registry
from gateway.store.database import open_reader
from gateway.store.registry import MeterRow
from gateway.web.reading import read

if TYPE_CHECKING:
    from gateway.web.scanning import ScanAsked
    from hardware.buses.rs485 import Rs485Bus


@contextlib.contextmanager
def record(config: Config) -> Iterator[Source]:
    """The database, for reading. Raises `DatabaseMissing` or another `StoreError`."""
    clock = SystemTimeSource(config.trust_system_clock, config.trust_rtc)
    reader = open_reader(config.data_dir)
    try:
        yield Source(
            config.gateway_id,
            reader,
            config.zone,
            load_policy(config.policy) if config.policy else Policy(),
            lambda: Moment(clock.utc(), clock.trust()),
        )
    except sqlite3.Error as error:
        raise StoreError(
            f"the database in {config.data_dir} cannot be read: {error}",
            hint="Check it with: gateway doctor",
        ) from error
    finally:
        reader.close()


def read_record(config: Config, method: str, params: Mapping[str, Any]) -> Any:
    """Answer a reading method from the database alone."""
    given = {name: value for name, value in params.items() if value is not None}
    with record(config) as source:
        return read(source, method, given)


def meters_on_record(config: Config) -> list[MeterRow]:
    """The meters in service; none before the first start."""
    try:
        with record(config) as source:
            return registry.meters(source.reader)
    except DatabaseMissing:
        return []


def read_meter(config: Config, name: str) -> dict[str, Any]:
    """Read one meter over its line. Raises `MeterUnknown`, `BusUnknown` or a `HardwareError`."""
    with record(config) as source:
        row = registry.meter(source.reader, name)
        at = source.now().iso()
    return asyncio.run(_read_meter(config, row)) | {"at": at}


def scan(
    config: Config, asked: "ScanAsked", on_progress: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Scan a line. Raises `Refused`, `RequestError` or a `HardwareError`."""
    return asyncio.run(_scan(config, asked, on_progress))


async def probe_all(config: Config, bus: str, rows: list[MeterRow]) -> dict[str, Exception | None]:
    """Try every meter of one line; by name, what went wrong. Raises a `BusError` of the line."""
    from hardware.api import MeterError, MeterSpec  # noqa: PLC0415 - see `_open`

    found: dict[str, Exception | None] = {}
    line = _open(config, bus)
    async with line.borrowed() as open_line:
        await open_line(line.settings)  # is the port there at all?
    async with _running(line):
        for row in rows:
            try:
                await line.probe(MeterSpec(row.name, row.bus, row.address, row.model))
                found[row.name] = None
            except MeterError as error:
                found[row.name] = error
    return found


async def _read_meter(config: Config, row: MeterRow) -> dict[str, Any]:
    from hardware.api import MeterSpec  # noqa: PLC0415 - see `_open`

    async with _running(_open(config, row.bus)) as bus:
        identity, reading = await bus.probe(MeterSpec(row.name, row.bus, row.address, row.model))
    return {
        "meter": row.name,
        "model": row.model,
        "serial": identity.serial,
        "values": reading_values(reading),
    }


async def _scan(
    config: Config, asked: "ScanAsked", on_progress: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    from gateway.web.scanning import choose_bus, run_scan  # noqa: PLC0415 - see `_open`
    from hardware.registry import model_library  # noqa: PLC0415

    bus = choose_bus({name: _open(config, name) for name in config.buses}, asked.bus)
    library = model_library([config.models] if config.models else [])
    return await run_scan(bus, asked, library, meters_on_record(config), on_progress)


def _open(config: Config, name: str) -> "Rs485Bus":
    """A configured line, not running. The drivers are imported here: few commands need them."""
    from hardware.registry import model_library, open_bus  # noqa: PLC0415

    if name not in config.buses:
        raise BusUnknown(f"there is no bus {name} in {config.path}")
    bus = config.buses[name]
    library = model_library([config.models] if config.models else [])
    return open_bus(
        name,
        bus.port,
        bus.settings,
        library,
        poll_interval_s=bus.poll_interval_s,
        timeout_s=bus.timeout_s,
    )


@contextlib.asynccontextmanager
async def _running(bus: "Rs485Bus") -> AsyncIterator["Rs485Bus"]:
    """A line at work for as long as the block runs."""
    task = asyncio.ensure_future(bus.run())
    await asyncio.sleep(0)  # let it begin: a line that is not running answers nobody
    try:
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
