"""What breaks around the gateway moves no money and no relay, and is made good afterwards."""

import asyncio
from datetime import UTC, datetime, time
from decimal import Decimal

from rig import FIXED, RUPEE, note, tariff, until

from gateway.core.moment import Trust
from gateway.core.policy import CutWindow, Policy
from gateway.core.supply import Hold
from gateway.services.alarms import Alarm
from hardware.api import Quality


async def test_a_flood_of_forgeries_writes_a_bounded_number_of_answers(rig):
    await rig.home()
    before = len(rig.events())
    for _ in range(500):
        await rig.recharging.apply(b"x.y.z", "mqtt")

    assert len(rig.events()) - before < 80
    assert rig.recharging.refused == 500


async def test_unknown_time_delays_a_cut_up_to_the_rupee_limit(rig):
    rig.books.policy = Policy(
        cut_window=CutWindow(time(10), time(14)), unknown_time_overdraft_rupees=Decimal(50)
    )
    rig.clock.trust = Trust.NONE
    await rig.home(balance_paise=1 * RUPEE)
    rig.use(1000)
    await rig.settle()
    assert rig.closed()

    for _ in range(5):
        rig.use(2000)
    await rig.settle()

    assert rig.account().balance_paise <= -50 * RUPEE
    assert not rig.closed()


async def test_a_silent_meter_is_never_cut_for_credit_and_a_stale_reading_neither(rig, monkeypatch):
    rig.books.policy = Policy(cut_window=CutWindow(time(10), time(14)))
    rig.clock.utc = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
    await rig.home(balance_paise=1 * RUPEE)
    rig.use(1000)
    await rig.settle()
    monkeypatch.setattr("gateway.services.bookkeeping.FRESH_S", -1.0)
    rig.clock.advance(15 * 3600)
    rig.books._look_at_all()
    await rig.settle()

    assert rig.closed()
    assert rig.account().permission.allowed


async def test_an_implausible_or_zero_reading_moves_no_money_and_no_relay(rig):
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    rig.bus.poll("M1", Quality.IMPLAUSIBLE)
    rig.bus.registers["M1"] = 0
    rig.bus.poll("M1")
    rig.bus.registers["M1"] = 900_000_000
    rig.bus.poll("M1")
    await rig.settle()

    assert rig.account().balance_paise == 10 * RUPEE
    assert rig.closed()
    alarms = {standing.alarm for standing in rig.alarms.standing()}
    assert Alarm.REGISTER_BACKWARD in alarms

    rig.bus.registers["M1"] = 1000
    rig.bus.poll("M1")
    assert rig.account().balance_paise == 10 * RUPEE
    assert not rig.alarms.standing()


async def test_after_a_power_cut_the_register_brings_back_what_memory_lost(rig):
    await rig.home()
    for _ in range(5):
        rig.use(500)
    await rig.restart()
    rig.bus.registers["M1"] += 500
    rig.bus.poll("M1")

    assert rig.account().balance_paise == 50 * RUPEE - 15 * RUPEE


async def test_holds_survive_a_power_cut(rig):
    await rig.home(balance_paise=10 * RUPEE)
    rig.use(2500)
    await rig.settle()
    await rig.restart()

    assert rig.account().holds == {Hold.NO_CREDIT}
    rig.enforcement.adopt_all()
    await rig.enforcement.cycle()
    assert not rig.closed()


async def test_a_welded_relay_is_told_three_times_and_then_is_an_alarm(rig, monkeypatch):
    monkeypatch.setattr("gateway.core.switching.SETTLE_S", 0.0)
    monkeypatch.setattr("gateway.core.switching.RETRY_PAUSE_S", (0.0, 0.0))
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    rig.contacts["sim:1"].weld()
    rig.bus.power["M1"] = 800
    rig.use(2500)
    await rig.settle()
    for _ in range(40):
        rig.bus.poll("M1")
        await rig.enforcement.cycle()

    opens = [row for row in rig.events("supply.operation") if row.data["position"] == "open"]
    assert len(opens) == 3
    assert [standing.alarm for standing in rig.alarms.standing()] == [Alarm.SWITCH_NOT_OBEYING]


async def test_a_silence_over_a_month_end_is_spread_over_both_months(rig):
    rig.clock.utc = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)  # midnight, 30 November begins
    await rig.home(plan=tariff(**FIXED))
    rig.use(0, seconds=0)
    rig.clock.advance(24 * 3600)
    await rig.recharging.apply(note(), "file")  # while the meter is silent
    rig.clock.advance(24 * 3600)
    rig.use(4000, seconds=0)
    await rig.settle()
    await rig.books.post("A-1")
    energy = {}
    for entry in rig.entries():
        if entry.component == "energy":
            energy[entry.day] = energy.get(entry.day, 0) + entry.quantity

    assert energy == {"2026-11-30": 2000, "2026-12-01": 2000}
    fixed = [entry.day for entry in rig.entries() if entry.component == "fixed"]
    assert fixed == ["2026-11-30", "2026-12-01"]


async def test_what_the_last_quarter_hour_knew_is_shown_after_a_power_cut(rig):
    await rig.home()
    rig.use(3000, seconds=1800)
    await rig.settle()
    await rig.restart()

    assert rig.account().balance_paise == 35 * RUPEE
    assert rig.account().book.balance_paise == 50 * RUPEE


async def test_a_full_disk_moves_nothing_is_told_once_and_is_made_good(rig, caplog, monkeypatch):
    monkeypatch.setattr("gateway.services.bookkeeping.RETRY_WRITE_S", 0.01)
    await rig.home(balance_paise=10 * RUPEE)
    rig.run()
    await until(rig.closed)
    pages = rig.db.reader.execute("PRAGMA page_count").fetchone()[0]
    rig.db._writer.execute(f"PRAGMA max_page_count={pages}")
    filler = b"x" * 100_000
    monkeypatch.setattr(
        "gateway.services.posting.Posting.write",
        lambda self, tx: tx.execute("INSERT INTO settings VALUES ('full', ?)", (filler.decode(),)),
    )
    rig.use(2500)
    await until(lambda: Alarm.LEDGER_UNWRITABLE in {one.alarm for one in rig.alarms.standing()})
    await asyncio.sleep(0.3)

    assert rig.closed()
    assert not rig.account().holds
    assert len([r for r in caplog.records if "ledger" in r.message]) == 1

    monkeypatch.undo()
    rig.db._writer.execute("PRAGMA max_page_count=1000000")
    await until(lambda: not rig.closed())
    await until(lambda: not rig.alarms.standing())
