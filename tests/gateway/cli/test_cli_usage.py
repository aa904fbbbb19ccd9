"""What is typed wrong is told as such, and every command explains itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import __version__
from gateway.cli.root import ENTRIES, all_commands, cli
from gateway.core.tariff import total_paise
from gateway.documents.config import load_config

COMMANDS = dict(all_commands())
ROOT = Path(__file__).parents[3]
TARIFF = str(ROOT / "deploy" / "tariffs" / "cspdcl-lv1-2025-26.toml")
READING = (
    "status", "doctor", "meter list", "meter read", "meter scan", "meter models", "account list",
    "account show", "account statement", "supply show", "tariff check", "tariff explain",
    "tariff list", "sync status", "recharge apply",
)  # fmt: skip


def run(*words, **more):
    return CliRunner().invoke(cli, list(words), **more)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_a_configuration(command):
    shown = run(*command.split(), "--help")
    assert shown.exit_code == 0
    assert len(COMMANDS[command]) > 10
    if not command.startswith(("headend", "demo")):
        assert "--config FILE" in shown.output


@pytest.mark.parametrize("command", READING)
def test_every_reading_command_offers_json(command):
    assert "--json" in run(*command.split(), "--help").output


def test_the_help_of_a_noun_says_what_the_root_says_of_it():
    for name in ("run", "init", "status", "doctor"):
        command = cli.get_command(None, name)
        assert command.get_short_help_str(200).split(";")[0].rstrip(".") in ENTRIES[name].help


@pytest.mark.parametrize(
    "words",
    [
        "nonsense",
        "meter nonsense",
        "meter add M1",
        "meter add M1 --bus b --address 0 --model sdm120",
        "meter add M1 --bus b --address 248 --model sdm120",
        "meter scan --addresses 0-5",
        "meter scan --addresses 9-5",
        "meter scan --addresses 1-300",
        "meter scan --addresses one",
        "meter scan --parity X",
        "meter scan --baud fast",
        "account open A --meter M --switch gpio:x --tariff f --opening-balance 5",
        "account open A --meter M --switch none --tariff f --opening-balance 50,00",
        "account open A --meter M --switch none --tariff f --opening-balance 1.234",
        "account statement A --month november",
        "account statement A --month 2026-13",
        "account statement A --csv --json",
        "supply lock A",
        "tariff explain f --kwh -1",
        "run --log-level loud",
        "status --twice",
    ],
)
def test_wrong_usage_ends_with_2_and_a_word_on_stderr(words):
    done = run(*words.split())
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage" in done.stderr or "Error" in done.stderr


def test_without_a_configuration_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    done = run("account", "list")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith("gateway: there is no configuration")
    assert "try: " in done.stderr
    assert "gateway init" in done.stderr


def test_debug_shows_where_an_error_comes_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.setenv("DEBUG", "1")
    assert type(run("account", "list").exception).__name__ == "ConfigError"


def test_the_variable_and_then_the_folder_name_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.toml").write_text("[gateway]\nid = 'HERE'\n")
    other = tmp_path / "other.toml"
    other.write_text("[gateway]\nid = 'THERE'\n")
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    assert "HERE" in run("doctor").output
    monkeypatch.setenv("GATEWAY_CONFIG", str(other))
    assert "THERE" in run("doctor").output
    monkeypatch.setenv("GATEWAY_CONFIG", "/nowhere.toml")
    assert "THERE" in run("doctor", "--config", str(other)).output


def test_init_writes_a_configuration_that_loads_and_overwrites_nothing(tmp_path):
    folder = tmp_path / "new"
    done = run("init", str(folder), "--id", "GW-7")
    assert done.exit_code == 0, done.output
    config = load_config(folder / "gateway.toml")
    assert config.gateway_id == "GW-7"
    assert list(config.buses) == ["rs485-0"]
    assert config.data_dir.is_dir()
    text = (folder / "gateway.toml").read_text()
    again = run("init", str(folder))
    assert again.exit_code == 1
    assert "not touched" in again.stderr
    assert (folder / "gateway.toml").read_text() == text
    assert run("init", str(tmp_path / "x"), "--id", "a/b").exit_code == 2


def test_doctor_names_each_fault_of_a_new_place(tmp_path):
    run("init", str(tmp_path), "--id", "GW-7")
    report = run("doctor", "--json", "--config", str(tmp_path / "gateway.toml"))
    assert report.exit_code == 1
    verdicts = {row["subject"]: row for row in json.loads(report.stdout)["findings"]}
    assert verdicts["database"]["verdict"] == "fail"
    assert verdicts["bus rs485-0"]["verdict"] == "fail"
    assert verdicts["gateway"]["hint"].startswith("gateway run")
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[gateway]\nid = 'A'\ndata_dri = 'x'\n")
    told = run("doctor", "--config", str(faulty))
    assert told.exit_code == 1
    assert "did you mean data_dir" in told.stdout


def test_a_worked_month_adds_up_to_its_bill():
    worked = json.loads(run("tariff", "explain", TARIFF, "--month", "2026-11", "--json").stdout)
    assert worked["total_paise"] == 127710
    assert worked["total_paise"] == sum(line["amount_paise"] for line in worked["lines"])
    assert worked["debited"][-1]["debited_paise"] == worked["total_paise"]
    assert worked["debited"][-1]["energy_wh"] == 250_000
    shown = run("tariff", "explain", TARIFF, "--month", "2026-11").stdout
    assert "₹1,277.10" in shown
    assert "Not verified" in shown
    none = json.loads(run("tariff", "explain", TARIFF, "--kwh", "0", "--json").stdout)
    assert none["paise_per_kwh"] is None
    assert total_paise([]) == 0


def test_a_faulty_tariff_is_named_with_its_place(tmp_path):
    assert run("tariff", "check", TARIFF).exit_code == 0
    file = tmp_path / "t.toml"
    file.write_text('name = "x"\n[[versions]]\neffective_from = 2026-01-01\nslabs = []\n')
    done = run("tariff", "check", str(file))
    assert done.exit_code == 1
    assert "at least one slab" in done.stderr


def test_models_are_listed_without_any_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    models = json.loads(run("meter", "models", "--json").stdout)
    assert {"sdm120", "sdm630", "em6400", "mfm383"} <= {model["model"] for model in models}


def test_the_version_is_the_packages():
    assert run("--version").stdout.strip() == f"prepaid-gateway {__version__}"
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


HEAVY = ("aiomqtt", "paho", "gpiozero", "pymodbus", "sqlite_utils", "serial", "joserfc", "asyncio")


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["--help"], set()),
        (["account", "--help"], set()),
        (["account", "show", "A-1", "--json"], {"asyncio"}),  # the daemon is down: the slow way
    ],
)
def test_commands_start_without_what_they_do_not_use(tmp_path, words, allowed):
    run("init", str(tmp_path), "--id", "GW-7")
    program = (
        "import sys; from gateway.cli.root import cli\n"
        f"try: cli({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "GATEWAY_CONFIG": str(tmp_path / "gateway.toml"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(eval(done.stderr.splitlines()[-1])) <= allowed
