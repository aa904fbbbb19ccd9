"""The udev rules: their syntax, by udev itself where it can and by our own reading everywhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MATCHES = {
    "ACTION", "KERNEL", "KERNELS", "SUBSYSTEM", "SUBSYSTEMS", "DRIVER", "DRIVERS", "NAME", "TAG",
    "TAGS", "ATTR", "ATTRS", "ENV", "TEST", "PROGRAM", "RESULT", "SYMLINK",
}  # fmt: skip
ASSIGNMENTS = {"GROUP", "MODE", "OWNER", "SYMLINK", "ENV", "ATTR", "TAG", "GOTO", "LABEL"}
PART = re.compile(r'([A-Z]+)(?:\{([\w./:-]+)\})?(==|!=|\+=|:=|=)"([^"]*)"')
VERIFY_SINCE = 254


def parsed(line: str) -> list[tuple[str, str, str, str]]:
    """One rule as (key, attribute, operator, value). Raises ValueError: udev would ignore it."""
    parts = []
    for text in re.split(r"\s*,\s*(?=[A-Z]+[{=!+:])", line.strip()):
        found = PART.fullmatch(text)
        if found is None:
            raise ValueError(f"not a key and a value: {text}")
        key, attribute, operator, value = found.groups(default="")
        known = MATCHES if operator in {"==", "!="} else ASSIGNMENTS
        if key not in known:
            raise ValueError(
                f"{key}{operator} is no {'match' if known is MATCHES else 'assignment'}"
            )
        if key in {"ATTR", "ATTRS", "ENV"} and not attribute:
            raise ValueError(f"{key} needs a name in braces")
        parts.append((key, attribute, operator, value))
    return parts


def rules(text: str) -> list[list[tuple[str, str, str, str]]]:
    return [parsed(line) for line in text.splitlines() if line.strip() and line[0] != "#"]


def examples(text: str) -> str:
    """The file with its commented examples switched on."""
    return re.sub(r"^#(?=[A-Z]+[{=])", "", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def ours(deploy):
    return (deploy / "udev/60-prepaid-gateway.rules").read_text()


@pytest.fixture(scope="module")
def names(deploy):
    return (deploy / "udev/61-prepaid-gateway-names.rules").read_text()


def test_every_rule_reads(ours):
    assert len(rules(ours)) > 8


def test_the_examples_for_people_read_once_their_mark_is_removed(names):
    assert rules(names) == []
    shown = rules(examples(names))
    assert len(shown) == 4
    for rule in shown:
        assert any(key == "SYMLINK" and value.startswith("rs485-") for key, _, _, value in rule)


@pytest.mark.parametrize(
    "line",
    [
        'SUBSYSTEM="tty", SYMLINK+="x"',
        'KERNEL=="ttyUSB0", SYMLINK==',
        'ATTRS=="0403", MODE="0660"',
        "KERNEL==ttyUSB0",
        'KERNEL=="a" MODE="0660"',
        'SUBSYTEM=="tty"',
    ],
)
def test_our_reading_refuses_what_udev_would_ignore(line):
    with pytest.raises(ValueError, match=r"."):
        parsed(line)


def test_every_jump_has_its_label(ours):
    parts = [part for rule in rules(ours) for part in rule]
    labels = {value for key, _, _, value in parts if key == "LABEL"}
    assert {value for key, _, _, value in parts if key == "GOTO"} == labels


@pytest.mark.parametrize(
    ("vendor", "product", "chip"),
    [
        ("0403", "6001", "FT232R"),
        ("0403", "6015", "FT-X"),
        ("1a86", "7523", "CH340"),
        ("1a86", "55d4", "CH9102"),
        ("10c4", "ea60", "CP2102"),
        ("067b", "2303", "PL2303"),
    ],
)
def test_known_chips_are_named_after_their_socket(ours, vendor, product, chip):
    def fits(rule):
        wanted = {name: value.split("|") for _, name, op, value in rule if op == "=="}
        return vendor in wanted.get("idVendor", []) and product in wanted.get("idProduct", [])

    marking = [rule for rule in rules(ours) if fits(rule)]
    assert [rule[-1] for rule in marking] == [("ENV", "PREPAID_RS485", "=", "1")], chip
    naming = [rule for rule in rules(ours) if ("SYMLINK", "", "+=", "rs485-usb-%b") in rule]
    assert len(naming) == 1
    assert ("ENV", "PREPAID_RS485", "==", "1") in naming[0]


def test_ftdi_adapters_hand_over_bytes_at_once(ours):
    (rule,) = [r for r in rules(ours) if any(part[1] == "latency_timer" for part in r)]
    assert ("ATTR", "latency_timer", "=", "1") in rule
    assert ("DRIVERS", "", "==", "ftdi_sio") in rule
    # usb-serial devices leave at the jump for everything that is no tty: it must come before.
    jump = ours.index('SUBSYSTEM!="tty"')
    assert ours.index("latency_timer") < jump


def test_nobody_but_owner_and_group_gets_a_port(ours):
    modes = {value for rule in rules(ours) for key, _, _, value in rule if key == "MODE"}
    assert modes == {"0660"}


def udev_can_verify() -> bool:
    """`udevadm verify` came with 254; before, the tests above are what there is."""
    if shutil.which("udevadm") is None:
        return False
    said = subprocess.run(["udevadm", "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.split()[0].split(".")[0]) >= VERIFY_SINCE


def test_udev_itself_accepts_them_where_it_can_tell(ours, names, tmp_path):
    if not udev_can_verify():
        return
    paths = []
    for name, text in (("60-ours", ours), ("61-names", names), ("62-shown", examples(names))):
        path = tmp_path / f"{name}.rules"
        path.write_text(re.sub(r'GROUP="\w+", ', "", text))  # groups of the machine it runs on
        paths.append(Path(path))
    done = subprocess.run(
        ["udevadm", "verify", *paths], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
