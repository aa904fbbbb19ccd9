"""From register to rupees: exact sums whatever is polled, posted, or told about the time."""

from collections import defaultdict
from datetime import date, time, timedelta
from decimal import Decimal

import pytest
import worked
from hypothesis import given, settings
from hypothesis import strategies as st
from walk import OPENING_PAISE, OPENING_WH, Walk, moment_s, quantity
from worked import IST, at

from gateway.core.account import MAX_GAP_DAYS, Anchor, accounting_day, credited, settle
from gateway.core.moment import Trust, days_between, midnight_utc_s
from gateway.core.tariff import Component, DayUsage, FixedCharge, Tariff, bill, total_paise

DAY_S = 86_400
END_OF_DAY = time(23, 59, 59)
DEARER = Tariff(
    "corrected",
    (
        worked.version(
            slabs=((50, Decimal("4.00")), (150, Decimal("6.50")), (None, Decimal("9.00"))),
            fixed=FixedCharge(Decimal(45)),
        ),
    ),
)
# The clerk forgot the fixed charge; the order starts within the month.
UNFIXED = Tariff("unfixed", (worked.version(fixed=None),))
LATER = Tariff("later", (worked.version(), worked.version(date(2025, 10, 12), fixed=None)))


def walk_days(walk, first, energies_wh, clocks):
    """Each day's energy flows evenly; it is posted at `clocks`, its end, and the next midnight."""
    register_wh = walk.book.register_wh
    for n, energy_wh in enumerate(energies_wh):
        day = first + timedelta(days=n)
        for second in sorted(clocks[n]):
            posted_at = moment_s(midnight_utc_s(day, IST) + second)
            walk.post(posted_at, register_wh + energy_wh * second // DAY_S)
        register_wh += energy_wh
        walk.post(at(day, END_OF_DAY), register_wh)
        walk.post(at(day + timedelta(days=1), time()), register_wh)


def expected_months(first, energies_wh):
    """Independent monthly bills in decimals."""
    used, days = defaultdict(int), defaultdict(int)
    for n, energy_wh in enumerate(energies_wh):
        day = first + timedelta(days=n)
        used[day.year, day.month] += energy_wh
        days[day.year, day.month] += 1
    return {
        month: worked.bill_paise(used[month], days[month], worked.days_in(date(*month, 1)))
        for month in used
    }


def test_twelve_months_of_postings_are_twelve_bills():
    first = date(2027, 11, 1)  # through a leap February
    energies_wh = [3000 + (n * 7919) % 17_000 for n in range(366)]
    clocks = [[21_600 + n, 36_000, 36_000 + n % 50, 80_000] for n in range(366)]
    walk = Walk.opened(at(first, time()))
    walk_days(walk, first, energies_wh, clocks)
    assert walk.month_paise() == expected_months(first, energies_wh)
    assert walk.book.balance_paise == OPENING_PAISE - sum(walk.month_paise().values())
    assert walk.quantity(Component.ENERGY) == sum(energies_wh)
    assert walk.quantity(Component.FIXED) == 366


def test_the_low_use_example_is_debited_day_by_day():
    first, walk = date(2025, 9, 1), Walk.opened(at(date(2025, 9, 1), time()))
    walk_days(walk, first, [1500] * 30, [[40_000]] * 30)
    by_day = defaultdict(int)
    for charge in walk.charges:
        by_day[charge.day.day] += charge.amount_paise
    assert [by_day[day] for day in (1, 2, 3, 30)] == [765, 763, 765, 765]
    assert sum(by_day[day] for day in range(1, 16)) == 11_465
    assert sum(by_day.values()) == 22_930


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_bill_does_not_depend_on_how_often_or_when_we_post(data):
    first = data.draw(st.dates(date(2025, 8, 1), date(2026, 3, 31)))
    energies_wh = data.draw(st.lists(st.integers(0, 30_000), min_size=1, max_size=40))
    clock = st.lists(st.integers(0, DAY_S - 2), max_size=3)
    clocks = data.draw(st.lists(clock, min_size=len(energies_wh), max_size=len(energies_wh)))
    walk = Walk.opened(at(first, time()))
    walk_days(walk, first, energies_wh, clocks)
    expected = expected_months(first, energies_wh)
    assert {month: paise for month, paise in walk.month_paise().items() if paise} == {
        month: paise for month, paise in expected.items() if paise
    }


def test_an_account_opened_within_a_month_pays_the_days_it_was_there():
    first = date(2025, 9, 21)
    walk = Walk.opened(at(first, time(15)))
    walk.post(at(first, END_OF_DAY), OPENING_WH + 2000)
    walk_days(walk, date(2025, 9, 22), [5000] * 9, [[]] * 9)
    assert walk.month_paise() == {(2025, 9): worked.bill_paise(47_000, 10, 30)}


@settings(max_examples=60, deadline=None)
@given(
    st.dates(date(2025, 8, 1), date(2026, 12, 31)),
    st.integers(0, DAY_S - 1),
    st.integers(1, 70 * DAY_S),
    st.integers(0, 400_000),
    st.integers(0, 300_000),
)
def test_a_gap_is_spread_and_each_month_bills_its_own_part(day, second, gap_s, before_wh, gap_wh):
    """Use before the gap is known to its day; use in the gap is even over its time."""
    start_s = midnight_utc_s(day, IST) + second
    walk = Walk.opened(at(day, time()))
    walk.post(moment_s(start_s), OPENING_WH + before_wh)
    walk.post(moment_s(start_s + gap_s), OPENING_WH + before_wh + gap_wh)
    last = moment_s(start_s + gap_s).day(IST)
    used, fixed = defaultdict(int), defaultdict(int)
    used[day.year, day.month] = before_wh
    flowed_wh = 0
    for closed in days_between(day, last):
        midnight_s = midnight_utc_s(closed + timedelta(days=1), IST)
        until_wh = gap_wh * (midnight_s - start_s) // gap_s
        used[closed.year, closed.month] += until_wh - flowed_wh
        fixed[closed.year, closed.month] += 1
        flowed_wh = until_wh
    used[last.year, last.month] += gap_wh - flowed_wh
    expected = {
        month: worked.bill_paise(used[month], fixed[month], worked.days_in(date(*month, 1)))
        for month in used
    }
    charged = walk.month_paise()
    assert {m: p for m, p in charged.items() if p} == {m: p for m, p in expected.items() if p}
    assert walk.quantity(Component.ENERGY) == before_wh + gap_wh
    assert walk.quantity(Component.FIXED) == len(days_between(day, last))


def test_a_gap_over_a_month_end_does_not_push_the_new_month_up_the_slabs():
    walk = Walk.opened(at(date(2025, 9, 1), time()))
    walk.post(at(date(2025, 9, 29), time()), OPENING_WH + 590_000)
    charges = walk.post(at(date(2025, 10, 3), time()), OPENING_WH + 630_000)
    october = [c for c in charges if c.day.month == 10 and c.key.component is Component.ENERGY]
    assert {(c.key.slab, c.rate) for c in october} == {(1, "4.10/kWh")}
    assert quantity(october, Component.ENERGY) == 20_000


# Any sequence of postings: seconds on, trust, energy, and now and then another tariff.
EVENT = st.tuples(
    st.one_of(
        st.integers(0, 3 * 3600),
        st.integers(-2 * DAY_S, 6 * DAY_S),
        st.sampled_from([-40 * DAY_S, 35 * DAY_S]),
    ),
    st.sampled_from([Trust.NTP, Trust.NTP, Trust.RTC, Trust.NONE]),
    st.integers(0, 40_000),
    st.sampled_from([None, None, None, worked.LV1, DEARER]),
)


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.lists(EVENT, max_size=40))
def test_whatever_happens_no_watt_hour_and_no_paisa_is_lost_or_doubled(proven, events):
    clock_s, register_wh = midnight_utc_s(date(2025, 8, 28), IST) + 50_000, OPENING_WH
    walk = Walk.opened(moment_s(clock_s, Trust.NTP if proven else Trust.NONE))
    for step_s, trust, energy_wh, tariff in events:
        clock_s += step_s
        register_wh += energy_wh
        walk.tariff = tariff or walk.tariff
        before = walk.book
        charges = walk.post(moment_s(clock_s, trust), register_wh)
        book = walk.book
        assert before.balance_paise - book.balance_paise == sum(c.amount_paise for c in charges)
        assert quantity(charges, Component.ENERGY) == energy_wh
        closed_days = len(days_between(before.day, book.day)) if before.day_proven else 0
        assert quantity(charges, Component.FIXED) == closed_days
        if not trust.proven:
            assert (book.day, quantity(charges, Component.FIXED)) == (before.day, 0)
        if before.day_proven:
            assert book.day >= before.day
        posted_paise = sum(line.amount_paise for line in book.posted.values())
        assert posted_paise == total_paise(bill(walk.tariff, book.days))
        assert_ranges_join(charges, before.register_wh, register_wh)
    assert walk.book.register_wh == register_wh
    assert walk.quantity(Component.ENERGY) == register_wh - OPENING_WH
    assert OPENING_PAISE - walk.book.balance_paise == sum(c.amount_paise for c in walk.charges)


