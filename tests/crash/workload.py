"""What is recorded: the real services over the real store, every kind of transaction they make.

Run as `python -m tests.crash.workload SCENARIO SEED FOLDER` with the recorder preloaded.
CRASH_PLANT names a bug to plant: NORMAL or OFF for `synchronous`.
"""

import asyncio
import hashlib
import json
import os
import random
import sqlite3
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlite_utils import Database as SqliteUtilsDatabase

from gateway.core.supply import Hold
from gateway.core.tariff import Slab, Tariff, TariffVersion
from gateway.documents.signed import SigningKey
from gateway.documents.tariff import tariff_text
from gateway.headend.copy import CloudEvent, HeadendCopy
from gateway.headend.issuer import Issuer, NamedKey
from gateway.services.alarms import Alarm
from gateway.services.posting import HoldMove
from gateway.store import database, intervals, outbox, schema
from gateway.store.database import Database
from tests.gateway.services.rig import FIXED, RUPEE, Rig, tariff

HOMES = 4
HEADEND = "headend.db"
# The same in every run, so that a seed gives the same bytes again.
KEY = SigningKey.from_pem(
    Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


def content(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Every row of every table. When a migration ran is no content of ours."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> '_sqlite_migrations'"
        " ORDER BY name"
    ).fetchall()
    return {
        table: sorted(repr(tuple(row)) for row in connection.execute(f"SELECT * FROM {table}"))
        for (table,) in tables
    }


def fingerprint(connection: sqlite3.Connection) -> str:
    """A digest of the whole content."""
    digest = hashlib.sha256()
    for table, rows in content(connection).items():
        digest.update(table.encode())
        for row in rows:
            digest.update(row.encode())
    return digest.hexdigest()


class Marker:
    """Says in the record what the program has been promised."""

    def __init__(self, folder: Path) -> None:
        self._handle = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.number = 0

    def say(self, **what) -> None:
        os.write(self._handle, json.dumps(what).encode())

    def watch(self) -> None:
        """Mark every opening and every transaction of the product's own `Database`."""
        opening, transacting = Database.__init__, Database._in_transaction

        def opened(db, *arguments):
            opening(db, *arguments)
            plant = os.environ.get("CRASH_PLANT")
            if plant:
                db._writer.execute(f"PRAGMA synchronous={plant}")
            self.say(done=self.number, state=fingerprint(db.reader))

        def transaction(db, work):
            self.say(begin=self.number + 1)
            result = transacting(db, work)
            self.number += 1
            self.say(done=self.number, state=fingerprint(db.reader))
            return result

        Database.__init__, Database._in_transaction = opened, transaction


def note(number: int, account: str, amount_paise: int, **more) -> bytes:
    body = {"v": 1, "gateway": "GW-1", "account": account, "recharge_id": f"R-{number}"}
    body |= {"amount_paise": amount_paise, "currency": "INR", **more}
    return KEY.sign(json.dumps(body).encode(), "office-1", "recharge+jws").encode()


class Street:
    """Homes on a rig, and everything that can happen to their ledger, one act each."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.rig = Rig(folder, keys={"office-1": KEY.public})
        self.chance = chance
        self.recharges = 0

    def home(self) -> str:
        return self.chance.choice(list(self.rig.books.live.accounts))

    async def move_in(self) -> None:
        number = len(self.rig.bus.attached) + 1
        await self.rig.home(
            f"A-{number}",
            f"M{number}",
            f"sim:{number}",
            self.chance.randint(-5, 60) * RUPEE,
            tariff("5.00", **FIXED),
            at_wh=self.chance.randint(0, 10**7),
        )

    async def use_energy(self) -> None:
        for meter in list(self.rig.bus.attached):
            self.rig.use(self.chance.randint(0, 900), meter, seconds=self.chance.randint(1, 600))
        await self.rig.settle()

    async def next_day(self) -> None:
        self.rig.clock.advance(86_400)
        await self.use_energy()

    async def post(self) -> None:
        await self.rig.books.post(self.home())

    async def recharge(self) -> None:
        self.recharges += 1
        body = note(self.recharges, self.home(), self.chance.randint(1, 900) * RUPEE)
        for _ in range(self.chance.choice((1, 1, 2))):
            await self.rig.recharging.apply(body, "mqtt")
        await self.rig.enforcement.cycle()

    async def reverse(self) -> None:
        if self.recharges:
            original = self.chance.randint(1, self.recharges)
            account = self.rig.db.reader.execute(
                "SELECT account FROM entries WHERE recharge_id = ?", (f"R-{original}",)
            ).fetchone()
            if account:
                body = note(1_000_000 + original, account[0], -RUPEE, reverses=f"R-{original}")
                await self.rig.recharging.apply(body, "mqtt")

    async def forge(self) -> None:
        await self.rig.recharging.apply(note(0, "A-1", RUPEE)[:-6] + b"AAAAAA", "mqtt")

    async def lock(self) -> None:
        hold = self.chance.choice((Hold.LINEMAN_LOCK, Hold.OFFICER_LOCK, Hold.TAMPER))
        move = HoldMove(hold, placed=self.chance.random() < 0.5, reason="test", actor="lineman")
        await self.rig.books.move_hold(self.home(), move)
        await self.rig.enforcement.cycle()

    async def acknowledge(self) -> None:
        _, last, through = outbox.counts(self.rig.db.reader)
        await self.rig.books.acknowledge(self.chance.randint(through, last))

    async def alarm(self) -> None:
        self.rig.alarms.raise_(Alarm.METER_SILENT, f"M{self.chance.randint(1, 9)}", "test", "now")
        self.rig.alarms.clear(Alarm.METER_SILENT, f"M{self.chance.randint(1, 9)}")
        await self.rig.settle()

    async def tariff_order(self) -> None:
        first, later = date(2026, 1, 1), date(2026, 11, 25)
        slabs = (Slab(Decimal(self.chance.randint(1, 9)), 1), Slab(Decimal(8)))
        plan = Tariff(
            "test",
            (
                TariffVersion(first, (Slab(Decimal("5.00")),), **FIXED),
                TariffVersion(later, slabs),
            ),
        )
        await self.rig.commissioning.load_tariff(plan)

    async def move_out(self) -> None:
        if len(self.rig.books.live.accounts) > 2:
            name = self.home()
            meter = self.rig.books.account(name).row.meter
            await self.rig.commissioning.close_account(name)
            await self.rig.commissioning.remove_meter(meter)
            self.rig.bus.attached.setdefault(meter, None)  # so that no name is taken twice

    async def restart(self) -> None:
        """The last connection closes: SQLite moves the whole WAL into the file and removes it."""
        attached = dict(self.rig.bus.attached)
        await self.rig.restart()
        self.rig.bus.attached = attached | self.rig.bus.attached

    def weighted(self) -> list:
        often = [self.use_energy, self.recharge, self.acknowledge, self.next_day]
        seldom = [self.reverse, self.forge, self.lock, self.alarm, self.tariff_order, self.post]
        return often * 3 + seldom + [self.restart, self.move_in, self.move_out]


async def living(folder: Path, chance: random.Random, acts: int, checkpoint_pages: int) -> None:
    """A street from its first day on: each kind of act once, then as chance has it."""
    database.WAL_CHECKPOINT_PAGES = checkpoint_pages
    intervals.KEEP_ROWS = 3
    street = Street(folder, chance)
    for _ in range(HOMES):
        await street.move_in()
    once = dict.fromkeys(street.weighted())
    for act in [*once, *(chance.choice(street.weighted()) for _ in range(acts))]:
        await act()
    await street.rig.stop()


def upgrade(folder: Path, chance: random.Random, marker: Marker) -> None:
    """A database of an older program, with money in it, opened by today's."""
    marker.say(quiet=True)
    old = sqlite3.connect(folder / database.FILE_NAME, isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute("PRAGMA synchronous=FULL")
    schema.migrations.apply(SqliteUtilsDatabase(old), stop_before="m003_sync")
    old.execute("INSERT INTO meters VALUES ('M1', 'b', 1, 'sdm120', NULL, 25000, 0, NULL)")
    old.execute("INSERT INTO tariffs VALUES (1, 'd', 'test', ?, 0)", (tariff_text(tariff()),))
    old.execute("INSERT INTO accounts VALUES ('A-1', 'M1', 'none', 1, 0, NULL)")
    balance_paise = 0
    for number in range(chance.randint(3, 30)):
        balance_paise += number
        kind, recharge = ("credit", f"R-{number}") if number else ("opening", None)
        old.execute(
            "INSERT INTO entries (account, kind, recharge_id, amount_paise, balance_paise, day,"
            " day_proven, utc_s, trust, register_from_wh, register_to_wh)"
            " VALUES ('A-1', ?, ?, ?, ?, '2026-11-24', 1, 0, 'ntp', 7, 7)",
            (kind, recharge, number, balance_paise),
        )
    before = content(old)
    crashed = chance.random() < 0.5  # then its WAL is still there
    if not crashed:
        old.close()
    marker.say(quiet=False)
    db = Database(folder)
    # Row for row what it was; the new tables come beside it.
    after = content(db.reader)
    if {table: after[table] for table in before} != before:
        raise RuntimeError("the upgrade changed what was there")
    db.close()
    if crashed:
        old.close()


class Office:
    """The reference head-end: what it has acknowledged it must have."""

    def __init__(self, folder: Path, chance: random.Random, marker: Marker) -> None:
        self.copy, self.chance, self.marker = HeadendCopy(folder / HEADEND), chance, marker
        self.key = NamedKey("office-1", KEY)
        self.sequence = 0
        marker.say(done=0, state=fingerprint(self.copy._db))

    def did(self, act) -> None:
        self.marker.say(begin=self.marker.number + 1)
        act()
        self.marker.number += 1
        self.marker.say(done=self.marker.number, state=fingerprint(self.copy._db))

    def batch(self) -> None:
        events = []
        for _ in range(self.chance.randint(1, 20)):
            self.sequence += self.chance.choice((1, 1, 1, 1, 1, 2))  # with gaps
            events.append(self.event())
        self.copy.store("GW-1", events)

    def event(self) -> CloudEvent:
        entry = {"account": "A-1", "seq": self.sequence, "amount_paise": 1, "balance_paise": 1}
        return CloudEvent(
            "1.0", f"{self.sequence}-x", "/gateways/GW-1", "ledger.entries", "A-1",
            "2026-11-24T06:00:00Z", "application/json", {"entries": [entry]}, self.sequence, "ntp",
        )  # fmt: skip

    def sign(self) -> None:
        Issuer(
            self.copy,
            self.key,
            now=lambda: datetime(2026, 11, 24, tzinfo=UTC),
            new_id=lambda: f"R-{self.marker.number}",
        ).recharge("GW-1", "A-1", 100)

    def live(self, acts: int) -> None:
        acts_known = (self.batch, self.sign, lambda: self.copy.gone("GW-1", self.sequence))
        for _ in range(acts):
            self.did(self.chance.choice(acts_known))
        self.copy.close()


def main() -> None:
    scenario, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    chance, marker = random.Random(seed), Marker(folder)
    marker.watch()
    match scenario:
        case "living":  # a checkpoint every few transactions
            asyncio.run(living(folder, chance, 30, chance.choice((8, 40, 150))))
        case "as shipped":
            asyncio.run(living(folder, chance, 200, database.WAL_CHECKPOINT_PAGES))
        case "upgrade":
            upgrade(folder, chance, marker)
        case "headend":
            Office(folder, chance, marker).live(40)


if __name__ == "__main__":
    main()
