"""The only service that moves money or a hold: it turns readings into charges and holds.

Rules:
- One change at a time, each in one durable transaction; memory follows the commit, never leads it.
- A steady day writes almost nothing. Posted are: a day's close (all accounts in one transaction), a
  recharge, a hold placed or lifted, an account's opening and closing, and on demand. Interval
  readings go with one transaction a quarter-hour, and acknowledgements ride on whatever is written
  next: a durable commit costs a card some 20 kB however small it is.
- A change that was begun is finished even if whoever asked for it goes away.
- When the ledger cannot be written nothing moves: not money, not a relay. It is tried again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from gateway.core.errors import AccountUnknown, InvariantBroken, StoreError
from gateway.core.moment import Moment
from gateway.core.policy import Policy, may_cut
from gateway.core.register import Verdict
from gateway.core.supply import Hold, HoldChange, credit_hold
from gateway.core.tariff import Tariff
from gateway.services.alarms import Alarm, Alarms
from gateway.services.live import LiveAccount, LiveMeter, LiveState
from gateway.services.posting import HoldMove, Posting
from gateway.services.timekeeping import Clock
from gateway.store import intervals, outbox, registry
from gateway.store.database import Database, Transaction
from hardware.api import MeterError, PollOutcome, Quantity

T = TypeVar("T")
log = logging.getLogger(__name__)

TICK_S = 1.0  # how often windows, days and intervals are looked at when no reading asks for it
FRESH_S = 60.0  # an older reading moves no relay
RETRY_WRITE_S = 2.0  # after the ledger could not be written
DAY_CLOSE_S = 30.0  # days are closed together, this often: use lies evenly between readings anyway
RIDING_ACKNOWLEDGEMENTS = 200  # more acknowledged events than this are deleted at once
JUMP_STANDS_S = 24 * 3600.0  # how long a jump that was accepted stays an alarm, for people to see
SILENT_READS = 5  # failed polls in a row before a meter is called silent


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What to write in one transaction, and what to do in memory once it is durable."""

    write: Callable[[Transaction], T]
    then: Callable[[T], None]