def assert_ranges_join(charges, from_wh, to_wh):
    """The register stretches on the energy lines follow each other from end to end."""
    at_wh = from_wh
    for charge in charges:
        if charge.register_from_wh is not None:
            assert charge.register_from_wh == at_wh
            at_wh = charge.register_to_wh
    assert at_wh == to_wh


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    st.permutations([worked.LV1, DEARER, UNFIXED, LATER]),
    st.sets(st.integers(1, 29), max_size=3),
)
def test_the_days_of_the_month_can_be_read_off_the_charges(energies_wh, tariffs, corrected_on):
    """The ledger keeps charges, not days: it must be able to rebuild them after a restart."""
    tariffs = list(tariffs)
    walk = Walk.opened(at(date(2025, 10, 1), time()), tariffs.pop())
    for n, energy_wh in enumerate(energies_wh):
        if n in corrected_on:
            walk.tariff = tariffs.pop()
        walk_days(walk, date(2025, 10, 1) + timedelta(days=n), [energy_wh], [[20_000]])
    by_day = {}
    for charge in walk.charges:
        energy_wh, fixed = by_day.get(charge.day, (0, 0))
        energy_wh += charge.quantity if charge.key.component is Component.ENERGY else 0
        fixed += charge.quantity if charge.key.component is Component.FIXED else 0
        by_day[charge.day] = (energy_wh, fixed)
    rebuilt = [DayUsage(day, wh, fixed > 0) for day, (wh, fixed) in by_day.items() if wh or fixed]
    assert rebuilt == list(walk.book.days)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 25_000), min_size=2, max_size=29), st.data())
