"""The bus on real terminals: against pymodbus's own serial server, and what a port can refuse.

Two pseudo-terminals joined by a wire in this process: one for the bus, one for the server.
"""

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hardware.api import (
    LineSettings,
    LinkState,
    MeterSilent,
    MeterSpec,
    PollOutcome,
    PortSettingRefused,
    PortUnavailable,
    Quantity,
)
from hardware.buses import port as port_module
from hardware.buses.line import Line
from hardware.buses.port import open_serial, serial_opener
from hardware.buses.rs485 import Rs485Bus
from hardware.buses.scan import ScanPlan, scan
from hardware.meters.fit import ModelCandidate
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary
from hardware.protocols.modbus_rtu import (
    ReadRegisters,
    Refused,
    Registers,
    WriteRegister,
    WriteRegisters,
    Written,
)

SETTINGS = LineSettings(115200)
LIBRARY = ModelLibrary()


class Cable:
    """Two pseudo-terminals whose far ends are joined; `noise` goes to the bus's end.

    Requests to `muted` units do not arrive: the server answers for units it does not have.
    """

    def __init__(self) -> None:
        self.bus_fd, bus_end = os.openpty()
        self.meter_fd, meter_end = os.openpty()
        self.ends = [bus_end, meter_end]
        for end in self.ends:
            tty.setraw(end)
        self.bus_port, self.meter_port = os.ttyname(bus_end), os.ttyname(meter_end)
        self.muted: set[int] = set()
        self._loop = asyncio.get_running_loop()
        for source, sink in ((self.bus_fd, self.meter_fd), (self.meter_fd, self.bus_fd)):
            self._loop.add_reader(source, self._carry, source, sink)

    def _carry(self, source: int, sink: int) -> None:
        with suppress(OSError):
            data = os.read(source, 4096)
            if not (source == self.bus_fd and data and data[0] in self.muted):
                os.write(sink, data)

    def noise(self, data: bytes) -> None:
        os.write(self.bus_fd, data)

    def close(self) -> None:
        for fd in (self.bus_fd, self.meter_fd):
            self._loop.remove_reader(fd)
        for fd in (self.bus_fd, self.meter_fd, *self.ends):
            with suppress(OSError):
                os.close(fd)


@contextmanager
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        yield made
    finally:
        made.close()