class Bookkeeper:
    """Live accounts and their ledger."""

    def __init__(
        self, db: Database, clock: Clock, zone: ZoneInfo, policy: Policy, alarms: Alarms
    ) -> None:
        self.db = db
        self.clock = clock
        self.zone = zone
        self.policy = policy
        self.alarms = alarms
        self.live = LiveState()
        self.holds_changed = asyncio.Event()  # enforcement waits for it
        self.outbox_changed = asyncio.Event()  # sync waits for it
        self.fatal: asyncio.Future[None] | None = None
        self._lock = asyncio.Lock()
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._jumped_at_s: dict[str, float] = {}
        self._interval: int | None = None
        self._days_closed_at_s = float("-inf")
        self._acknowledged = outbox.counts(db.reader)[2]  # by the head-end, perhaps not yet written
        self._deleted = self._acknowledged

    # --- what others ask for -----------------------------------------------------------------

    async def transact(self, prepare: Callable[[Moment], Change[T]]) -> T:
        """Prepare a change from the live state, write it, take it over; one at a time.

        `prepare` runs on the event loop with no other change under way. Raises what it raises,
        or `StoreError`; then nothing has changed.
        """
        task = asyncio.ensure_future(self._transact(prepare))
        task.add_done_callback(self._notice_fatal)
        return await asyncio.shield(task)

    def account(self, name: str) -> LiveAccount:
        """An open account. Raises `AccountUnknown`."""
        try:
            return self.live.accounts[name]
        except KeyError:
            raise AccountUnknown(f"there is no open account {name}") from None

    async def post(self, name: str, *moves: HoldMove) -> Posting:
        """Charge an account up to its last accepted reading and move the given holds."""
        posting = await self.transact(lambda now: self._posting(name, now, moves))
        if moves:
            self.holds_changed.set()
        return posting

    async def move_hold(self, name: str, move: HoldMove) -> Posting:
        """Place or lift a hold for a person; doing it twice changes nothing the second time."""
        live = self.account(name)
        if (move.hold in live.holds) == move.placed:
            return await self.post(name)
        return await self.post(name, move)

    async def acknowledge(self, through: int) -> None:
        """The head-end has stored all events up to `through`: forget them with the next write."""
        self._acknowledged = max(self._acknowledged, through)
        if self._acknowledged - self._deleted > RIDING_ACKNOWLEDGEMENTS:
            await self.transact(lambda _: Change(lambda _: None, lambda _: None))

    @property
    def acknowledged(self) -> int:
        """The last sequence that the head-end is known to have stored."""
        return self._acknowledged

    def tell_unwritable(self, error: StoreError) -> None:
        """Raise the alarm and log it, once: a line for each try would fill the full disk."""
        since = self.clock.now().iso()
        if self.alarms.raise_(Alarm.LEDGER_UNWRITABLE, "ledger", str(error), since):
            log.error("ledger: %s %s", error, error.hint)

    # --- readings ----------------------------------------------------------------------------

    def observe(self, outcome: PollOutcome) -> None:
        """Take in one poll. Called by the bus: it must not block and does not raise."""
        meter = self.live.meters.get(outcome.meter)
        if meter is None:
            return  # removed while the poll was on the wire
        if outcome.reading is None:
            self._note_failure(meter, outcome)
            return
        self._failures.pop(meter.name, None)
        self.alarms.clear(Alarm.METER_SILENT, meter.name)
        meter.reading, meter.error = outcome.reading, None
        live = self.live.by_meter(meter.name)
        if live is None:
            return
        now = self.clock.now()
        accepted = live.see(outcome.reading, self.clock.monotonic(), now, self.zone)
        self._tell_verdict(live, now)
        if accepted and self._hold_moves(live, now):
            self._due[live.name] = None
            self._wake.set()

    def _note_failure(self, meter: LiveMeter, outcome: PollOutcome) -> None:
        meter.error = str(outcome.error)
        failures = self._failures[meter.name] = self._failures.get(meter.name, 0) + 1
        if failures >= SILENT_READS and isinstance(outcome.error, MeterError):
            since = self.clock.now().iso()
            self.alarms.raise_(Alarm.METER_SILENT, meter.name, meter.error, since)

    def _tell_verdict(self, live: LiveAccount, now: Moment) -> None:
        meter, since = live.row.meter, now.iso()
        register_wh = live.reading.good(Quantity.ENERGY_IMPORT) if live.reading else None
        if register_wh is None:
            detail = "the energy register is outside its plausible range; nothing is charged"
            self.alarms.raise_(Alarm.METER_GARBLED, meter, detail, since)
            return
        self.alarms.clear(Alarm.METER_GARBLED, meter)
        detail = f"register {register_wh} Wh, last accepted {live.register_wh} Wh"
        match live.verdict:
            case Verdict.BACKWARD:
                self.alarms.raise_(Alarm.REGISTER_BACKWARD, meter, detail, since)
            case Verdict.PARKED:
                self.alarms.raise_(Alarm.REGISTER_PARKED, meter, detail, since)
            case Verdict.CONFIRMED:
                self._jumped_at_s[meter] = self.clock.monotonic()
                self.alarms.raise_(Alarm.REGISTER_JUMPED, meter, detail, since)
            case Verdict.ACCEPTED:
                jumped_at_s = self._jumped_at_s.get(meter, float("-inf"))
                if self.clock.monotonic() - jumped_at_s >= JUMP_STANDS_S:
                    self.alarms.clear(Alarm.REGISTER_JUMPED, meter)
                for alarm in (Alarm.REGISTER_BACKWARD, Alarm.REGISTER_PARKED):
                    self.alarms.clear(alarm, meter)

    # --- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Post what is due, keep intervals, write alarms, until cancelled."""
        while True:
            try:
                # Not wait_for: on Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                self._look_at_all()
            self._wake.clear()
            try:
                await self._work()
            except StoreError as error:
                self.tell_unwritable(error)
                await asyncio.sleep(RETRY_WRITE_S)
            else:
                self.alarms.clear(Alarm.LEDGER_UNWRITABLE, "ledger")

    async def _work(self) -> None:
        if self._due:
            names, self._due = list(self._due), {}
            try:
                await self.transact(lambda now: self._due_postings(names, now))
            except StoreError:
                self._due = dict.fromkeys(names) | self._due  # still due, when it can be written
                raise
            self.holds_changed.set()
        await self._keep_interval()
        await self._write_alarms()

    def _look_at_all(self) -> None:
        """Find holds that the clock alone makes due, and days that have closed."""
        now, now_s = self.clock.now(), asyncio.get_running_loop().time()
        closing = now_s - self._days_closed_at_s >= DAY_CLOSE_S
        if closing:
            self._days_closed_at_s = now_s
        for live in self.live.accounts.values():
            if self._hold_moves(live, now) or (closing and self._day_has_closed(live)):
                self._due[live.name] = None

    def _day_has_closed(self, live: LiveAccount) -> bool:
        """Whether the last reading lies on a later day than the last posting."""
        return live.running.day != live.book.day

    def _hold_moves(self, live: LiveAccount, now: Moment) -> tuple[HoldMove, ...]:
        balance_paise = live.balance_paise
        live.permission = may_cut(self.policy, balance_paise, now, self.zone)
        limit_paise = self.policy.credit_limit_paise
        match credit_hold(live.holds, balance_paise, limit_paise, live.permission):
            case HoldChange.PLACE if self._fresh(live):
                reason = live.permission.reason.value
                return (HoldMove(Hold.NO_CREDIT, placed=True, reason=reason, actor="gateway"),)
            case HoldChange.LIFT:
                return (HoldMove(Hold.NO_CREDIT, placed=False, reason="credit", actor="gateway"),)
        return ()

    def _fresh(self, live: LiveAccount) -> bool:
        return live.fresh(asyncio.get_running_loop().time(), FRESH_S)

    # --- changes -----------------------------------------------------------------------------

    async def _transact(self, prepare: Callable[[Moment], Change[T]]) -> T:
        async with self._lock:
            change = prepare(self.clock.now())
            through = self._acknowledged

            def write(tx: Transaction) -> T:
                if through > self._deleted:
                    outbox.acknowledge(tx, through)
                return change.write(tx)

            result = await self.db.write(write)
            self._deleted = through
            change.then(result)
        self.outbox_changed.set()
        return result

    def _posting(self, name: str, now: Moment, moves: tuple[HoldMove, ...]) -> Change[Posting]:
        return self.change_of(self.posting_of(self.account(name), now, moves))

    def _due_postings(self, names: list[str], now: Moment) -> Change[None]:
        """All that is due in one transaction, decided again now that nothing else is under way."""
        lives = [self.live.accounts[name] for name in names if name in self.live.accounts]
        postings = [
            self.posting_of(live, now, moves)
            for live in lives
            if (moves := self._hold_moves(live, now)) or self._day_has_closed(live)
        ]

        def write(tx: Transaction) -> None:
            for posting in postings:
                posting.write(tx)

        def then(_: None) -> None:
            for posting in postings:
                posting.take_over(self.zone)

        return Change(write, then)

    def posting_of(
        self,
        live: LiveAccount,
        now: Moment,
        moves: tuple[HoldMove, ...] = (),
        *,
        tariff: Tariff | None = None,
        closing: bool = False,
    ) -> Posting:
        """An account's charges up to now, ready to be written; for use within `transact`."""
        settlement = live.settled(self.zone, tariff=tariff, closing=closing)
        return Posting(live, now, settlement, moves)

    def change_of(self, posting: Posting) -> Change[Posting]:
        """A posting as a change for `transact`."""

        def write(tx: Transaction) -> Posting:
            posting.write(tx)
            return posting

        return Change(write, lambda done: done.take_over(self.zone))

    async def _keep_interval(self) -> None:
        """At each quarter-hour keep every meter's register, in one row."""
        now = self.clock.now()
        number = now.utc_s // intervals.INTERVAL_S
        if number == self._interval:
            return
        readings: dict[str, tuple[int, int | None]] = {}
        for meter in self.live.meters.values():
            if meter.reading is None or meter.error is not None:
                continue
            live = self.live.by_meter(meter.name)
            register_wh = meter.reading.good(Quantity.ENERGY_IMPORT)
            if live is not None:
                register_wh = live.register_wh if live.accepted_at_s is not None else None
            if register_wh is not None:
                power_w = meter.reading.good(Quantity.ACTIVE_POWER)
                readings[meter.name] = (register_wh, power_w)
        if readings:

            def write(tx: Transaction) -> None:
                intervals.append(tx, readings, now)
                data = {"utc_s": now.utc_s, "trust": now.trust.name.lower(), "registers": readings}
                outbox.put(tx, "meter.intervals", "meters", data, now)
                if now.proven:
                    registry.remember_time(tx, now)

            await self.transact(lambda _: Change(write, lambda _: None))
        self._interval = number

    async def _write_alarms(self) -> None:
        changes = self.alarms.take_waiting()
        if not changes:
            return
        now = self.clock.now()

        def write(tx: Transaction) -> None:
            for change in changes:
                standing = change.standing
                kind = "alarm.raised" if change.raised else "alarm.cleared"
                data = {
                    "alarm": standing.alarm.name,
                    "subject": standing.subject,
                    "detail": standing.detail,
                }
                outbox.put(tx, kind, standing.subject, data, now)

        try:
            await self.transact(lambda _: Change(write, lambda _: None))
        except StoreError:
            self.alarms.give_back(changes)
            raise

    def _notice_fatal(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, InvariantBroken) and self.fatal and not self.fatal.done():
            self.fatal.set_exception(error)
