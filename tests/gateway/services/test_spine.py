"""Read, charge, cut, recharge, restore: the two walks, over a real ledger."""

from datetime import UTC, datetime, time

import pytest
from rig import FIXED, RUPEE, note, tariff, until

from gateway.core.errors import AlreadyExists, InUse, MeterNotProven, MeterUnknown
from gateway.core.policy import CutReason, CutWindow, Policy
from gateway.core.recharge import Outcome
from gateway.core.supply import Hold
from gateway.core.switching import Position
from gateway.services.posting import HoldMove
from gateway.store import supply_log
from hardware.api import MeterSilent, MeterSpec, Quality


async def test_energy_is_charged_by_the_register_and_written_only_when_it_must_be(rig):
    await rig.home()
    rig.use(1000)
    await rig.settle()

    assert rig.account().balance_paise == 45 * RUPEE
    assert [entry.kind for entry in rig.entries()] == ["opening"]

    await rig.books.post("A-1")

    assert [entry.amount_paise for entry in rig.entries()] == [50 * RUPEE, -5 * RUPEE]
    charge = rig.entries()[-1]
    assert (charge.register_from_wh, charge.register_to_wh) == (1000, 2000)
    assert charge.rate == "5.00/kWh"


async def test_exhausted_credit_opens_the_relay_and_a_recharge_closes_it(rig):
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    assert rig.closed()

    rig.use(2000)
    await rig.settle()

    assert rig.account().holds == {Hold.NO_CREDIT}
    assert not rig.closed()

    answer = await rig.recharging.apply(note(), "mqtt")
    await rig.enforcement.cycle()

    assert answer.outcome is Outcome.CREDITED
    assert answer.body["balance_paise"] == 100 * RUPEE
    assert answer.body["supply"] == "connected"
    assert rig.closed()
    assert [event.data["outcome"] for event in rig.events("recharge.receipt")] == ["CREDITED"]


async def test_the_loops_cut_and_restore_by_themselves(rig):
    await rig.home(balance_paise=10 * RUPEE)
    rig.run()
    await until(rig.closed)

    rig.use(2000)
    await until(lambda: not rig.closed())
    await rig.recharging.apply(note(), "file")
    await until(rig.closed)


async def test_the_same_recharge_by_any_road_credits_once(rig):
    await rig.home()
    first = await rig.recharging.apply(note(), "mqtt")
    again = await rig.recharging.apply(note(), "file")
    await rig.restart()
    later = await rig.recharging.apply(note(), "mqtt")

    assert [answer.outcome for answer in (first, again, later)] == [
        Outcome.CREDITED,
        Outcome.ALREADY_CREDITED,
        Outcome.ALREADY_CREDITED,
    ]
    assert again.body["ledger_seq"] == first.body["ledger_seq"]
    assert rig.account().book.balance_paise == 150 * RUPEE


async def test_what_is_not_signed_for_this_gateway_credits_nothing(rig):
    await rig.home()
    forged = note()[:-6] + b"AAAAAA"
    outcomes = [
        (await rig.recharging.apply(body, "mqtt")).outcome
        for body in (
            forged,
            b"garbage",
            note(gateway="GW-2"),
            note(account="nobody"),
            note(amount_paise=-5, reverses="R-unknown"),
        )
    ]

    assert outcomes == [
        Outcome.BAD_SIGNATURE,
        Outcome.MALFORMED,
        Outcome.WRONG_GATEWAY,
        Outcome.UNKNOWN_ACCOUNT,
        Outcome.UNKNOWN_REVERSAL,
    ]
    assert rig.account().book.balance_paise == 50 * RUPEE


async def test_an_id_used_twice_with_another_amount_is_a_conflict(rig):
    await rig.home()
    await rig.recharging.apply(note(), "mqtt")
    answer = await rig.recharging.apply(note(amount_paise=500 * RUPEE), "mqtt")

    assert answer.outcome is Outcome.CONFLICT
    assert rig.account().book.balance_paise == 150 * RUPEE


async def test_a_reversal_takes_back_what_it_names_and_no_more(rig):
    await rig.home()
    await rig.recharging.apply(note("R-1"), "mqtt")
    first = await rig.recharging.apply(note("R-2", -60 * RUPEE, reverses="R-1"), "mqtt")
    second = await rig.recharging.apply(note("R-3", -60 * RUPEE, reverses="R-1"), "mqtt")

    assert (first.outcome, second.outcome) == (Outcome.CREDITED, Outcome.CONFLICT)
    assert rig.account().book.balance_paise == 90 * RUPEE


async def test_a_recharge_never_lifts_a_lock_that_a_person_placed(rig):
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    lock = HoldMove(Hold.LINEMAN_LOCK, placed=True, reason="work on the pole", actor="ravi")
    await rig.books.move_hold("A-1", lock)
    rig.use(3000)
    await rig.settle()
    assert rig.account().holds == {Hold.LINEMAN_LOCK, Hold.NO_CREDIT}

    answer = await rig.recharging.apply(note(), "mqtt")
    await rig.settle()

    assert rig.account().holds == {Hold.LINEMAN_LOCK}
    assert answer.body["supply"] == "disconnected"
    assert not rig.closed()


