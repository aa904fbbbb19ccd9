"""The unit, the rules and the installer say the same as the code and as each other."""

import re
import subprocess
from pathlib import Path

import pytest
from gpiozero.pins.pi import PiBoardInfo

from gateway.cli.basics import CONFIG_PLACES
from gateway.documents.config import load_config
from gateway.services.health import CHECK_S, STALE_S
from hardware.relays.pins import PIN_ERRORS

REPOSITORY = Path(__file__).parents[2]
# Raspberry Pi 4 and 5: every board with the 40-pin header has the same lines on it.
BOARDS = (0xC03111, 0xC04170)
WORST_EXPOSURE = 2.0


def keys(path: Path) -> dict[str, list[str]]:
    """Every `Key=value` of a unit file, in order; a key may come more than once."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line and line[0] not in "#;[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture(scope="module")
def unit(deploy):
    return keys(deploy / "systemd/prepaid-gateway.service")


@pytest.fixture(scope="module")
def installer(deploy):
    """The installer's own names for places."""
    text = (deploy / "install.sh").read_text()
    found = dict(re.findall(r"^([A-Z]+)=(\S+)$", text, re.MULTILINE))
    return {name: value.replace("$NAME", found["NAME"]) for name, value in found.items()}


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|min|)", text).groups()
    return int(number) * (60 if unit == "min" else 1)


def test_the_watchdog_outlasts_several_missed_checks_and_a_stalled_card(unit):
    (watchdog,) = unit["WatchdogSec"]
    assert seconds(watchdog) > 3 * CHECK_S
    assert seconds(watchdog) >= 30, "cards stall writes for many seconds"
    assert seconds(watchdog) < STALE_S / 10, (
        "a program that hangs is noticed long before stale data"
    )


def test_readiness_is_told_by_the_program_itself(unit):
    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]


def test_systemd_never_gives_up(unit):
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert not {"RestartPreventExitStatus", "StartLimitAction"} & set(unit)
    (pause,) = unit["RestartSec"]
    assert 1 <= seconds(pause) <= 2, "2 s after a crash supply should be as it must be"


def test_the_store_has_room_for_every_line_of_the_header_twice(unit):
    """Twice, because a start may replace dead requests by new ones."""
    for revision in BOARDS:
        board = PiBoardInfo.from_revision(revision)
        header = [pin for pin in board.headers["J8"].pins.values() if "gpio" in pin.interfaces]
        lines = len(header)
        assert lines == 28
        assert int(unit["FileDescriptorStoreMax"][0]) >= 2 * lines


def test_nothing_waits_for_the_network_or_the_clock(unit):
    for key in ("After", "Requires", "Wants", "BindsTo", "Requisite"):
        for value in unit.get(key, []):
            assert "network" not in value
            assert "time" not in value
    assert unit["WantedBy"] == ["multi-user.target"]


def test_what_only_later_versions_know_is_in_the_drop_in(deploy, unit):
    later = keys(deploy / "systemd/systemd-254.conf")
    assert later == {"FileDescriptorStorePreserve": ["yes"]}
    assert not set(later) & set(unit)


def test_unit_and_installer_name_the_same_places(unit, installer):
    program, command, option, config = unit["ExecStart"][0].split()
    assert program == f"{installer['OPT']}/current/bin/gateway"
    assert (command, option, config) == ("run", "--config", f"{installer['ETC']}/config.toml")
    assert f"/var/lib/{unit['StateDirectory'][0]}" == installer["STATE"]
    assert unit["WorkingDirectory"] == [installer["STATE"]]
    assert f"/run/{unit['RuntimeDirectory'][0]}" == installer["RUN"]
    assert unit["User"] == unit["Group"] == [installer["OWNER"]]
    assert unit["Documentation"] == [f"file:{installer['OPT']}/share/README.md"]


def test_commands_find_the_installed_configuration_by_themselves(installer):
    assert Path(f"{installer['ETC']}/config.toml") in CONFIG_PLACES


