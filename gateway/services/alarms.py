"""What stands wrong, once per cause: raised once, cleared once, told to the head-end both times."""

import enum
from collections import deque
from dataclasses import dataclass

# Changes waiting for the next ledger write. More than this at once is a storm: the oldest go.
MAX_WAITING = 500


class Alarm(enum.Enum):
    """Kinds of alarm; the value is what people and the head-end read."""

    METER_SILENT = "meter silent"
    METER_GARBLED = "meter readings implausible"
    REGISTER_BACKWARD = "register went backward"
    REGISTER_JUMPED = "register jumped, accepted after repeated reads"
    REGISTER_PARKED = "register jumped too far, nothing is charged"
    SWITCH_NOT_OBEYING = "supply switch does not obey"
    SWITCH_UNAVAILABLE = "supply switch cannot be used"
    LEDGER_UNWRITABLE = "ledger cannot be written"
    BUS_DOWN = "serial port cannot be used"


@dataclass(frozen=True, slots=True)
class Standing:
    """One alarm that stands: what, where, and in words."""

    alarm: Alarm
    subject: str
    detail: str
    since_utc: str


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm raised or cleared, for the outbox."""

    raised: bool
    standing: Standing


class Alarms:
    """The standing alarms, and the changes not yet written to the outbox."""

    def __init__(self) -> None:
        self._standing: dict[tuple[Alarm, str], Standing] = {}
        self._waiting: deque[AlarmChange] = deque(maxlen=MAX_WAITING)

    def raise_(self, alarm: Alarm, subject: str, detail: str, since_utc: str) -> bool:
        """Raise an alarm unless it stands already; returns whether it is new."""
        if (alarm, subject) in self._standing:
            return False
        standing = Standing(alarm, subject, detail, since_utc)
        self._standing[alarm, subject] = standing
        self._waiting.append(AlarmChange(raised=True, standing=standing))
        return True

    def clear(self, alarm: Alarm, subject: str) -> bool:
        """Clear an alarm if it stands; returns whether it did."""
        standing = self._standing.pop((alarm, subject), None)
        if standing is None:
            return False
        self._waiting.append(AlarmChange(raised=False, standing=standing))
        return True

    def standing(self) -> list[Standing]:
        """What stands now, oldest first."""
        return list(self._standing.values())

    def take_waiting(self) -> list[AlarmChange]:
        """Changes to write, removed from here; give them back with `give_back` if that fails."""
        changes = list(self._waiting)
        self._waiting.clear()
        return changes

    def give_back(self, changes: list[AlarmChange]) -> None:
        """Keep changes whose write failed for the next one."""
        self._waiting.extendleft(reversed(changes))
