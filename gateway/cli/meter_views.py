"""How `gateway meter` looks: answers into blocks. Pure; drawing is in `render`."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.cli.render import Block, Column, Facts, Line, Table
from gateway.cli.words import Cell

_STATES: Mapping[str, Cell] = {
    "answering": ("● answers", "good"),
    "silent": ("○ silent", "bad"),
    "unknown": ("- not heard", "dim"),
}
_QUANTITIES = {
    "energy_import_wh": ("Energy", "kWh", 1000, 3),
    "energy_export_wh": ("Energy exported", "kWh", 1000, 3),
    "active_power_w": ("Power", "W", 1, 0),
    "voltage_mv": ("Voltage", "V", 1000, 1),
    "current_ma": ("Current", "A", 1000, 2),
    "power_factor_permille": ("Power factor", "", 1000, 2),
    "frequency_mhz": ("Frequency", "Hz", 1000, 2),
}
OPEN_NEXT = (
    "  gateway account open A-101 --meter {meter} --switch gpio:17"
    " --tariff FILE --opening-balance 50.00"
)


def scan_progress(news: Mapping[str, Any]) -> str:
    """One line while a scan runs."""
    found = f", {news['found']} found" if news["found"] else ""
    return f"{news['bus']} {news['settings']} address {news['address']}{found}"


def scan_report(report: Mapping[str, Any]) -> list[Block]:
    """What a scan found, and the line to type next."""
    blocks: list[Block] = []
    if report["meters"]:
        blocks += [_found(report), Line(), *_next_steps(report)]
    else:
        blocks += _nothing_found(report)
    for garbled in report["garbled"]:
        text = f"Something spoke at {_settings(garbled)} address {garbled['address']}, not clearly:"
        blocks.append(Line([(text, "warn"), f" {garbled['detail']}"]))
    if report["garbled"]:
        blocks.append(Line(["  Two meters on one address, or a wrong speed: try them one by one."]))
    for refused in report["refused_settings"]:
        blocks.append(Line([(f"The adapter does not take {refused}.", "warn")]))
    return blocks


def _found(report: Mapping[str, Any]) -> Table:
    rows = []
    for meter in report["meters"]:
        fits = [fit for fit in meter["fits"] if fit["as_filed"]] or meter["fits"]
        shown = fits[0] if fits else None
        volts: Cell = words.NOTHING
        hertz: Cell = words.NOTHING
        if shown:
            volts = f"{shown['voltage_mv'] / 1000:.1f} V"
            hertz = f"{shown['frequency_mhz'] / 1000:.2f} Hz"
        models: Cell = " or ".join(fit["model"] for fit in fits) or ("none fits", "warn")
        if meter["meter"]:
            models = meter["model"]
        rows.append(
            [
                str(meter["address"]),
                _settings(meter),
                models,
                volts,
                hertz,
                meter["meter"] or ("new", "good"),
            ]
        )
    found = len(report["meters"])
    return Table(
        [
            Column("Address", right=True),
            Column("Line"),
            Column("May be", fold=True),
            Column("Volts", right=True),
            Column("Hertz", right=True, drop=1),
            Column("Known as"),
        ],
        rows,
        (f"{found} meter{'' if found == 1 else 's'} on {report['bus']}", "strong"),
    )


def _next_steps(report: Mapping[str, Any]) -> list[Block]:
    """`gateway meter add ...` for each new meter, and what stands in the way."""
    new = [meter for meter in report["meters"] if not meter["meter"]]
    here = [meter for meter in new if _settings(meter) == _settings(report["bus_settings"])]
    blocks: list[Block] = []
    if here:
        blocks.append(Line([("Next, with a name of your own for each:", "dim")]))
    for meter in here:
        fits = [fit for fit in meter["fits"] if fit["as_filed"]]
        model = fits[0]["model"] if fits else "MODEL"
        add = f"  gateway meter add M{meter['address']} --bus {report['bus']}"
        blocks.append(Line([(f"{add} --address {meter['address']} --model {model}", "strong")]))
    if any(len(meter["fits"]) > 1 for meter in here):
        blocks.append(Line([("Where several models fit, read the name on the meter.", "dim")]))
    for settings in dict.fromkeys(_settings(meter) for meter in new if meter not in here):
        ours = _settings(report["bus_settings"])
        text = f"Meters at {settings} are not heard: the line runs at {ours}."
        blocks.append(Line([(text, "warn")]))
        blocks.append(Line(["  Set them to it, or set [bus] baud and parity to theirs; one line"]))
        blocks.append(Line(["  has one setting for all."]))
    return blocks


def _nothing_found(report: Mapping[str, Any]) -> list[Block]:
    asked = f"Nobody answered on {report['bus']} ({report['asked']} questions)."
    return [
        Line([(asked, "warn")]),
        Line(["  1. Is there power on the meters?"]),
        Line(["  2. Swap the two wires A and B."]),
        Line(["  3. One 120 ohm terminator at each end of the line, none between."]),
        Line(["  4. Try more: --baud 1200,2400,4800,9600,19200,38400 --parity N,E,O"]),
    ]


def added(answer: Mapping[str, Any]) -> list[Block]:
    """A meter that was just taken into service."""
    serial = f", serial {answer['serial']}" if answer["serial"] else ""
    where = f"{answer['model']} at address {answer['address']} on {answer['bus']}{serial}"
    return [
        Line([("● ", "good"), f"Meter {answer['meter']} is in service: {where}"]),
        _values(answer["values"]),
        Line(),
        Line([("Next:", "dim")]),
        Line([(OPEN_NEXT.format(meter=answer["meter"]), "strong")]),
    ]


def listing(meters: Sequence[Mapping[str, Any]]) -> list[Block]:
    """All meters."""
    if not meters:
        return [
            Line(["There are no meters yet."]),
            Line([("Find them with: gateway meter scan", "dim")]),
        ]
    now = words.utc_now()
    rows = [
        [
            meter["meter"],
            _STATES.get(meter["state"], meter["state"]),
            words.kwh(meter["register_wh"]),
            words.watts(meter["power_w"]),
            words.since(meter["as_of"], now),
            meter["account"] or ("no account", "dim"),
            f"{meter['bus']}:{meter['address']}",
            meter["model"],
            meter["serial"] or words.NOTHING,
        ]
        for meter in meters
    ]
    columns = [
        Column("Meter"),
        Column("State"),
        Column("Register kWh", right=True),
        Column("Power", right=True),
        Column("Heard", right=True, drop=1),
        Column("Account"),
        Column("Where", drop=2),
        Column("Model", drop=3),
        Column("Serial", drop=4),
    ]
    blocks: list[Block] = [Table(columns, rows)]
    blocks += [
        Line([(f"{meter['meter']}: ", "bad"), meter["error"]]) for meter in meters if meter["error"]
    ]
    return blocks


def reading(answer: Mapping[str, Any], zone: ZoneInfo) -> list[Block]:
    """All values of one meter."""
    serial = f"  serial {answer['serial']}" if answer["serial"] else ""
    at = words.moment(answer["at"], zone, seconds=True)
    return [
        Line([(f"Meter {answer['meter']}", "strong"), f"  {answer['model']}{serial}  ", at]),
        _values(answer["values"]),
    ]


def models(rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The model library."""
    return [
        Table(
            [
                Column("Model"),
                Column("Maker"),
                Column("From factory", drop=1),
                Column("What it is", fold=True),
            ],
            [[row["model"], row["maker"], row["settings"], row["description"]] for row in rows],
        )
    ]


def _values(values: Mapping[str, Mapping[str, Any]]) -> Facts:
    pairs: list[tuple[str, Cell | list[Cell]]] = []
    for name, value in values.items():
        label, unit, divisor, places = _QUANTITIES.get(name, (name, value["unit"], 1, 0))
        text = f"{value['value'] / divisor:.{places}f} {unit}".strip()
        if value["quality"] == "good":
            pairs.append((label, text))
        else:
            pairs.append((label, [f"{text}  ", (value["quality"], "bad")]))
    return Facts(pairs)


def _settings(settings: Mapping[str, Any]) -> str:
    return f"{settings['baud']} 8{settings['parity']}{settings['stop_bits']}"
