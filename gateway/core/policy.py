"""When the rules allow a cut: data from a policy file, judged by a pure function.

A policy never connects or disconnects anything. It says whether an account whose credit is used up
may be cut now, and if not, why and from when. The dataclasses are the schema of a policy file; see
`deploy/policies` for commented examples with their sources.
"""

import enum
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway.core.moment import Moment
from gateway.core.units import paise

# A policy that allows no cut for this long is taken to allow none that can be named.
SEARCH_DAYS = 60


class Weekday(enum.Enum):
    """Days of the week as written in a policy file."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


_WEEK = tuple(Weekday)


@dataclass(frozen=True, slots=True)
class CutWindow:
    """Local times of day between which supply may be cut, on these weekdays."""

    start: time
    end: time
    weekdays: tuple[Weekday, ...] = _WEEK

    def __post_init__(self) -> None:
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("times are local and have no offset; write 10:00:00")
        if self.start >= self.end:
            raise ValueError("start must be before end; a window does not run over midnight")
        if not self.weekdays:
            raise ValueError("weekdays must name at least one day")


@dataclass(frozen=True, slots=True)
class Policy:
    """A utility's rules for cutting a consumer whose credit is used up."""

    name: str = "cut at any hour"
    source: str = ""
    credit_limit_rupees: Decimal = Decimal(0)  # used up when the balance is at or below this
    cut_window: CutWindow | None = None
    holidays: tuple[date, ...] = ()
    unknown_time_overdraft_rupees: Decimal = Decimal(50)

    def __post_init__(self) -> None:
        paise(self.credit_limit_rupees)
        if paise(self.unknown_time_overdraft_rupees) < 0:
            raise ValueError("unknown_time_overdraft_rupees must be 0 or more")

    @property
    def credit_limit_paise(self) -> int:
        """Credit is used up when the balance is at or below this."""
        return paise(self.credit_limit_rupees)

    @property
    def unknown_time_overdraft_paise(self) -> int:
        """How far below the limit a balance may go while the time is not known."""
        return paise(self.unknown_time_overdraft_rupees)

    @property
    def needs_time(self) -> bool:
        """Whether the rules depend on the hour or the date at all."""
        return self.cut_window is not None or bool(self.holidays)


class CutReason(enum.Enum):
    """Why an account is, or is not, to be cut."""

    CREDIT_LEFT = "credit left"
    ALLOWED = "credit used up"
    OUTSIDE_WINDOW = "credit used up; no cut at this hour"
    HOLIDAY = "credit used up; no cut on a holiday"
    TIME_UNKNOWN = "credit used up; no cut while the time is unknown"
    TIME_UNKNOWN_OVERDRAWN = "credit used up beyond what is allowed while the time is unknown"


@dataclass(frozen=True, slots=True)
class CutPermission:
    """Whether a cut for want of credit is allowed; `next_at` is local, None when unknown."""

    allowed: bool
    reason: CutReason
    next_at: datetime | None = None


def may_cut(policy: Policy, balance_paise: int, now: Moment, zone: ZoneInfo) -> CutPermission:
    """Judge a balance (posted plus running) at a wall time that may be unknown."""
    if balance_paise > policy.credit_limit_paise:
        return CutPermission(allowed=False, reason=CutReason.CREDIT_LEFT)
    if not policy.needs_time:
        return CutPermission(allowed=True, reason=CutReason.ALLOWED)
    if not now.proven:
        floor_paise = policy.credit_limit_paise - policy.unknown_time_overdraft_paise
        if balance_paise <= floor_paise:
            return CutPermission(allowed=True, reason=CutReason.TIME_UNKNOWN_OVERDRAWN)
        return CutPermission(allowed=False, reason=CutReason.TIME_UNKNOWN)
    local = now.utc.astimezone(zone)
    if _in_window(policy, local):
        return CutPermission(allowed=True, reason=CutReason.ALLOWED)
    holiday = local.date() in policy.holidays
    reason = CutReason.HOLIDAY if holiday else CutReason.OUTSIDE_WINDOW
    return CutPermission(allowed=False, reason=reason, next_at=_next_window(policy, local))


def _day_allows(policy: Policy, day: date) -> bool:
    if day in policy.holidays:
        return False
    return policy.cut_window is None or _WEEK[day.weekday()] in policy.cut_window.weekdays


def _in_window(policy: Policy, local: datetime) -> bool:
    if not _day_allows(policy, local.date()):
        return False
    window = policy.cut_window
    return window is None or window.start <= local.time() < window.end


def _next_window(policy: Policy, local: datetime) -> datetime | None:
    start = time() if policy.cut_window is None else policy.cut_window.start
    for ahead in range(SEARCH_DAYS):
        day = local.date() + timedelta(days=ahead)
        opens = datetime.combine(day, start, local.tzinfo)
        if opens > local and _day_allows(policy, day):
            return opens
    return None
