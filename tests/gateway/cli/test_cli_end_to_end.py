"""Every command, typed as a lineman types it, against a gateway that reads a real serial port."""

import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from gateway_process import PROGRAM, TARIFF, Place, note


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("gw"))
    place.line.open()
    place.start()
    for number in (1, 2):
        added = place.gateway(
            "meter", "add", f"M{number}", "--bus", "rs485-0", "--address", number,
            "--model", "sdm120",
        )  # fmt: skip
        assert added.code == 0, added.err
    yield place
    place.close()


@pytest.fixture(scope="module")
def account(place):
    opened = place.gateway(
        "account", "open", "A-101", "--meter", "M1", "--switch", "gpio:17",
        "--tariff", TARIFF, "--opening-balance", "50.00",
    )  # fmt: skip
    assert opened.code == 0, opened.err
    place.until(lambda: show(place)["supply"] == "connected")
    return "A-101"


def show(place, name="A-101"):
    return place.gateway("account", "show", name, "--json").answer


def test_scan_finds_the_meters_and_says_what_to_type_next(place):
    scan = place.gateway("meter", "scan", "--baud", "9600", "--parity", "N", "--addresses", "1-4")
    assert scan.code == 0
    assert "3 meters on rs485-0" in scan.out
    assert "gateway meter add M3 --bus rs485-0 --address 3 --model sdm120" in scan.out
    assert "--address 1 " not in scan.out  # M1 is known already
    found = place.gateway(
        "meter", "scan", "--baud", "9600", "--parity", "N", "--addresses", "3", "--json"
    ).answer
    assert [meter["address"] for meter in found["meters"]] == [3]
    assert "sdm120" in [fit["model"] for fit in found["meters"][0]["fits"]]


def test_a_meter_that_says_nothing_is_not_added_and_the_wires_are_named(place):
    silent = place.gateway(
        "meter", "add", "M9", "--bus", "rs485-0", "--address", 99, "--model", "sdm120"
    )
    assert silent.code == 3
    assert "nothing answers at address 99 on rs485-0" in silent.err
    assert "A and B" in silent.err
    assert "120 ohm" in silent.err
    assert "M9" not in place.gateway("meter", "list").out


def test_a_bus_that_is_not_configured_is_refused_with_what_to_do(place):
    refused = place.gateway(
        "meter", "add", "M9", "--bus", "rs485-7", "--address", 9, "--model", "sdm120"
    )
    assert refused.code == 1
    assert "no bus rs485-7" in refused.err
    assert "try:" in refused.err


def test_meters_are_listed_and_read(place):
    place.until(lambda: place.gateway("meter", "list", "--json").answer[0]["state"] == "answering")
    read = place.gateway("meter", "read", "M1", "--json").answer
    home = place.street.homes["A-101"]
    assert abs(read["values"]["energy_import_wh"]["value"] - home.meter.register_wh) <= 20
    assert "kWh" in place.gateway("meter", "read", "M1").out
    unknown = place.gateway("meter", "read", "M77")
    assert (unknown.code, unknown.out) == (1, "")


def test_an_account_shows_what_scripts_were_promised(place, account):
    answer = show(place)
    assert {"account", "balance_paise", "register_wh", "supply", "holds"} <= answer.keys()
    assert answer["supply"] == "connected"
    assert answer["holds"] == []
    assert answer["posted_balance_paise"] == 5000
    assert answer["as_of"].endswith("Z")
    supply = place.gateway("supply", "show", account, "--json").answer
    assert {"account", "supply", "holds"} <= supply.keys()
    assert supply["operations"][0]["kind"] in ("commanded", "proven")


def test_opening_twice_or_on_a_missing_tariff_is_refused(place, account):
    again = place.gateway(
        "account", "open", account, "--meter", "M2", "--switch", "none",
        "--tariff", TARIFF, "--opening-balance", "1.00",
    )  # fmt: skip
    assert again.code == 1
    assert "already" in again.err
    missing = place.gateway(
        "account", "open", "A-5", "--meter", "M2", "--switch", "none",
        "--tariff", "/nowhere.toml", "--opening-balance", "1.00",
    )  # fmt: skip
    assert missing.code == 1
    assert "/nowhere.toml" in missing.err


def test_config_is_taken_before_and_after_the_noun(place, account):
    for words in (
        ["--config", place.config, "account", "list", "--json"],
        ["account", "--config", place.config, "list", "--json"],
        ["account", "list", "--json", "--config", place.config],
        ["--config", "/nowhere.toml", "account", "list", "--json", "--config", place.config],
    ):
        done = place.gateway(*words)
        assert done.code == 0, done.err
        assert done.answer[0]["account"] == account
    assert place.gateway("account", "list", "--config", "/nowhere.toml").code == 1


