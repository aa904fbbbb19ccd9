"""Power cuts at every write of SQLite: nothing acknowledged is lost, nothing is half there.

The long form is `python -m tests.crash`.
"""

import random
import sys

import pytest

from tests.crash.campaign import Result, run
from tests.crash.disk import Disk, Step
from tests.crash.examine import Promises
from tests.crash.recording import build, compiler, record

W, S, C, D = "WSCD"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if compiler() is None:
        pytest.skip("no C compiler is installed: apt install gcc")
    return build(tmp_path_factory.mktemp("recorder"))


def cut(library, folder, scenario: str, *, share: float, torn: int, plant: str = "") -> Result:
    more = {"CRASH_PLANT": plant} if plant else {}
    recording = record(library, folder / "run", scenario, 1, **more)
    return run(recording, random.Random(1), torn=torn, share=share)


@pytest.mark.parametrize(
    ("scenario", "share", "torn", "at_least"),
    [
        ("living", 0.15, 2, 400),
        ("as shipped", 0.01, 1, 40),
        ("upgrade", 1, 9, 150),
        ("headend", 0.25, 2, 150),
    ],
)
def test_a_power_cut_loses_nothing_acknowledged_and_leaves_nothing_by_halves(
    library, tmp_path, scenario, share, torn, at_least, capsys
):
    result = cut(library, tmp_path, scenario, share=share, torn=torn)

    assert result.violations == []
    assert result.images >= at_least
    with capsys.disabled():
        sys.stdout.write(f" [{result.images} images] ")


def test_synchronous_normal_would_lose_what_was_acknowledged(library, tmp_path):
    result = cut(library, tmp_path, "living", share=0.05, torn=1, plant="NORMAL")

    lost = [fault for fault in result.violations if "LOST" in fault]
    assert len(lost) > 0.05 * result.images
    assert len(lost) == len(result.violations)  # it loses, it does not break


def test_synchronous_off_would_damage_the_database(library, tmp_path):
    result = cut(library, tmp_path, "living", share=0.05, torn=1, plant="OFF")

    assert any("damaged" in fault for fault in result.violations)


def test_what_was_recorded_is_all_that_was_written(library, tmp_path):
    recording = record(library, tmp_path / "run", "living", 2)
    disk = Disk()
    for step in recording.steps:
        if step.op != "M":
            disk.take(step)

    assert disk.kept() == recording.final
    assert {"W", "T", "S", "C", "U", "D"} <= {step.op for step in recording.steps}


def test_a_cut_drops_tears_or_keeps_what_was_not_synced():
    disk = Disk()
    for step in (
        Step(C, 1, 0, b"f"),
        Step(D, -1, 0, b""),
        Step(W, 1, 0, b"a" * 1024),
        Step(S, 1, 0, b""),
        Step(W, 1, 0, b"b" * 1536),
    ):
        disk.take(step)
    assert disk.kept() == {"f": b"b" * 1536}
    assert disk.dropped() == {"f": b"a" * 1024}
    torn = {disk.torn(random.Random(seed))["f"] for seed in range(200)}
    assert b"b" * 512 + b"a" * 512 in torn
    assert b"a" * 512 + b"b" * 512 in torn
    assert b"a" * 1024 + b"b" * 512 in torn  # the later sector without the earlier ones
    assert not disk.quiet


def test_a_name_lasts_only_once_its_folder_was_synced():
    disk = Disk()
    for step in (Step(C, 1, 0, b"f"), Step(W, 1, 0, b"a"), Step(S, 1, 0, b"")):
        disk.take(step)
    assert disk.dropped() == {}
    disk.take(Step(D, -1, 0, b""))
    assert disk.dropped() == {"f": b"a"}
    disk.take(Step("U", 1, 0, b"f"))
    assert (disk.dropped(), disk.kept()) == ({"f": b"a"}, {})


def test_promises_allow_what_was_done_last_and_what_was_under_way():
    promises = Promises({0: "zero", 1: "one", 2: "two"})
    promises.hear({"done": 0, "state": "zero"})
    assert promises.allowed() == {"zero"}
    promises.hear({"begin": 1})
    assert promises.allowed() == {"zero", "one"}
    promises.hear({"done": 1, "state": "one"})
    assert promises.allowed() == {"one"}