def test_a_corrected_tariff_makes_the_month_cost_what_it_should_have_from_the_start(
    energies_wh, data
):
    corrected_on = data.draw(st.integers(0, len(energies_wh) - 1))
    first = date(2025, 10, 1)
    walk, right = Walk.opened(at(first, time())), Walk.opened(at(first, time()), DEARER)
    for n, energy_wh in enumerate(energies_wh):
        if n == corrected_on:
            walk.tariff = DEARER
        for each in (walk, right):
            walk_days(each, first + timedelta(days=n), [energy_wh], [[30_000]])
    assert walk.book == right.book
    assert walk.month_paise() == right.month_paise()


def test_a_corrected_tariff_gives_back_line_by_line():
    walk = Walk.opened(at(date(2025, 9, 1), time()))
    walk.post(at(date(2025, 9, 1)), OPENING_WH + 10_000)
    cheaper = worked.version(date(2025, 8, 1), slabs=((None, Decimal("3.00")),))
    walk.tariff = Tariff("corrected", (cheaper,))
    charges = walk.post(at(date(2025, 9, 1), time(13)), OPENING_WH + 10_000)
    old, new = date(2025, 7, 1), date(2025, 8, 1)
    assert {
        (c.key.component.value, c.key.effective_from, c.quantity, c.amount_paise) for c in charges
    } == {
        ("energy", old, -10_000, -4100),
        ("duty", old, 0, -451),
        ("cess", old, -10_000, -100),
        ("energy", new, 10_000, 3000),
        ("duty", new, 0, 330),
        ("cess", new, 10_000, 100),
    }


def test_while_the_date_is_unknown_energy_is_charged_and_time_is_not():
    walk = Walk.opened(at(date(2025, 9, 5)))
    for n in range(1, 40):
        unproven = at(date(2025, 9, 5) + timedelta(days=n), trust=Trust.NONE)
        charges = walk.post(unproven, OPENING_WH + 100 * n)
        assert {c.day for c in charges} == {date(2025, 9, 5)}
        assert quantity(charges, Component.FIXED) == 0
    charges = walk.post(at(date(2025, 9, 9)), OPENING_WH + 3900)
    assert quantity(charges, Component.FIXED) == 4


def test_a_day_that_was_never_proven_has_no_fixed_charge():
    walk = Walk.opened(at(date(2031, 1, 1), trust=Trust.NONE))
    walk.post(at(date(2031, 1, 1), time(14), trust=Trust.NONE), OPENING_WH + 500)
    walk.post(at(date(2025, 9, 5)), OPENING_WH + 700)
    assert (walk.book.day, walk.book.day_proven) == (date(2025, 9, 5), True)
    assert walk.quantity(Component.FIXED) == 0
    assert walk.quantity(Component.ENERGY) == 700


