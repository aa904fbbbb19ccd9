"""Model files: those that are shipped load and hold what their sources say; wrong ones say why."""

from pathlib import Path

import pytest

from hardware.api import LineSettings, ModelError, ModelUnknown, Quantity
from hardware.meters.model import SHIPPED, ModelLibrary, load_model
from hardware.meters.plan import plan_blocks

GOOD = """
name = "paper"
maker = "none"
description = "a meter on paper"
source = "this test"
[registers.energy_import_wh]
function = 4
address = 72
type = "float32"
unit = "kWh"
min = 0
max = 1_000_000
"""


def write(folder: Path, text: str = GOOD, name: str = "paper") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


# --- what is shipped ------------------------------------------------------------------------------

SHIPPED_NAMES = ["em6400", "iem3000", "mfm383", "sdm120", "sdm230", "sdm630"]


def test_the_shipped_models_all_load():
    models, faults = ModelLibrary().load_all()
    assert [model.name for model in models] == SHIPPED_NAMES
    assert faults == []


# Energy, power, volts, amperes: the figures of the makers' tables, as wire addresses.
@pytest.mark.parametrize(
    ("name", "function", "addresses", "line"),
    [
        ("sdm120", 4, (0x48, 0x0C, 0, 6), LineSettings(2400)),
        ("sdm230", 4, (0x48, 0x0C, 0, 6), LineSettings(9600)),
        ("sdm630", 4, (0x48, 0x34, 0, 0x30), LineSettings(9600)),
        ("iem3000", 3, (3203, 3059, 3027, 2999), LineSettings(19200, "E")),
        ("em6400", 3, (3960, 3902, 3910, 3912), LineSettings(19200)),
        ("mfm383", 4, (58, 42, 0, 16), LineSettings(9600)),
    ],
)
def test_the_shipped_models_hold_the_addresses_of_their_sources(name, function, addresses, line):
    model = ModelLibrary().get(name)
    wanted = (
        Quantity.ENERGY_IMPORT,
        Quantity.ACTIVE_POWER,
        Quantity.VOLTAGE,
        Quantity.CURRENT,
    )
    registers = [model.registers[quantity] for quantity in wanted]
    assert tuple(register.address for register in registers) == addresses
    assert {register.function for register in registers} == {function}
    assert model.line == line


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_every_shipped_model_says_where_it_comes_from_and_what_is_verified(name):
    model = ModelLibrary().get(name)
    assert model.source
    assert model.validity
    assert {Quantity.VOLTAGE, Quantity.FREQUENCY, Quantity.CURRENT} <= set(model.registers)


@pytest.mark.parametrize("name", ["em6400", "mfm383"])
def test_models_from_a_single_installation_say_so(name):
    assert "UNVERIFIED" in ModelLibrary().get(name).validity


def test_the_file_s_factors_hold_on_a_reading():
    power = ModelLibrary().get("iem3000").registers[Quantity.ACTIVE_POWER]
    assert power.decode((0x3FC0, 0x0000), Quantity.ACTIVE_POWER) == 1500  # 1.5 kW
    energy = ModelLibrary().get("em6400").registers[Quantity.ENERGY_IMPORT]
    assert energy.decode((0x0000, 0x4680), Quantity.ENERGY_IMPORT) == 16384  # low word first


def test_the_readme_lists_every_key():
    text = (SHIPPED / "README.md").read_text()
    for key in ("timeout_s", "gap_s", "max_registers", "word_order", "scale", "validity", "serial"):
        assert f"`{key}`" in text or f"[{key}]" in text
    for quantity in Quantity:
        assert quantity.value in text


# --- files that people write ----------------------------------------------------------------------


