"""The ledger on disk refuses what must never happen, whatever the code above it does."""

import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gateway.core.account import AccountBook, Anchor, settle
from gateway.core.errors import (
    AccountUnknown,
    AlreadyExists,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseMissing,
    InvariantBroken,
    MeterUnknown,
    StoreError,
)
from gateway.core.moment import Moment, Trust
from gateway.core.recharge import Recharge
from gateway.core.supply import Hold
from gateway.core.switching import Position
from gateway.core.tariff import FixedCharge, Slab, Tariff, TariffVersion
from gateway.store import intervals, ledger, outbox, registry, supply_log
from gateway.store.database import Database, InlineRunner, open_reader
from gateway.store.registry import AccountRow, MeterRow

ZONE = ZoneInfo("Asia/Kolkata")
NOW = Moment(datetime(2026, 11, 24, 6, 0, tzinfo=UTC), Trust.NTP)
TARIFF = Tariff(
    "t",
    (
        TariffVersion(
            date(2026, 1, 1),
            (Slab(Decimal("4.00"), 1), Slab(Decimal("5.00"))),
            fixed=FixedCharge(Decimal("30.00")),
            duty_percent_of_energy=Decimal(11),
        ),
    ),
)
INSERT = (
    "INSERT INTO entries"
    " (account, kind, amount_paise, balance_paise, day, day_proven, utc_s, trust)"
)
BOOK = AccountBook("A-1", 5000, 1000, date(2026, 11, 24), day_proven=True)


@pytest.fixture
def db(tmp_path):
    db = Database(tmp_path, InlineRunner())
    yield db
    db.close()


@pytest.fixture
def opened(db):
    """A database with one meter and one open account of 50 rupees."""

    def write(tx):
        registry.add_meter(tx, MeterRow("M1", "rs485-0", 1, "sdm120", None, 25_000, 0))
        tariff_id = registry.add_tariff(tx, "digest", "t", "document", 0)
        registry.add_account(tx, AccountRow("A-1", "M1", "gpio:17", tariff_id, 0))
        ledger.append_opening(tx, BOOK, NOW)

    db.write_now(write)
    return db


def recharge(recharge_id="R-1", amount_paise=10_000, **more):
    return Recharge(1, "GW-1", "A-1", recharge_id, amount_paise, "INR", **more)


def credit(book, amount_paise=10_000):
    return AccountBook(
        book.account, book.balance_paise + amount_paise, book.register_wh, book.day, True
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET amount_paise = 0",
        "DELETE FROM entries",
        "UPDATE tariffs SET document = ''",
        "DELETE FROM tariffs",
        f"{INSERT} VALUES ('A-1', 'opening', 100, 100, '2026-11-24', 1, 0, 'ntp')",
        f"{INSERT} VALUES ('A-1', 'credit', 100, 5100, '2026-11-24', 1, 0, 'ntp')",
        f"{INSERT} VALUES ('nobody', 'opening', 0, 0, '2026-11-24', 1, 0, 'ntp')",
        f"{INSERT} VALUES ('A-1', 'opening', 1.5, 5001.5, '2026-11-24', 1, 0, 'ntp')",
    ],
)
def test_the_schema_refuses(opened, statement):
    with pytest.raises(sqlite3.IntegrityError):
        opened.write_now(lambda tx: tx.execute(statement))


def test_an_accounts_state_is_derived_from_its_entries(opened):
    settled = settle(BOOK, TARIFF, 4000, NOW, ZONE, closing=True)
    opened.write_now(lambda tx: ledger.append_charges(tx, settled.book, settled.charges, NOW))
    after = settle(settled.book, TARIFF, 4500, NOW, ZONE)
    opened.write_now(lambda tx: ledger.append_charges(tx, after.book, after.charges, NOW))

    assert ledger.load_book(opened.reader, "A-1") == after.book


def test_a_recharge_id_is_there_once(opened):
    first = credit(BOOK)
    opened.write_now(lambda tx: ledger.append_recharge(tx, first, recharge(), NOW, note="mqtt"))
    with pytest.raises(sqlite3.IntegrityError):
        opened.write_now(
            lambda tx: ledger.append_recharge(tx, credit(first), recharge(), NOW, note="file")
        )
    applied = ledger.applied(opened.reader, "R-1")

    assert (applied.balance_paise, applied.reversed_paise) == (15_000, 0)
    assert ledger.load_book(opened.reader, "A-1").balance_paise == 15_000


def test_reversals_are_summed_against_what_they_reverse(opened):
    first = credit(BOOK)
    opened.write_now(lambda tx: ledger.append_recharge(tx, first, recharge(), NOW, note=""))
    back = recharge("R-2", -3_000, reverses="R-1")
    opened.write_now(
        lambda tx: ledger.append_recharge(tx, credit(first, -3_000), back, NOW, note="")
    )

    assert ledger.applied(opened.reader, "R-1").reversed_paise == 3_000


def test_memory_and_ledger_that_disagree_stop_the_write(opened):
    wrong = AccountBook("A-1", 99, 1000, BOOK.day, True)
    with pytest.raises(InvariantBroken):
        opened.write_now(lambda tx: ledger.append_recharge(tx, wrong, recharge(), NOW, note=""))

    assert ledger.applied(opened.reader, "R-1") is None


def test_a_transaction_that_fails_half_way_leaves_no_trace(opened):
    def write(tx):
        ledger.append_recharge(tx, credit(BOOK), recharge(), NOW, note="")
        outbox.put(tx, "x", "A-1", {}, NOW)
        raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        opened.write_now(write)

    assert ledger.applied(opened.reader, "R-1") is None
    assert outbox.pending(opened.reader, 0, 10) == []


