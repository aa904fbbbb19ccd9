"""Bringing meters, accounts and tariffs into service, and out of it.

Nothing is bound to what was not seen to work: a meter must answer before it is added, an account
opens on a fresh register reading, and its switch is claimed, as it is, before the ledger knows it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway.core.account import AccountBook, Anchor
from gateway.core.errors import BusUnknown, InUse, MeterNotProven, Refused
from gateway.core.moment import Moment, Trust
from gateway.core.register import RegisterGate, RegisterLimits
from gateway.core.supply import Hold
from gateway.core.tariff import Tariff
from gateway.documents.tariff import parse_tariff, tariff_digest, tariff_text
from gateway.services.bookkeeping import Bookkeeper, Change
from gateway.services.enforcement import NO_SWITCH, Enforcement
from gateway.services.live import LiveAccount, LiveMeter
from gateway.services.posting import HoldMove
from gateway.store import intervals, ledger, outbox, registry, supply_log
from gateway.store.database import Transaction
from gateway.store.registry import AccountRow, MeterRow
from hardware.api import MeterBus, MeterIdentity, MeterReading, MeterSpec, Quantity

# A supply cannot deliver more than this for long: a single-phase service at 100 A.
DEFAULT_MAX_W = RegisterLimits().max_w


@dataclass(frozen=True, slots=True)
class SwitchGrammar:
    """How switches are written: the driver side's parser, injected."""

    canonical: Callable[[str], str]  # raises SwitchSpecError
    pins: Callable[[str], frozenset[int]]


