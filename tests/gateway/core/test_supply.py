"""Holds: supply is on exactly when none stands, and money lifts one of them only."""

from datetime import date, time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worked import IST, at

from gateway.core.policy import CutPermission, CutReason, CutWindow, Policy, may_cut
from gateway.core.supply import Hold, HoldChange, SupplyState, credit_hold, wanted

NO_CREDIT = Hold.NO_CREDIT
OTHERS = [hold for hold in Hold if hold is not NO_CREDIT]
ALLOWED = CutPermission(allowed=True, reason=CutReason.ALLOWED)
NOT_NOW = CutPermission(allowed=False, reason=CutReason.OUTSIDE_WINDOW)
CREDIT_LEFT = CutPermission(allowed=False, reason=CutReason.CREDIT_LEFT)


def test_supply_is_wanted_exactly_when_no_hold_stands():
    assert wanted(frozenset()) is SupplyState.CONNECTED
    for count in range(1, len(Hold) + 1):
        for holds in combinations(Hold, count):
            assert wanted(frozenset(holds)) is SupplyState.DISCONNECTED


@pytest.mark.parametrize(
    ("holds", "balance_paise", "permission", "change"),
    [
        (set(), 0, ALLOWED, HoldChange.PLACE),
        (set(), 0, NOT_NOW, HoldChange.KEEP),
        (set(), 1, CREDIT_LEFT, HoldChange.KEEP),
        ({NO_CREDIT}, 0, ALLOWED, HoldChange.KEEP),
        ({NO_CREDIT}, 0, NOT_NOW, HoldChange.KEEP),
        ({NO_CREDIT}, -1, NOT_NOW, HoldChange.KEEP),
        ({NO_CREDIT}, 1, CREDIT_LEFT, HoldChange.LIFT),
        ({Hold.LINEMAN_LOCK}, 0, ALLOWED, HoldChange.PLACE),
        ({Hold.LINEMAN_LOCK, NO_CREDIT}, 1, CREDIT_LEFT, HoldChange.LIFT),
    ],
    ids=str,
)
def test_the_credit_hold_follows_money_and_permission(holds, balance_paise, permission, change):
    assert credit_hold(frozenset(holds), balance_paise, 0, permission) is change


def test_a_hold_once_placed_is_lifted_by_money_and_not_by_the_hour():
    """After the window closes, a cut account stays cut until it is recharged."""
    assert credit_hold({NO_CREDIT}, -500, 0, NOT_NOW) is HoldChange.KEEP


@pytest.mark.parametrize("hold", OTHERS)
def test_no_recharge_energises_a_line_that_is_held_for_another_reason(hold):
    holds = {hold, NO_CREDIT}
    assert credit_hold(holds, 10**9, 0, CREDIT_LEFT) is HoldChange.LIFT
    assert wanted(holds - {NO_CREDIT}) is SupplyState.DISCONNECTED


def test_only_locks_are_placed_and_lifted_by_a_person():
    assert [hold for hold in Hold if hold.by_person] == [Hold.LINEMAN_LOCK, Hold.OFFICER_LOCK]


@settings(max_examples=80, deadline=None)
@given(
    st.sets(st.sampled_from(OTHERS)),
    st.lists(st.tuples(st.integers(-20_000, 20_000), st.times(), st.integers(1, 28)), max_size=30),
)
def test_whatever_money_does_the_other_holds_stay_as_they_are(others, events):
    policy = Policy(cut_window=CutWindow(time(10), time(14)), holidays=(date(2026, 11, 5),))
    holds, balance_paise = frozenset(others), 1000
    for change_paise, clock, day in events:
        balance_paise += change_paise
        permission = may_cut(policy, balance_paise, at(date(2026, 11, day), clock), IST)
        was_cut = NO_CREDIT in holds
        match credit_hold(holds, balance_paise, policy.credit_limit_paise, permission):
            case HoldChange.PLACE:
                assert not was_cut
                assert permission.allowed
                assert balance_paise <= 0
                holds |= {NO_CREDIT}
            case HoldChange.LIFT:
                assert was_cut
                assert balance_paise > 0
                holds -= {NO_CREDIT}
        assert holds - {NO_CREDIT} == others
        assert NO_CREDIT not in holds or balance_paise <= 0
