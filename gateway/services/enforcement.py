"""Compare what supply should be with what it is, act once, and prove it.

Level-triggered: every cycle looks at every account afresh, so a lost event, a restart or a relay
that moved by itself is put right the same way. A command's row is durable before the relay moves.
The decisions are `core.switching.step`; here are only the clock, the ledger and the device.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.core.errors import StoreError
from gateway.core.moment import Moment
from gateway.core.switching import Action, Drive, Position, Proof, Seen, operated, step
from gateway.services.alarms import Alarm
from gateway.services.bookkeeping import FRESH_S, Bookkeeper, Change
from gateway.services.live import LiveAccount
from gateway.services.posting import hold_names
from gateway.store import outbox, supply_log
from gateway.store.database import Transaction
from hardware.api import Contact, HardwareError, Quantity, SupplySwitch, SwitchError

log = logging.getLogger(__name__)

NO_SWITCH = "none"  # how an account without a supply switch is written
CYCLE_S = 0.5  # evidence is weighed this often; a changed hold wakes the loop at once
ADOPT_AGAIN_S = 30.0  # a switch that could not be claimed is tried again
OpenSwitch = Callable[[str, Contact], SupplySwitch]


@dataclass(slots=True)
class Station:
    """One account's switch at work. `switch` is None for an account without one."""

    account: str
    switch: SupplySwitch | None
    drive: Drive = field(default_factory=Drive)
    error: str | None = None

    @property
    def position(self) -> Position:
        """Where the contact is, as far as is known: what it shows, else what it was told."""
        if self.switch is None:
            return Position.CLOSED
        shown = self.switch.feedback()
        return Position((self.switch.commanded if shown is Contact.UNKNOWN else shown).value)