async def test_outside_the_window_supply_stays_and_is_cut_when_it_opens(rig):
    rig.books.policy = Policy(cut_window=CutWindow(time(10), time(14)))
    rig.clock.utc = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)  # 19:30 in India
    await rig.home(balance_paise=1 * RUPEE)
    rig.use(1000)
    await rig.settle()

    assert rig.account().balance_paise == -4 * RUPEE
    assert rig.closed()
    assert rig.account().permission.reason is CutReason.OUTSIDE_WINDOW

    rig.clock.advance(15 * 3600)  # 10:40 the next day
    rig.bus.poll("M1")
    await rig.settle()

    assert not rig.closed()


async def test_a_day_that_closes_is_posted_with_its_fixed_charge_once(rig):
    await rig.home(plan=tariff(**FIXED))
    rig.use(1000)
    for _ in range(3):
        rig.clock.advance(12 * 3600)
        rig.use(1000)
        await rig.settle()
    fixed = [entry for entry in rig.entries() if entry.component == "fixed"]

    assert [(entry.day, entry.amount_paise) for entry in fixed] == [
        ("2026-11-24", -100),
        ("2026-11-25", -100),
    ]
    await rig.restart()
    rig.bus.poll("M1")
    await rig.settle()
    assert len([entry for entry in rig.entries() if entry.component == "fixed"]) == 2


async def test_a_corrected_tariff_is_one_visible_difference(rig):
    await rig.home()
    rig.use(2000)
    await rig.books.post("A-1")
    await rig.commissioning.load_tariff(tariff("4.00"))

    assert rig.account().book.balance_paise == 42 * RUPEE
    assert rig.entries()[-1].amount_paise == 2 * RUPEE
    await rig.restart()
    assert rig.account().tariff == tariff("4.00")


async def test_nothing_is_opened_on_what_was_not_seen_to_work(rig):
    with pytest.raises(MeterSilent):
        await rig.commissioning.add_meter(MeterSpec("M9", "rs485-0", 9, "sdm120"))
    with pytest.raises(MeterUnknown):
        await rig.commissioning.open_account("A-9", "M9", "none", tariff(), 0)
    await rig.home()
    with pytest.raises(InUse):
        await rig.commissioning.remove_meter("M1")
    with pytest.raises(AlreadyExists):
        await rig.commissioning.open_account("A-2", "M1", "sim:2", tariff(), 0)
    rig.bus.registers["M3"] = 5
    await rig.commissioning.add_meter(MeterSpec("M3", "rs485-0", 3, "sdm120"))
    rig.bus.quality = Quality.IMPLAUSIBLE
    with pytest.raises(MeterNotProven):
        await rig.commissioning.open_account("A-3", "M3", "sim:3", tariff(), 0)
    assert list(rig.enforcement.stations) == ["A-1"]


async def test_a_closed_account_is_charged_to_the_end_and_disconnected(rig):
    await rig.home(plan=tariff(**FIXED))
    await rig.settle()
    rig.use(1000)
    await rig.commissioning.close_account("A-1")

    assert not rig.closed()
    assert rig.entries()[-1].balance_paise == 50 * RUPEE - 5 * RUPEE - 1 * RUPEE
    assert not rig.books.live.accounts
    await rig.restart()
    assert not rig.books.live.accounts


async def test_every_event_goes_out_in_the_order_of_its_sequence(rig):
    await rig.home(balance_paise=10 * RUPEE)
    await rig.settle()
    rig.use(2500)
    await rig.settle()
    sequences = [event.sequence for event in rig.events()]

    assert sequences == list(range(1, len(sequences) + 1))
    cut = [event for event in rig.events() if event.type.startswith("supply.")][1:]
    assert [(event.type, event.data["holds"]) for event in cut] == [
        ("supply.hold", ["NO_CREDIT"]),
        ("supply.operation", ["NO_CREDIT"]),
    ]


async def test_a_lock_that_comes_while_a_command_is_written_keeps_the_relay_open(rig):
    """The row is on the card and the relay not yet driven: a lineman locks just then."""
    await rig.home(balance_paise=10 * RUPEE)
    rig.use(3000)
    await rig.settle()
    moves = rig.contacts["sim:1"].moves
    lock = HoldMove(Hold.LINEMAN_LOCK, placed=True, reason="work on the pole", actor="ravi")
    real = rig.books.transact

    async def locked_just_then(prepare):
        done = await real(prepare)
        if done is True and not rig.account().holds:  # the row of "closed" is written
            await rig.books.move_hold("A-1", lock)
        return done

    rig.books.transact = locked_just_then
    await rig.recharging.apply(note(), "mqtt")
    await rig.enforcement.cycle()
    assert rig.contacts["sim:1"].moves == moves
    assert not rig.closed()
    assert supply_log.last_command(rig.db.reader, "A-1") is Position.OPEN
