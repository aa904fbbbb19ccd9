"""How `gateway tariff` looks: answers into blocks. Pure; drawing is in `render`."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.cli.render import Block, Column, Line, Table
from gateway.cli.words import Cell
from gateway.core.tariff import Tariff, TariffVersion
from gateway.core.units import format_kwh, format_rupees

_UNVERIFIED = "Not verified against the order itself: compare before real money depends on it."


def checked(tariff: Tariff) -> list[Block]:
    """What a tariff file says."""
    blocks: list[Block] = [
        Line([("● ", "good"), (tariff.name, "strong")]),
        Line([(f"  {tariff.source}", "dim")]),
    ]
    if not tariff.verified:
        blocks.append(Line([(f"  {_UNVERIFIED}", "warn")]))
    for version in tariff.versions:
        blocks += [Line(), _version(version)]
    return blocks


def explained(worked: Mapping[str, Any]) -> list[Block]:
    """A worked month."""
    month = date.fromisoformat(f"{worked['month']}-01")
    title = f"{format_kwh(worked['energy_wh']).removesuffix('.000')} units in {month:%B %Y}"
    blocks: list[Block] = [Line([(title, "strong"), f"  {worked['tariff']}"])]
    if not worked["verified"]:
        blocks.append(Line([(_UNVERIFIED, "warn")]))
    rows: list[list[Cell]] = [
        [
            words.component(line),
            format_kwh(line["quantity"]) if line["component"] in ("energy", "cess") else "",
            words.rate(line["rate"]),
            format_rupees(line["amount_paise"]),
        ]
        for line in worked["lines"]
    ]
    rows.append([("Total", "strong"), "", "", (format_rupees(worked["total_paise"]), "strong")])
    bill = Table(
        [
            Column("For"),
            Column("Units", right=True),
            Column("Rate", right=True),
            Column("Amount", right=True),
        ],
        rows,
    )
    blocks += [Line(), bill]
    if worked["paise_per_kwh"] is not None:
        blocks.append(Line([(f"{format_rupees(worked['paise_per_kwh'])} a unit, all in", "dim")]))
    return [*blocks, Line(), _debits(worked["debited"])]


def loaded(answer: Mapping[str, Any]) -> list[Block]:
    """Accounts that are now charged by a tariff."""
    rows = [
        [account["account"], words.money(account["balance_paise"]), words.supply(account["supply"])]
        for account in answer["accounts"]
    ]
    blocks: list[Block] = [
        Line([("● ", "good"), f"{answer['tariff']} charges from now on:"]),
        Table([Column("Account"), Column("Balance", right=True), Column("Supply")], rows),
        Line([("The month so far is billed anew; the difference is in the statement.", "dim")]),
    ]
    if not answer["verified"]:
        blocks.append(Line([(_UNVERIFIED, "warn")]))
    return blocks


def listing(tariffs: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> list[Block]:
    """All tariffs ever loaded."""
    if not tariffs:
        return [Line(["No tariff has been loaded yet."])]
    rows: list[list[Cell]] = [
        [
            tariff["tariff"],
            "verified" if tariff["verified"] else ("not verified", "warn"),
            ", ".join(tariff["accounts"]) or words.NOTHING,
            ", ".join(tariff["versions"]),
            words.moment(tariff["loaded_at"], zone),
            (tariff["digest"][:8], "dim"),
        ]
        for tariff in tariffs
    ]
    columns = [
        Column("Tariff", fold=True),
        Column("Figures"),
        Column("Charges", fold=True),
        Column("In force from", drop=2),
        Column("Loaded", drop=1),
        Column("Digest", drop=3),
    ]
    return [Table(columns, rows)]


def _version(version: TariffVersion) -> Table:
    rows: list[list[Cell]] = []
    lower = 0
    for slab in version.slabs:
        upper = f"{lower} to {slab.upto_kwh} units" if slab.upto_kwh else f"above {lower} units"
        rows.append([upper, f"₹{slab.rupees_per_kwh} a unit"])
        lower = slab.upto_kwh or lower
    if version.fixed is not None:
        rows.append(["Fixed charge", f"₹{version.fixed.rupees} a {version.fixed.per.value}"])
    if version.duty_percent_of_energy:
        rows.append(["Duty", f"{version.duty_percent_of_energy} % of energy"])
    if version.cess_rupees_per_kwh:
        rows.append(["Cess", f"₹{version.cess_rupees_per_kwh} a unit"])
    title = f"In force from {version.effective_from:%d %B %Y}"
    return Table([Column("For"), Column("Rate")], rows, (title, "strong"))


def _debits(debited: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{date.fromisoformat(row['day']):%d %b}",
            format_kwh(row["energy_wh"]),
            format_rupees(row["this_day_paise"]),
            format_rupees(row["debited_paise"]),
        ]
        for row in debited
    ]
    columns = [
        Column("When closes"),
        Column("Units so far", right=True),
        Column("That day", right=True),
        Column("Debited so far", right=True),
    ]
    return Table(columns, rows, ("With the same use every day:", "dim"))
