"""A statement as CSV: one row a line, amounts in rupees, energy in kWh, times local.

Rules of this file: figures are written without a currency sign or grouping, so that a spreadsheet
adds them up; text that a spreadsheet would take for a formula is quoted with an apostrophe.
"""

import csv
import io
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.core.units import format_kwh

HEAD = (
    "seq",
    "day",
    "posted_at",
    "kind",
    "what",
    "slab",
    "register_from_kwh",
    "register_to_kwh",
    "units_kwh",
    "rate",
    "amount_rupees",
    "balance_rupees",
    "reference",
)


def write(answer: Mapping[str, Any], zone: ZoneInfo) -> str:
    """The whole statement with a head row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for line in answer["lines"]:
        at = words.parse(line["at"]).astimezone(zone)
        writer.writerow(
            [
                line["seq"],
                line["day"],
                at.isoformat(timespec="seconds"),
                line["kind"],
                _plain(words.entry(line)),
                line["slab"] or "",
                _kwh(line["register_from_wh"]),
                _kwh(line["register_to_wh"]),
                _kwh(line["quantity"]) if line["component"] == "energy" else "",
                _plain(line["rate"]),
                _rupees(line["amount_paise"]),
                _rupees(line["balance_paise"]),
                _plain(line["recharge_id"] or line["note"] or ""),
            ]
        )
    return out.getvalue()


def _kwh(energy_wh: int | None) -> str:
    return "" if energy_wh is None else format_kwh(energy_wh)


def _rupees(amount_paise: int) -> str:
    sign = "-" if amount_paise < 0 else ""
    return f"{sign}{abs(amount_paise) // 100}.{abs(amount_paise) % 100:02d}"


def _plain(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
