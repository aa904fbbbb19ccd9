"""A bus of paper meters on a `bus_peer.Peer`, and what its sink has heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from bus_peer import Peer, serves

from hardware.api import (
    LineSettings,
    MeterSpec,
    PollOutcome,
    Quantity,
)
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import MeterModel
from hardware.meters.registers import Register

ENERGY, VOLTS = 0, 100  # far apart: two reads of the same shape


def register(address: int, unit: str) -> Register:
    return Register(4, address, "uint32", unit, Decimal(0), Decimal(10_000_000))


def model(**more) -> MeterModel:
    registers = {Quantity.ENERGY_IMPORT: register(ENERGY, "Wh")}
    return MeterModel(
        "paper", "none", "a meter on paper", "this test", more.pop("registers", registers), **more
    )


TWO_READS = model(
    registers={
        Quantity.ENERGY_IMPORT: register(ENERGY, "Wh"),
        Quantity.VOLTAGE: register(VOLTS, "mV"),
    }
)


def words(energy_wh: int, voltage_mv: int = 230_000) -> dict[tuple[int, int], int]:
    return {
        (4, ENERGY): energy_wh >> 16,
        (4, ENERGY + 1): energy_wh & 0xFFFF,
        (4, VOLTS): voltage_mv >> 16,
        (4, VOLTS + 1): voltage_mv & 0xFFFF,
    }


class Street:
    """A bus on a peer, and what its sink has heard."""

    def __init__(self, peer: Peer, of: MeterModel, interval_s: float) -> None:
        self.peer = peer
        self.outcomes: list[PollOutcome] = []
        self.bus = Rs485Bus(
            "rs485-0",
            "/dev/paper",
            peer.settings,
            opener=peer.open,
            driver_for=lambda spec: ModbusMeter(spec, of),
            poll_interval_s=interval_s,
        )
        self.bus.subscribe(self.outcomes.append)

    def attach(self, count: int) -> None:
        for address in range(1, count + 1):
            self.bus.attach(spec(address))

    def good(self, name: str) -> list[PollOutcome]:
        return [o for o in self.outcomes if o.meter == name and o.reading is not None]

    def link(self, name: str):
        return self.bus.health().meters[name]


def spec(address: int) -> MeterSpec:
    return MeterSpec(f"M{address}", "rs485-0", address, "paper")


@asynccontextmanager
async def running(
    peer: Peer, meters: int = 0, *, of: MeterModel | None = None, interval_s: float = 1.0
) -> AsyncIterator[Street]:
    street = Street(peer, of or model(), interval_s)
    street.attach(meters)
    task = asyncio.create_task(street.bus.run())
    await asyncio.sleep(0)  # let it start
    try:
        yield street
    finally:
        assert not task.done(), "run ended by itself"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def line_of(count: int, settings: LineSettings | None = None) -> Peer:
    peer = Peer(settings)
    for address in range(1, count + 1):
        peer.units[address] = serves(words(1000 * address))
    return peer


async def until(what: Callable[[], object], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)
