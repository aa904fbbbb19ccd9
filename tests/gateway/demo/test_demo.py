"""The demonstration keeps its promise, and notices when it would not."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.demo.proof import AccountProof, Proof
from tests.daemon import MAIN, ROOT

GOOD = AccountProof(
    account="A-101",
    meter_wh=1500,
    charged_wh=1500,
    entries=4,
    sum_paise=700,
    balance_paise=700,
    billed_paise=700,
    copied_entries=4,
    copied_paise=700,
    copy_is_equal=True,
)


def play(*options: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "demo", "--seconds", "14", "--speed", "400", *options],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.timeout(120)
def test_a_short_demonstration_proves_that_nothing_was_lost(tmp_path):
    picture = tmp_path / "screen.svg"
    done = play("--json", "--picture", str(picture), "--keep", "town", tmp_path=tmp_path)

    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)
    assert proof["proved"]
    assert len(proof["accounts"]) == 8
    assert sum(one["entries"] for one in proof["accounts"]) > 24
    assert "A-107" in picture.read_text().replace("&#160;", " ")
    assert "http" not in picture.read_text().split("<defs>")[1]
    assert (tmp_path / "town/data/gateway.db").exists()


@pytest.mark.parametrize(
    "fault",
    [
        {"sum_paise": 699},
        {"balance_paise": 701},
        {"billed_paise": 0},
        {"copied_paise": 600},
        {"copy_is_equal": False},
        {"charged_wh": 1499},
    ],
)
def test_one_figure_that_differs_is_no_proof(fault):
    assert Proof((GOOD,), waiting_events=0, unsettled_recharges=0).holds
    assert not Proof((GOOD, replace(GOOD, **fault)), 0, 0).holds


def test_what_still_waits_is_no_proof():
    assert not Proof((GOOD,), waiting_events=1, unsettled_recharges=0).holds
    assert not Proof((GOOD,), waiting_events=0, unsettled_recharges=1).holds
