"""A lineman's hand on the supply: lock, unlock, and the test of a relay.

Rules of this file:
- Nothing here moves a relay. It places and lifts the LINEMAN_LOCK hold; enforcement does the rest,
  so every step is in the supply journal and obeys the same limits as any other cut.
- A test ends with the lock lifted, whatever happens to it; a crash in its midst is mended at the
  next start (`lift_leftovers`), so that a test never leaves a home dark.
- A lock that is asked for while a test runs is a real one: the test then leaves it in place.
- It says "proven" only on evidence: a feedback contact, or a load that ended when it was cut.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from gateway.core.errors import InUse, Refused
from gateway.core.supply import Hold
from gateway.core.switching import LOAD_THRESHOLD_W, MAX_ATTEMPTS, SETTLE_S, Position, Proof
from gateway.services.bookkeeping import Bookkeeper
from gateway.services.enforcement import Enforcement, Station, wanted_position
from gateway.services.live import LiveAccount
from gateway.services.posting import HoldMove, hold_names
from gateway.store import supply_log
from hardware.api import Contact, Quantity

log = logging.getLogger(__name__)

ACTOR = "lineman"
TEST_REASON = "relay test"
# Three attempts with their pauses and the alarm take some 25 s; then nothing more is to come.
OPEN_PATIENCE_S = 35.0
CLOSE_PATIENCE_S = 20.0
UNLOADED_PATIENCE_S = SETTLE_S + 3.0  # nothing was on before: a load is not to be expected
# A switch that obeys is seen to within some 3 s; one that does not, by its load, within 6.
LOCK_PATIENCE_S = 8.0
SETTLED_PATIENCE_S = 3.0
LOOK_EVERY_S = 0.1
# A test needs a meter that answers at this pace at least, or a feedback contact.
READING_FRESH_S = 15.0

OnStep = Callable[[dict[str, Any]], None]


class Lineman:
    """Locks, unlocks and tests supplies for the person on site."""

    def __init__(self, books: Bookkeeper, enforcement: Enforcement) -> None:
        self._books = books
        self._enforcement = enforcement
        self._testing: dict[str, bool] = {}  # account: whether a lock was asked for meanwhile

    async def lock(self, name: str, reason: str) -> bool:
        """Lock a supply off and wait a little until it is; returns whether that is new.

        Raises `AccountUnknown`, or `Refused` for an account without a switch.
        """
        live, station = self._switched(name)
        move = HoldMove(Hold.LINEMAN_LOCK, placed=True, reason=reason, actor=ACTOR)
        if name in self._testing:
            self._testing[name] = True
            await self._books.post(name, move)
            return True
        new = Hold.LINEMAN_LOCK not in live.holds
        await self._books.move_hold(name, move)
        await self._until(lambda: _evident(station, Position.OPEN), LOCK_PATIENCE_S)
        return new

    async def unlock(self, name: str, reason: str) -> bool:
        """Lift a lineman's lock, and no other hold; returns whether there was one."""
        live = self._books.account(name)
        if name in self._testing:
            raise InUse(f"a relay test of {name} is under way", hint="Wait until it has ended.")
        was_locked = Hold.LINEMAN_LOCK in live.holds
        move = HoldMove(Hold.LINEMAN_LOCK, placed=False, reason=reason, actor=ACTOR)
        await self._books.move_hold(name, move)
        await self.settle(name)
        return was_locked

    async def settle(self, name: str) -> None:
        """Wait a little until the switch of an account has been told what it should be told."""
        live, station = self._books.account(name), self._enforcement.stations.get(name)
        if station is not None and station.switch is not None:
            await self._until(lambda: station.position is wanted_position(live), SETTLED_PATIENCE_S)

    async def test(self, name: str, on_step: OnStep) -> dict[str, Any]:
        """Open a supply, prove it, close it, prove that; tell each step as it is done.

        Raises `AccountUnknown`, `Refused` while a hold stands or without a switch, `InUse`.
        """
        live, station = self._switched(name)
        if live.holds:
            raise Refused(
                f"{name} is off already: {', '.join(hold_names(live.holds))}",
                hint="A relay is tested on a supply that is on.",
            )
        if name in self._testing:
            raise InUse(f"a relay test of {name} is under way", hint="Wait until it has ended.")
        self._refuse_blind(live, station)
        self._testing[name] = False
        steps: list[dict[str, Any]] = []

        def tell(step: dict[str, Any]) -> None:
            steps.append(step)
            on_step(step)

        before = self._evidence("before", live, station, self._now_s())
        before["text"] = _before_text(before)
        tell(before)
        try:
            tell(await self._open(live, station, before))
        finally:
            kept = await self._lift(name)
        if kept:
            verdict = "locked meanwhile"
        else:
            tell(await self._close(live, station, before))
            verdict = _verdict(steps)
        return {"account": name, "switch": live.row.switch, "verdict": verdict, "steps": steps}

    async def lift_leftovers(self) -> list[str]:
        """Lift locks that a test which did not end has left; returns the accounts concerned."""
        lifted = []
        for name, live in list(self._books.live.accounts.items()):
            if Hold.LINEMAN_LOCK not in live.holds or name in self._testing:
                continue
            row = supply_log.last_hold_row(self._books.db.reader, name, Hold.LINEMAN_LOCK)
            if row is not None and row.reason == TEST_REASON:
                await self._move(name, placed=False)
                log.warning("%s: a relay test did not end; its lock is lifted", name)
                lifted.append(name)
        return lifted

    # --- parts -------------------------------------------------------------------------------

    async def _open(
        self, live: LiveAccount, station: Station, before: dict[str, Any]
    ) -> dict[str, Any]:
        started_s = self._now_s()
        await self._move(live.name, placed=True)
        await self._until(lambda: _ended(station, Position.OPEN), OPEN_PATIENCE_S)
        seen = self._evidence("open", live, station, started_s)
        seen["result"], seen["text"] = _opened(seen, before)
        return seen

    async def _close(
        self, live: LiveAccount, station: Station, before: dict[str, Any]
    ) -> dict[str, Any]:
        started_s = self._now_s()
        shows = before["feedback"] != Contact.UNKNOWN.value or _loaded(before)
        patience_s = CLOSE_PATIENCE_S if shows else UNLOADED_PATIENCE_S
        await self._until(lambda: bool(live.holds) or _ended(station, Position.CLOSED), patience_s)
        seen = self._evidence("close", live, station, started_s)
        if live.holds:
            seen["result"] = "off"
            seen["text"] = f"stays off: {', '.join(hold_names(live.holds))}"
        else:
            seen["result"], seen["text"] = _closed(seen)
        return seen

    async def _lift(self, name: str) -> bool:
        """End a test: lift its lock, unless a real one was asked for; returns whether that was."""
        kept = self._testing[name]
        try:
            if not kept:
                await self._move(name, placed=False)
            return self._testing[name]
        finally:
            del self._testing[name]

    async def _move(self, name: str, *, placed: bool) -> None:
        move = HoldMove(Hold.LINEMAN_LOCK, placed=placed, reason=TEST_REASON, actor=ACTOR)
        await self._books.post(name, move)

    def _switched(self, name: str) -> tuple[LiveAccount, Station]:
        live = self._books.account(name)
        station = self._enforcement.stations.get(name)
        if station is None:
            raise Refused(
                f"the switch of {name} ({live.row.switch}) cannot be used",
                hint="See why with: gateway status",
            )
        if station.switch is None:
            raise Refused(
                f"{name} has no supply switch: nothing here can cut it",
                hint="Open the isolator by hand.",
            )
        return live, station

    def _evidence(
        self, step: str, live: LiveAccount, station: Station, since_s: float
    ) -> dict[str, Any]:
        feedback = station.switch.feedback() if station.switch else Contact.UNKNOWN
        load_w = None
        if live.reading is not None and self._reading_age_s(live) <= READING_FRESH_S:
            load_w = live.reading.good(Quantity.ACTIVE_POWER)
        return {
            "step": step,
            "at": self._books.clock.now().iso(),
            "after_s": round(self._now_s() - since_s, 1),
            "position": station.position.value,
            "feedback": feedback.value,
            "load_w": load_w,
            "proof": station.drive.proof.value,
            "attempts": station.drive.attempts,
        }

    def _refuse_blind(self, live: LiveAccount, station: Station) -> None:
        """Refuse a test that could prove nothing, before anybody sits in the dark for it."""
        if station.switch is not None and station.switch.feedback() is not Contact.UNKNOWN:
            return
        if self._reading_age_s(live) > READING_FRESH_S:
            raise Refused(
                f"meter {live.row.meter} does not answer now, so nothing could be proven",
                hint=f"gateway meter read {live.row.meter}",
            )

    def _reading_age_s(self, live: LiveAccount) -> float:
        return self._now_s() - live.reading.read_at_s if live.reading else float("inf")

    async def _until(self, condition: Callable[[], bool], patience_s: float) -> bool:
        deadline_s = self._now_s() + patience_s
        while not condition():
            if self._now_s() >= deadline_s:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _evident(station: Station, goal: Position) -> bool:
    """Whether there is evidence of the way to `goal`, for or against it.

    A second attempt is evidence against: it is made only for a switch that did not obey.
    """
    drive = station.drive
    return drive.wanted is goal and (drive.proof is not Proof.NONE or drive.attempts > 1)


