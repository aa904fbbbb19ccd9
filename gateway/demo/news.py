"""What has happened in the town, one line each, read from the gateway's own journals."""

from collections import deque
from dataclasses import dataclass

from gateway.app import App
from gateway.core.moment import iso_utc
from gateway.core.units import format_rupees
from gateway.demo.town import ZONE
from gateway.services.alarms import Standing
from gateway.store import ledger, supply_log

KEEP_LINES = 200  # more than any screen shows

_SUPPLY = {
    "hold_placed": "{account}: {hold} placed ({reason})",
    "hold_lifted": "{account}: {hold} lifted ({reason})",
    "commanded": "{account}: relay told to {verb}",
    "proven": "{account}: relay seen to be {position}",
    "not_obeying": "{account}: relay does NOT obey",
}
_VERBS = {"open": "open", "closed": "close"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened; `tone` is good, bad, calm or story."""

    utc: str
    text: str
    tone: str


class News:
    """Collects lines; `fresh` gives those that came since it was last asked."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._entry_seq = self._supply_seq = 0
        self._alarms: list[Standing] = []
        self.lines: deque[Line] = deque(maxlen=KEEP_LINES)

    def tell(self, text: str, tone: str = "story") -> None:
        """Add a line of the story itself."""
        self.lines.append(Line(self._app.clock.now().iso(), text, tone))

    def read(self) -> list[Line]:
        """Look through the journals; returns the new lines, which are also kept."""
        fresh = [*self._recharges(), *self._supply(), *self._alarm_changes()]
        fresh.sort(key=lambda line: line.utc)
        self.lines.extend(fresh)
        return fresh

    def _recharges(self) -> list[Line]:
        found = []
        for entry in ledger.entries_after(self._app.db.reader, self._entry_seq):
            self._entry_seq = entry.seq
            if entry.kind == "credit":
                text = (
                    f"{entry.account}: recharge {format_rupees(entry.amount_paise)} by "
                    f"{entry.note}, balance {format_rupees(entry.balance_paise)}"
                )
                found.append(Line(iso_utc(entry.utc_s), text, "good"))
        return found

    def _supply(self) -> list[Line]:
        found = []
        for row in supply_log.rows_after(self._app.db.reader, self._supply_seq):
            first = self._supply_seq == 0
            self._supply_seq = row.seq
            if first and row.kind == "commanded":
                continue
            text = _SUPPLY[row.kind].format(
                account=row.account,
                hold=row.hold,
                reason=row.reason,
                position=row.position,
                verb=_VERBS.get(row.position or "", ""),
            )
            bad = row.kind in ("hold_placed", "not_obeying") or row.position == "open"
            found.append(Line(iso_utc(row.utc_s), text, "bad" if bad else "good"))
        return found

    def _alarm_changes(self) -> list[Line]:
        now, standing = self._app.clock.now().iso(), self._app.alarms.standing()
        raised = [alarm for alarm in standing if alarm not in self._alarms]
        cleared = [alarm for alarm in self._alarms if alarm not in standing]
        self._alarms = standing
        return [
            *(Line(now, f"ALARM {one.subject}: {one.alarm.value}", "bad") for one in raised),
            *(Line(now, f"{one.subject}: no longer {one.alarm.value}", "good") for one in cleared),
        ]


def clock_text(utc: str) -> str:
    """Local time of day of an RFC 3339 time."""
    from datetime import datetime  # noqa: PLC0415 - only here

    return datetime.fromisoformat(utc).astimezone(ZONE).strftime("%H:%M:%S")
