"""The head-end's database: every event once, whatever order and how often it comes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import DatabaseDamaged
from gateway.documents.signed import SigningKey
from gateway.headend.copy import CloudEvent, HeadendCopy
from gateway.headend.issuer import Issuer, NamedKey
from gateway.services.outgoing import cloud_event
from gateway.store.outbox import OutboxEvent

GATEWAY = "GW-1"


@pytest.fixture
def copy(tmp_path):
    copy = HeadendCopy(tmp_path / "headend.db")
    yield copy
    copy.close()


def event(sequence: int, kind: str = "t", data=None, subject: str = "s") -> CloudEvent:
    row = OutboxEvent(sequence, kind, subject, 1795550400, "ntp", data or {"n": sequence})
    return CloudEvent(**cloud_event(GATEWAY, row))


def entries(sequence: int, *rows: tuple[int, int, int]) -> CloudEvent:
    told = [
        {"seq": seq, "account": "A-1", "amount_paise": amount, "balance_paise": balance}
        for seq, amount, balance in rows
    ]
    return event(sequence, "ledger.entries", {"entries": told})


def test_an_unbroken_batch_is_acknowledged_to_its_end(copy):
    assert copy.store(GATEWAY, [event(1), event(2), event(3)]) == 3
    assert copy.through(GATEWAY) == 3


def test_a_batch_after_a_gap_is_stored_and_not_acknowledged(copy):
    copy.store(GATEWAY, [event(1)])
    assert copy.store(GATEWAY, [event(3), event(4)]) == 1
    assert copy.events(GATEWAY) == 3
    assert copy.store(GATEWAY, [event(2)]) == 2, "never beyond the batch"
    assert copy.through(GATEWAY) == 4
    assert copy.store(GATEWAY, [event(4)]) == 4


@given(st.randoms(use_true_random=False))
def test_in_any_order_and_number_every_event_is_stored_once(rng: random.Random):
    copy = HeadendCopy(":memory:")
    numbers = list(range(1, 30)) + [rng.randint(1, 29) for _ in range(20)]
    rng.shuffle(numbers)
    acknowledged = 0
    while numbers:
        batch = sorted({numbers.pop() for _ in range(min(len(numbers), rng.randint(1, 6)))})
        through = copy.store(GATEWAY, [event(n) for n in batch])
        assert through <= batch[-1]
        acknowledged = max(acknowledged, through)
    assert copy.through(GATEWAY) == 29
    assert copy.events(GATEWAY) == 29
    assert copy.conflicts(GATEWAY) == 0
    copy.close()


def test_gateways_do_not_mix(copy):
    copy.store("GW-1", [event(1), event(2)])
    assert copy.store("GW-2", [event(1)]) == 1
    assert (copy.through("GW-1"), copy.through("GW-2"), copy.through("GW-3")) == (2, 1, 0)


def test_a_gateway_that_counts_from_behind_begins_another_history(copy):
    """Its card was restored: what it says now counts, and can be acknowledged."""
    copy.store(GATEWAY, [event(n) for n in range(1, 11)])
    again = [event(n, data={"other": n}) for n in range(6, 9)]
    assert copy.store(GATEWAY, again) == 8
    assert copy.store(GATEWAY, again) == 8
    assert copy.through(GATEWAY) == 8
    assert copy.events(GATEWAY) == 8
    assert copy.conflicts(GATEWAY) == 5, "6 to 10 of the first history are kept apart"


def test_a_late_copy_from_a_replaced_history_changes_nothing(copy):
    first = [event(n) for n in range(1, 6)]
    copy.store(GATEWAY, first)
    again = [event(n, data={"other": n}) for n in range(3, 6)]
    copy.store(GATEWAY, again)
    assert copy.store(GATEWAY, first) == 5
    assert (copy.through(GATEWAY), copy.conflicts(GATEWAY)) == (5, 3)


def test_entries_of_a_replaced_history_leave_the_copy(copy):
    copy.store(GATEWAY, [entries(1, (1, 5000, 5000)), entries(2, (2, -700, 4300))])
    copy.store(GATEWAY, [entries(3, (3, -300, 4000))])
    copy.store(GATEWAY, [entries(2, (2, -900, 4100))])
    account = copy.accounts(GATEWAY)["A-1"]
    assert (account.balance_paise, account.sum_paise, account.entries) == (4100, 4100, 2)


def test_a_gap_in_a_replaced_history_does_not_hide_the_new_entries(copy):
    """Event 2 was lost; the restored gateway fills its place before it meets the first conflict."""
    copy.store(GATEWAY, [entries(1, (1, 5000, 5000)), entries(3, (2, -700, 4300))])
    copy.store(GATEWAY, [entries(2, (2, -900, 4100))])
    copy.store(GATEWAY, [entries(3, (3, -100, 4000))])
    account = copy.accounts(GATEWAY)["A-1"]
    assert (account.balance_paise, account.sum_paise, account.entries) == (4000, 4000, 3)


def test_batches_of_a_new_history_that_overtake_each_other_lose_nothing(copy):
    copy.store(GATEWAY, [event(n) for n in range(1, 11)])
    new = [event(n, data={"other": n}) for n in range(4, 13)]
    copy.store(GATEWAY, new[4:])
    copy.store(GATEWAY, new[:4])
    assert (copy.through(GATEWAY), copy.events(GATEWAY), copy.conflicts(GATEWAY)) == (12, 12, 7)


def test_a_database_from_before_histories_were_numbered_is_taken_over(tmp_path):
    copy = HeadendCopy(tmp_path / "old.db")
    copy.store(GATEWAY, [event(1), event(2)])
    for table in ("gateways", "events", "conflicts"):
        copy._db.execute(f"ALTER TABLE {table} DROP COLUMN history")
    copy.close()
    copy = HeadendCopy(tmp_path / "old.db")
    assert copy.store(GATEWAY, [event(2, data={"other": 2})]) == 2
    assert copy.conflicts(GATEWAY) == 1
    copy.close()


def test_a_recharge_whose_receipt_was_of_a_replaced_history_is_sent_again(copy):
    issuer = Issuer(copy, NamedKey("office", SigningKey.generate()))
    note = issuer.recharge(GATEWAY, "A-1", 5000)
    receipt = {"recharge_id": note.recharge_id, "outcome": "CREDITED"}
    copy.store(GATEWAY, [event(1), event(2, "recharge.receipt", receipt)])
    assert copy.open_notes(10) == []
    copy.store(GATEWAY, [event(2, data={"other": 2})])
    assert [each.recharge_id for each in copy.open_notes(10)] == [note.recharge_id]
    copy.store(GATEWAY, [event(3, "recharge.receipt", receipt)])
    assert copy.open_notes(10) == []


def test_what_the_gateway_deleted_is_not_waited_for_and_its_loss_is_recorded(copy):
    copy.store(GATEWAY, [event(1), event(2), event(5), event(9)])
    copy.gone(GATEWAY, 7)
    assert copy.gaps(GATEWAY) == [(3, 4), (6, 7)]
    assert copy.through(GATEWAY) == 7
    assert copy.store(GATEWAY, [event(8)]) == 8
    assert copy.through(GATEWAY) == 9
    copy.gone(GATEWAY, 4)
    assert copy.through(GATEWAY) == 9, "an old word changes nothing"


def test_a_new_headend_starts_where_the_gateway_stands(copy):
    copy.gone(GATEWAY, 5000)
    assert copy.store(GATEWAY, [event(5001)]) == 5001
    assert copy.gaps(GATEWAY) == [(1, 5000)]


def test_balances_follow_from_the_entries(copy):
    copy.store(GATEWAY, [entries(1, (1, 5000, 5000), (2, -700, 4300))])
    copy.store(GATEWAY, [entries(2, (3, -300, 4000))])
    copy.store(GATEWAY, [entries(2, (3, -300, 4000))])
    account = copy.accounts(GATEWAY)["A-1"]
    assert (account.balance_paise, account.sum_paise, account.entries) == (4000, 4000, 3)
    assert [entry["seq"] for entry in copy.entries(GATEWAY, "A-1")] == [1, 2, 3]


def test_entries_that_come_out_of_order_give_the_newest_balance(copy):
    copy.store(GATEWAY, [entries(2, (3, -300, 4000))])
    copy.store(GATEWAY, [entries(1, (1, 5000, 5000), (2, -700, 4300))])
    assert copy.accounts(GATEWAY)["A-1"].balance_paise == 4000


@pytest.mark.parametrize(
    "data",
    [
        {"entries": None},
        {"entries": [1]},
        {"entries": [{"seq": 1}]},
        {"entries": [{"seq": "1", "account": "A", "amount_paise": 1, "balance_paise": 1}]},
        {"entries": [{"seq": True, "account": "A", "amount_paise": 1, "balance_paise": 1}]},
        {"x": 1},
    ],
)
def test_what_is_no_entry_is_kept_as_an_event_and_stops_nothing(copy, data):
    assert copy.store(GATEWAY, [event(1, "ledger.entries", data)]) == 1
    assert copy.accounts(GATEWAY) == {}


def test_a_closed_database_has_everything_when_it_is_opened_again(copy):
    copy.store(GATEWAY, [event(1), entries(2, (1, 100, 100))])
    copy.note_state(GATEWAY, "online")
    again = HeadendCopy(copy.path)
    assert again.through(GATEWAY) == 2
    assert again.gateways() == {GATEWAY: "online"}
    assert again.accounts(GATEWAY)["A-1"].balance_paise == 100
    again.close()


def test_a_file_that_is_no_database_is_told(tmp_path):
    path = tmp_path / "x.db"
    path.write_text("this is a letter, not a database, and long enough to be read as a header" * 20)
    with pytest.raises(DatabaseDamaged, match=r"x\.db"):
        HeadendCopy(path)