class Commissioning:
    """The lineman's acts that change what there is."""

    def __init__(
        self,
        books: Bookkeeper,
        enforcement: Enforcement,
        buses: Mapping[str, MeterBus],
        grammar: SwitchGrammar,
    ) -> None:
        self._books = books
        self._enforcement = enforcement
        self._buses = buses
        self._grammar = grammar

    def load(self) -> None:
        """Bring everything in the database to life, at start."""
        reader, books = self._books.db.reader, self._books
        anchors = intervals.anchors(reader)
        now = books.clock.now()
        for meter in registry.meters(reader):
            books.live.meters[meter.name] = LiveMeter(meter.name)
            if meter.bus in self._buses:
                self._buses[meter.bus].attach(_spec(meter))
        for row in registry.accounts(reader):
            meter = registry.meter(reader, row.meter)
            tariff_row = registry.tariff(reader, row.tariff_id)
            tariff = parse_tariff(tariff_row.document, name=f"tariff {tariff_row.name}")
            book = ledger.load_book(reader, row.name)
            gate = self._gate_at_start(book, anchors.get(row.meter), now)
            live = _live(row, tariff, book, gate, meter)
            live.anchor = anchors.get(row.meter)
            live.holds = supply_log.standing_holds(reader, row.name)
            if live.anchor is not None:
                live.accepted_at = Moment(datetime.fromtimestamp(live.anchor.utc_s, UTC), Trust.RTC)
            live.running = live.settled(books.zone).book
            books.live.accounts[row.name] = live

    # --- meters ------------------------------------------------------------------------------

    async def add_meter(
        self, spec: MeterSpec, max_w: int = DEFAULT_MAX_W
    ) -> tuple[MeterIdentity, MeterReading]:
        """Probe a meter and, if it answers with a good register, put it in service.

        Raises `BusUnknown`, `AlreadyExists`, `MeterNotProven`, or what the bus raises.
        """
        bus = self._bus(spec.bus)
        identity, reading = await bus.probe(spec)
        if reading.good(Quantity.ENERGY_IMPORT) is None:
            raise MeterNotProven(
                f"{spec.name} answers, but its energy register is not plausible",
                hint=f"Is it really a {spec.model}? Try: gateway meter scan",
            )

        def prepare(now: Moment) -> Change[None]:
            row = MeterRow(
                spec.name,
                spec.bus,
                spec.address,
                spec.model,
                identity.serial,
                max_w,
                now.utc_s,
            )

            def write(tx: Transaction) -> None:
                registry.add_meter(tx, row)
                outbox.put(tx, "meter.added", spec.name, _meter_event(row, reading), now)

            return Change(write, lambda _: self._start_meter(bus, spec, reading))

        await self._books.transact(prepare)
        return identity, reading

    async def remove_meter(self, name: str) -> None:
        """Take a meter out of service. Raises `MeterUnknown`, or `InUse` by an open account."""

        def prepare(now: Moment) -> Change[None]:
            row = registry.meter(self._books.db.reader, name)

            def write(tx: Transaction) -> None:
                registry.remove_meter(tx, name, now.utc_s)
                outbox.put(tx, "meter.removed", name, {"meter": name}, now)

            def then(_: None) -> None:
                if row.bus in self._buses:
                    self._buses[row.bus].detach(name)
                self._books.live.meters.pop(name, None)

            return Change(write, then)

        await self._books.transact(prepare)

    # --- accounts ----------------------------------------------------------------------------

    async def open_account(
        self, name: str, meter: str, switch: str, tariff: Tariff, opening_balance_paise: int
    ) -> LiveAccount:
        """Open an account on the meter's present register.

        Raises `MeterUnknown`, `MeterNotProven`, `AlreadyExists`, `InUse`, or a `SwitchError`.
        """
        canonical = self._grammar.canonical(switch)
        self._refuse_shared_pins(canonical)
        if name in self._enforcement.stations:
            raise InUse(f"there is already an account {name}")
        meter_row = registry.meter(self._books.db.reader, meter)
        reading = await self._agreed_reading(meter_row)
        self._enforcement.adopt(name, canonical)
        try:
            return await self._books.transact(
                lambda now: self._opening(
                    AccountRow(name, meter, canonical, 0, now.utc_s),
                    meter_row,
                    tariff,
                    reading,
                    opening_balance_paise,
                    now,
                )
            )
        except BaseException:
            self._enforcement.release(name)
            raise

    async def close_account(self, name: str) -> LiveAccount:
        """Charge an account to the end of its day and close it; its supply is cut and let go."""
        live = self._books.account(name)
        closing = HoldMove(
            Hold.CLOSED_ACCOUNT, placed=True, reason="account closed", actor="lineman"
        )
        await self._books.post(name, closing)
        await self._enforcement.cycle()

        def prepare(now: Moment) -> Change[LiveAccount]:
            posting = self._books.posting_of(self._books.account(name), now, closing=True)

            def write(tx: Transaction) -> LiveAccount:
                posting.write(tx)
                registry.close_account(tx, name, now.utc_s)
                event = {"account": name, "balance_paise": posting.book.balance_paise}
                outbox.put(tx, "account.closed", name, event, now)
                return live

            def then(_: LiveAccount) -> None:
                posting.take_over(self._books.zone)
                self._books.live.accounts.pop(name, None)
                self._enforcement.release(name)

            return Change(write, then)

        return await self._books.transact(prepare)

    async def load_tariff(self, tariff: Tariff, accounts: tuple[str, ...] = ()) -> list[str]:
        """Charge accounts by this tariff from now on; by default all on one of the same name.

        The month so far is billed anew, and the difference posted where it can be seen.
        Returns the accounts concerned. Raises `AccountUnknown`, or `Refused` if there are none.
        """
        lives = [self._books.account(name) for name in accounts] or [
            live for live in self._books.live.accounts.values() if live.tariff.name == tariff.name
        ]
        if not lives:
            raise Refused(
                f"no account is charged by a tariff named {tariff.name!r}",
                hint="Name the accounts: gateway tariff load FILE --account A-101",
            )
        for live in lives:
            await self._books.post(live.name)
            await self._books.transact(lambda now, live=live: self._new_tariff(live, tariff, now))  # type: ignore[misc]
        return [live.name for live in lives]

    def _bus(self, name: str) -> MeterBus:
        if name not in self._buses:
            known = ", ".join(self._buses) or "none"
            raise BusUnknown(f"there is no bus {name} in the configuration; known: {known}")
        return self._buses[name]

    # --- parts -------------------------------------------------------------------------------

    def _opening(
        self,
        row: AccountRow,
        meter: MeterRow,
        tariff: Tariff,
        reading: MeterReading,
        balance_paise: int,
        now: Moment,
    ) -> Change[LiveAccount]:
        register_wh = reading.good(Quantity.ENERGY_IMPORT) or 0
        day = now.day(self._books.zone)
        book = AccountBook(row.name, balance_paise, register_wh, day, now.proven)
        gate = RegisterGate(register_wh, self._books.clock.monotonic())

        def write(tx: Transaction) -> LiveAccount:
            tariff_id = _keep_tariff(tx, tariff, now)
            stored = replace(row, tariff_id=tariff_id)
            registry.add_account(tx, stored)
            entries = ledger.append_opening(tx, book, now)
            outbox.put(tx, "account.opened", row.name, _account_event(stored, book), now)
            rows = [ledger.as_event(entry) for entry in entries]
            outbox.put(tx, "ledger.entries", row.name, {"entries": rows}, now)
            return _live(stored, tariff, book, gate, meter)

        def then(live: LiveAccount) -> None:
            live.reading, live.accepted_at_s = reading, reading.read_at_s
            live.accepted_at = now
            self._books.live.accounts[row.name] = live

        return Change(write, then)

    def _new_tariff(self, live: LiveAccount, tariff: Tariff, now: Moment) -> Change[None]:
        posting = self._books.posting_of(live, now, tariff=tariff)

        def write(tx: Transaction) -> None:
            tariff_id = _keep_tariff(tx, tariff, now)
            registry.assign_tariff(tx, live.name, tariff_id)
            posting.write(tx)
            event = {"account": live.name, "tariff": tariff.name, "digest": tariff_digest(tariff)}
            outbox.put(tx, "tariff.loaded", live.name, event, now)

        def then(_: None) -> None:
            live.tariff = tariff
            posting.take_over(self._books.zone)

        return Change(write, then)

    async def _agreed_reading(self, meter: MeterRow) -> MeterReading:
        """Two reads in a row that agree: a register to open an account on.

        A single garbled one, too high, would leave the account waiting for it for years.
        """
        bus = self._bus(meter.bus)
        first = _register_wh(await bus.read_now(meter.name), meter.name)
        reading = await bus.read_now(meter.name)
        risen_wh = _register_wh(reading, meter.name) - first
        if not 0 <= risen_wh <= RegisterLimits().burst_wh:
            raise MeterNotProven(
                f"meter {meter.name} gave two readings in a row that differ by {risen_wh} Wh",
                hint="Two meters may share its address, or the line is noisy: gateway doctor",
            )
        return reading

    def _refuse_shared_pins(self, switch: str) -> None:
        wanted = self._grammar.pins(switch)
        for live in self._books.live.accounts.values():
            shared = wanted & self._grammar.pins(live.row.switch)
            if shared:
                names = ", ".join(f"GPIO{pin}" for pin in sorted(shared))
                raise InUse(f"{names} serves account {live.name} already ({live.row.switch})")

    def _start_meter(self, bus: MeterBus, spec: MeterSpec, reading: MeterReading) -> None:
        self._books.live.meters[spec.name] = LiveMeter(spec.name, reading)
        bus.attach(spec)

    def _gate_at_start(self, book: AccountBook, anchor: Anchor | None, now: Moment) -> RegisterGate:
        """Resume from posting or interval, the newer; a gap counts if both ends are proven."""
        if anchor is None:
            return RegisterGate(book.register_wh, None)
        accepted_wh = max(book.register_wh, anchor.register_wh)
        if not now.proven:
            return RegisterGate(accepted_wh, None)
        gap_s = max(0, now.utc_s - anchor.utc_s)
        return RegisterGate(accepted_wh, self._books.clock.monotonic() - gap_s)


