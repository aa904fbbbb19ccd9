"""Whose turn it is on the line: fair among the meters that answer, cheap for those that do not.

Rules of this file: pure; time is handed in. A meter that answers is due again one interval after
its last start. One that does not is tried again after growing delays, and all silent ones together
only within their budget, so that the others hardly notice.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol

from hardware.api import LinkState, MeterIdentity, MeterLink, MeterReading, MeterSpec
from hardware.buses.backoff import Backoff, SilenceBudget
from hardware.buses.exchange import Exchange

# While no meter at all answers, trying costs nobody anything, and the first to come back tells that
# the power is back: look often.
ALL_SILENT_DELAY_S = 10.0


class MeterDriver(Protocol):
    """What a bus needs to know of a meter to read it."""

    @property
    def spec(self) -> MeterSpec:
        """Where the meter is."""

    @property
    def timeout_s(self) -> float:
        """Longest wait from the end of a request to the start of the reply."""

    @property
    def gap_s(self) -> float:
        """Rest the meter needs between its reply and the next request to it."""

    async def read(self, exchange: Exchange) -> MeterReading:
        """Read all quantities. Raises a `MeterError`."""

    async def identify(self, exchange: Exchange) -> MeterIdentity:
        """Read what the meter says of itself."""


@dataclass(slots=True, eq=False)
class Slot:
    """One attached meter: its driver, its counters, and when it is due."""

    driver: MeterDriver
    link: MeterLink
    due_at_s: float = 0.0  # loop time never falls below it: due at once
    backoff: Backoff = field(default_factory=Backoff)
    cost_s: float = (
        1.0  # what the last vain try took; before the first one, a guess on the high side
    )


class Rotation:
    """The attached meters of one bus and their turns."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._slots: dict[str, Slot] = {}
        self._budget = SilenceBudget()
        self._in_a_pause = False  # the silent meter whose turn it is costs the others nothing

    def attach(self, driver: MeterDriver) -> None:
        """Add a meter, due at once; one of the same name is replaced."""
        name = driver.spec.name
        self._slots[name] = Slot(driver, MeterLink(name))

    def detach(self, name: str) -> None:
        """Forget a meter; unknown names are ignored."""
        self._slots.pop(name, None)

    def get(self, name: str) -> Slot | None:
        """The slot of the meter called `name`."""
        return self._slots.get(name)

    def links(self) -> dict[str, MeterLink]:
        """Copies of all counters."""
        return {name: dataclasses.replace(slot.link) for name, slot in self._slots.items()}

    def names(self) -> list[str]:
        """The attached meters."""
        return list(self._slots)

    def next(self, now_s: float) -> Slot | None:
        """Whose turn it is now, if anybody's."""
        turn: Slot | None = None  # of those that answer, the one due first
        silent: Slot | None = None
        for slot in self._slots.values():
            if slot.backoff.silent:
                if slot.due_at_s <= now_s and (silent is None or slot.due_at_s < silent.due_at_s):
                    silent = slot
            elif turn is None or slot.due_at_s < turn.due_at_s:
                turn = slot
        if silent is not None and (turn is None or turn.due_at_s - now_s >= silent.cost_s):
            self._in_a_pause = True
            return silent
        # Silent ones first when they may: on a line that is always busy they would get no turn.
        if silent is not None and self._silent_wait_s(now_s) == 0:
            self._in_a_pause = False
            return silent
        return turn if turn is not None and turn.due_at_s <= now_s else None

    def wake_at_s(self, now_s: float) -> float | None:
        """When `next` has something to say; None while no meter is attached."""
        wait_s = self._silent_wait_s(now_s)
        return min(
            (
                max(slot.due_at_s, now_s + wait_s) if slot.backoff.silent else slot.due_at_s
                for slot in self._slots.values()
            ),
            default=None,
        )

    def succeeded(self, slot: Slot, started_s: float, now_s: float) -> None:
        """The meter was read."""
        power_is_back = slot.backoff.silent and not self._anybody_answers()
        slot.backoff.succeed()
        slot.due_at_s = max(now_s, started_s + self._interval_s)
        slot.link.state = LinkState.ANSWERING
        slot.link.reads += 1
        slot.link.last_good_at_s = now_s
        slot.link.next_try_at_s = slot.due_at_s
        slot.link.last_error = None
        if power_is_back:
            for other in self._slots.values():
                if other.backoff.silent:
                    other.due_at_s = other.link.next_try_at_s = now_s

    def failed(self, slot: Slot, started_s: float, now_s: float, error: str) -> None:
        """The meter could not be read, which took the line from `started_s` to `now_s`."""
        slot.cost_s = now_s - started_s
        if slot.backoff.silent and self._anybody_answers() and not self._in_a_pause:
            self._budget.spend(now_s, slot.cost_s)
        delay_s = slot.backoff.fail()
        if not self._anybody_answers():
            delay_s = min(delay_s, ALL_SILENT_DELAY_S)
        slot.due_at_s = now_s + delay_s
        if slot.backoff.silent:
            slot.link.state = LinkState.SILENT
        slot.link.next_try_at_s = slot.due_at_s
        slot.link.last_error = error

    def not_before(self, slot: Slot, at_s: float) -> None:
        """The meter needs rest until `at_s`; others have their turns meanwhile."""
        slot.due_at_s = slot.link.next_try_at_s = max(slot.due_at_s, at_s)

    def _anybody_answers(self) -> bool:
        return any(not slot.backoff.silent for slot in self._slots.values())

    def _silent_wait_s(self, now_s: float) -> float:
        return self._budget.ready_in_s(now_s) if self._anybody_answers() else 0.0
