"""What time is it, and who says so.

A date is believed when the kernel says its clock is synchronised, when a clock chip with a sane
date set it, or when the configuration vouches for it. Once proven, time is carried on by the
monotonic clock, so a later step of the system clock changes nothing until a source proves it.
A proven date that lies before one we have already proven is believed only from a better source: a
clock chip that came up months ahead must not shut out NTP.
"""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from gateway.core.moment import Moment, Trust

CHECK_EVERY_S = 10.0  # how often the sources are asked; in between time is carried on
# The system clock may have been set by a program that then died; this much is drift, more is not.
RTC_AGREES_S = 120
BACKWARD_TOLERANCE = timedelta(hours=1)
ADJTIMEX_ERROR = 5  # TIME_ERROR: the clock is not synchronised (adjtimex(2))
ADJTIMEX_STRUCT_BYTES = 512  # larger than struct timex on any Linux


class Clock(Protocol):
    """Two faces of time; money and cuts use these and nothing else."""

    def monotonic(self) -> float:
        """Seconds that only rise, from any start."""

    def now(self) -> Moment:
        """Wall time in UTC with its trust."""


class TimeSource(Protocol):
    """Where the system's own time and its trust come from."""

    def utc(self) -> datetime:
        """The system clock."""

    def trust(self) -> Trust:
        """How far it may be believed now."""


@dataclass(frozen=True, slots=True)
class SystemTimeSource:
    """The Linux clock, the kernel's word on it, and the clock chip if there is one."""

    trust_system_clock: bool = False
    trust_rtc: bool = True
    rtc: Path = Path("/sys/class/rtc/rtc0")

    def utc(self) -> datetime:
        """The system clock."""
        return datetime.now(UTC)

    def trust(self) -> Trust:
        """The best source that speaks for the system clock now."""
        if self.trust_system_clock:
            return Trust.OPERATOR
        if _kernel_synchronised():
            return Trust.NTP
        if self.trust_rtc and self._rtc_agrees():
            return Trust.RTC
        return Trust.NONE

    def _rtc_agrees(self) -> bool:
        """Whether a clock chip set the system clock at boot and still agrees with it."""
        try:
            if (self.rtc / "hctosys").read_text().strip() != "1":
                return False
            rtc_s = int((self.rtc / "since_epoch").read_text())
        except (OSError, ValueError):
            return False
        return abs(rtc_s - time.time()) <= RTC_AGREES_S


class Timekeeper:
    """The product's clock: asks the source now and then, and carries proven time on."""

    def __init__(
        self, source: TimeSource, monotonic: Callable[[], float], floor: Moment | None = None
    ) -> None:
        self._source = source
        self._monotonic = monotonic
        self._floor = floor
        self._proven: tuple[float, Moment] | None = None
        self._checked_at_s: float | None = None

    def monotonic(self) -> float:
        """Seconds that only rise."""
        return self._monotonic()

    def now(self) -> Moment:
        """Wall time with its trust."""
        at_s = self._monotonic()
        if self._checked_at_s is None or at_s - self._checked_at_s >= CHECK_EVERY_S:
            self._checked_at_s = at_s
            self._ask(at_s)
        if self._proven is None:
            return Moment(self._source.utc(), Trust.NONE)
        since_s, moment = self._proven
        return Moment(moment.utc + timedelta(seconds=at_s - since_s), moment.trust)

    def _ask(self, at_s: float) -> None:
        trust = self._source.trust()
        if not trust.proven:
            return
        found, floor = Moment(self._source.utc(), trust), self._floor
        if floor is not None:
            behind = found.utc < floor.utc - BACKWARD_TOLERANCE
            if behind and found.trust <= floor.trust:
                return
            if not behind and found.trust < floor.trust and self._proven is not None:
                return  # carried on from a better source, which drifts less than it may err
        self._floor = found
        self._proven = (at_s, found)


def _kernel_synchronised() -> bool:
    """Whether an NTP daemon has told the kernel that its clock is right (adjtimex(2))."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        state = libc.adjtimex(ctypes.create_string_buffer(ADJTIMEX_STRUCT_BYTES))
    except (OSError, AttributeError):
        return False
    return bool(0 <= state < ADJTIMEX_ERROR)