def test_a_clock_that_steps_back_brings_no_second_fixed_charge():
    walk = Walk.opened(at(date(2025, 9, 5)))
    walk.post(at(date(2025, 9, 6), time(0, 1)), OPENING_WH)
    walk.post(at(date(2025, 9, 5), time(23, 50)), OPENING_WH)
    walk.post(at(date(2025, 9, 6), time(0, 1)), OPENING_WH)
    assert walk.quantity(Component.FIXED) == 1
    assert walk.book.day == date(2025, 9, 6)


@pytest.mark.parametrize(("days", "moves"), [(MAX_GAP_DAYS, True), (MAX_GAP_DAYS + 1, False)])
def test_a_date_absurdly_far_ahead_is_not_charged_for(days, moves):
    walk = Walk.opened(at(date(2025, 9, 5)))
    walk.post(at(date(2025, 9, 5) + timedelta(days=days)), OPENING_WH + 1000)
    assert walk.quantity(Component.FIXED) == (days if moves else 0)
    assert walk.quantity(Component.ENERGY) == 1000


def test_the_days_run_by_the_clock_of_the_zone():
    """Half past midnight in India is still yesterday in UTC."""
    walk = Walk.opened(at(date(2025, 9, 5)))
    assert accounting_day(walk.book, at(date(2025, 9, 6), time(0, 30)), IST) == date(2025, 9, 6)
    assert accounting_day(walk.book, at(date(2025, 9, 5), END_OF_DAY), IST) == date(2025, 9, 5)


def test_a_last_bill_brings_the_day_it_is_made_on_once():
    walk = Walk.opened(at(date(2025, 9, 5)))
    for clock in (time(14), time(15)):
        walk.post(at(date(2025, 9, 5), clock), OPENING_WH, closing=True)
    assert walk.quantity(Component.FIXED) == 1
    unknown = Walk.opened(at(date(2025, 9, 5)))
    unknown.post(at(date(2025, 9, 5), trust=Trust.NONE), OPENING_WH, closing=True)
    assert unknown.quantity(Component.FIXED) == 0


def test_settling_without_posting_changes_nothing():
    """Metering asks at every reading and throws the answer away."""
    walk = Walk.opened(at(date(2025, 9, 5)))
    before = walk.book
    for n in range(50):
        now = at(date(2025, 9, 5), time(13, n))
        done = settle(walk.book, walk.tariff, OPENING_WH + 333 * n, now, IST)
        assert done.book.register_wh == OPENING_WH + 333 * n
    assert walk.book == before
    walk.post(at(date(2025, 9, 5), time(13, 49)), OPENING_WH + 333 * 49)
    assert walk.book == done.book


@pytest.mark.parametrize(
    "anchor",
    [
        None,
        Anchor(OPENING_WH, midnight_utc_s(date(2025, 9, 1), IST)),  # older than the account's day
        Anchor(OPENING_WH, midnight_utc_s(date(2025, 9, 20), IST)),  # later than now
        Anchor(OPENING_WH - 500, midnight_utc_s(date(2025, 9, 5), IST) + 7),  # behind the posting
        Anchor(OPENING_WH + 9_000_000, midnight_utc_s(date(2025, 9, 5), IST) + 7),  # ahead of all
    ],
    ids=["none", "old", "future", "low", "high"],
)
def test_an_anchor_that_does_not_fit_loses_no_energy(anchor):
    walk = Walk.opened(at(date(2025, 9, 5)))
    walk.anchor = anchor
    charges = walk.post(at(date(2025, 9, 8)), OPENING_WH + 30_000)
    assert walk.quantity(Component.ENERGY) == 30_000
    assert all(c.quantity >= 0 and c.amount_paise >= 0 for c in charges)


def test_a_register_behind_the_last_posting_is_refused():
    walk = Walk.opened(at(date(2025, 9, 5)))
    with pytest.raises(ValueError, match="behind"):
        walk.post(at(date(2025, 9, 5)), OPENING_WH - 1)


def test_a_credit_and_its_reversal_leave_the_account_as_it_was():
    book = Walk.opened(at(date(2025, 9, 5))).book
    assert credited(book, 50_000).balance_paise == OPENING_PAISE + 50_000
    assert credited(credited(book, 50_000), -50_000) == book
