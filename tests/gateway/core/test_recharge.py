"""A recharge: what each case comes to, and that money is credited once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.recharge import MAX_AMOUNT_PAISE, Applied, Outcome, Recharge, assess

NOTE = Recharge(1, "GW-1", "A-101", "r-1", 50_000, "INR", seq=17, issued_at="2026-11-24T10:00:00Z")
REVERSAL = Recharge(1, "GW-1", "A-101", "r-2", -20_000, "INR", reverses="r-1")
CREDITED = Applied("r-1", "A-101", 50_000, ledger_seq=9, balance_paise=51_000)
REVERSED = Applied("r-2", "A-101", -20_000, ledger_seq=10, balance_paise=31_000, reverses="r-1")


def judged(note, *, account_open=True, before=None, reversed_entry=None):
    """The outcome at gateway GW-1."""
    return assess(
        note,
        gateway="GW-1",
        account_open=account_open,
        before=before,
        reversed_entry=reversed_entry,
    )


@pytest.mark.parametrize(
    ("note", "facts", "outcome"),
    [
        pytest.param(NOTE, {}, Outcome.CREDITED, id="new"),
        pytest.param(NOTE, {"before": CREDITED}, Outcome.ALREADY_CREDITED, id="again"),
        pytest.param(
            replace(NOTE, seq=99, issued_at=None),
            {"before": CREDITED},
            Outcome.ALREADY_CREDITED,
            id="again, sent anew",
        ),
        pytest.param(
            NOTE,
            {"before": CREDITED, "account_open": False},
            Outcome.ALREADY_CREDITED,
            id="again, after the account was closed",
        ),
        pytest.param(
            replace(NOTE, amount_paise=50_001),
            {"before": CREDITED},
            Outcome.CONFLICT,
            id="same id, other amount",
        ),
        pytest.param(
            replace(NOTE, account="A-102"),
            {"before": CREDITED},
            Outcome.CONFLICT,
            id="same id, other account",
        ),
        pytest.param(NOTE, {"account_open": False}, Outcome.UNKNOWN_ACCOUNT, id="no account"),
        pytest.param(
            replace(NOTE, gateway="GW-2"), {}, Outcome.WRONG_GATEWAY, id="for another gateway"
        ),
        pytest.param(
            replace(NOTE, gateway="gw-1"), {}, Outcome.WRONG_GATEWAY, id="names are exact"
        ),
        pytest.param(
            replace(NOTE, gateway="GW-2"),
            {"before": CREDITED, "account_open": False},
            Outcome.WRONG_GATEWAY,
            id="another gateway's note is never looked into",
        ),
        pytest.param(REVERSAL, {"reversed_entry": CREDITED}, Outcome.CREDITED, id="reversal"),
        pytest.param(REVERSAL, {}, Outcome.UNKNOWN_REVERSAL, id="reversal of nothing known"),
        pytest.param(
            replace(REVERSAL, account="A-102"),
            {"reversed_entry": CREDITED},
            Outcome.UNKNOWN_REVERSAL,
            id="reversal on another account",
        ),
        pytest.param(
            replace(REVERSAL, amount_paise=-50_000),
            {"reversed_entry": CREDITED},
            Outcome.CREDITED,
            id="reversal of all",
        ),
        pytest.param(
            replace(REVERSAL, amount_paise=-50_001),
            {"reversed_entry": CREDITED},
            Outcome.CONFLICT,
            id="reversal of more than was given",
        ),
        pytest.param(
            REVERSAL,
            {"reversed_entry": replace(CREDITED, reversed_paise=30_001)},
            Outcome.CONFLICT,
            id="reversal of more than is left",
        ),
        pytest.param(
            REVERSAL,
            {"reversed_entry": replace(CREDITED, reversed_paise=30_000)},
            Outcome.CREDITED,
            id="reversal of all that is left",
        ),
        pytest.param(
            replace(REVERSAL, amount_paise=-1),
            {"reversed_entry": replace(CREDITED, amount_paise=-100)},
            Outcome.CONFLICT,
            id="reversal of a reversal",
        ),
        pytest.param(
            REVERSAL,
            {
                "before": REVERSED,
                "reversed_entry": replace(CREDITED, reversed_paise=20_000),
            },
            Outcome.ALREADY_CREDITED,
            id="reversal again",
        ),
    ],
)
def test_each_case_has_its_outcome(note, facts, outcome):
    assert judged(note, **facts) is outcome


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v": 2}, "version 2"),
        ({"currency": "USD"}, "not INR"),
        ({"recharge_id": ""}, "1 to 128"),
        ({"recharge_id": "x" * 129}, "1 to 128"),
        ({"amount_paise": 0}, "must not be 0"),
        ({"amount_paise": MAX_AMOUNT_PAISE + 1}, "beyond any recharge"),
        ({"amount_paise": -MAX_AMOUNT_PAISE - 1, "reverses": "r-0"}, "beyond any recharge"),
        ({"amount_paise": -1}, "must name the recharge"),
        ({"reverses": "r-0"}, "must name the recharge"),
    ],
    ids=str,
)
def test_a_note_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(NOTE, **changes)


def test_the_largest_amount_and_the_longest_name_are_taken():
    note = replace(NOTE, amount_paise=MAX_AMOUNT_PAISE, recharge_id="x" * 128)
    assert judged(note) is Outcome.CREDITED


def test_what_may_succeed_later_is_not_final():
    assert [outcome for outcome in Outcome if outcome.transient] == [
        Outcome.UNKNOWN_ACCOUNT,
        Outcome.UNKNOWN_REVERSAL,
        Outcome.UNKNOWN_KEY,
    ]
    assert [outcome for outcome in Outcome if outcome.final] == [
        Outcome.CREDITED,
        Outcome.ALREADY_CREDITED,
    ]


NOTES = [
    NOTE,
    replace(NOTE, recharge_id="r-5", amount_paise=10_000),
    REVERSAL,
    replace(REVERSAL, recharge_id="r-3", amount_paise=-25_000),
    replace(REVERSAL, recharge_id="r-4", amount_paise=-10_000),
    replace(REVERSAL, recharge_id="r-6", amount_paise=-10_000, reverses="r-5"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(NOTES), max_size=40))
def test_in_any_order_and_any_number_of_times_each_note_counts_once(arrivals):
    """The ledger in miniature: what is taken back never exceeds what was given."""
    ledger = {}
    balance_paise = 0
    for note in arrivals:
        given_before = ledger.get(note.reverses)
        outcome = judged(note, before=ledger.get(note.recharge_id), reversed_entry=given_before)
        if outcome is not Outcome.CREDITED:
            continue
        assert note.recharge_id not in ledger
        balance_paise += note.amount_paise
        seq = len(ledger) + 1
        ledger[note.recharge_id] = Applied(
            note.recharge_id, note.account, note.amount_paise, seq, balance_paise
        )
        if given_before is not None:
            taken = given_before.reversed_paise - note.amount_paise
            assert taken <= given_before.amount_paise
            ledger[note.reverses] = replace(given_before, reversed_paise=taken)
    assert balance_paise == sum(entry.amount_paise for entry in ledger.values())
    assert balance_paise >= 0