def _live(
    row: AccountRow, tariff: Tariff, book: AccountBook, gate: RegisterGate, meter: MeterRow
) -> LiveAccount:
    limits = RegisterLimits(max_w=meter.max_w)
    return LiveAccount(row, tariff, book, book, frozenset(), gate, limits)


def _register_wh(reading: MeterReading, meter: str) -> int:
    register_wh = reading.good(Quantity.ENERGY_IMPORT)
    if register_wh is None:
        raise MeterNotProven(f"meter {meter} answers, but its energy register is not plausible")
    return register_wh


def _keep_tariff(tx: Transaction, tariff: Tariff, now: Moment) -> int:
    text = tariff_text(tariff)
    return registry.add_tariff(tx, tariff_digest(tariff), tariff.name, text, now.utc_s)


def _spec(meter: MeterRow) -> MeterSpec:
    return MeterSpec(meter.name, meter.bus, meter.address, meter.model)


def _meter_event(row: MeterRow, reading: MeterReading) -> dict[str, Any]:
    return {
        "meter": row.name,
        "bus": row.bus,
        "address": row.address,
        "model": row.model,
        "serial": row.serial,
        "register_wh": reading.good(Quantity.ENERGY_IMPORT),
    }


def _account_event(row: AccountRow, book: AccountBook) -> dict[str, Any]:
    return {
        "account": row.name,
        "meter": row.meter,
        "switch": row.switch,
        "switched": row.switch != NO_SWITCH,
        "balance_paise": book.balance_paise,
        "register_wh": book.register_wh,
    }