def test_a_recharge_is_credited_once_and_a_forgery_never(place, account):
    before = show(place)["posted_balance_paise"]
    paper = note("R-1", account, 10_000)
    first = place.gateway("recharge", "apply", "--json", stdin=paper)
    assert first.code == 0
    assert first.answer["outcome"] == "CREDITED"
    file = place.folder / "note.jws"
    file.write_text(paper + "\n")
    second = place.gateway("recharge", "apply", file)
    assert second.code == 0
    assert "Credited before" in second.out
    forged = place.gateway("recharge", "apply", "-", stdin=paper[:-8] + "AAAAAAAA")
    assert forged.code == 1
    assert place.gateway("recharge", "apply", stdin=note("R-2", "A-9", 5)).code == 1
    assert place.gateway("recharge", "apply", stdin="").code == 1
    lines = place.gateway("account", "statement", account, "--json").answer["lines"]
    assert [line["amount_paise"] for line in lines if line["kind"] == "credit"] == [10_000]
    assert lines[-1]["balance_paise"] == before + sum(
        line["amount_paise"] for line in lines if line["seq"] > 1
    )


def test_the_statement_adds_up_in_every_form(place, account):
    answer = place.gateway("account", "statement", account, "--json").answer
    balance = answer["opening_balance_paise"]
    for line in answer["lines"]:
        balance += line["amount_paise"]
        assert line["balance_paise"] == balance
    assert answer["closing_balance_paise"] == balance
    rows = place.gateway("account", "statement", account, "--csv").out.splitlines()
    assert rows[0].startswith("seq,day,posted_at,kind,what")
    assert len(rows) == len(answer["lines"]) + 1
    month = answer["lines"][0]["day"][:7]
    printed = place.gateway("account", "statement", account, "--month", month).out
    assert "Opening balance" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    empty = place.gateway("account", "statement", account, "--month", "2001-01", "--json").answer
    assert (empty["lines"], empty["closing_balance_paise"]) == ([], 0)


def test_a_lock_cuts_and_no_recharge_lifts_it(place, account):
    locked = place.gateway("supply", "lock", account, "--reason", "pole work", "--json")
    assert locked.answer["holds"] == ["LINEMAN_LOCK"]
    assert locked.answer["supply"] == "disconnected"
    place.gateway("recharge", "apply", stdin=note("R-3", account, 1_000))
    assert show(place)["supply"] == "disconnected"
    refused = place.gateway("supply", "test", account, "--yes")
    assert refused.code == 1
    assert "off already" in refused.err
    card = place.gateway("supply", "show", account).out
    assert "lineman's lock" in card
    assert "pole work" in card
    unlocked = place.gateway("supply", "unlock", account, "--json").answer
    assert (unlocked["holds"], unlocked["supply"]) == ([], "connected")
    assert place.gateway("supply", "unlock", account, "--json").answer["changed"] is False
    assert place.gateway("supply", "lock", account).code == 2  # a reason must be given


def test_a_relay_test_proves_by_the_meters_load(place, account):
    """The contact on the street is moved by hand here: mock pins are in the other process."""
    home = place.street.homes["A-101"]
    home.load.multiplier_permille = 3000
    asked = threading.Event()

    def relay() -> None:
        for closed in (False, True):
            while not asked.is_set():
                supply = place.gateway("supply", "show", account, "--json").answer
                if (supply["position"] == "closed") == closed:
                    with place.street.lock:
                        home.contact.command(closed)
                    break
                time.sleep(0.05)

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        test = place.gateway("supply", "test", account, "--yes", "--json")
    finally:
        asked.set()
        thread.join()
        with place.street.lock:
            home.contact.command(True)
    assert test.answer["verdict"] == "passed", test.answer
    assert test.code == 0
    opened = test.answer["steps"][1]
    assert "load fell from" in opened["text"]
    journal = place.gateway("supply", "show", account, "--json").answer["operations"]
    assert [row["reason"] for row in journal if row["hold"]][:2] == ["relay test"] * 2
    assert show(place)["holds"] == []


def test_a_relay_that_does_not_obey_fails_its_test(place, account):
    failed = place.gateway("supply", "test", account, "--yes")
    assert failed.code == 3
    assert "does not obey" in failed.out
    assert "NOT work" in failed.out
    assert show(place)["holds"] == []
    place.until(lambda: show(place)["supply"] == "connected")


def test_a_test_that_nobody_confirms_cuts_nothing(place, account):
    def tests_on_record():
        rows = place.gateway("supply", "show", account, "--json").answer["operations"]
        return [row["seq"] for row in rows if row["reason"] == "relay test"]

    before = tests_on_record()
    assert place.gateway("supply", "test", account, stdin="n\n").code == 1
    assert place.gateway("supply", "test", account, stdin="").code == 1
    assert set(tests_on_record()) <= set(before)


def test_an_account_without_a_switch_cannot_be_locked(place, account):
    place.gateway(
        "account", "open", "A-102", "--meter", "M2", "--switch", "none",
        "--tariff", TARIFF, "--opening-balance", "-5.00",
    )  # fmt: skip
    refused = place.gateway("supply", "lock", "A-102", "--reason", "x")
    assert refused.code == 1
    assert "no supply switch" in refused.err
    in_use = place.gateway("meter", "remove", "M2")
    assert in_use.code == 1
    assert "gateway account close A-102" in in_use.err
    closed = place.gateway("account", "close", "A-102", "--yes", "--json")
    assert closed.code == 0, closed.err
    assert closed.answer["closed_at"] is not None
    assert place.gateway("meter", "remove", "M2").code == 0
    assert "A-102" in place.gateway("account", "list", "--closed").out
    assert "A-102" not in place.gateway("account", "list").out


