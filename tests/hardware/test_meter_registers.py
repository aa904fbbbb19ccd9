"""Words on the wire and integers in a quantity's unit: exact, both ways, and never an exception."""

import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.api import Quantity
from hardware.meters.registers import (
    WORD_ORDERS,
    Register,
    SerialRegister,
    half_up,
    number,
    to_words,
    unit_factor,
)

V230 = (0x4366, 0x3333)  # 230.2 as float32, big-endian


def register(kind: str = "float32", unit: str = "V", **more) -> Register:
    given = {"min": Decimal(0), "max": Decimal(1_000_000)} | more
    return Register(4, 0, kind, unit, **given)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", (0x4366, 0x3333)),
        ("CDAB", (0x3333, 0x4366)),
        ("BADC", (0x6643, 0x3333)),
        ("DCBA", (0x3333, 0x6643)),
    ],
)
def test_the_four_word_orders_give_the_same_volts(order, words):
    assert register(word_order=order).decode(words, Quantity.VOLTAGE) == 230_200


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("int16", (0xFFFF,), -1),
        ("uint16", (0xFFFF,), 65535),
        ("int32", (0xFFFF, 0xFFFE), -2),
        ("uint32", (0x0001, 0x0000), 65536),
        ("int64", (0, 0, 0x0001, 0x0002), 65538),
        ("uint64", (0x8000, 0, 0, 0), 2**63),
    ],
)
def test_integers_are_read_in_their_own_sign_and_width(kind, words, value):
    assert number(words, kind, "ABCD") == value
    assert to_words(value, kind, "ABCD") == words


def test_a_64_bit_number_with_the_low_word_first():
    assert number((2, 1, 0, 0), "uint64", "CDAB") == 65538


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0x7F80, 0), (0xFF80, 0), (0x7FFF, 0xFFFF)])
def test_not_a_number_and_infinity_are_nothing(words):
    assert register().decode(words, Quantity.VOLTAGE) is None


def test_outside_the_plausible_range_is_nothing_and_the_limits_are_inside():
    narrow = register("uint16", min=Decimal(10), max=Decimal(20))
    values = [narrow.decode((word,), Quantity.VOLTAGE) for word in (9, 10, 20, 21)]
    assert values == [None, 10_000, 20_000, None]


def test_kilowatt_hours_become_watt_hours_exactly_and_round_half_up():
    energy = register("uint32", "kWh", scale=Decimal("0.0001"), max=Decimal(10**9))
    assert energy.decode((0, 12345), Quantity.ENERGY_IMPORT) == 1235  # 1234.5 Wh
    assert energy.decode((0, 12344), Quantity.ENERGY_IMPORT) == 1234


def test_half_goes_up_also_below_nought():
    assert [half_up(Fraction(n, 2)) for n in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


@given(st.integers(0, 2**32 - 1), st.sampled_from(WORD_ORDERS))
def test_any_words_give_a_value_in_range_or_nothing(raw, order):
    words = struct.unpack(">2H", raw.to_bytes(4, "big"))
    value = register(word_order=order).decode(words, Quantity.VOLTAGE)
    assert value is None or 0 <= value <= 1_000_000_000


@given(st.integers(0, 10**12), st.sampled_from(WORD_ORDERS))
def test_what_a_meter_is_made_to_show_is_what_is_read(value_wh, order):
    energy = register("int64", "Wh", word_order=order, max=Decimal(10**12))
    words = energy.encode(value_wh, Quantity.ENERGY_IMPORT)
    assert energy.decode(words, Quantity.ENERGY_IMPORT) == value_wh


@given(st.integers(0, 16_383_000))
def test_a_float32_register_is_right_to_2_wh_up_to_16384_kwh(value_wh):
    energy = register("float32", "kWh", max=Decimal(10**7))
    words = energy.encode(value_wh, Quantity.ENERGY_IMPORT)
    assert abs(energy.decode(words, Quantity.ENERGY_IMPORT) - value_wh) <= 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "uint16", "word_order": "CDAB"}, "two words"),
        ({"scale": Decimal(0)}, "scale is 0"),
        ({"scale": Decimal("NaN")}, "scale is NaN"),
        ({"max": Decimal("Infinity")}, "max is Infinity"),
        ({"min": Decimal(5), "max": Decimal(5)}, "min 5 is not below max 5"),
    ],
)
def test_a_register_that_cannot_be_read_rightly_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        register(**change)


@pytest.mark.parametrize(("function", "address"), [(6, 0), (3, -1), (3, 65535), (3, 70000)])
def test_a_place_that_is_not_on_a_meter_is_refused(function, address):
    with pytest.raises(ValueError, match=r"function|address"):
        Register(function, address, "float32", "V", Decimal(0), Decimal(1))


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [("W", Quantity.ENERGY_IMPORT), ("kwh", Quantity.ENERGY_IMPORT), ("A", Quantity.VOLTAGE)],
)
def test_a_unit_of_another_quantity_is_refused(unit, quantity):
    with pytest.raises(ValueError, match="is not one of"):
        unit_factor(unit, quantity)


def test_to_words_refuses_what_the_type_cannot_hold():
    with pytest.raises(ValueError, match="does not fit uint16"):
        to_words(70000, "uint16", "ABCD")


# --- serial numbers -------------------------------------------------------------------------------


def test_serial_numbers_are_read_as_numbers_and_as_text():
    assert SerialRegister(3, 0, "uint32").decode((0x0001, 0x86A0)) == "100000"
    text = SerialRegister(3, 0, "ascii", count=4)
    assert text.decode((0x5345, 0x3132, 0x3300, 0xFFFF)) == "SE123"


def test_blank_serial_numbers_are_none():
    assert SerialRegister(3, 0, "uint32").decode((0, 0)) is None
    assert SerialRegister(3, 0, "ascii", count=2).decode((0, 0)) is None
    assert SerialRegister(3, 0, "ascii", count=2).decode((0xFFFF, 0xFFFF)) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "ascii"},
        {"type": "ascii", "count": 33},
        {"type": "uint32", "count": 2},
        {"type": "uint16", "word_order": "DCBA"},
        {"type": "uint32", "function": 1},
    ],
)
def test_a_serial_register_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match=r"count|word_order|function"):
        SerialRegister(**({"function": 3, "address": 0} | bad))
