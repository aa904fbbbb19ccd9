"""Independent masters read a served street right: pymodbus's clients, and mbpoll."""

import asyncio
import re
import shutil
import signal
import subprocess
import sys

import pytest
from pymodbus.client import AsyncModbusSerialClient, ModbusSerialClient

from hardware.api import Quantity
from hardware.meters.model import ModelLibrary
from hardware.meters.registers import unit_factor
from hardware.sim.image import RegisterImage
from hardware.sim.line import SimLine
from hardware.sim.street import Street

NAMES = ModelLibrary().names()
TYPES = ModbusSerialClient.DATATYPE
DATATYPES = {
    "float32": TYPES.FLOAT32,
    "int16": TYPES.INT16,
    "uint16": TYPES.UINT16,
    "int32": TYPES.INT32,
    "uint32": TYPES.UINT32,
    "int64": TYPES.INT64,
    "uint64": TYPES.UINT64,
}


@pytest.fixture
def street():
    """One home per shipped model, standing still at eight in the morning."""
    images = [RegisterImage(ModelLibrary().get(name)) for name in NAMES]
    street = Street("served", len(images), images, start_minute=480)
    street.advance(1800)
    return street


@pytest.fixture
def line(street, tmp_path):
    with SimLine(tmp_path / "rs485-0", street.slaves()) as line:
        yield line


def decoded(register, words):
    """Pymodbus's own reading of `words`, scaled as the file says, in the file's unit."""
    order = {"ABCD": "big", "CDAB": "little"}[register.word_order]
    value = ModbusSerialClient.convert_from_registers(
        words, DATATYPES[register.type], word_order=order
    )
    return value * float(register.scale)


def check(home, quantity, register, words):
    factor = unit_factor(register.unit, quantity)
    truth = home.meter.values()[quantity]
    # A float32 carries 24 bits: one part in 8 million, or half of what was rounded away.
    assert decoded(register, words) * factor == pytest.approx(truth, rel=1.3e-7, abs=0.51)


@pytest.mark.parametrize("name", NAMES)
def test_pymodbus_reads_every_register_of_every_shipped_model(line, street, name):
    model = ModelLibrary().get(name)
    home = next(home for home in street.homes.values() if home.meter.model == name)
    client = ModbusSerialClient(str(line.link), baudrate=9600, timeout=1, retries=0)
    assert client.connect()
    reads = {3: client.read_holding_registers, 4: client.read_input_registers}
    for quantity, register in model.registers.items():
        reply = reads[register.function](
            register.address, count=register.count, device_id=home.meter.address
        )
        assert not reply.isError(), (quantity, reply)
        check(home, quantity, register, reply.registers)
    if model.serial is not None:
        place = model.serial
        reply = reads[place.function](
            place.address, count=place.registers, device_id=home.meter.address
        )
        serial = client.convert_from_registers(reply.registers, DATATYPES[place.type])
        assert str(serial) == home.meter.serial
    client.close()
    assert line.counters.silence_violations == 0


async def test_pymodbus_reads_a_street_from_an_event_loop(line, street):
    client = AsyncModbusSerialClient(str(line.link), baudrate=9600, timeout=1, retries=0)
    assert await client.connect()
    for home in street.homes.values():
        register = ModelLibrary().get(home.meter.model).registers[Quantity.ENERGY_IMPORT]
        read = {3: client.read_holding_registers, 4: client.read_input_registers}
        await asyncio.sleep(0.005)
        reply = await read[register.function](
            register.address, count=register.count, device_id=home.meter.address
        )
        check(home, Quantity.ENERGY_IMPORT, register, reply.registers)
    client.close()


def mbpoll(*arguments):
    return subprocess.run(
        ["mbpoll", "-m", "rtu", "-b", "9600", "-P", "none", "-0", "-1", "-q", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


needs_mbpoll = [
    pytest.mark.mbpoll,
    pytest.mark.skipif(
        shutil.which("mbpoll") is None, reason="mbpoll is missing: apt install mbpoll"
    ),
]


class TestMbpoll:
    """The Debian program, on libmodbus."""

    pytestmark = needs_mbpoll

    def test_it_reads_volts_and_energy_of_a_single_phase_meter(self, line, street):
        home = next(home for home in street.homes.values() if home.meter.model == "sdm120")
        truth = home.meter.values()
        for address, quantity in ((0x0, Quantity.VOLTAGE), (0x48, Quantity.ENERGY_IMPORT)):
            done = mbpoll(
                "-a", str(home.meter.address), "-t", "3:float", "-B",
                "-r", str(address), "-c", "1", str(line.link),
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            (shown,) = re.findall(r"^\[\d+\]:\s+(\S+)", done.stdout, re.MULTILINE)
            assert float(shown) * 1000 == pytest.approx(truth[quantity], rel=1e-5)

    def test_it_is_told_about_an_address_that_the_meter_does_not_have(self, line, street):
        home = next(home for home in street.homes.values() if home.meter.model == "sdm120")
        done = mbpoll("-a", str(home.meter.address), "-t", "3", "-r", "5000", str(line.link))
        assert done.returncode != 0
        assert "Illegal data address" in done.stdout + done.stderr

    def test_nobody_answers_at_an_address_without_a_meter(self, line):
        done = mbpoll("-a", "99", "-t", "3", "-r", "0", "-o", "0.2", str(line.link))
        assert done.returncode != 0
        assert "timed out" in done.stdout + done.stderr


def test_the_program_serves_a_street_until_it_is_interrupted(tmp_path):
    link = tmp_path / "x" / "rs485-0"
    program = subprocess.Popen(
        [sys.executable, "-m", "hardware.sim", "--homes", "2", "--models", "sdm120,iem3000",
         "--link", str(link)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        shown = ""
        while "Ctrl-C" not in shown:
            piece = program.stdout.readline()
            assert piece, f"it ended after: {shown}"
            shown += piece
        assert re.search(r"A-101 +1 +sdm120", shown)
        assert re.search(r"A-102 +2 +iem3000", shown)
        client = ModbusSerialClient(str(link), baudrate=9600, timeout=1, retries=0)
        assert client.connect()
        reply = client.read_input_registers(0, count=2, device_id=1)
        assert 200 < client.convert_from_registers(reply.registers, TYPES.FLOAT32) < 250
        client.close()
        program.send_signal(signal.SIGINT)
        rest, _ = program.communicate(timeout=10)
    finally:
        program.kill()
    assert program.returncode == 0
    assert "1 requests, 1 replies" in rest
    assert not link.is_symlink()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--models", "sdm121"], "sdm120"), (["--homes", "300"], "too many homes")],
    ids=["unknown model", "too many homes"],
)
def test_the_program_says_what_it_cannot_serve(tmp_path, arguments, complaint):
    done = subprocess.run(
        [sys.executable, "-m", "hardware.sim", "--link", str(tmp_path / "x"), *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert complaint in done.stderr