def test_a_tariff_is_loaded_from_a_file_that_only_the_user_can_read(place, account):
    file = place.folder / "mine.toml"
    file.write_text(TARIFF.read_text())
    file.chmod(0o600)
    loaded = place.gateway("tariff", "load", file, "--json")
    assert [row["account"] for row in loaded.answer["accounts"]] == [account]
    other = file.with_name("other.toml")
    other.write_text(TARIFF.read_text().replace("Demo street", "Other"))
    refused = place.gateway("tariff", "load", other)
    assert refused.code == 1
    assert "--account" in refused.err
    assert place.gateway("tariff", "load", other, "--account", account).code == 0
    names = [row["tariff"] for row in place.gateway("tariff", "list", "--json").answer]
    assert names == ["Demo street", "Other"]
    file.write_text("nonsense = 1")
    assert place.gateway("tariff", "load", file).code == 1


def test_status_and_sync_fit_a_phone(place, account):
    page = place.gateway("status", "--once").out
    assert account in page
    assert "rs485-0" in page
    assert all(len(line) <= 80 for line in page.splitlines())
    answer = place.gateway("status", "--json").answer
    assert answer["time"]["proven"] is True
    assert answer["sync"]["outbox"]["waiting"] > 0
    sync = place.gateway("sync", "status", "--json").answer
    assert sync["link"] is None
    assert place.gateway("sync", "status").code == 0


def test_doctor_finds_nothing_wrong_in_a_sound_gateway(place, account):
    place.until(lambda: not place.gateway("status", "--json").answer["alarms"])
    report = place.gateway("doctor", "--json")
    assert report.code == 0, report.out
    verdicts = {row["subject"]: row["verdict"] for row in report.answer["findings"]}
    assert verdicts["ledger"] == verdicts["gateway"] == verdicts["meter M1"] == "ok"


def test_a_second_gateway_is_refused_and_harms_nothing(place, account):
    second = subprocess.run(
        [*PROGRAM, "run"], env=place.environment(), capture_output=True, text=True, check=False,
        timeout=30,
    )  # fmt: skip
    assert second.returncode == 1
    assert "another gateway already runs" in second.stderr
    assert "Traceback" not in second.stderr
    assert show(place)["account"] == account


def test_with_the_gateway_down_everything_can_still_be_read(place, account):
    """Last but one: it stops the gateway that the tests above share."""
    up = show(place)
    assert place.stop(signal.SIGTERM) == 0
    assert "Traceback" not in place.log()
    assert not place.socket.exists()
    down = show(place)
    assert down["posted_balance_paise"] == up["posted_balance_paise"]
    assert (down["supply"], down["holds"]) == ("connected", [])
    for words in (
        ["account", "list"],
        ["account", "statement", account],
        ["supply", "show"],
        ["supply", "show", account],
        ["meter", "list"],
        ["tariff", "list"],
        ["sync", "status"],
        ["status", "--once"],
    ):
        assert place.gateway(*words).code == 0, words
        assert place.gateway(*[word for word in words if word != "--once"], "--json").answer
    assert place.gateway("meter", "read", "M1", "--json").answer["values"]
    found = place.gateway(
        "meter", "scan", "--baud", "9600", "--parity", "N", "--addresses", "1-3", "--json"
    ).answer
    assert [meter["address"] for meter in found["meters"]] == [1, 2, 3]
    lock = place.gateway("supply", "lock", account, "--reason", "x")
    assert lock.code == 1
    assert "gateway run" in lock.err
    doctor = place.gateway("doctor", "--json")
    assert doctor.code == 1
    verdicts = {row["subject"]: row["verdict"] for row in doctor.answer["findings"]}
    assert verdicts["gateway"] == "fail"
    assert verdicts["meter M1"] == verdicts["ledger"] == "ok"


def test_a_killed_gateway_comes_back_over_its_stale_socket(place, account):
    place.start()
    place.stop(signal.SIGKILL)
    assert place.socket.exists()
    assert place.gateway("account", "list").code == 0  # read from the database meanwhile
    place.start()
    assert show(place)["account"] == account
    assert place.stop(signal.SIGINT) == 0


def test_a_ledger_whose_sums_do_not_fit_is_named_and_ends_the_gateway(place, account):
    """Last: it breaks the ledger, behind the schema's back."""
    database = sqlite3.connect(place.folder / "data" / "gateway.db")
    database.execute("DROP TRIGGER entries_are_not_edited")
    database.execute("UPDATE entries SET amount_paise = amount_paise + 1 WHERE seq = 2")
    database.commit()
    database.close()
    shown = place.gateway("account", "show", account)
    assert (shown.code, shown.out) == (1, "")
    assert "the ledger is not as it must be" in shown.err
    assert place.gateway("doctor").code == 1
    run = place.gateway("run")
    assert run.code == 1
    assert "entries sum to" in run.err
