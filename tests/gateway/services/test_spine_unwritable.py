"""When the ledger cannot be written nothing moves; when it can, its row comes first."""

import pytest
from rig import RUPEE, note, until

from gateway.core.errors import StoreError
from gateway.core.supply import Hold
from gateway.core.switching import Position
from gateway.services.posting import HoldMove
from gateway.store import supply_log
from hardware.sim.relay import SimSwitch


@pytest.fixture
def full(rig, monkeypatch):
    """A card that is full from the call on; a second call makes room again."""
    writing = rig.db.write

    async def refuse(work):
        raise StoreError("the card is full")

    def full(now: bool = True) -> None:
        monkeypatch.setattr(rig.db, "write", refuse if now else writing)

    return full


def lock(hold: Hold, *, placed: bool = True) -> HoldMove:
    return HoldMove(hold, placed=placed, reason="at work", actor="lineman")


async def test_a_recharge_that_cannot_be_written_is_not_answered_and_not_believed(rig, full):
    await rig.home(balance_paise=0)
    full()
    with pytest.raises(StoreError):
        await rig.recharging.apply(note(), "mqtt")
    assert rig.account().balance_paise == 0

    full(False)
    answer = await rig.recharging.apply(note(), "mqtt")
    assert answer.body["outcome"] == "CREDITED"
    assert rig.account().balance_paise == rig.account().book.balance_paise == 100 * RUPEE


async def test_a_hold_and_a_relay_wait_for_the_ledger(rig, full):
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    full()
    rig.use(2000)
    with pytest.raises(StoreError):
        await rig.settle()
    assert not rig.account().holds
    assert rig.closed()

    full(False)
    await rig.books.move_hold("A-1", lock(Hold.LINEMAN_LOCK))
    full()
    with pytest.raises(StoreError):
        await rig.enforcement.cycle()
    assert rig.closed()

    full(False)
    await rig.enforcement.cycle()
    assert not rig.closed()


async def test_the_loops_live_through_a_full_card_and_make_up_for_it(rig, full):
    await rig.home(balance_paise=10 * RUPEE)
    rig.run()
    await until(rig.closed)
    full()
    rig.use(2000)
    await until(rig.alarms.standing)
    assert rig.closed()

    full(False)
    await until(lambda: not rig.closed(), 10)


async def test_the_row_of_a_command_is_there_before_the_relay_moves(rig, monkeypatch):
    seen = []
    moving = SimSwitch.connect

    async def connect(switch):
        seen.append(supply_log.last_command(rig.db.reader, "A-1"))
        await moving(switch)

    monkeypatch.setattr(SimSwitch, "connect", connect)
    await rig.home()
    await rig.settle()

    assert rig.closed()
    assert seen == [Position.CLOSED]


async def test_supply_is_back_only_when_the_last_hold_is_lifted(rig):
    await rig.home(balance_paise=RUPEE)
    rig.use(2000)
    await rig.settle()
    await rig.books.move_hold("A-1", lock(Hold.LINEMAN_LOCK))
    await rig.books.move_hold("A-1", lock(Hold.OFFICER_LOCK))
    await rig.restart()
    rig.enforcement.adopt_all()

    every = {Hold.NO_CREDIT, Hold.LINEMAN_LOCK, Hold.OFFICER_LOCK}
    assert rig.account().holds == every
    for lift in (
        lambda: rig.recharging.apply(note(), "mqtt"),
        lambda: rig.books.move_hold("A-1", lock(Hold.OFFICER_LOCK, placed=False)),
    ):
        await lift()
        await rig.enforcement.cycle()
        assert not rig.closed()
    await rig.books.move_hold("A-1", lock(Hold.LINEMAN_LOCK, placed=False))
    await rig.enforcement.cycle()
    assert rig.closed()


@pytest.mark.parametrize(
    "issued_at",
    ["1970-01-01T00:00:00Z", "2026-11-24T06:00:00Z", "2099-12-31T23:59:59Z", "soon", ""],
)
async def test_no_recharge_is_refused_for_its_time(rig, issued_at):
    await rig.home()
    answer = await rig.recharging.apply(note(issued_at=issued_at), "mqtt")
    assert answer.outcome.value == "CREDITED"
