"""What must hold of the database that is found after a power cut, whatever was under way.

The strongest claim first: what is found is, row for row, the state after some transaction that was
acknowledged last or was under way when the power went. So nothing acknowledged is lost, nothing is
there by halves, and no sequence is given out twice (SQLite's counters are rows as well).
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import GatewayError, InvariantBroken
from gateway.core.recharge import Outcome
from gateway.headend.copy import HeadendCopy
from gateway.store import intervals, ledger, outbox, registry, supply_log
from gateway.store.database import Database, InlineRunner
from hardware.api import MeterSpec
from tests.crash.workload import HEADEND, KEY, fingerprint, note
from tests.gateway.services.rig import Rig, tariff

ENDINGS = ("", "-wal", "-journal")


@dataclass(slots=True)
class Promises:
    """What the program had been told by the time of a cut."""

    states: Mapping[int, str]  # the database's fingerprint after each transaction of the whole run
    done: int = 0
    begun: int = 0
    quiet: bool = False  # nothing to examine yet

    @classmethod
    def of(cls, marks: Sequence[Mapping]) -> "Promises":
        """Before the first step of a run with these marks."""
        return cls({mark["done"]: mark["state"] for mark in marks if "done" in mark})

    def hear(self, mark: Mapping) -> None:
        """One more mark has passed."""
        self.quiet = mark.get("quiet", self.quiet)
        self.done = mark.get("done", self.done)
        self.begun = max(self.done, mark.get("begin", self.begun))

    def allowed(self) -> set[str]:
        """The states that may be found now."""
        return {
            self.states[number]
            for number in range(self.done, self.begun + 1)
            if number in self.states
        }


def lay_out(folder: Path, image: Mapping[str, bytes], base: str) -> None:
    """Put an image into a folder of its own. The -shm file is one that some earlier run left."""
    for ending in ENDINGS:
        path = folder / f"{base}{ending}"
        if path.name in image:
            path.write_bytes(image[path.name])
        else:
            path.unlink(missing_ok=True)
    (folder / f"{base}-shm").write_bytes(b"\xa5" * 32_768)


def examine(folder: Path, promises: Promises) -> list[str]:
    """Open the gateway's database with our own code; returns what is wrong with it."""
    return _examined(lambda: Database(folder, InlineRunner()), lambda db: db.reader, promises)


def examine_headend(folder: Path, promises: Promises) -> list[str]:
    """The same for the head-end's."""
    return _examined(lambda: HeadendCopy(folder / HEADEND), lambda copy: copy._db, promises)


def _examined(opened: Callable, connection: Callable, promises: Promises) -> list[str]:
    try:
        db = opened()
    except GatewayError as error:
        return [f"it cannot be opened: {type(error).__name__}: {error}"]
    try:
        reader = connection(db)
        faults = list(_faults_of_any(reader, promises))
        return faults if isinstance(db, HeadendCopy) else [*faults, *_faults(reader)]
    except (GatewayError, InvariantBroken, sqlite3.Error) as error:
        return [f"it opens, but cannot be read: {type(error).__name__}: {error}"]
    finally:
        db.close()


def _faults_of_any(reader: sqlite3.Connection, promises: Promises) -> Iterator[str]:
    verdict = reader.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != "ok":
        yield f"integrity_check: {verdict}"
    if reader.execute("PRAGMA foreign_key_check").fetchone():
        yield "a row refers to one that is not there"
    if fingerprint(reader) not in promises.allowed():
        yield _which(reader, promises)


def _faults(reader: sqlite3.Connection) -> Iterator[str]:
    for account in registry.accounts(reader, closed=True):
        book = ledger.load_book(reader, account.name)  # checks sum = balance
        for before, entry in _pairs(ledger.entries_of(reader, account.name)):
            if entry.balance_paise != before + entry.amount_paise:
                yield f"{account.name}: entry {entry.seq} does not follow from the one before"
        if book.register_wh < 0:
            yield f"{account.name}: register {book.register_wh}"
        supply_log.standing_holds(reader, account.name)
    waiting, last, through = outbox.counts(reader)
    events = outbox.pending(reader, 0, 1_000_000)
    if len(events) != waiting or any(event.sequence > last for event in events):
        yield "the outbox counts wrongly"
    if through > last:
        yield f"acknowledged {through} of {last}"
    intervals.anchors(reader)


def _pairs(entries):
    before = 0
    for entry in entries:
        yield before, entry
        before = entry.balance_paise


def _which(reader: sqlite3.Connection, promises: Promises) -> str:
    found = fingerprint(reader)
    for number, state in promises.states.items():
        if state == found:
            lost = promises.done - number
            return f"LOST: {lost} acknowledged transactions are gone (of {promises.done})"
    return f"HALF: a state that never was, after transaction {promises.done}"


async def go_on(folder: Path) -> list[str]:
    """Start the services on what was found, and let them work: it must bear that as well."""
    faults = []
    rig = Rig(folder, keys={"office-1": KEY.public})
    try:
        last = outbox.counts(rig.db.reader)[1]
        top = rig.db.reader.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0]
        for live in list(rig.books.live.accounts.values()):
            rig.bus.registers[live.row.meter] = live.register_wh + 100
            rig.bus.poll(live.row.meter)
            await rig.books.post(live.name)
            book = ledger.load_book(rig.db.reader, live.name)
            if book.register_wh != live.register_wh:
                faults.append(f"{live.name}: posted to {book.register_wh}, not {live.register_wh}")
        rig.bus.registers["M-new"] = 5
        await rig.commissioning.add_meter(MeterSpec("M-new", "rs485-0", 247, "sdm120"))
        await rig.commissioning.open_account("A-new", "M-new", "none", tariff(), 0)
        fresh = note(999_999, "A-new", 100)
        outcomes = [(await rig.recharging.apply(fresh, "file")).outcome for _ in range(2)]
        if outcomes != [Outcome.CREDITED, Outcome.ALREADY_CREDITED]:
            faults.append(f"a recharge came to {outcomes}")
        faults += await _replayed(rig)
        if any(
            row[0] <= last
            for row in rig.db.reader.execute(
                "SELECT sequence FROM outbox WHERE type = 'account.opened' AND subject = 'A-new'"
            )
        ):
            faults.append("a sequence was given out twice")
        if rig.entries("A-new")[0].seq <= top:
            faults.append("an entry's number was given out twice")
    finally:
        await rig.stop()
    return faults


async def _replayed(rig: Rig) -> list[str]:
    """Every recharge that is in the ledger comes once more, by another road."""
    faults = []
    for row in rig.db.reader.execute(
        "SELECT account, recharge_id, amount_paise FROM entries WHERE kind = 'credit'"
    ).fetchall():
        number = int(row["recharge_id"].removeprefix("R-"))
        answer = await rig.recharging.apply(
            note(number, row["account"], row["amount_paise"]), "file"
        )
        if answer.outcome is not Outcome.ALREADY_CREDITED:
            faults.append(f"{row['recharge_id']} again: {answer.outcome.value}")
    return faults
