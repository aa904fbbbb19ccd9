"""Is this gateway doing its work? Feeds systemd's watchdog only while it is.

The watchdog is not fed by a timer that merely runs: readings must be fresh. A daemon that answers
while its readings are hours old is restarted, which reopens its ports. A line that stays dead after
that is an alarm for a person, so the restarts are an hour apart at least.
"""

import asyncio
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.services.alarms import Alarm, Alarms
from gateway.services.timekeeping import Clock
from hardware.api import BusHealth, MeterBus

CHECK_S = 5.0
# Without one good reading for so long, a restart is worth trying, and no more often than that.
STALE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """The process itself."""

    uptime_s: int
    peak_memory_kb: int


class Health:
    """Watches buses, keeps the watchdog fed, raises alarms of lines."""

    def __init__(
        self,
        buses: Mapping[str, MeterBus],
        alarms: Alarms,
        clock: Clock,
        notify: Callable[[str], None],
    ) -> None:
        self._buses = buses
        self._alarms = alarms
        self._clock = clock
        self._notify = notify
        self._started_at_s = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Check until cancelled."""
        self._notify("READY=1")
        while True:
            self.check()
            await asyncio.sleep(CHECK_S)

    def check(self) -> bool:
        """Look once; feeds the watchdog and returns True when the gateway does its work."""
        now_s = asyncio.get_running_loop().time()
        reports = [bus.health() for bus in self._buses.values()]
        for report in reports:
            self._tell_line(report)
        working = all(self._works(report, now_s) for report in reports)
        if working:
            self._notify("WATCHDOG=1")
        self._notify(f"STATUS={self._summary(reports)}")
        return working

    def vitals(self) -> Vitals:
        """Uptime and memory."""
        uptime_s = asyncio.get_running_loop().time() - self._started_at_s
        return Vitals(int(uptime_s), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def _works(self, report: BusHealth, now_s: float) -> bool:
        """A line works if it is empty, or one of its meters answered lately."""
        if not report.meters:
            return True
        answered = [
            link.last_good_at_s
            for link in report.meters.values()
            if link.last_good_at_s is not None
        ]
        newest_s = max([*answered, self._started_at_s])
        return now_s - newest_s <= STALE_S

    def _tell_line(self, report: BusHealth) -> None:
        if report.open or not report.last_error:
            self._alarms.clear(Alarm.BUS_DOWN, report.bus)
            return
        since = self._clock.now().iso()
        self._alarms.raise_(Alarm.BUS_DOWN, report.bus, report.last_error, since)

    def _summary(self, reports: list[BusHealth]) -> str:
        meters = [link for report in reports for link in report.meters.values()]
        answering = sum(link.state.value == "answering" for link in meters)
        alarms = len(self._alarms.standing())
        return f"{answering} of {len(meters)} meters answering, {alarms} alarms"
