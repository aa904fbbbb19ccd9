"""Wall time and its trust, and days that begin at midnight in India, not in Greenwich."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worked import IST, at

from gateway.core.moment import Moment, Trust, days_between, iso_utc, midnight_utc_s


def test_only_a_time_vouched_for_is_proven():
    assert [trust for trust in Trust if trust.proven] == [
        Trust.RTC,
        Trust.NTP,
        Trust.OPERATOR,
        Trust.HEADEND,
    ]
    assert not Moment(datetime(2026, 11, 24, tzinfo=UTC), Trust.NONE).proven
    assert sorted(Trust) == list(Trust), "a better source is a higher trust"


@pytest.mark.parametrize(
    ("utc", "day"),
    [
        (datetime(2026, 11, 23, 18, 29, 59, tzinfo=UTC), date(2026, 11, 23)),
        (datetime(2026, 11, 23, 18, 30, tzinfo=UTC), date(2026, 11, 24)),
        (datetime(2026, 12, 31, 18, 30, tzinfo=UTC), date(2027, 1, 1)),
    ],
    ids=["last second", "first second", "new year"],
)
def test_the_day_changes_at_local_midnight(utc, day):
    assert Moment(utc, Trust.NTP).day(IST) == day


def test_midnight_in_india_is_half_past_six_in_the_evening_before_in_utc():
    assert iso_utc(midnight_utc_s(date(2026, 11, 24), IST)) == "2026-11-23T18:30:00Z"


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_a_day_begins_at_its_midnight_and_not_a_second_earlier(day):
    start_s = midnight_utc_s(day, IST)
    assert Moment(datetime.fromtimestamp(start_s, UTC), Trust.NTP).day(IST) == day
    before = Moment(datetime.fromtimestamp(start_s - 1, UTC), Trust.NTP)
    assert before.day(IST) == day - timedelta(days=1)


def test_a_zone_with_summer_time_has_days_of_other_lengths():
    """The gateway is not only for India: nothing here takes a day for 86,400 seconds."""
    zone = ZoneInfo("Europe/Berlin")
    long_day = date(2026, 10, 25)
    length_s = midnight_utc_s(long_day + timedelta(days=1), zone) - midnight_utc_s(long_day, zone)
    assert length_s == 25 * 3600


def test_moments_are_written_in_utc_to_the_second():
    moment = at(date(2026, 11, 24), time(15, 30, 0, 999_999))
    assert moment.iso() == "2026-11-24T10:00:00Z"
    assert iso_utc(moment.utc_s) == moment.iso()


def test_a_time_without_a_zone_is_refused():
    """It would be read as the machine's own zone, and the day would change at a wrong hour."""
    with pytest.raises(ValueError, match="time zone"):
        Moment(datetime(2026, 11, 24, 10, 0), Trust.NTP)  # noqa: DTZ001 - the fault itself
    assert Moment(datetime(2026, 11, 24, tzinfo=timezone(timedelta(hours=5.5))), Trust.NTP)


def test_days_between_is_without_the_last_and_never_negative():
    first = date(2026, 2, 27)
    assert days_between(first, date(2026, 3, 2)) == [
        date(2026, 2, 27),
        date(2026, 2, 28),
        date(2026, 3, 1),
    ]
    assert days_between(first, first) == []
    assert days_between(first, date(2026, 2, 1)) == []
