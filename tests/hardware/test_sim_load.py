"""Loads: repeatable by seed, exact however a span is cut, of the right size."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.sim.load import DAY_MS, SHAPES, Load, LoadCurve, LoadShape

FAMILY = SHAPES[1]
CURVE = LoadCurve(FAMILY, "one")


@given(st.lists(st.integers(0, 3 * DAY_MS), min_size=2, max_size=20))
def test_energy_does_not_depend_on_how_a_span_is_cut(cuts):
    cuts.sort()
    parts = sum(CURVE.energy_mj(a, b) for a, b in itertools.pairwise(cuts))
    assert parts == CURVE.energy_mj(cuts[0], cuts[-1])


def test_energy_is_power_times_time():
    assert CURVE.energy_mj(600_000, 600_001) == CURVE.power_w(600_000)
    by_minute = sum(CURVE.power_w(m * 60_000) * 60_000 for m in range(1440))
    assert CURVE.energy_mj(0, DAY_MS) == by_minute


def test_a_curve_repeats_by_seed_even_after_its_days_were_forgotten():
    again = LoadCurve(FAMILY, "one")
    far = again.energy_mj(0, 40 * DAY_MS)
    assert far == CURVE.energy_mj(0, 40 * DAY_MS)
    assert again.energy_mj(0, DAY_MS) == CURVE.energy_mj(0, DAY_MS)
    assert LoadCurve(FAMILY, "two").energy_mj(0, DAY_MS) != CURVE.energy_mj(0, DAY_MS)


@pytest.mark.parametrize(
    ("name", "low_wh", "high_wh"),
    [
        ("small-home", 2500, 4500),
        ("family-home", 6000, 9500),
        ("ac-home", 16000, 25000),
        ("shop", 7000, 11000),
    ],
)
def test_a_day_of_each_shape_is_of_the_size_its_comment_says(name, low_wh, high_wh):
    shape = next(shape for shape in SHAPES if shape.name == name)
    curve = LoadCurve(shape, 7)
    for day in range(10):
        wh = curve.energy_mj(day * DAY_MS, (day + 1) * DAY_MS) // 3_600_000
        assert low_wh < wh < high_wh


def test_evening_is_heavier_than_small_hours_at_home():
    evening = CURVE.energy_mj(19 * 3_600_000, 22 * 3_600_000)
    night = CURVE.energy_mj(1 * 3_600_000, 4 * 3_600_000)
    assert evening > 2 * night


def test_midnight_is_no_step_in_the_shape():
    steady = LoadShape("steady", (100, *[500] * 22, 300), 0, 0)
    curve = LoadCurve(steady, 1)
    assert curve.power_w(23 * 3_600_000) == 300
    assert curve.power_w(DAY_MS - 1) == 103
    assert curve.power_w(DAY_MS) == 100


def test_the_multiplier_scales_exactly_and_refuses_negative_ones():
    load = Load(CURVE, 2500)
    assert load.energy_uj(0, DAY_MS) == CURVE.energy_mj(0, DAY_MS) * 2500
    assert load.power_w(0) == CURVE.power_w(0) * 5 // 2
    load.multiplier_permille = 0
    assert load.energy_uj(0, DAY_MS) == 0
    with pytest.raises(ValueError, match="negative"):
        load.multiplier_permille = -1


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="24 hourly"):
        LoadShape("short", (1, 2), 0, 0)
    with pytest.raises(ValueError, match="watts"):
        LoadShape("minus", (-1,) * 24, 0, 0)
    with pytest.raises(ValueError, match="spread"):
        LoadShape("wide", (1,) * 24, 0, 1001)
    with pytest.raises(ValueError, match="before it begins"):
        CURVE.energy_mj(2, 1)