def _ended(station: Station, goal: Position) -> bool:
    """Whether all is known of the way to `goal` that will be: proven, or given up."""
    drive = station.drive
    if drive.wanted is not goal:
        return False
    if drive.proof is Proof.PROVEN:
        return True
    # An alarm may still stand from an earlier goal: it counts only after this one's attempts.
    return (
        drive.alarmed
        and drive.attempts >= MAX_ATTEMPTS
        and (drive.proof is Proof.DISOBEYED or station.position is not goal)
    )


def _loaded(seen: dict[str, Any]) -> bool:
    return (seen["load_w"] or 0) > LOAD_THRESHOLD_W


def _before_text(seen: dict[str, Any]) -> str:
    if _loaded(seen):
        return f"on, {seen['load_w']} W flow"
    if seen["feedback"] != Contact.UNKNOWN.value:
        return f"on, feedback contact {seen['feedback']}, no load"
    return "on, but nothing is switched on"


def _opened(seen: dict[str, Any], before: dict[str, Any]) -> tuple[str, str]:
    if seen["proof"] == Proof.DISOBEYED.value or seen["position"] != Position.OPEN.value:
        flows = f": {seen['load_w']} W still flow" if _loaded(seen) else ""
        return "failed", f"told to open {seen['attempts']} times, does not obey{flows}"
    if seen["proof"] != Proof.PROVEN.value:
        return "unproven", "told to open; no reading came to prove it"
    if seen["feedback"] == Contact.OPEN.value:
        return "proven", "feedback contact shows open, no load flows"
    if _loaded(before):
        return "proven", f"load fell from {before['load_w']} W to {seen['load_w'] or 0} W"
    return "unproven", "no load flows, but none did before"


def _closed(seen: dict[str, Any]) -> tuple[str, str]:
    if seen["proof"] == Proof.DISOBEYED.value or seen["position"] != Position.CLOSED.value:
        return "failed", f"told to close {seen['attempts']} times, does not obey"
    if seen["proof"] != Proof.PROVEN.value:
        return "unproven", "told to close; nothing is switched on that would show it"
    if _loaded(seen):
        return "proven", f"{seen['load_w']} W flow"
    return "proven", "feedback contact shows closed"


def _verdict(steps: list[dict[str, Any]]) -> str:
    results = [step["result"] for step in steps if "result" in step]
    for word in ("failed", "off", "unproven"):
        if word in results:
            return word
    return "passed"
