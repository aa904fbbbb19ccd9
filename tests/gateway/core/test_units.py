"""Amounts as people write them: exact, grouped the Indian way, and never misread."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.units import (
    format_kwh,
    format_rupees,
    paise,
    paise_per_wh,
    parse_rupees,
    round_half_up,
)


@pytest.mark.parametrize(
    ("amount_paise", "written"),
    [
        (0, "₹0.00"),
        (5, "₹0.05"),
        (99_999, "₹999.99"),
        (100_000, "₹1,000.00"),
        (1_000_000, "₹10,000.00"),
        (10_000_000, "₹1,00,000.00"),
        (12_345_678, "₹1,23,456.78"),
        (1_234_567_890_12, "₹1,23,45,67,890.12"),
        (-1, "-₹0.01"),
        (-12_345_678, "-₹1,23,456.78"),
    ],
)
def test_digits_are_grouped_by_thousand_lakh_and_crore(amount_paise, written):
    assert format_rupees(amount_paise) == written


@given(st.integers(-(10**12), 10**12))
def test_what_is_written_is_read_back(amount_paise):
    assert parse_rupees(format_rupees(amount_paise)) == amount_paise


@pytest.mark.parametrize(
    ("text", "amount_paise"),
    [
        ("50", 5000),
        ("50.00", 5000),
        (" 50.5 ", 5050),
        ("+1", 100),
        ("-12.5", -1250),
        ("₹ 1,234.50", 123_450),
        ("-₹12.50", -1250),
        ("1,23,456.78", 12_345_678),
        ("123,456.78", 12_345_678),
        ("0.010", 1),
    ],
)
def test_amounts_are_read_as_people_write_them(text, amount_paise):
    assert parse_rupees(text) == amount_paise


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fifty",
        "50,00",  # a decimal comma: not five thousand rupees
        "1,2,3",
        ",500",
        "1_000",
        "1e3",
        "0x10",
        "NaN",
        "Infinity",
        "\u0665\u0660",  # digits of another script
        "5 0",
        "--5",
        "50.",
        "12345678901",  # more than any amount of this business
        "0.005",  # half a paisa
    ],
)
def test_what_is_not_clearly_an_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"rupees"):
        parse_rupees(text)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "0.001"])
def test_a_rupee_amount_that_is_no_number_of_paise_is_a_value_error(value):
    with pytest.raises(ValueError, match="rupees"):
        paise(Decimal(value))


def test_digits_beyond_decimal_precision_are_not_rounded_away():
    with pytest.raises(ValueError, match="whole number of paise"):
        paise(Decimal("0.0199999999999999999999999999999999"))


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [
        (Fraction(1, 2), 1),
        (Fraction(-1, 2), -1),
        (Fraction(3, 2), 2),
        (Fraction(-3, 2), -2),
        (Fraction(5, 2), 3),
        (Fraction(49, 100), 0),
        (Fraction(-49, 100), 0),
        (Fraction(-51, 100), -1),
    ],
)
def test_halves_are_rounded_away_from_zero(exact, rounded):
    assert round_half_up(exact) == rounded


@given(st.integers(-(10**9), 10**9), st.sampled_from([1, 2, 4, 5, 8, 10, 1000]))
def test_rounding_agrees_with_decimal(numerator, denominator):
    decimal = (Decimal(numerator) / denominator).quantize(Decimal(1), ROUND_HALF_UP)
    assert round_half_up(Fraction(numerator, denominator)) == int(decimal)


def test_a_rate_is_exact_paise_per_watt_hour():
    assert paise_per_wh(Decimal("4.10")) == Fraction(41, 100)


@pytest.mark.parametrize(
    ("energy_wh", "written"), [(0, "0.000"), (7, "0.007"), (1500, "1.500"), (-1500, "-1.500")]
)
def test_kilowatt_hours_have_three_places(energy_wh, written):
    assert format_kwh(energy_wh) == written
