"""What is drawn fits the terminal, and says without colour what it says with it."""

import re
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from gateway.cli import account_views, render, statement_csv, status_views, supply_views, words
from gateway.cli.render import Column, Line, Table
from gateway.documents.config import Config

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def drawn(blocks, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    render.show(*blocks)
    return capsys.readouterr().out.splitlines()


def home(name, balance_paise=5000, holds=(), supply="connected", reason="credit left"):
    return {
        "account": name,
        "balance_paise": balance_paise,
        "posted_balance_paise": balance_paise,
        "register_wh": 12_345_678,
        "supply": supply,
        "holds": list(holds),
        "as_of": "2026-11-24T10:00:00Z",
        "power_w": 1234,
        "meter": f"M-{name}",
        "switch": "gpio:17:active-low:feedback=27",
        "tariff": "CSPDCL LV-1 domestic 2025-26",
        "credit": {"reason": reason, "cut_allowed": False, "next_cut_at": None},
        "register_verdict": "accepted",
        "opened_at": "2026-11-24T10:00:00Z",
        "closed_at": None,
    }


def status(homes, alarms=0):
    return {
        "gateway": "GW-1",
        "daemon": {"running": True, "uptime_s": 100, "peak_memory_kb": 1},
        "time": {"utc": "2026-11-24T10:00:05Z", "trust": "ntp", "proven": True},
        "homes": homes,
        "meters": [],
        "buses": [
            {
                "bus": "rs485-0",
                "open": True,
                "error": None,
                "meters": 3,
                "answering": 2,
                "settings": "9600 8N1",
                "busy_share": 0.9,
            }
        ],
        "alarms": [
            {"since": "2026-11-24T09:00:00Z", "subject": f"M{n}", "text": "meter silent"}
            for n in range(alarms)
        ],
        "sync": {"outbox": {"waiting": 1}, "link": None},
    }


@pytest.fixture
def config(tmp_path):
    return Config(tmp_path, "GW-1", tmp_path, ZoneInfo("Asia/Kolkata"), tmp_path / "s")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_listings_fit_the_width_and_keep_what_matters(width, monkeypatch, capsys):
    homes = [home("A-101"), home("A-102", -1_23_456_78, ["NO_CREDIT"], "disconnected")]
    lines = drawn(account_views.listing(homes), width, monkeypatch, capsys)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "-₹1,23,456.78" in text
    assert "no credit" in text
    assert "○ off" in text
    assert ("CSPDCL" in text) == (width == 120)


def test_a_screen_is_never_taller_than_the_terminal(config, monkeypatch, capsys):
    homes = [home(f"A-{n}") for n in range(100, 140)]
    homes.append(home("A-999", -5, ["NO_CREDIT"], "disconnected"))
    page = status_views.page(status(homes, alarms=9), config, height=24)
    lines = drawn(page, 80, monkeypatch, capsys)
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert "A-999" in text  # the one that needs looking at is not the one left out
    assert "more, all in order" in text
    assert "and 5 more alarms" in text
    assert max(map(len, lines)) <= 80


def test_colour_adds_nothing_that_the_text_does_not_say(monkeypatch):
    line = Line([words.supply("disconnected"), " ", words.money(-5), words.supply("unknown")])
    console = Console(force_terminal=True, color_system=None, theme=render.THEME, width=80)
    with console.capture() as captured:
        console.print(render._draw(line, 80))
    assert captured.get().strip() == "○ off -₹0.05? unknown"


def test_markup_in_a_name_is_printed_as_it_is(monkeypatch, capsys):
    table = Table([Column("What")], [["[bold]x[/bold] [A-101]"]])
    assert "[bold]x[/bold] [A-101]" in "\n".join(drawn([table], 80, monkeypatch, capsys))


def test_the_journal_speaks_of_holds_in_words():
    row = {"kind": "commanded", "position": "open", "hold": None}
    assert supply_views._happened(row) == "told to open"
    assert words.holds(["NO_CREDIT", "SOMETHING_NEW"]) == "no credit, SOMETHING_NEW"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h 0 min"), (200_000, "2 d")],
)
def test_spans_are_told_in_their_largest_unit(seconds, text):
    assert words.span(seconds) == text


def test_a_spreadsheet_gets_numbers_and_no_formulas():
    line = {
        "seq": 7,
        "day": "2026-11-24",
        "at": "2026-11-24T10:00:00Z",
        "kind": "credit",
        "component": None,
        "slab": None,
        "register_from_wh": None,
        "register_to_wh": None,
        "quantity": 0,
        "rate": "",
        "amount_paise": -1_234_567,
        "balance_paise": 5,
        "recharge_id": "=HYPERLINK(1)",
        "reverses": None,
        "note": "",
    }
    text = statement_csv.write({"lines": [line]}, ZoneInfo("Asia/Kolkata"))
    row = text.splitlines()[1].split(",")
    assert row[2] == "2026-11-24T15:30:00+05:30"
    assert row[-3:] == ["-12345.67", "0.05", "'=HYPERLINK(1)"]