def test_a_small_file_is_enough(tmp_path):
    model = load_model(write(tmp_path))
    assert model.line == LineSettings(9600)
    assert model.timeout_s == 0.3
    assert model.serial is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "paper"', 'name = "Paper 1"', "small letters"),
        ('name = "paper"', 'name = "other"', "its name is 'other', but the file"),
        ("energy_import_wh", "voltage_mv", "unit 'kWh' is not one of|energy_import_wh is missing"),
        ("energy_import_wh", "energy_wh", "energy_wh"),
        ("function = 4", "function = 5", "registers.*function 5"),
        ("function = 4", "fc = 4", "did you mean|unknown key"),
        ("address = 72", "address = 65535", "address 65535"),
        ("address = 72", 'address = "0x48"', "registers.*int"),
        ('type = "float32"', 'type = "float64"', "float64"),
        ('unit = "kWh"', 'unit = "kW"', "unit 'kW' is not one of Wh, kWh, MWh"),
        ("min = 0", "min = 2_000_000", "not below max"),
        ("max = 1_000_000", "max = 1_000_000\nword_order = 'BACD'", "BACD"),
        ("max = 1_000_000", "max = 1_000_000\nscale = 0", "scale is 0"),
        ('maker = "none"', "", "maker"),
        ('maker = "none"', 'maker = "none"\ntimeout_s = 0', "timeout_s"),
        ('maker = "none"', 'maker = "none"\ntimeout_s = 60', "timeout_s 60"),
        ('maker = "none"', 'maker = "none"\ngap_s = -1', "gap_s"),
        ('maker = "none"', 'maker = "none"\nmax_registers = 126', "max_registers 126"),
        ('maker = "none"', 'maker = "none"\nmax_registers = 1', "max_registers 1 "),
        ('maker = "none"', 'maker = "none"\nline = {baud = 9601}', "line.baud 9601"),
        ('maker = "none"', 'maker = "none"\nline = {parity = "M"}', "line.parity 'M'"),
        ('maker = "none"', 'maker = "none"\nline = {stop_bits = 3}', "line.stop_bits 3"),
        ("[registers", "[[registers", "not valid TOML|Expected"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_fault(tmp_path, old, new, words):
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ModelError, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_users_file_wins_over_the_shipped_one_and_the_first_folder_over_the_second(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    write(first, GOOD.replace("paper", "sdm120").replace("none", "first"), "sdm120")
    write(second, GOOD.replace("paper", "sdm120").replace("none", "second"), "sdm120")
    write(second)
    library = ModelLibrary([first, second])
    assert library.get("sdm120").maker == "first"
    assert library.get("paper").maker == "none"
    assert "paper" in library.names()
    assert library.names() == sorted({*SHIPPED_NAMES, "paper"})


def test_a_missing_user_folder_is_no_fault(tmp_path):
    assert ModelLibrary([tmp_path / "nowhere"]).names() == SHIPPED_NAMES


def test_one_faulty_file_is_reported_and_hides_no_other(tmp_path):
    write(tmp_path, "name = ", "broken")
    models, faults = ModelLibrary([tmp_path]).load_all()
    assert len(models) == len(SHIPPED_NAMES)
    assert len(faults) == 1
    assert "broken.toml" in str(faults[0])


def test_an_unknown_model_is_answered_with_near_names():
    with pytest.raises(ModelUnknown, match="did you mean sdm120") as caught:
        ModelLibrary().get("SDM-120")
    assert caught.value.hint
    with pytest.raises(ModelUnknown, match="known: em6400"):
        ModelLibrary().get("zzz")


@pytest.mark.parametrize("name", ["../sdm120", "/etc/passwd", ""])
def test_a_name_is_never_a_path(name):
    with pytest.raises(ModelUnknown):
        ModelLibrary().get(name)


# --- plans of reads -------------------------------------------------------------------------------


def test_an_sdm120_is_read_in_two_requests_the_energy_s_first():
    model = ModelLibrary().get("sdm120")
    blocks = plan_blocks(model.registers, model.max_registers)
    assert [(block.address, block.count) for block in blocks] == [(0x46, 6), (0, 0x20)]
    assert blocks[0].vital


@pytest.mark.parametrize("name", SHIPPED_NAMES)
@pytest.mark.parametrize("limit", [4, 8, 80, 125])
def test_a_plan_covers_every_quantity_once_within_the_limit(name, limit):
    registers = ModelLibrary().get(name).registers
    blocks = plan_blocks(registers, limit)
    covered = [quantity for block in blocks for quantity in block.quantities]
    assert sorted(covered, key=str) == sorted(registers, key=str)
    assert blocks[0].vital
    for block in blocks:
        assert block.count <= limit
        for quantity in block.quantities:
            register = registers[quantity]
            assert block.function == register.function
            assert block.address <= register.address
            assert register.address + register.count <= block.address + block.count
