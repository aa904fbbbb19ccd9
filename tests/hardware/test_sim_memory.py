"""The line in memory keeps the same pace on the loop's clock, and fails like a port."""

import asyncio
import heapq
import time

import pytest

from hardware.api import LineSettings, MeterSpec, Quantity
from hardware.buses.port import SerialStream
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary
from hardware.protocols.modbus_rtu import ReadRegisters, encode_request
from hardware.sim.image import RegisterImage
from hardware.sim.memory import MemoryLine
from hardware.sim.slave import ReplyFault, Slaves
from hardware.sim.street import Street
from hardware.sim.wire import silence_s

REQUEST = encode_request(ReadRegisters(1, 4, 0, 8))


class Unit:
    address = 1

    def __init__(self) -> None:
        self.fault = ReplyFault()

    def registers(self, _function, address, count):
        return range(address, address + count)

    def reply_fault(self):
        return self.fault


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    jumped_s = 0.0

    def time(self):
        return self.jumped_s

    def _run_once(self):
        if not self._ready and self._scheduled:
            while self._scheduled and self._scheduled[0]._cancelled:
                handle = heapq.heappop(self._scheduled)
                handle._scheduled = False
                self._timer_cancelled_count = max(0, self._timer_cancelled_count - 1)
            if self._scheduled:
                self.jumped_s = max(self.jumped_s, self._scheduled[0]._when)
        super()._run_once()


def under_a_jumping_clock(main):
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


@pytest.mark.parametrize("baud", [2400, 9600, 115200])
def test_a_transaction_takes_its_wire_time_on_the_loops_clock_exactly(baud):
    settings = LineSettings(baud)

    async def main():
        line = MemoryLine(Slaves([Unit()]), settings, strict_silence=True)
        reader, writer = await line.open_streams()
        loop = asyncio.get_running_loop()
        took_s = []
        for _ in range(100):
            started_s = loop.time()
            writer.write(REQUEST)
            assert len(await reader.readexactly(21)) == 21
            took_s.append(loop.time() - started_s)
            await asyncio.sleep(silence_s(settings) * 1.001)
        writer.close()
        await writer.wait_closed()
        return took_s, line.counters

    began_s = time.monotonic()
    took_s, counters = under_a_jumping_clock(main())
    expected_s = 29 * settings.character_s + silence_s(settings)
    assert took_s == pytest.approx([expected_s] * 100)
    assert (counters.replies, counters.silence_violations) == (100, 0)
    assert time.monotonic() - began_s < 2, "virtual time took real time"


async def test_it_paces_on_a_real_loop_too():
    line = MemoryLine(Slaves([Unit()]))
    reader, writer = await line.open_streams()
    started_s = time.monotonic()
    for _ in range(5):
        writer.write(REQUEST)
        await reader.readexactly(21)
        await asyncio.sleep(0.004)
    took_s = time.monotonic() - started_s
    writer.close()
    assert took_s > 5 * (32.5 * 10 / 9600 + 0.004) * 0.99
    assert took_s < 2 * 5 * (32.5 * 10 / 9600 + 0.004)


async def test_an_unplugged_line_is_an_error_to_its_reader_until_it_is_replugged():
    line = MemoryLine(Slaves([Unit()]))
    reader, writer = await line.open_streams()
    waiting = asyncio.create_task(reader.readexactly(1))
    await asyncio.sleep(0)
    line.unplug()
    with pytest.raises(OSError, match="unplugged"):
        await waiting
    with pytest.raises(OSError, match="unplugged"):
        await line.open_streams()
    writer.write(b"into nothing")
    writer.close()
    line.replug()
    reader, writer = await line.open_streams()
    writer.write(REQUEST)
    assert len(await reader.readexactly(21)) == 21
    writer.close()


async def test_a_line_has_one_master_at_a_time():
    line = MemoryLine(Slaves([Unit()]))
    _, writer = await line.open_streams()
    with pytest.raises(OSError, match="in use"):
        await line.open_streams()
    writer.close()
    _, again = await line.open_streams()
    again.close()


async def test_other_settings_are_not_understood():
    line = MemoryLine(Slaves([Unit()]), LineSettings(9600, "E"))
    reader, writer = await line.open_streams(LineSettings(9600, "N"))
    writer.write(REQUEST)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.1)
    assert line.counters.wrong_settings == 1
    writer.close()


async def test_what_arrives_while_nobody_listens_is_gone():
    unit = Unit()
    line = MemoryLine(Slaves([unit]))
    unit.fault = ReplyFault(after_s=0.05)
    _, writer = await line.open_streams()
    writer.write(REQUEST)
    await asyncio.sleep(0.02)
    writer.close()
    await asyncio.sleep(0.08)
    unit.fault = ReplyFault()
    reader, writer = await line.open_streams()
    await asyncio.sleep(0.01)
    writer.write(REQUEST)
    assert len(await reader.readexactly(21)) == 21
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.05)
    writer.close()


def test_the_gateways_own_bus_reads_a_street_for_a_virtual_hour_and_keeps_every_silence():
    library = ModelLibrary()
    street = Street("hour", 8, [RegisterImage(library.get(name)) for name in library.names()])
    line = MemoryLine(street.slaves(), strict_silence=True, chunk_s=1.0)

    async def opener(settings):
        stream = SerialStream("memory")
        line.connect(stream, settings)
        return stream

    outcomes = []

    async def main():
        loop = asyncio.get_running_loop()
        street.follow(loop.time)
        bus = Rs485Bus(
            "b", "memory", line.settings, opener=opener, poll_interval_s=10,
            driver_for=lambda spec: ModbusMeter(spec, library.get(spec.model)),
        )  # fmt: skip
        for home in street.homes.values():
            meter = home.meter
            bus.attach(MeterSpec(meter.name, "b", meter.address, meter.model))
        bus.subscribe(outcomes.append)
        running = asyncio.create_task(bus.run())
        await asyncio.sleep(3600)
        for home in street.homes.values():
            reading = await bus.read_now(home.meter.name)
            shown_wh = reading.good(Quantity.ENERGY_IMPORT)
            assert 0 <= home.meter.energy_mwh / 1000 - shown_wh <= home.meter.image.step_wh + 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    began_s = time.monotonic()
    under_a_jumping_clock(main())
    assert time.monotonic() - began_s < 30
    assert len(outcomes) > 8 * 355
    assert all(outcome.error is None for outcome in outcomes)
    assert line.counters.silence_violations == line.counters.collisions == 0
