"""The gate before money: what a meter says is billed only when it can be true."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.register import (
    CONFIRM_S,
    CONFIRMATIONS,
    UNKNOWN_GAP_S,
    RegisterGate,
    RegisterLimits,
    Verdict,
    judge,
)

LIMITS = RegisterLimits(max_w=10_000, burst_wh=500, confirmable_wh=50_000)
START_WH = 1_000_000
HOUR_S = 3600.0


def gate_at(register_wh=START_WH, at_s=0.0):
    return RegisterGate(register_wh, at_s)


def play(gate, readings, limits=LIMITS):
    """Judge (at_s, register_wh) pairs in turn; returns the gate and all verdicts."""
    verdicts = []
    for at_s, register_wh in readings:
        gate, verdict = judge(gate, register_wh, at_s, limits)
        verdicts.append(verdict)
    return gate, verdicts


def test_ordinary_use_is_accepted_reading_by_reading():
    gate, verdicts = play(gate_at(), [(s, START_WH + s) for s in range(1, 100)])
    assert set(verdicts) == {Verdict.ACCEPTED}
    assert gate == RegisterGate(START_WH + 99, 99)


def test_an_unchanged_register_is_accepted():
    _, verdicts = play(gate_at(), [(1.0, START_WH), (2.0, START_WH)])
    assert verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED]


def test_a_meter_that_answers_zero_while_it_reboots_costs_nothing():
    zeros = [(float(s), 0) for s in range(1, 101)]
    gate, verdicts = play(gate_at(), zeros)
    assert set(verdicts) == {Verdict.BACKWARD}
    assert gate == gate_at()
    gate, verdict = judge(gate, START_WH + 40, 101.0, LIMITS)
    assert verdict is Verdict.ACCEPTED
    assert gate.accepted_wh == START_WH + 40


def test_one_watt_hour_backward_is_backward():
    _, verdict = judge(gate_at(), START_WH - 1, 1.0, LIMITS)
    assert verdict is Verdict.BACKWARD
    assert not verdict.accepted


def test_a_single_spike_is_never_billed_and_does_not_become_the_baseline():
    gate, verdicts = play(gate_at(), [(1.0, START_WH + 187_710), (2.0, START_WH + 3)])
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.ACCEPTED]
    assert gate == RegisterGate(START_WH + 3, 2.0)


def test_a_jump_of_a_few_days_use_needs_only_a_few_reads_that_agree():
    high = [(float(s), START_WH + 20_000) for s in range(1, 6)]
    _, verdicts = play(gate_at(), high)
    assert verdicts == [
        *[Verdict.UNCONFIRMED] * 3,
        Verdict.CONFIRMED,
        Verdict.ACCEPTED,
    ]


def test_a_spike_that_stays_a_minute_and_then_drops_back_is_never_billed():
    high = [(float(s), START_WH + 60_000) for s in range(1, 100)]
    gate, verdicts = play(gate_at(), [*high, (100.0, START_WH + 10)])
    assert set(verdicts[:-1]) == {Verdict.UNCONFIRMED}
    assert verdicts[-1] is Verdict.ACCEPTED
    assert gate.accepted_wh == START_WH + 10


def test_a_jump_that_stays_is_confirmed_after_enough_reads_and_time():
    level = START_WH + 20_000
    times = [1.0, 101.0, 201.0, 1.0 + CONFIRM_S]
    assert len(times) == CONFIRMATIONS + 1
    gate, verdicts = play(gate_at(), [(at_s, level) for at_s in times])
    assert verdicts == [Verdict.UNCONFIRMED] * CONFIRMATIONS + [Verdict.CONFIRMED]
    assert gate == RegisterGate(level, times[-1])
    assert Verdict.CONFIRMED.accepted


def test_time_alone_does_not_confirm_a_jump():
    level = START_WH + 20_000
    _, verdicts = play(gate_at(), [(1.0, level), (1.0 + 2 * CONFIRM_S, level)])
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.UNCONFIRMED]


def test_a_jump_beyond_what_may_be_confirmed_is_parked_for_a_person():
    level = START_WH + 500_000
    gate, verdicts = play(gate_at(), [(1.0 + 100 * n, level) for n in range(8)])
    assert verdicts[:CONFIRMATIONS] == [Verdict.UNCONFIRMED] * CONFIRMATIONS
    assert verdicts[-1] is Verdict.PARKED
    assert gate.accepted_wh == START_WH
    _, verdict = judge(gate, START_WH + 5, 900.0, LIMITS)
    assert verdict is Verdict.ACCEPTED


def test_waiting_does_not_make_a_parked_level_acceptable():
    level = START_WH + 500_000
    week = [(1.0 + HOUR_S * n, level) for n in range(7 * 24)]
    gate, verdicts = play(gate_at(), week)
    assert not any(verdict.accepted for verdict in verdicts)
    assert gate.accepted_wh == START_WH


def test_waiting_does_not_help_a_level_that_alternates_with_zero():
    alternating = [(60.0 * n, START_WH + 200_000 if n % 2 else 0) for n in range(1, 24 * 60)]
    gate, verdicts = play(gate_at(), alternating)
    assert not any(verdict.accepted for verdict in verdicts)
    assert Verdict.PARKED not in verdicts
    assert gate.accepted_wh == START_WH


def test_waiting_does_not_help_levels_that_contradict_each_other():
    levels = (START_WH + 60_000, START_WH + 30_000, START_WH + 45_000)
    readings = [(600.0 * n, levels[n % 3]) for n in range(1, 200)]
    # Two rising ones in a row may look like a meter that runs fast; here they are too far apart.
    gate, verdicts = play(gate_at(), readings)
    assert not any(verdict.accepted for verdict in verdicts)
    assert gate.accepted_wh == START_WH


def test_a_garbled_first_reading_after_an_outage_is_not_billed():
    readings = [(10 * HOUR_S, START_WH + 90_000), (10 * HOUR_S + 1, START_WH + 4_000)]
    gate, verdicts = play(gate_at(), readings)
    assert verdicts[0] is Verdict.UNCONFIRMED
    gate, verdict = judge(gate, START_WH + 4_000, 10 * HOUR_S + 2, LIMITS)
    assert verdict is Verdict.ACCEPTED
    assert gate.accepted_wh == START_WH + 4_000


def test_the_use_of_an_outage_is_accepted_when_a_second_reading_agrees():
    readings = [(10 * HOUR_S, START_WH + 90_000), (10 * HOUR_S + 1, START_WH + 90_002)]
    gate, verdicts = play(gate_at(), readings)
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.ACCEPTED]
    assert gate.accepted_wh == START_WH + 90_002


def test_a_small_rise_after_an_outage_needs_no_second_reading():
    _, verdict = judge(gate_at(), START_WH + 800, 10 * HOUR_S, LIMITS)
    assert verdict is Verdict.ACCEPTED


def test_after_a_restart_without_time_three_days_of_full_load_are_possible():
    unknown = RegisterGate(START_WH, None)
    three_days_wh = int(10_000 * 1.25 * UNKNOWN_GAP_S / 3600)
    edge_wh = START_WH + three_days_wh + 500
    _, verdicts = play(unknown, [(5.0, edge_wh), (6.0, edge_wh)])
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.ACCEPTED]
    beyond = [(5.0, edge_wh + 1), (6.0, edge_wh + 1)]
    _, verdicts = play(unknown, beyond)
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.UNCONFIRMED]


def test_after_a_restart_without_time_one_garbled_reading_is_not_billed():
    gate, verdicts = play(
        RegisterGate(START_WH, None), [(5.0, START_WH + 800_000), (6.0, START_WH + 700)]
    )
    assert verdicts == [Verdict.UNCONFIRMED, Verdict.ACCEPTED]
    assert gate.accepted_wh == START_WH + 700


@pytest.mark.parametrize(("risen_wh", "accepted"), [(501, True), (502, False)])
def test_the_limit_is_the_burst_and_a_quarter_more_than_the_load(risen_wh, accepted):
    tight = RegisterLimits(max_w=2_880, burst_wh=500)  # 1 Wh in a second with the headroom
    _, verdict = judge(gate_at(), START_WH + risen_wh, 1.0, tight)
    assert verdict.accepted is accepted


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.5, 40_000), st.integers(0, 10_000), st.booleans()), max_size=40),
    st.lists(st.sampled_from([0, START_WH // 2, START_WH * 2]), min_size=40, max_size=40),
)
def test_an_honest_meter_with_lone_garbled_readings_is_never_overbilled(steps, garbage):
    at_s, truth_wh, gate = 0.0, START_WH, gate_at()
    accepted = [START_WH]
    for (gap_s, load_w, garbled), wrong_wh in zip(steps, garbage, strict=False):
        at_s += gap_s
        truth_wh += int(load_w * gap_s / 3600)
        if garbled:
            gate, verdict = judge(gate, wrong_wh, at_s, LIMITS)
            assert not verdict.accepted
        for _ in range(3):  # a truth told thrice is always heard
            at_s += 1.0
            gate, verdict = judge(gate, truth_wh, at_s, LIMITS)
        assert verdict is Verdict.ACCEPTED
        assert gate.accepted_wh == truth_wh
        accepted.append(gate.accepted_wh)
    assert all(earlier <= later for earlier, later in pairwise(accepted))
