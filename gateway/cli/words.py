"""Figures and states as people read them: rupees, units, times, supply.

Rules of this file: pure; no colour library. A cell is text, or text and the name of a style that
`render` knows: good, bad, warn, dim, strong.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.core.units import format_kwh, format_rupees

Cell = str | tuple[str, str]

NOTHING: Cell = ("-", "dim")
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

_SUPPLY: Mapping[str, Cell] = {
    "connected": ("● on", "good"),
    "disconnected": ("○ off", "bad"),
    "unknown": ("? unknown", "warn"),
}
_HOLDS = {
    "NO_CREDIT": "no credit",
    "LINEMAN_LOCK": "lineman's lock",
    "OFFICER_LOCK": "officer's lock",
    "OVERLOAD": "overload",
    "TAMPER": "tamper",
    "CLOSED_ACCOUNT": "account closed",
}
_COMPONENTS = {"energy": "Energy", "fixed": "Fixed", "duty": "Duty", "cess": "Cess"}


def money(amount_paise: int | None) -> Cell:
    """An amount; what is owed stands out."""
    if amount_paise is None:
        return NOTHING
    text = format_rupees(amount_paise)
    return (text, "bad") if amount_paise < 0 else text


def kwh(energy_wh: int | None) -> Cell:
    """Energy in units of a kWh."""
    return NOTHING if energy_wh is None else format_kwh(energy_wh)


def watts(power_w: int | None) -> Cell:
    """Power now."""
    return NOTHING if power_w is None else f"{power_w} W"


def supply(state: str) -> Cell:
    """Connected, disconnected or unknown; told by the mark as well as by the colour."""
    return _SUPPLY.get(state, (state, "warn"))


def holds(names: Sequence[str]) -> str:
    """Why supply is off."""
    return ", ".join(_HOLDS.get(name, name) for name in names)


def moment(iso: str | None, zone: ZoneInfo, *, seconds: bool = False) -> Cell:
    """A time of the answer in the gateway's zone."""
    if iso is None:
        return NOTHING
    local = parse(iso).astimezone(zone)
    return local.strftime("%d %b %Y %H:%M:%S" if seconds else "%d %b %H:%M")


def clock_time(iso: str, zone: ZoneInfo) -> str:
    """The time of day alone."""
    return parse(iso).astimezone(zone).strftime("%H:%M")


def parse(iso: str) -> datetime:
    """A time of an answer."""
    return datetime.fromisoformat(iso)


def since(iso: str | None, now_iso: str) -> str:
    """How long ago: `4 s`, `12 min`, `3 h`, `9 d`."""
    if iso is None:
        return "-"
    return span((parse(now_iso) - parse(iso)).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    whole = max(0, round(seconds))
    if whole < 2 * MINUTE_S:
        return f"{whole} s"
    if whole < 2 * HOUR_S:
        return f"{whole // MINUTE_S} min"
    if whole < 2 * DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d"


def utc_now() -> str:
    """Now, for ages in an answer that carries no time of its own."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def component(line: Mapping[str, Any]) -> str:
    """What a charge is for: `Energy, slab 2`, `Fixed, 3 days`, `Duty 11%`."""
    name = _COMPONENTS.get(line["component"], str(line["component"]))
    match line["component"]:
        case "energy":
            return f"{name}, slab {line['slab']}"
        case "fixed":
            days = line["quantity"]
            return f"{name}, {days} day{'' if abs(days) == 1 else 's'}"
        case "duty":
            return f"{name} {line['rate']}"
    return name


def entry(line: Mapping[str, Any]) -> str:
    """What a ledger line is, in one or a few words."""
    match line["kind"]:
        case "opening":
            return "Opening balance"
        case "credit":
            return f"Recharge {line['recharge_id']}"
        case "reversal":
            return f"Reversal of {line['reverses']}"
    return component(line)


def rate(text: str) -> str:
    """A rate without the unit that its column has."""
    return "" if text.endswith("%") else text.removesuffix("/kWh")
