"""How `gateway account` looks: answers into blocks. Pure; drawing is in `render`."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.cli.render import Block, Column, Facts, Line, Table
from gateway.cli.words import Cell
from gateway.core.units import format_kwh, format_rupees


def why(account: Mapping[str, Any]) -> Cell:
    """Why supply is off, or what is remarkable about an account that is on."""
    if account.get("closed_at"):
        return ("closed", "dim")
    if account["holds"]:
        return (words.holds(account["holds"]), "bad")
    if account["credit"]["reason"] != "credit left":
        return (account["credit"]["reason"], "warn")
    if account["supply"] == "unknown":
        return ("its switch cannot be used", "warn")
    return ""


def listing(accounts: Sequence[Mapping[str, Any]]) -> list[Block]:
    """All accounts."""
    if not accounts:
        return [
            Line(["There are no accounts yet."]),
            Line([("Open one with: gateway account open", "dim")]),
        ]
    now = words.utc_now()
    rows = [
        [
            account["account"],
            words.money(account["balance_paise"]),
            words.supply(account["supply"]),
            words.watts(account["power_w"]),
            words.kwh(account["register_wh"]),
            why(account),
            account["meter"],
            words.since(account["as_of"], now),
            account["tariff"],
        ]
        for account in accounts
    ]
    columns = [
        Column("Account"),
        Column("Balance", right=True),
        Column("Supply"),
        Column("Power", right=True, drop=1),
        Column("Register kWh", right=True, drop=2),
        Column("Why", fold=True),
        Column("Meter", drop=3),
        Column("As of", right=True, drop=4),
        Column("Tariff", drop=5),
    ]
    return [Table(columns, rows)]


def card(account: Mapping[str, Any], zone: ZoneInfo) -> list[Block]:
    """One account."""
    credit = account["credit"]
    unposted_paise = account["balance_paise"] - account["posted_balance_paise"]
    pairs: list[tuple[str, Cell | list[Cell]]] = [
        ("Balance", [_strong(words.money(account["balance_paise"])), *_of_it(unposted_paise)]),
        ("Supply", _supply(account)),
        ("Credit", _credit(credit, zone)),
        ("Register", [f"{format_kwh(account['register_wh'])} kWh", *_power(account)]),
        ("As of", words.moment(account["as_of"], zone, seconds=True)),
        ("Meter", account["meter"]),
        ("Switch", account["switch"]),
        ("Tariff", account["tariff"]),
        ("Opened", words.moment(account["opened_at"], zone)),
    ]
    if account["register_verdict"] not in (None, "accepted", "confirmed"):
        text = f"{account['register_verdict']}: the meter's last reading is not charged"
        pairs.insert(4, ("Reading", (text, "warn")))
    if account["closed_at"]:
        pairs.append(("Closed", words.moment(account["closed_at"], zone)))
    return [Line([(f"Account {account['account']}", "strong")]), Facts(pairs)]


def statement(answer: Mapping[str, Any], zone: ZoneInfo, month: date | None) -> list[Block]:
    """The day book of one account."""
    span = f"{month:%B %Y}" if month else "from its opening"
    title = f"Statement of {answer['account']}"
    head = Line([(title, "strong"), f"  meter {answer['meter']}  {span}  ({zone.key})"])
    rows: list[list[Cell]] = []
    opens = bool(answer["lines"]) and answer["lines"][0]["kind"] == "opening"
    if month is not None and not opens:
        rows.append(_brought_forward(answer["opening_balance_paise"]))
    day = ""
    for line in answer["lines"]:
        rows.append(_row(line, line["day"] if line["day"] != day else ""))
        day = line["day"]
    unposted = answer["unposted"]
    if unposted and (unposted["amount_paise"] or unposted["energy_wh"]):
        rows.append(_unposted(unposted, zone))
    columns = [
        Column("Day"),
        Column("What"),
        Column("From kWh", right=True, drop=2),
        Column("To kWh", right=True, drop=1),
        Column("Units", right=True),
        Column("Rate", right=True, drop=3),
        Column("Amount", right=True),
        Column("Balance", right=True),
    ]
    sums = (
        f"{format_kwh(answer['energy_wh'])} units used, "
        f"{format_rupees(answer['charges_paise'])} charged, "
        f"{format_rupees(answer['credits_paise'])} recharged, "
        f"balance {format_rupees(answer['closing_balance_paise'])}"
    )
    blocks: list[Block] = [head, Line(), Table(columns, rows), Line(), Line([sums])]
    if any(not line["day_proven"] for line in answer["lines"]):
        text = "* the date was not known for certain then; charged to the last day that was"
        blocks.append(Line([(text, "dim")]))
    return blocks


def _row(line: Mapping[str, Any], day: str) -> list[Cell]:
    proven = "" if line["day_proven"] else "*"
    energy = line["component"] == "energy"
    units: Cell = format_kwh(line["quantity"]) if energy else ""
    credit = line["amount_paise"] > 0
    return [
        f"{date.fromisoformat(day):%d %b}{proven}" if day else "",
        _cut(words.entry(line), 22),
        format_kwh(line["register_from_wh"]) if line["register_from_wh"] is not None else "",
        format_kwh(line["register_to_wh"]) if line["register_to_wh"] is not None else "",
        units,
        (words.rate(line["rate"]), "dim"),
        (format_rupees(line["amount_paise"]), "good" if credit else ""),
        words.money(line["balance_paise"]),
    ]


def _brought_forward(balance_paise: int) -> list[Cell]:
    return ["", ("Brought forward", "dim"), "", "", "", "", "", words.money(balance_paise)]


def _unposted(unposted: Mapping[str, Any], zone: ZoneInfo) -> list[Cell]:
    return [
        "",
        (f"Since then, to {words.clock_time(unposted['as_of'], zone)}", "dim"),
        (format_kwh(unposted["register_from_wh"]), "dim"),
        (format_kwh(unposted["register_to_wh"]), "dim"),
        (format_kwh(unposted["energy_wh"]), "dim"),
        "",
        (format_rupees(unposted["amount_paise"]), "dim"),
        (format_rupees(unposted["balance_paise"]), "dim"),
    ]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _strong(cell: Cell) -> Cell:
    return (cell, "strong") if isinstance(cell, str) else cell


def _of_it(unposted_paise: int) -> list[Cell]:
    if not unposted_paise:
        return []
    return [(f"  {format_rupees(unposted_paise)} of it since the last posting", "dim")]


def _supply(account: Mapping[str, Any]) -> list[Cell]:
    reason = words.holds(account["holds"])
    return [words.supply(account["supply"]), f"  {reason}" if reason else ""]


def _credit(credit: Mapping[str, Any], zone: ZoneInfo) -> list[Cell]:
    style = "" if credit["reason"] == "credit left" else "warn"
    cells: list[Cell] = [(credit["reason"], style)]
    if credit["next_cut_at"]:
        cells.append("; may be cut from ")
        cells.append(words.moment(credit["next_cut_at"], zone))
    return cells


def _power(account: Mapping[str, Any]) -> list[Cell]:
    return [f", {account['power_w']} W now"] if account["power_w"] is not None else []
