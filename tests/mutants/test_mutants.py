"""Planted bugs: the list does not rot, and the quick ones are noticed in every run.

All of them: `python -m tests.mutants`, which writes CAUGHT.md.
"""

import re

import pytest

from tests.mutants.__main__ import CAUGHT
from tests.mutants.mutant import Mutant
from tests.mutants.run import MUTANTS, ROOT, copy_of_the_tree, try_one

TRIED = [mutant for mutant in MUTANTS if mutant.quick][:3]


@pytest.fixture(scope="module")
def copied():
    with copy_of_the_tree() as root:
        yield root


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_its_place_in_the_source_is_there_once(mutant):
    assert mutant.fits(ROOT) == 1
    assert mutant.new != mutant.old
    for test in mutant.tests:
        assert (ROOT / re.split(r"::| ", test)[0]).is_file()


def test_there_are_enough_and_each_has_its_own_name():
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", TRIED, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_bug_is_noticed(mutant, copied):
    before = (copied / mutant.file).read_text()
    verdict = try_one(mutant, copied)

    assert verdict.caught_by, verdict.told
    assert (copied / mutant.file).read_text() == before


def test_a_change_that_is_no_bug_survives(copied):
    harmless = Mutant(
        "harmless",
        "gateway/core/units.py",
        "PAISE_PER_RUPEE = 100\n",
        "PAISE_PER_RUPEE = 50 + 50\n",
        "nothing",
        ("tests/gateway/core/test_units.py",),
    )
    assert try_one(harmless, copied).caught_by == ()


def test_the_page_lists_every_bug_as_noticed():
    page = CAUGHT.read_text(encoding="utf-8")
    assert f"{len(MUTANTS)} of {len(MUTANTS)} were noticed" in page
    assert all(f"| {mutant.name} |" in page for mutant in MUTANTS)
    assert "**nothing**" not in page
