"""Wall time, and how far it may be believed.

A Raspberry Pi has no clock chip, and a plausible date proves nothing: with its clock set years back
systemd starts it at its own build date. So every wall time carries its `Trust`; only a proven time
may close a day, open a cut window or start a month. Money never waits for it: energy that flows
while the date is unknown is charged to the last proven day.
"""

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo


class Trust(enum.IntEnum):
    """Where a wall time comes from, worst first."""

    NONE = 0  # the operating system's clock, vouched for by nobody
    RTC = 1  # a battery-backed clock chip
    NTP = 2  # the kernel says its clock is synchronised
    OPERATOR = 3  # the configuration vouches for this machine's clock
    HEADEND = 4  # a signed time from the head-end

    @property
    def proven(self) -> bool:
        """Whether a date of this trust may be relied on for money and cuts."""
        return self > Trust.NONE


@dataclass(frozen=True, slots=True)
class Moment:
    """A wall time in UTC with its trust. Raises ValueError for a `utc` without a time zone."""

    utc: datetime
    trust: Trust

    def __post_init__(self) -> None:
        if self.utc.tzinfo is None:
            raise ValueError(f"{self.utc} has no time zone; a moment must say it is UTC")

    @property
    def proven(self) -> bool:
        """Whether this date may be relied on."""
        return self.trust.proven

    @property
    def utc_s(self) -> int:
        """Whole seconds since 1970, UTC."""
        return int(self.utc.timestamp())

    def day(self, zone: ZoneInfo) -> date:
        """The local calendar day."""
        return self.utc.astimezone(zone).date()

    def iso(self) -> str:
        """RFC 3339 in UTC to the second, e.g. `2026-11-24T10:00:00Z`."""
        return iso_utc(self.utc_s)


def iso_utc(utc_s: int) -> str:
    """RFC 3339 in UTC of seconds since 1970."""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def midnight_utc_s(day: date, zone: ZoneInfo) -> int:
    """The second at which the local `day` begins."""
    return int(datetime.combine(day, time_of_day(), zone).timestamp())


def days_between(first: date, last: date) -> list[date]:
    """Each day from `first` up to but without `last`; empty when `last` is not later."""
    return [first + timedelta(days=n) for n in range((last - first).days)]