def sdm120(unit: int, *, volts: float, kwh: float) -> SimDevice:
    """An SDM120 as pymodbus serves it, with nought wherever the maker names no value."""
    floats = [0.0] * 48
    for address, value in ((0, volts), (6, 1.5), (12, 345.0), (30, 1.0), (70, 50.0), (72, kwh)):
        floats[address // 2] = value
    inputs = [SimData(0, values=floats, datatype=DataType.FLOAT32)]
    holding = [
        SimData(0, count=8, values=0, datatype=DataType.REGISTERS),
        SimData(0xFC00, values=20_000_000 + unit, datatype=DataType.UINT32),
    ]
    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    return SimDevice(unit, (bits, bits, holding, inputs))


@asynccontextmanager
async def pymodbus_server(port: str, *devices: SimDevice) -> AsyncIterator[None]:
    server = ModbusSerialServer(
        list(devices),
        framer=FramerType.RTU,
        port=port,
        baudrate=115200,
    )
    task = asyncio.create_task(server.serve_forever(background=False))
    await asyncio.sleep(0.1)
    try:
        yield
    finally:
        await server.shutdown()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def bus_on(port: str, interval_s: float = 0.0) -> tuple[Rs485Bus, list[PollOutcome]]:
    bus = Rs485Bus(
        "rs485-0",
        port,
        SETTINGS,
        opener=serial_opener(port),
        driver_for=lambda spec: ModbusMeter(spec, LIBRARY.get(spec.model)),
        poll_interval_s=interval_s,
    )
    outcomes: list[PollOutcome] = []
    bus.subscribe(outcomes.append)
    return bus, outcomes


def spec(address: int) -> MeterSpec:
    return MeterSpec(f"M{address}", "rs485-0", address, "sdm120")


@asynccontextmanager
async def running(bus: Rs485Bus) -> AsyncIterator[None]:
    task = asyncio.create_task(bus.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# --- an independent peer --------------------------------------------------------------------------


async def test_meters_served_by_pymodbus_are_read_probed_and_found():
    with cable() as wire:
        wire.muted.add(3)
        bus, outcomes = bus_on(wire.bus_port)
        meters = (sdm120(1, volts=231.5, kwh=12.5), sdm120(2, volts=229.0, kwh=7.25))
        async with pymodbus_server(wire.meter_port, *meters), running(bus):
            bus.attach(spec(1))
            bus.attach(spec(2))
            bus.attach(spec(3))  # not there
            await asyncio.sleep(2.0)

            good = [o.reading for o in outcomes if o.reading is not None]
            assert {r.good(Quantity.ENERGY_IMPORT) for r in good if r.meter == "M1"} == {12_500}
            assert {r.good(Quantity.ENERGY_IMPORT) for r in good if r.meter == "M2"} == {7_250}
            assert {r.good(Quantity.VOLTAGE) for r in good if r.meter == "M1"} == {231_500}
            assert {r.good(Quantity.CURRENT) for r in good} == {1_500}
            assert len(good) > 30
            health = bus.health()
            assert health.meters["M1"].timeouts == health.meters["M2"].timeouts == 0
            assert health.meters["M1"].garbled == health.meters["M2"].garbled == 0
            assert health.meters["M3"].state is LinkState.SILENT

            identity, reading = await bus.probe(spec(2))
            assert identity.serial == "20000002"
            assert reading.good(Quantity.FREQUENCY) == 50_000
            with pytest.raises(MeterSilent):
                await bus.read_now("M3")

            candidates = [ModelCandidate(model) for model in LIBRARY.load_all()[0]]
            plan = ScanPlan((115200,), ("N", "E"), (1, 2, 3), timeout_s=0.1)
            async with bus.borrowed() as open_line:
                report = await scan(open_line, plan, candidates)
            found = {meter.address: {fit.model for fit in meter.fits} for meter in report.meters}
            assert found == {1: {"sdm120", "sdm230", "sdm630"}, 2: {"sdm120", "sdm230", "sdm630"}}


async def test_pymodbus_understands_every_request_and_we_its_replies():
    with cable() as wire:
        async with pymodbus_server(wire.meter_port, sdm120(1, volts=230.0, kwh=1.0)):
            line = Line(await open_serial(wire.bus_port, SETTINGS), SETTINGS)
            ask = {"timeout_s": 0.5}
            assert await line.exchange(WriteRegister(1, 2, 0x1234), **ask) == Written()
            assert await line.exchange(WriteRegisters(1, 3, (5, 6)), **ask) == Written()
            reply = await line.exchange(ReadRegisters(1, 3, 2, 3), **ask)
            assert reply == Registers((0x1234, 5, 6))
            assert await line.exchange(ReadRegisters(1, 3, 0x7000, 2), **ask) == Refused(2)
            assert line.turnaround_s is not None
            await line.close()


async def test_noise_on_a_real_line_costs_no_reading():
    with cable() as wire:
        bus, outcomes = bus_on(wire.bus_port)
        async with pymodbus_server(wire.meter_port, sdm120(1, volts=230.0, kwh=1.0)), running(bus):
            bus.attach(spec(1))
            for _ in range(40):
                wire.noise(b"\x00\xff\x01")
                await asyncio.sleep(0.02)
        readings = [o.reading for o in outcomes if o.reading]
        assert len(readings) > 20
        assert {r.good(Quantity.ENERGY_IMPORT) for r in readings} == {1_000}


# --- the port -------------------------------------------------------------------------------------


async def test_a_port_that_vanishes_is_reopened_under_its_stable_name(tmp_path):
    link = tmp_path / "rs485-0"
    bus, outcomes = bus_on(str(link))
    bus.attach(spec(1))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(cable())
        link.symlink_to(first.bus_port)
        async with running(bus):
            async with pymodbus_server(first.meter_port, sdm120(1, volts=230.0, kwh=1.0)):
                await asyncio.sleep(0.5)
                assert [o for o in outcomes if o.reading]
            link.unlink()
            first.close()
            await asyncio.sleep(0.5)
            assert not bus.health().open
            assert isinstance(outcomes[-1].error, PortUnavailable)
            second = stack.enter_context(cable())
            link.symlink_to(second.bus_port)
            async with pymodbus_server(second.meter_port, sdm120(1, volts=230.0, kwh=2.0)):
                await asyncio.sleep(2.5)
                assert bus.health().open
                assert outcomes[-1].reading is not None
                assert outcomes[-1].reading.good(Quantity.ENERGY_IMPORT) == 2_000


async def test_a_missing_port_says_so():
    with pytest.raises(PortUnavailable, match="/dev/nowhere is not there") as caught:
        await open_serial("/dev/nowhere", SETTINGS)
    assert "by-id" in caught.value.hint


async def test_a_port_is_ours_alone_and_free_again_as_soon_as_it_is_closed():
    with cable() as wire:
        first = await open_serial(wire.bus_port, SETTINGS)
        with pytest.raises(PortUnavailable, match="in use by another program") as caught:
            await open_serial(wire.bus_port, SETTINGS)
        assert "fuser" in caught.value.hint
        await first.close()
        await first.close()
        second = await open_serial(wire.bus_port, SETTINGS)
        await second.close()
        with pytest.raises(PortUnavailable, match="is gone"):
            second.take()


@pytest.mark.parametrize(
    "settings",
    [LineSettings(9600, "X"), LineSettings(9600, "N", 7), LineSettings(-1)],
    ids=str,
)
async def test_settings_that_no_port_takes_are_refused(settings):
    with cable() as wire, pytest.raises(PortSettingRefused, match="does not take"):
        await open_serial(wire.bus_port, settings)


async def test_what_is_no_serial_port_is_refused_in_words(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises((PortUnavailable, PortSettingRefused), match=str(path)):
        await open_serial(str(path), SETTINGS)


async def test_even_parity_on_a_terminal_without_it_is_refused_or_works(monkeypatch):
    """Some kernels refuse parity on a pseudo-terminal with termios.error; that is said in words."""

    async def refuse(*_args, **_more):
        raise port_module.termios.error(22, "Invalid argument")

    monkeypatch.setattr(port_module.serial_asyncio, "create_serial_connection", refuse)
    with pytest.raises(PortSettingRefused, match="does not take 9600 8E1"):
        await open_serial("/dev/any", LineSettings(9600, "E"))


async def test_a_port_without_permission_names_the_group(monkeypatch):
    async def refuse(*_args, **_more):
        raise port_module.serial.SerialException(13, "Permission denied")

    monkeypatch.setattr(port_module.serial_asyncio, "create_serial_connection", refuse)
    with pytest.raises(PortUnavailable, match="may not be opened") as caught:
        await open_serial("/dev/any", SETTINGS)
    assert "dialout" in caught.value.hint


async def test_a_flood_is_kept_within_bounds():
    with cable() as wire:
        stream = await open_serial(wire.bus_port, SETTINGS)
        for _ in range(20):
            wire.noise(b"\x55" * 1000)
            await asyncio.sleep(0.01)
        assert 0 < len(stream.take()) <= port_module.MAX_UNREAD_BYTES
        await stream.close()


async def test_closing_a_port_that_was_just_lost_is_quiet(caplog):
    with cable() as wire:
        stream = await open_serial(wire.bus_port, SETTINGS)
        wire.close()
        await asyncio.sleep(0)
        await stream.close()
        await asyncio.sleep(0.05)
    assert caplog.records == []