class Enforcement:
    """Owns every supply switch."""

    def __init__(self, books: Bookkeeper, open_switch: OpenSwitch) -> None:
        self._books = books
        self._open_switch = open_switch
        self.stations: dict[str, Station] = {}

    def adopt(self, account: str, switch_spec: str) -> Station:
        """Take over an account's switch as it is; nothing moves. Raises `SwitchError`."""
        switch = None
        if switch_spec != NO_SWITCH:
            last = supply_log.last_command(self._books.db.reader, account)
            switch = self._open_switch(switch_spec, Contact(last.value))
        station = self.stations[account] = Station(account, switch)
        self._books.holds_changed.set()
        return station

    def adopt_all(self) -> None:
        """Take over the switch of every open account; one that cannot be used is an alarm.

        Called at start and again every `ADOPT_AGAIN_S` for those that failed: a device may come
        back.
        """
        for live in self._books.live.accounts.values():
            if live.name in self.stations:
                continue
            try:
                self.adopt(live.name, live.row.switch)
            except SwitchError as error:
                detail = f"{error} {error.hint}".strip()
                since = self._books.clock.now().iso()
                if self._books.alarms.raise_(Alarm.SWITCH_UNAVAILABLE, live.name, detail, since):
                    log.error("%s: %s", live.name, detail)  # noqa: TRY400
            else:
                self._books.alarms.clear(Alarm.SWITCH_UNAVAILABLE, live.name)

    def release(self, account: str) -> None:
        """Let go of an account's switch, leaving the contact where it is."""
        station = self.stations.pop(account, None)
        if station is not None and station.switch is not None:
            station.switch.close()

    def close(self) -> None:
        """Let go of every switch."""
        for account in list(self.stations):
            self.release(account)

    async def run(self) -> None:
        """Cycle until cancelled."""
        changed = self._books.holds_changed
        adopted_at_s = float("-inf")
        while True:
            now_s = asyncio.get_running_loop().time()
            if now_s - adopted_at_s >= ADOPT_AGAIN_S:
                adopted_at_s = now_s
                self.adopt_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CYCLE_S):
                    await changed.wait()
            changed.clear()
            try:
                await self.cycle()
            except StoreError as error:
                # Nothing moves that the ledger does not know of.
                self._books.tell_unwritable(error)
                await asyncio.sleep(CYCLE_S)

    async def cycle(self) -> None:
        """One look at every account; those to be connected come first."""
        lives = [live for live in self._books.live.accounts.values() if live.name in self.stations]
        for live in sorted(lives, key=lambda live: bool(live.holds)):
            await self._attend(live, self.stations[live.name])

    async def _attend(self, live: LiveAccount, station: Station) -> None:
        if station.switch is None:
            return
        wanted = wanted_position(live)
        now_s = asyncio.get_running_loop().time()
        before = station.drive
        station.drive, action = step(before, wanted, self._seen(live, station.switch, now_s), now_s)
        match action:
            case Action.OPERATE:
                await self._operate(live, station, wanted)
                return
            case Action.RAISE_ALARM:
                detail = station.error or f"told {wanted.value}, but evidence says otherwise"
                self._alarm(live, detail)
            case Action.CLEAR_ALARM:
                self._books.alarms.clear(Alarm.SWITCH_NOT_OBEYING, live.name)
        if station.drive.proof is not before.proof and station.drive.proof is not Proof.NONE:
            await self._tell_proof(live, wanted, obeyed=station.drive.proof is Proof.PROVEN)

    def _seen(self, live: LiveAccount, switch: SupplySwitch, now_s: float) -> Seen:
        load_w, read_at_s = None, None
        if live.reading is not None and now_s - live.reading.read_at_s <= FRESH_S:
            load_w, read_at_s = live.reading.good(Quantity.ACTIVE_POWER), live.reading.read_at_s
        return Seen(
            commanded=Position(switch.commanded.value),
            feedback=Position(switch.feedback().value),
            load_w=load_w,
            load_read_at_s=read_at_s,
        )

    async def _operate(self, live: LiveAccount, station: Station, wanted: Position) -> None:
        """Write the command's row, then drive the switch, if that is still what is wanted."""
        while await self._books.transact(partial(_command, live, wanted)):
            if wanted is wanted_position(live):
                await self._drive(live, station, wanted)
                return
            # A hold moved while the row was written: a lineman's lock must not see its relay close
            # after all. The row is answered by one for where the contact stays.
            wanted = wanted_position(live)

    async def _drive(self, live: LiveAccount, station: Station, wanted: Position) -> None:
        switch = station.switch
        if switch is None:
            return
        try:
            await (switch.connect() if wanted is Position.CLOSED else switch.disconnect())
        except HardwareError as error:
            station.error = f"{error} {error.hint}".strip()
            log.error("%s: switch %s: %s", live.name, switch.spec, station.error)  # noqa: TRY400
        else:
            station.error = None
            log.info("%s: supply %s (%s)", live.name, wanted.value, _reason(live))
        station.drive = operated(station.drive, asyncio.get_running_loop().time())

    async def _tell_proof(self, live: LiveAccount, position: Position, *, obeyed: bool) -> None:
        how = "seen to obey" if obeyed else "does not obey"

        def prepare(now: Moment) -> Change[None]:
            def write(tx: Transaction) -> None:
                supply_log.record_proof(tx, live.name, position, obeyed=obeyed, reason=how, now=now)
                event = {"account": live.name, "position": position.value, "obeyed": obeyed}
                outbox.put(tx, "supply.proof", live.name, event, now)

            return Change(write, lambda _: None)

        await self._books.transact(prepare)

    def _alarm(self, live: LiveAccount, detail: str) -> None:
        since = self._books.clock.now().iso()
        log.error("%s: supply switch does not obey: %s", live.name, detail)
        self._books.alarms.raise_(Alarm.SWITCH_NOT_OBEYING, live.name, detail, since)


def wanted_position(live: LiveAccount) -> Position:
    """Where the contact should be: closed exactly when no hold stands."""
    return Position.OPEN if live.holds else Position.CLOSED


def _reason(live: LiveAccount) -> str:
    return ", ".join(hold_names(live.holds)) or "no hold stands"


def _command(live: LiveAccount, wanted: Position, now: Moment) -> Change[bool]:
    """A command's row, unless a hold moved since the cycle looked: the next one decides afresh."""
    if wanted is not wanted_position(live):
        return Change(lambda _: False, lambda _: None)
    return Change(lambda tx: _write_command(tx, live, wanted, now), lambda _: None)


def _write_command(tx: Transaction, live: LiveAccount, wanted: Position, now: Moment) -> bool:
    """The command's row and its event; the relay moves only after their commit."""
    reason = _reason(live)
    supply_log.record_command(tx, live.name, wanted, reason=reason, actor="gateway", now=now)
    event = {
        "account": live.name,
        "position": wanted.value,
        "reason": reason,
        "holds": hold_names(live.holds),
    }
    outbox.put(tx, "supply.operation", live.name, event, now)
    return True
