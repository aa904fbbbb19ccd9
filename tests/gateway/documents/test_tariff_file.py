"""Tariff and policy files: read, written, named by content; and what is refused."""

from dataclasses import replace
from datetime import date, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyError, TariffError
from gateway.core.policy import CutWindow, Policy, Weekday
from gateway.core.tariff import FixedCharge, Per, Slab, Tariff, TariffVersion
from gateway.documents.policy import load_policy, parse_policy, policy_digest, policy_text
from gateway.documents.tariff import load_tariff, parse_tariff, tariff_digest, tariff_text

TEXT = """
name = "T"
[[versions]]
effective_from = 2026-04-01
fixed = { rupees = 20, per = "month" }
slabs = [{ upto_kwh = 100, rupees_per_kwh = 4.10 }, { rupees_per_kwh = 5 }]
"""

rates = st.decimals(0, 1000, places=4)
names = st.text(min_size=1, max_size=30).filter(lambda text: text.strip())


@st.composite
def tariffs(draw) -> Tariff:
    days = sorted(draw(st.sets(st.dates(date(2000, 1, 1), date(2100, 1, 1)), min_size=1)))
    versions = []
    for day in days[:4]:
        limits = sorted(draw(st.sets(st.integers(1, 10_000), max_size=4)))
        slabs = [Slab(draw(rates), limit) for limit in limits] + [Slab(draw(rates))]
        fixed = draw(st.none() | st.builds(FixedCharge, rates, st.sampled_from(Per)))
        versions.append(TariffVersion(day, tuple(slabs), fixed, draw(rates), draw(rates)))
    return Tariff(draw(names), tuple(versions), draw(st.text(max_size=30)), draw(st.booleans()))


@given(tariffs())
def test_a_tariff_written_and_read_is_the_same(tariff):
    text = tariff_text(tariff)
    again = parse_tariff(text, name="written")
    assert again == tariff
    assert tariff_text(again) == text
    assert tariff_digest(again) == tariff_digest(tariff)


@given(
    st.builds(
        Policy,
        names,
        st.text(max_size=20),
        st.decimals(-1000, 1000, places=2),
        st.none()
        | st.builds(
            lambda start, weekdays: CutWindow(start, time(23, 59, 59), tuple(weekdays)),
            st.times(max_value=time(23, 0)),
            st.sets(st.sampled_from(Weekday), min_size=1),
        ),
        st.lists(st.dates(), max_size=3).map(tuple),
        st.decimals(0, 1000, places=2),
    )
)
def test_a_policy_written_and_read_is_the_same(policy):
    again = parse_policy(policy_text(policy), name="written")
    assert again == policy
    assert policy_digest(again) == policy_digest(policy)


def test_the_same_content_has_one_digest_however_it_is_written():
    other = """
    # a comment
    verified = false
    name = "T"
    [[versions]]
    effective_from = 2026-04-01
    slabs = [
        {rupees_per_kwh = 4.1, upto_kwh = 100}, {rupees_per_kwh = 5.000}]
    fixed = {rupees = 20.00}
    """
    assert tariff_digest(parse_tariff(TEXT, name="a")) == tariff_digest(
        parse_tariff(other, name="b")
    )


def test_any_other_content_has_another_digest():
    tariff = parse_tariff(TEXT, name="a")
    version = tariff.versions[0]
    others = [
        replace(tariff, name="U"),
        replace(tariff, verified=True),
        replace(tariff, versions=(replace(version, effective_from=date(2026, 4, 2)),)),
        replace(tariff, versions=(replace(version, fixed=None),)),
        replace(tariff, versions=(replace(version, slabs=version.slabs[1:]),)),
        replace(tariff, versions=(replace(version, duty_percent_of_energy=Decimal("0.1")),)),
        # the next line moves a rate from one slab to another without changing the set of numbers
        replace(
            tariff,
            versions=(replace(version, slabs=(Slab(Decimal(5), 100), Slab(Decimal("4.10")))),),
        ),
    ]
    digests = {tariff_digest(each) for each in [tariff, *others]}
    assert len(digests) == len(others) + 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("upto_kwh", "upto", "did you mean upto_kwh"),
        ("4.10", '"four"', "versions[0].slabs[0].rupees_per_kwh"),
        ("4.10", "-4.10", "rupees_per_kwh must be 0 or more"),
        ("4.10", "nan", "not a plausible number"),
        ("4.10", "inf", "not a plausible number"),
        ("4.10", "1e999999999", "not a plausible number"),
        ("4.10", "1e-999999999", "not a plausible number"),
        ("4.10", '"1e999999999"', "without an exponent"),
        ("4.10", '"inf"', "rupees_per_kwh must be 0 or more"),
        ("month", "week", "'week'"),
        ("2026-04-01", '"April"', "effective_from"),
        ("2026-04-01", "2026-02-30", "is not valid TOML"),
        ('name = "T"', "", "name"),
        ("upto_kwh = 100,", "", "upto_kwh"),
    ],
)
def test_a_clerks_mistake_in_a_tariff_is_told(tmp_path, old, new, told):
    path = tmp_path / "tariff.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(TariffError) as caught:
        load_tariff(path)
    assert "tariff.toml" in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cut_window]\nstart = 10:00:00", "end"),
        ("[cut_window]\nstart = 14:00:00\nend = 10:00:00", "start must be before end"),
        ('[cut_window]\nstart = "10:00:00+05:30"\nend = "14:00:00+05:30"', "no offset"),
        ('[cut_window]\nstart = 10:00:00\nend = 14:00:00\nweekdays = ["someday"]', "someday"),
        ("[cut_window]\nstart = 10:00:00\nend = 14:00:00\nweekdays = []", "at least one day"),
        ("holidays = [26]", "holidays"),
        ("credit_limit_rupees = 0.001", "whole number of paise"),
        ("credit_limit_rupees = inf", "plausible"),
        ('credit_limit_rupees = "inf"', "Infinity"),
        ("unknown_time_overdraft_rupees = -1", "0 or more"),
        ("grace = 5", "grace"),
        ("a = " + "[" * 5000, ""),
    ],
)
def test_a_clerks_mistake_in_a_policy_is_told(tmp_path, text, told):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert "policy.toml" in str(caught.value)
    assert told in str(caught.value)


def test_files_that_are_no_text_are_told(tmp_path):
    with pytest.raises(TariffError, match="cannot be read"):
        load_tariff(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b'name = "\xe9"')
    with pytest.raises(TariffError, match="UTF-8"):
        load_tariff(tmp_path / "latin")
    (tmp_path / "large").write_bytes(b"#" * 1_000_001)
    with pytest.raises(TariffError, match="larger"):
        load_tariff(tmp_path / "large")
