"""A simulated meter shows its truth in its model's registers, and its faults as they are named."""

import dataclasses
import struct
from decimal import Decimal

import pytest

from hardware.api import Quantity
from hardware.meters.model import MeterModel, ModelLibrary
from hardware.meters.registers import Register, SerialRegister
from hardware.sim.image import RegisterImage, serial_words
from hardware.sim.load import FAMILY_HOME, Load, LoadCurve
from hardware.sim.meter import SimMeter
from hardware.sim.relay import SimContact

HOUR_MS = 3_600_000
ENERGY = Quantity.ENERGY_IMPORT


def model(**energy):
    options = {"function": 4, "address": 10, "type": "float32", "unit": "kWh"} | energy
    register = Register(min=Decimal(0), max=Decimal(10**10), **options)
    return MeterModel("test", "x", "x", "x", {ENERGY: register}, max_registers=16)


def meter_of(image=None, **options):
    load = Load(LoadCurve(FAMILY_HOME, 1))
    return SimMeter("M1", 1, image or RegisterImage(model()), load, serial="12345678", **options)


def read_energy(meter):
    words = meter.registers(4, 10, 2)
    return struct.unpack(">f", struct.pack(">2H", *words))[0]


# --- the image ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected_hex"),
    [("ABCD", "449a4000"), ("CDAB", "4000449a"), ("BADC", "9a440040"), ("DCBA", "00409a44")],
)
def test_a_float_lies_on_the_wire_in_its_files_word_order(order, expected_hex):
    image = RegisterImage(model(word_order=order))
    words = image.read(4, 10, 2, {ENERGY: 1_234_000}, "1")  # 1234.0 is 449A4000
    assert struct.pack(">2H", *words).hex() == expected_hex


@pytest.mark.parametrize(
    ("options", "value_wh", "expected_hex"),
    [
        ({"type": "int64", "unit": "Wh"}, 1_234_567_890_123, "0000011f71fb04cb"),
        ({"type": "int32", "scale": Decimal("0.01")}, 1_234_560, "0001e240"),
        ({"type": "uint32", "scale": Decimal(10), "unit": "Wh"}, 1_234_560, "0001e240"),
        ({"type": "uint16", "unit": "MWh"}, 42_000_000, "002a"),
        ({"type": "uint64", "unit": "Wh", "word_order": "CDAB"}, 1, "0001000000000000"),
    ],
)
def test_integers_and_scales_are_the_files_rule_read_backwards(options, value_wh, expected_hex):
    image = RegisterImage(model(**options))
    count = len(expected_hex) // 4
    words = image.read(4, 10, count, {ENERGY: value_wh}, "1")
    assert struct.pack(f">{count}H", *words).hex() == expected_hex


@pytest.mark.parametrize(
    ("options", "step_wh"),
    [
        ({}, 10),
        ({"unit": "Wh"}, 1),
        ({"type": "uint32", "scale": Decimal("0.01")}, 10),
        ({"type": "uint32", "scale": Decimal("0.1")}, 100),
        ({"type": "int64", "unit": "Wh"}, 1),
        ({"type": "uint32", "unit": "MWh"}, 1_000_000),
    ],
)
def test_an_energy_register_counts_in_the_steps_of_its_format(options, step_wh):
    assert RegisterImage(model(**options)).step_wh == step_wh


def test_addresses_that_the_model_does_not_have_are_refused():
    image = RegisterImage(model())
    assert image.read(4, 10, 2, {}, "1") == [0, 0]
    assert image.read(4, 9, 2, {}, "1") is None
    assert image.read(4, 11, 2, {}, "1") is None
    assert image.read(3, 10, 2, {}, "1") is None
    assert len(image.read(4, 11, 1, {}, "1")) == 1


def test_more_registers_at_once_than_the_model_gives_are_refused():
    image = RegisterImage(dataclasses.replace(ModelLibrary().get("sdm630"), max_registers=40))
    assert len(image.read(4, 0, 40, {}, "1")) == 40
    assert image.read(4, 0, 41, {}, "1") is None


def test_a_hole_in_a_table_reads_zero_and_a_part_of_a_number_is_that_part():
    image = RegisterImage(ModelLibrary().get("sdm120"))
    values = {Quantity.VOLTAGE: 230_000, Quantity.CURRENT: 5_000}
    words = image.read(4, 1, 7, values, "1")
    assert words == [0x0000, 0, 0, 0, 0, 0x40A0, 0x0000]
    assert image.read(4, 0, 1, values, "1") == [0x4366]


def test_a_meter_can_be_one_that_refuses_reads_across_holes():
    image = RegisterImage(ModelLibrary().get("sdm120"), bridge_registers=0)
    assert image.read(4, 0, 2, {}, "1") == [0, 0]
    assert image.read(4, 0, 8, {}, "1") is None
    assert len(image.read(4, 0x46, 6, {}, "1")) == 6  # these lie side by side


