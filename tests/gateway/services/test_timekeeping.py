"""What time is it, and who says so."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gateway.core.moment import Moment, Trust
from gateway.services.timekeeping import SystemTimeSource, Timekeeper

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass
class Source:
    utc_now: datetime = NOON
    trusted: Trust = Trust.NONE

    def utc(self) -> datetime:
        return self.utc_now

    def trust(self) -> Trust:
        return self.trusted


@dataclass
class Ticks:
    at_s: float = 0.0

    def __call__(self) -> float:
        return self.at_s


def keeper(source, floor=None):
    ticks = Ticks()
    return Timekeeper(source, ticks, floor), ticks


def test_a_date_that_nobody_vouches_for_is_not_proven():
    clock, _ = keeper(Source())

    assert clock.now() == Moment(NOON, Trust.NONE)


def test_proven_time_is_carried_on_when_the_source_falls_silent_or_steps():
    source = Source(trusted=Trust.NTP)
    clock, ticks = keeper(source)
    clock.now()
    source.trusted, source.utc_now = Trust.NONE, NOON - timedelta(days=3650)
    ticks.at_s = 3600.0

    assert clock.now() == Moment(NOON + timedelta(hours=1), Trust.NTP)


def test_a_clock_chip_that_was_set_back_is_not_believed_after_a_restart():
    floor = Moment(NOON, Trust.NTP)
    clock, _ = keeper(Source(NOON - timedelta(days=30), Trust.RTC), floor)

    assert not clock.now().proven


def test_ntp_overrules_a_clock_chip_that_was_months_ahead():
    ahead = NOON + timedelta(days=240)
    source = Source(ahead, Trust.RTC)
    clock, ticks = keeper(source)
    assert clock.now().utc == ahead
    source.utc_now, source.trusted = NOON, Trust.NTP
    ticks.at_s = 60.0

    assert clock.now() == Moment(NOON, Trust.NTP)

    clock, _ = keeper(Source(NOON, Trust.NTP), Moment(ahead, Trust.RTC))
    assert clock.now() == Moment(NOON, Trust.NTP)


def test_a_worse_source_does_not_replace_time_carried_on_from_a_better_one():
    source = Source(trusted=Trust.NTP)
    clock, ticks = keeper(source)
    clock.now()
    source.trusted, source.utc_now = Trust.RTC, NOON + timedelta(days=2)
    ticks.at_s = 60.0

    assert clock.now() == Moment(NOON + timedelta(seconds=60), Trust.NTP)


def test_the_operator_may_vouch_for_the_system_clock():
    assert SystemTimeSource(trust_system_clock=True).trust() is Trust.OPERATOR


def test_a_clock_chip_counts_only_when_it_set_the_clock_and_agrees(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.services.timekeeping._kernel_synchronised", lambda: False)
    source = SystemTimeSource(rtc=tmp_path)
    assert source.trust() is Trust.NONE

    (tmp_path / "hctosys").write_text("1\n")
    (tmp_path / "since_epoch").write_text(f"{int(datetime.now(UTC).timestamp())}\n")
    assert source.trust() is Trust.RTC

    (tmp_path / "since_epoch").write_text("86400\n")
    assert source.trust() is Trust.NONE
    (tmp_path / "hctosys").write_text("0\n")
    assert source.trust() is Trust.NONE