def test_an_event_is_deleted_only_when_acknowledged_and_its_sequence_is_not_used_again(opened):
    sequences = [opened.write_now(lambda tx: outbox.put(tx, "x", "s", {}, NOW)) for _ in range(3)]
    with pytest.raises(sqlite3.IntegrityError):
        opened.write_now(lambda tx: tx.execute("DELETE FROM outbox WHERE sequence = 3"))
    opened.write_now(lambda tx: outbox.acknowledge(tx, 3))
    again = opened.write_now(lambda tx: outbox.put(tx, "x", "s", {}, NOW))

    assert sequences == [1, 2, 3]
    assert again == 4
    opened.write_now(lambda tx: outbox.acknowledge(tx, 1))
    assert outbox.counts(opened.reader) == (1, 4, 3)


def test_holds_stand_until_they_are_lifted(opened):
    def move(hold, placed):
        opened.write_now(
            lambda tx: supply_log.record_hold(
                tx, "A-1", hold, placed=placed, reason="r", actor="a", now=NOW
            )
        )

    move(Hold.NO_CREDIT, placed=True)
    move(Hold.LINEMAN_LOCK, placed=True)
    move(Hold.NO_CREDIT, placed=False)

    assert supply_log.standing_holds(opened.reader, "A-1") == {Hold.LINEMAN_LOCK}


def test_the_last_command_is_remembered(opened):
    assert supply_log.last_command(opened.reader, "A-1") is Position.UNKNOWN
    opened.write_now(
        lambda tx: supply_log.record_command(
            tx, "A-1", Position.OPEN, reason="r", actor="a", now=NOW
        )
    )
    assert supply_log.last_command(opened.reader, "A-1") is Position.OPEN


def test_names_meters_addresses_and_switches_are_taken_once(opened):
    def add(row):
        opened.write_now(lambda tx: registry.add_account(tx, row))

    for row in (
        AccountRow("A-1", "M2", "none", 1, 0),
        AccountRow("A-2", "M1", "none", 1, 0),
        AccountRow("A-2", "M2", "gpio:17", 1, 0),
    ):
        with pytest.raises(AlreadyExists):
            add(row)
    with pytest.raises(AlreadyExists):
        opened.write_now(
            lambda tx: registry.add_meter(tx, MeterRow("M2", "rs485-0", 1, "x", None, 1, 0))
        )
    with pytest.raises(MeterUnknown):
        registry.meter(opened.reader, "M9")
    with pytest.raises(AccountUnknown):
        registry.account(opened.reader, "A-9")


def test_a_removed_meters_address_is_free_again(db):
    row = MeterRow("M1", "rs485-0", 1, "sdm120", None, 25_000, 0)
    db.write_now(lambda tx: registry.add_meter(tx, row))
    db.write_now(lambda tx: registry.remove_meter(tx, "M1", 5))
    db.write_now(
        lambda tx: registry.add_meter(tx, MeterRow("M2", "rs485-0", 1, "x", None, 25_000, 0))
    )

    assert [meter.name for meter in registry.meters(db.reader)] == ["M2"]


def test_intervals_give_each_meters_last_proven_register(db):
    for utc_s, trust, registers in (
        (900, Trust.NTP, {"M1": (10, 5), "M2": (7, None)}),
        (1800, Trust.NTP, {"M1": (20, 5)}),
        (2700, Trust.NONE, {"M1": (30, 5)}),
    ):
        now = Moment(datetime.fromtimestamp(utc_s, UTC), trust)
        db.write_now(lambda tx, now=now, registers=registers: intervals.append(tx, registers, now))

    assert intervals.anchors(db.reader) == {"M1": Anchor(20, 1800), "M2": Anchor(7, 900)}


def test_intervals_are_bounded(db, monkeypatch):
    monkeypatch.setattr(intervals, "KEEP_ROWS", 10)
    for _ in range(25):
        db.write_now(lambda tx: intervals.append(tx, {"M1": (1, 1)}, NOW))

    assert len(list(intervals.newest(db.reader, 100))) == 10


def test_a_second_gateway_on_the_same_data_is_refused(db, tmp_path):
    with pytest.raises(DatabaseBusy):
        Database(tmp_path)


def test_a_damaged_file_is_named_and_kept(tmp_path):
    db = Database(tmp_path, InlineRunner())
    db.close()
    path = tmp_path / "gateway.db"
    body = bytearray(path.read_bytes())
    body[4096:8192] = b"\xff" * 4096
    path.write_bytes(body)
    with pytest.raises(DatabaseDamaged):
        Database(tmp_path)

    assert path.read_bytes() == bytes(body)
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 10)
    with pytest.raises(DatabaseDamaged):
        Database(tmp_path)


def test_a_database_of_a_newer_version_is_left_alone(tmp_path):
    db = Database(tmp_path, InlineRunner())
    db.write_now(
        lambda tx: tx.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('gateway', 'm999_future', 'x')"
        )
    )
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        Database(tmp_path)


def test_a_reader_cannot_write_and_says_when_there_is_nothing(opened, tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        open_reader(tmp_path).execute("DELETE FROM settings")
    with pytest.raises(DatabaseMissing):
        open_reader(tmp_path / "elsewhere")


def test_a_full_disk_is_an_error_with_a_way_out_and_changes_nothing(opened):
    pages = opened.reader.execute("PRAGMA page_count").fetchone()[0]
    opened._writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreError, match="full"):
        opened.write_now(
            lambda tx: [outbox.put(tx, "x", "s", {"a": "b" * 4000}, NOW) for _ in range(50)]
        )

    assert outbox.pending(opened.reader, 0, 100) == []


def test_durability_is_set_as_promised(db):
    writer = db._writer
    assert writer.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert writer.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert writer.execute("PRAGMA foreign_keys").fetchone()[0] == 1
