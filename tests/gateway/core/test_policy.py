"""When a cut is allowed: hours, weekdays, holidays, and what holds while the time is unknown."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worked import IST, at

from gateway.core.moment import Moment, Trust
from gateway.core.policy import CutReason, CutWindow, Policy, Weekday, may_cut

MONDAY = date(2026, 11, 23)
WORKDAYS = (Weekday.MON, Weekday.TUE, Weekday.WED, Weekday.THU, Weekday.FRI)
CSPDCL = Policy(
    name="10 to 14, not on holidays",
    cut_window=CutWindow(time(10), time(14)),
    holidays=(date(2027, 1, 26),),
)


def ist(day, clock=time()):
    """Local wall time."""
    return datetime.combine(day, clock, IST)


def judged(policy, moment, balance_paise=0, zone=IST):
    """The permission for an account without credit."""
    return may_cut(policy, balance_paise, moment, zone)


@pytest.mark.parametrize(
    ("balance_paise", "reason"), [(1, CutReason.CREDIT_LEFT), (0, CutReason.ALLOWED)]
)
def test_credit_is_used_up_at_the_limit_and_not_a_paisa_before(balance_paise, reason):
    permission = judged(CSPDCL, at(MONDAY, time(11)), balance_paise)
    assert (permission.reason, permission.allowed) == (reason, reason is CutReason.ALLOWED)


def test_the_limit_may_lie_below_zero():
    lenient = Policy(credit_limit_rupees=Decimal(-300))
    assert judged(lenient, at(MONDAY), -29_999).reason is CutReason.CREDIT_LEFT
    assert judged(lenient, at(MONDAY), -30_000).allowed


@pytest.mark.parametrize(
    ("clock", "allowed"),
    [
        (time(9, 59, 59, 999_999), False),
        (time(10), True),
        (time(13, 59, 59, 999_999), True),
        (time(14), False),
        (time(0), False),
    ],
)
def test_a_window_begins_at_its_start_and_is_over_at_its_end(clock, allowed):
    permission = judged(CSPDCL, at(MONDAY, clock))
    assert permission.allowed is allowed
    assert permission.reason is (CutReason.ALLOWED if allowed else CutReason.OUTSIDE_WINDOW)


@pytest.mark.parametrize(
    ("clock", "next_at"),
    [
        (time(9, 59), ist(MONDAY, time(10))),
        (time(14), ist(MONDAY + timedelta(days=1), time(10))),
        (time(23, 59), ist(MONDAY + timedelta(days=1), time(10))),
    ],
)
def test_the_next_window_is_named_in_local_time(clock, next_at):
    permission = judged(CSPDCL, at(MONDAY, clock))
    assert permission.next_at == next_at
    assert permission.next_at.utcoffset() == timedelta(hours=5, minutes=30)


def test_the_hours_are_those_of_the_zone():
    """11:00 in India is 05:30 UTC; by the clock of Greenwich there would be no cut."""
    moment = Moment(datetime(2026, 11, 23, 5, 30, tzinfo=UTC), Trust.NTP)
    assert judged(CSPDCL, moment).allowed
    assert not judged(CSPDCL, moment, zone=ZoneInfo("UTC")).allowed


def test_the_holiday_is_the_zones_own_day():
    """Late on the 25th by UTC the 26th has begun in India."""
    holiday = Policy(holidays=(date(2027, 1, 26),))
    begun = Moment(datetime(2027, 1, 25, 18, 30, tzinfo=UTC), Trust.NTP)
    assert judged(holiday, begun).reason is CutReason.HOLIDAY
    over = Moment(datetime(2027, 1, 26, 18, 30, tzinfo=UTC), Trust.NTP)
    assert judged(holiday, over).allowed


def test_a_holiday_allows_no_cut_and_names_the_next_working_day():
    permission = judged(CSPDCL, at(date(2027, 1, 26), time(11)))
    assert permission.reason is CutReason.HOLIDAY
    assert permission.next_at == ist(date(2027, 1, 27), time(10))


def test_holidays_without_hours_end_at_midnight():
    permission = judged(Policy(holidays=(date(2027, 1, 26),)), at(date(2027, 1, 26), time(11)))
    assert permission.next_at == ist(date(2027, 1, 27))


def test_a_weekend_and_a_holiday_in_a_row_are_passed_over():
    policy = Policy(
        cut_window=CutWindow(time(8), time(18), WORKDAYS), holidays=(date(2026, 11, 23),)
    )
    permission = judged(policy, at(date(2026, 11, 20), time(18)))  # a Friday evening
    assert permission.reason is CutReason.OUTSIDE_WINDOW
    assert permission.next_at == ist(date(2026, 11, 24), time(8))


@pytest.mark.parametrize("ahead", range(7))
def test_each_weekday_is_the_one_it_is_called(ahead):
    only = Policy(cut_window=CutWindow(time(0), time(23), (list(Weekday)[ahead],)))
    allowed = [judged(only, at(MONDAY + timedelta(days=n))).allowed for n in range(7)]
    assert allowed == [n == ahead for n in range(7)]


def test_a_policy_that_never_allows_a_cut_names_no_time():
    always = tuple(MONDAY + timedelta(days=n) for n in range(400))
    permission = judged(Policy(holidays=always), at(MONDAY))
    assert (permission.allowed, permission.next_at) == (False, None)


@pytest.mark.parametrize(
    ("balance_paise", "reason"),
    [
        (1, CutReason.CREDIT_LEFT),
        (0, CutReason.TIME_UNKNOWN),
        (-4999, CutReason.TIME_UNKNOWN),
        (-5000, CutReason.TIME_UNKNOWN_OVERDRAWN),
    ],
)
def test_unknown_time_delays_a_cut_up_to_a_rupee_limit(balance_paise, reason):
    """Whatever hour the unproven clock shows, in the window or out of it."""
    for clock in (time(3), time(11)):
        permission = judged(CSPDCL, at(MONDAY, clock, Trust.NONE), balance_paise)
        assert permission.reason is reason
        assert permission.allowed is (reason is CutReason.TIME_UNKNOWN_OVERDRAWN)
        assert permission.next_at is None


def test_the_overdraft_is_counted_from_the_credit_limit():
    policy = Policy(
        credit_limit_rupees=Decimal(-200),
        cut_window=CutWindow(time(10), time(14)),
        unknown_time_overdraft_rupees=Decimal("12.50"),
    )
    unknown = at(MONDAY, trust=Trust.NONE)
    assert not judged(policy, unknown, -21_249).allowed
    assert judged(policy, unknown, -21_250).allowed


def test_a_policy_without_hours_and_holidays_needs_no_time():
    assert not Policy().needs_time
    assert judged(Policy(), at(MONDAY, time(3), Trust.NONE)).allowed


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1_767_225_600, 1_830_297_600),  # 2026 and 2027
    st.times(time(0), time(11)),
    st.times(time(12), time(23)),
    st.sets(st.sampled_from(Weekday), min_size=1),
    st.sets(st.dates(date(2026, 1, 1), date(2028, 1, 31)), max_size=20),
)
def test_the_time_named_is_the_first_that_allows_a_cut(utc_s, start, end, weekdays, holidays):
    policy = Policy(cut_window=CutWindow(start, end, tuple(weekdays)), holidays=tuple(holidays))
    utc = datetime.fromtimestamp(utc_s, UTC)
    permission = judged(policy, Moment(utc, Trust.NTP))
    if permission.allowed:
        assert permission.next_at is None
        return
    opens = permission.next_at.astimezone(UTC)
    assert opens > utc
    assert judged(policy, Moment(opens, Trust.NTP)).allowed
    earlier = opens - timedelta(microseconds=1)
    while earlier > utc:
        assert not judged(policy, Moment(earlier, Trust.NTP)).allowed
        earlier -= timedelta(minutes=97)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CutWindow(time(18), time(8)), "before end"),
        (lambda: CutWindow(time(8), time(8)), "start must be before"),
        (lambda: CutWindow(time(8), time(9), ()), "at least one day"),
        (lambda: Policy(credit_limit_rupees=Decimal("0.001")), "whole number of paise"),
        (lambda: Policy(credit_limit_rupees=Decimal("Infinity")), "not an amount"),
        (lambda: Policy(unknown_time_overdraft_rupees=Decimal(-1)), "0 or more"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