def test_the_installed_configuration_lies_where_the_unit_lets_the_program_write(
    deploy, installer, tmp_path
):
    """The same two lines of the example that the installer rewrites."""
    text = (deploy / "config.example.toml").read_text()
    script = (deploy / "install.sh").read_text()
    for pattern in re.findall(r"s\|(\^[^|]+)\|", script):
        assert len(re.findall(pattern, text, re.MULTILINE)) == 1, pattern
    for pattern, line in (
        ("^data_dir = .*", f'data_dir = "{installer["STATE"]}"'),
        ("^# socket = .*", f'socket = "{installer["RUN"]}/gateway.sock"'),
    ):
        text = re.sub(pattern, line, text, flags=re.MULTILINE)
    path = tmp_path / "config.toml"
    path.write_text(text)
    config = load_config(path)
    assert config.data_dir == Path(installer["STATE"])
    assert config.socket.parent == Path(installer["RUN"])


def test_the_socket_that_the_example_shows_is_the_installed_one(deploy, installer):
    text = (deploy / "config.example.toml").read_text()
    assert f'# socket = "{installer["RUN"]}/gateway.sock"' in text


def test_groups_are_those_that_devices_have_and_the_installer_gives(deploy, unit):
    groups = set(unit["SupplementaryGroups"][0].split())
    assert groups == {"dialout", "gpio"}
    script = (deploy / "install.sh").read_text()
    assert f"--groups {','.join(sorted(groups))}" in script
    rules = (deploy / "udev/60-prepaid-gateway.rules").read_text()
    assert groups == set(re.findall(r'GROUP="(\w+)"', rules))


def test_devices_are_open_by_number_where_their_driver_may_come_later(unit):
    """Linux, admin-guide/devices.txt: 188 USB serial, 166 ACM, 204 low-density serial."""
    allowed = {value.split()[0] for value in unit["DeviceAllow"]}
    assert {"char-188", "char-166", "char-204", "char-gpiochip"} <= allowed
    assert unit["DevicePolicy"] == ["closed"]
    assert "PrivateDevices" not in unit, "it would hide ports and pins"


def test_the_clock_may_be_asked_by_the_system_call_that_the_code_uses(unit):
    code = (REPOSITORY / "gateway/services/timekeeping.py").read_text()
    assert "adjtimex" in code
    assert "ProtectClock" not in unit, "it forbids adjtimex"
    assert "adjtimex" in unit["SystemCallFilter"][-1], "the last word on it allows it"
    assert unit["CapabilityBoundingSet"] == [""], "without a capability it cannot set anything"


def test_the_system_calls_refused_raise_instead_of_kill(unit):
    assert unit["SystemCallErrorNumber"] == ["EPERM"]
    assert any(issubclass(PermissionError, error) for error in PIN_ERRORS)


def test_pausing_keeps_the_service_alive_without_the_program(deploy):
    paused = keys(deploy / "systemd/paused.conf")
    assert paused["ExecStart"] == ["", "/bin/sleep infinity"]
    assert paused["WatchdogSec"] == ["0"], "a sleeper feeds no watchdog"
    assert paused["Type"] == ["exec"], "a sleeper tells no readiness"


# --- systemd's own opinion ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def analyze(program):
    path = program("systemd-analyze", "systemd")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def checked(deploy, tmp_path):
    """The unit as it is, but for the two paths that exist only where it is installed."""
    text = (deploy / "systemd/prepaid-gateway.service").read_text()
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    path = tmp_path / "prepaid-gateway.service"
    path.write_text(text)
    return path


def test_systemd_finds_nothing_to_say_about_the_unit(analyze, checked):
    done = analyze("verify", "--man=no", checked)
    assert done.returncode == 0
    about_us = [line for line in done.stderr.splitlines() if "prepaid-gateway" in line]
    assert about_us == []


def test_systemd_would_notice_a_misspelt_key(analyze, checked):
    checked.write_text(checked.read_text().replace("ProtectHome=", "ProtectHomes="))
    done = analyze("verify", "--man=no", checked)
    assert "ProtectHomes" in done.stderr


def test_the_exposure_is_low(analyze, checked):
    done = analyze("security", "--offline=true", "--no-pager", checked)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= WORST_EXPOSURE
