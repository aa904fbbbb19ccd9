"""A lineman's lock, unlock and relay test, over a real ledger and contacts that can weld."""

import asyncio

import pytest
from rig import RUPEE, Rig, until

from gateway.core.errors import InUse, Refused
from gateway.core.supply import Hold
from gateway.services import lineman as lineman_module
from gateway.services.lineman import TEST_REASON, Lineman
from gateway.services.posting import HoldMove
from gateway.store import supply_log
from hardware.api import Quantity


@pytest.fixture
async def rig(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.core.switching.SETTLE_S", 0.05)
    monkeypatch.setattr("gateway.core.switching.RETRY_PAUSE_S", (0.1, 0.1))
    monkeypatch.setattr("gateway.services.enforcement.CYCLE_S", 0.02)
    monkeypatch.setattr(lineman_module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(lineman_module, "OPEN_PATIENCE_S", 3.0)
    monkeypatch.setattr(lineman_module, "CLOSE_PATIENCE_S", 1.0)
    monkeypatch.setattr(lineman_module, "UNLOADED_PATIENCE_S", 0.3)
    monkeypatch.setattr(lineman_module, "LOCK_PATIENCE_S", 1.0)
    rig = Rig(tmp_path)
    await rig.home()
    rig.bus.power["M1"] = 400
    rig.use(0)
    rig.run()
    polls = asyncio.ensure_future(poll(rig))
    await until(rig.closed)
    await until(lambda: rig.account().reading.good(Quantity.ACTIVE_POWER) == 400)
    yield rig
    polls.cancel()
    await asyncio.gather(polls, return_exceptions=True)
    await rig.stop()


async def poll(rig):
    """The meter shows load while its contact is closed."""
    rig.watts = 400
    while True:
        rig.bus.power["M1"] = rig.watts if rig.closed() else 0
        rig.bus.poll("M1")
        await asyncio.sleep(0.02)


def lineman(rig):
    return Lineman(rig.books, rig.enforcement)


async def test_a_sound_relay_passes_and_ends_as_it_began(rig):
    told = []
    result = await lineman(rig).test("A-1", told.append)
    assert result["verdict"] == "passed", [step["text"] for step in told]
    assert [step["step"] for step in told] == ["before", "open", "close"]
    assert "load fell from 400 W to 0 W" in told[1]["text"]
    assert rig.account().holds == frozenset()
    assert rig.closed()
    rows = list(supply_log.rows_of(rig.db.reader, "A-1", 10))
    assert [row.kind for row in reversed(rows) if row.reason == TEST_REASON] == [
        "hold_placed",
        "hold_lifted",
    ]


async def test_a_welded_relay_fails(rig):
    rig.contacts["sim:1"].weld()
    result = await lineman(rig).test("A-1", lambda _: None)
    assert result["verdict"] == "failed"
    assert "400 W still flow" in result["steps"][1]["text"]
    assert rig.account().holds == frozenset()


async def test_without_load_nothing_is_called_proven(rig):
    rig.watts = 0
    await asyncio.sleep(0.1)
    result = await lineman(rig).test("A-1", lambda _: None)
    assert result["verdict"] == "unproven"
    assert rig.closed()


async def test_a_test_ends_its_lock_even_when_it_is_cancelled(rig):
    task = asyncio.ensure_future(lineman(rig).test("A-1", lambda _: None))
    await until(lambda: bool(rig.account().holds))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not rig.account().holds)
    await until(rig.closed)


async def test_a_lock_asked_for_during_a_test_stays(rig):
    """Somebody is on the pole: the end of another's test must not energise the line."""
    hand = lineman(rig)
    task = asyncio.ensure_future(hand.test("A-1", lambda _: None))
    await until(lambda: bool(rig.account().holds))
    assert await hand.lock("A-1", "pole work")
    assert (await task)["verdict"] == "locked meanwhile"
    assert rig.account().holds == {Hold.LINEMAN_LOCK}
    await asyncio.sleep(0.1)
    assert not rig.closed()
    assert await hand.lift_leftovers() == []  # it is no leftover of the test
    assert supply_log.standing_holds(rig.db.reader, "A-1") == {Hold.LINEMAN_LOCK}


async def test_unlocking_or_testing_again_during_a_test_is_refused(rig):
    hand = lineman(rig)
    task = asyncio.ensure_future(hand.test("A-1", lambda _: None))
    await until(lambda: bool(rig.account().holds))
    with pytest.raises(InUse):
        await hand.unlock("A-1", "x")
    with pytest.raises(Refused):
        await hand.test("A-1", lambda _: None)
    assert (await task)["verdict"] == "passed"


async def test_another_hold_placed_during_a_test_keeps_the_supply_off(rig):
    task = asyncio.ensure_future(lineman(rig).test("A-1", lambda _: None))
    await until(lambda: bool(rig.account().holds))
    officer = HoldMove(Hold.OFFICER_LOCK, placed=True, reason="order", actor="officer")
    await rig.books.move_hold("A-1", officer)
    result = await task
    assert result["verdict"] == "off"
    assert rig.account().holds == {Hold.OFFICER_LOCK}
    assert not rig.closed()


async def test_a_supply_that_is_off_is_not_tested(rig):
    hand = lineman(rig)
    await hand.lock("A-1", "pole work")
    assert not rig.closed()
    with pytest.raises(Refused, match="off already"):
        await hand.test("A-1", lambda _: None)


async def test_a_test_that_could_prove_nothing_is_refused_before_it_cuts(rig, monkeypatch):
    monkeypatch.setattr(lineman_module, "READING_FRESH_S", -1.0)
    with pytest.raises(Refused, match="nothing could be proven"):
        await lineman(rig).test("A-1", lambda _: None)
    assert rig.closed()


async def test_a_crash_in_a_test_is_mended_at_the_next_start_but_a_real_lock_stays(tmp_path):
    rig = Rig(tmp_path)
    await rig.home()
    await rig.home("A-2", "M2", "sim:2", balance_paise=9 * RUPEE)
    for name, reason in (("A-1", TEST_REASON), ("A-2", "pole work")):
        move = HoldMove(Hold.LINEMAN_LOCK, placed=True, reason=reason, actor="lineman")
        await rig.books.move_hold(name, move)
    await rig.restart()
    assert await lineman(rig).lift_leftovers() == ["A-1"]
    assert rig.account("A-1").holds == frozenset()
    assert rig.account("A-2").holds == {Hold.LINEMAN_LOCK}
    await rig.stop()


async def test_unlocking_lifts_the_linemans_lock_and_no_other(rig):
    hand = lineman(rig)
    await hand.lock("A-1", "pole work")
    officer = HoldMove(Hold.OFFICER_LOCK, placed=True, reason="order", actor="officer")
    await rig.books.move_hold("A-1", officer)
    assert await hand.unlock("A-1", "done")
    assert rig.account().holds == {Hold.OFFICER_LOCK}
    assert not rig.closed()
    assert not await hand.unlock("A-1", "done")