@pytest.mark.parametrize(
    ("place", "serial", "expected"),
    [
        (SerialRegister(3, 0, "uint32"), "66051", (1, 0x0203)),
        (SerialRegister(3, 0, "uint32", "CDAB"), "66051", (0x0203, 1)),
        (SerialRegister(3, 0, "uint16"), "65539", (3,)),
        (SerialRegister(3, 0, "ascii", count=3), "AB1", (0x4142, 0x3100, 0)),
        (SerialRegister(3, 0, "ascii", "BADC", count=2), "AB1", (0x4241, 0x0031)),
        (SerialRegister(3, 0, "ascii", "CDAB", count=2), "AB1", (0x3100, 0x4142)),
    ],
    ids=["big", "low word first", "too long", "text", "text, bytes swapped", "text, words back"],
)
def test_a_serial_number_lies_in_its_register(place, serial, expected):
    assert serial_words(place, serial) == expected


@pytest.mark.parametrize("name", ModelLibrary().names())
def test_every_shipped_model_reads_back_what_the_meter_measures(name):
    shipped = ModelLibrary().get(name)
    meter = meter_of(RegisterImage(shipped), register_wh=4_321_000)
    meter.advance(20 * HOUR_MS)
    truth = meter.values()
    for quantity, register in shipped.registers.items():
        words = meter.registers(register.function, register.address, register.count)
        assert register.decode(words, quantity) == pytest.approx(truth[quantity], abs=1)
    if shipped.serial is not None:
        place = shipped.serial
        words = meter.registers(place.function, place.address, place.registers)
        assert place.decode(words) == meter.serial


# --- counting -------------------------------------------------------------------------------------


def test_energy_adds_up_exactly_however_time_is_cut():
    one, many = meter_of(register_wh=5), meter_of(register_wh=5)
    one.advance(30 * HOUR_MS)
    for ms in range(0, 30 * HOUR_MS + 1, 7_777):
        many.advance(ms)
    many.advance(30 * HOUR_MS)
    assert one.energy_mwh == many.energy_mwh
    assert one.energy_mwh - 5000 == one.used_mwh > 0
    assert 0 <= one.energy_mwh // 1000 - one.register_wh < 10
    assert one.register_wh % 10 == 0
    assert meter_of(register_wh=1_009).register_wh == 1_000


def test_an_open_contact_stops_the_load_and_leaves_the_voltage():
    contact = SimContact()
    meter = meter_of(contact=contact)
    meter.advance(HOUR_MS)
    before_mwh = meter.energy_mwh
    contact.command(False)
    meter.advance(5 * HOUR_MS)
    assert meter.energy_mwh == before_mwh
    assert not meter.connected
    values = meter.values()
    assert values[Quantity.ACTIVE_POWER] == values[Quantity.CURRENT] == 0
    assert values[Quantity.VOLTAGE] > 200_000
    contact.command(True)
    meter.advance(6 * HOUR_MS)
    assert meter.energy_mwh > before_mwh


def test_a_welded_contact_goes_on_counting():
    contact = SimContact()
    meter = meter_of(contact=contact)
    contact.weld()
    contact.command(False)
    meter.advance(HOUR_MS)
    assert meter.power_w > 0
    assert meter.used_mwh > 0


def test_current_voltage_and_power_belong_together():
    meter = meter_of()
    meter.advance(20 * HOUR_MS)
    values = meter.values()
    watts = (
        values[Quantity.VOLTAGE] * values[Quantity.CURRENT] * values[Quantity.POWER_FACTOR] / 1e9
    )
    assert watts == pytest.approx(values[Quantity.ACTIVE_POWER], rel=0.01)


def test_time_that_runs_backwards_is_refused():
    meter = meter_of()
    meter.advance(10)
    with pytest.raises(ValueError, match="backwards"):
        meter.advance(9)


# --- faults ---------------------------------------------------------------------------------------


def test_a_rebooting_meter_shows_nought_and_then_the_right_value_again():
    meter = meter_of(register_wh=1_000_000)
    meter.reboot(100)
    meter.advance(99_000)
    assert read_energy(meter) == 0
    meter.advance(100_000)
    assert read_energy(meter) >= 1000


def test_a_stuck_meter_shows_one_value_and_counts_on_behind_it():
    meter = meter_of(register_wh=1_000_000)
    meter.get_stuck()
    meter.advance(5 * HOUR_MS)
    assert read_energy(meter) == 1000
    meter.faults.stuck = False
    assert read_energy(meter) == pytest.approx(meter.register_wh / 1000, abs=0.001)
    assert read_energy(meter) > 1000


def test_a_jump_moves_the_register_and_not_what_was_used():
    meter = meter_of(register_wh=1_000_000)
    meter.jump(500_000)
    assert (meter.register_wh, meter.used_mwh) == (1_500_000, 0)
    meter.jump(-9_999_999)
    assert meter.register_wh == 0


def test_another_meter_in_its_place_has_its_own_serial_and_register():
    meter = meter_of(register_wh=1_000_000)
    meter.faults.dead = True
    meter.swap("99", 20)
    assert (meter.serial, meter.register_wh, meter.faults.dead) == ("99", 20, False)


def test_faults_of_replies_are_spent_one_at_a_time():
    meter = meter_of()
    meter.faults.garble_replies = 2
    meter.faults.late_replies = 1
    meter.faults.late_by_s = 0.7
    meter.faults.turnaround_s = 0.05
    replies = [meter.reply_fault() for _ in range(3)]
    assert [reply.garbled for reply in replies] == [True, True, False]
    assert [reply.after_s for reply in replies] == [0.7, 0.05, 0.05]
    meter.faults.dead = True
    assert meter.reply_fault().missing
