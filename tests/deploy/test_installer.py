"""install.sh, run for real into a directory: no root, no network, everything else as on a Pi."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from paper_wheels import make_wheels

from gateway.documents.config import load_config

REPOSITORY = Path(__file__).parents[2]
OPT, ETC = "opt/prepaid-gateway", "etc/prepaid-gateway"
CONFIG = f"{ETC}/config.toml"
RULES = "etc/udev/rules.d/60-prepaid-gateway.rules"
NAMES = "etc/udev/rules.d/61-prepaid-gateway-names.rules"
UNIT = "etc/systemd/system/prepaid-gateway.service"
# A new environment and its packages: 10 s, and many times that on a machine that is busy.
LIMIT_S = 250
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    return make_wheels(tmp_path_factory.mktemp("wheels"), REPOSITORY)


@pytest.fixture(scope="module")
def install(deploy, tmp_path_factory):
    # The interpreter of this test is the `python3` of the installer.
    tools = tmp_path_factory.mktemp("tools")
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin/python3")

    def run(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        environ = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        environ["PIP_NO_COMPILE"] = "1"  # half of the time
        return subprocess.run(
            ["sh", str(deploy / "install.sh"), "--root", str(root), *map(str, arguments)],
            capture_output=True, text=True, timeout=LIMIT_S, check=False,
            env={**environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def installed(install, wheels, tmp_path_factory):
    """A root that was installed into once. Tests here leave it as it is."""
    root = tmp_path_factory.mktemp("machine")
    done = install(root, "--wheels", wheels)
    assert done.returncode == 0, done.stderr
    return root, done


@pytest.fixture
def machine(installed, tmp_path):
    """The same, a copy of its own."""
    return Path(shutil.copytree(installed[0], tmp_path / "machine", symlinks=True))


def tree(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Every path under root with its mode and content."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        if "__pycache__" in path.parts:
            continue  # written when the program is first run
        mode = stat.S_IMODE(path.lstat().st_mode)
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = (mode, str(path.readlink()))
        else:
            found[name] = (mode, path.read_bytes() if path.is_file() else "directory")
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_installed_command_runs(installed):
    root, _ = installed
    command = [root / OPT / "current/bin/gateway", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "gateway" in done.stdout


def test_the_command_on_the_path_is_the_current_release(installed):
    root, _ = installed
    link = (root / "usr/local/bin/gateway").readlink()
    assert link == Path("/opt/prepaid-gateway/current/bin/gateway")
    assert (root / OPT / "current").readlink().parts[0] == "releases"


def test_the_first_configuration_loads_and_keeps_the_ledger_out_of_etc(installed):
    root, _ = installed
    config = load_config(root / CONFIG)
    assert config.data_dir == Path("/var/lib/prepaid-gateway")
    assert config.socket == Path("/run/prepaid-gateway/gateway.sock")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ETC, 0o750),
        (f"{ETC}/tls", 0o750),
        (CONFIG, 0o640),
        ("var/lib/prepaid-gateway", 0o750),
        (OPT, 0o755),
        (UNIT, 0o644),
        (RULES, 0o644),
    ],
)
def test_modes(installed, path, expected):
    root, _ = installed
    assert mode(root / path) == expected


def test_examples_are_where_the_configuration_looks_for_them(installed, deploy):
    root, _ = installed
    for folder in ("policies", "tariffs"):
        names = {path.name for path in (deploy / folder).glob("*.toml")}
        assert names
        assert {path.name for path in (root / ETC / folder).iterdir()} == names


def test_the_extra_for_a_pi_is_not_missed_elsewhere(installed):
    _, done = installed
    assert "extra libraries" not in done.stderr


def test_a_second_run_changes_nothing(install, wheels, installed):
    root, _ = installed
    before = tree(root)
    done = install(root, "--wheels", wheels)
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert tree(root) == before


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(install, wheels, tmp_path):
    root = tmp_path / "machine"
    root.mkdir()
    done = install(root, "--wheels", wheels, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert tree(root) == {}
    for path in (OPT, ETC, UNIT, RULES):
        assert f"/{path}" in done.stdout
    assert "Nothing was changed." in done.stdout


def test_an_update_keeps_what_people_wrote_and_guards_their_keys(install, wheels, machine):
    root = machine
    mine = (root / CONFIG).read_text().replace('id = "GW-1"', 'id = "GW-77"')
    written = {
        CONFIG: mine,
        NAMES: "# my adapters\n",
        f"{ETC}/policies/any-hour.toml": (root / ETC / "policies/any-hour.toml").read_text()
        + "#\n",
        f"{ETC}/tls/gateway.key": "a key",
        f"{ETC}/mqtt.password": "a password",
    }
    for path, text in written.items():
        (root / path).write_text(text)
        (root / path).chmod(0o666)
    (root / RULES).write_text("# of an older version\n")
    first = (root / OPT / "current").readlink()
    (root / OPT / "current/.fingerprint").write_text("of an older version\n")
    model = root / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.5\0")

    done = install(root, "--wheels", wheels)

    assert done.returncode == 0, done.stderr
    # The folder has no library for pins: on a Pi that is told, and all else is installed.
    assert "extra libraries for a Pi" in done.stderr
    assert {path: (root / path).read_text() for path in written} == written
    assert mode(root / ETC / "tls/gateway.key") == 0o600
    assert mode(root / ETC / "mqtt.password") == 0o600
    assert mode(root / CONFIG) == 0o640
    assert "latency_timer" in (root / RULES).read_text(), "a file of ours is brought up to date"
    assert (root / OPT / "current").readlink() != first, "the program is a new one"
    assert (root / OPT / first).is_dir(), "the one before stays, to go back to"


def test_a_program_that_rejects_the_configuration_is_not_switched_to(install, wheels, machine):
    root = machine
    current = (root / OPT / "current").readlink()
    (root / OPT / "current/.fingerprint").write_text("of an older version\n")
    (root / CONFIG).write_text("[gateway]\nid = 'GW 1'\n")

    done = install(root, "--wheels", wheels)

    assert done.returncode != 0
    assert "GW 1" in done.stderr
    assert "what ran before still runs" in done.stderr
    assert (root / OPT / "current").readlink() == current
    assert [path.name for path in (root / OPT / "releases").iterdir()] == [current.name]


def test_an_incomplete_folder_of_wheels_leaves_no_half_program(install, wheels, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    (own,) = wheels.glob("prepaid_gateway-*.whl")
    (few / own.name).write_bytes(own.read_bytes())
    root = tmp_path / "machine"
    done = install(root, "--wheels", few)
    assert done.returncode != 0
    assert not (root / OPT / "current").is_symlink()
    assert not list((root / OPT / "releases").iterdir())


def test_a_folder_without_the_gateway_is_refused_at_once(install, tmp_path):
    done = install(tmp_path / "machine", "--wheels", tmp_path)
    assert done.returncode != 0
    assert "no wheel of the gateway" in done.stderr
    assert not (tmp_path / "machine" / OPT).exists()


def test_uninstalling_keeps_ledger_keys_and_names_and_says_where(install, machine):
    root = machine
    ledger = root / "var/lib/prepaid-gateway/ledger.db"
    ledger.write_text("money")
    key = root / ETC / "tls/gateway.key"
    key.write_text("a key")

    done = install(root, "--uninstall")

    assert done.returncode == 0, done.stderr
    for path in (OPT, UNIT, RULES, "usr/local/bin/gateway"):
        assert not os.path.lexists(root / path), path
    assert ledger.read_text() == "money"
    assert key.exists()
    assert (root / CONFIG).exists()
    assert (root / NAMES).exists()
    assert "/var/lib/prepaid-gateway" in done.stdout
    assert install(root, "--uninstall").returncode == 0, "twice is no harm"


def test_a_command_of_somebody_else_is_not_taken_away(install, wheels, tmp_path):
    root = tmp_path / "machine"
    theirs = root / "usr/local/bin/gateway"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    done = install(root, "--wheels", wheels, "--dry-run")
    assert "belongs to something else" in done.stderr
    install(root, "--uninstall")
    assert theirs.read_text() == "theirs"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("console=serial0,115200 console=tty1 root=PARTUUID=1-02", True),
        ("console=ttyAMA0,115200 root=/dev/sda", True),
        ("console=tty1 root=PARTUUID=1-02", False),
    ],
)
def test_a_login_console_on_the_meters_port_is_told(install, wheels, tmp_path, line, told):
    cmdline = tmp_path / "boot/firmware/cmdline.txt"
    cmdline.parent.mkdir(parents=True)
    cmdline.write_text(line)
    done = install(tmp_path, "--wheels", wheels, "--dry-run")
    assert ("login console" in done.stderr) is told
    assert ("do_serial_cons 1" in done.stdout) is told
    assert cmdline.read_text() == line, "the installer tells, a person decides"


def test_an_unknown_option_is_refused_before_anything_is_done(install, tmp_path):
    done = install(tmp_path / "machine", "--unistall")
    assert done.returncode != 0
    assert "--unistall" in done.stderr
    assert not (tmp_path / "machine" / OPT).exists()


@pytest.mark.parametrize("script", ["install.sh", "mosquitto/make-certs.sh"])
def test_shellcheck_finds_nothing(deploy, program, script):
    checker = program("shellcheck", "shellcheck")
    done = subprocess.run(
        [checker, deploy / script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
