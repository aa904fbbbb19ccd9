"""How `gateway status` and `gateway sync status` look. Pure; drawing is in `render`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.cli.account_views import why
from gateway.cli.render import Block, Column, Facts, Line, Table
from gateway.cli.words import Cell

if TYPE_CHECKING:
    from gateway.documents.config import Config

# Head, table head, blank lines and the lines below: what a screen needs besides its homes.
FRAME_LINES = 8
ALARMS_SHOWN = 4
MIN_HOMES = 3
_TRUST = {
    "none": "clock not proven",
    "rtc": "clock chip",
    "ntp": "NTP",
    "operator": "clock vouched for",
    "headend": "head-end time",
}


def page(answer: Mapping[str, Any], config: "Config", height: int | None) -> list[Block]:
    """The whole gateway on `height` lines; None for as many as it takes."""
    zone = config.zone
    alarms = answer["alarms"]
    shown_alarms = alarms if height is None else alarms[:ALARMS_SHOWN]
    below = len(shown_alarms) + (len(alarms) > len(shown_alarms)) + len(answer["buses"])
    room = None if height is None else max(MIN_HOMES, height - FRAME_LINES - below)
    blocks: list[Block] = [_head(answer, zone), Line(), *_homes(answer, room)]
    blocks.append(Line())
    blocks += [_bus(bus) for bus in answer["buses"]]
    blocks.append(_link(answer["sync"], config, running=answer["daemon"]["running"]))
    blocks += _alarms(shown_alarms, len(alarms), zone)
    return blocks


def lost(error: Exception) -> Line:
    """The last line of a screen whose gateway has gone."""
    return Line([(f"{error}", "bad")])


def sync(answer: Mapping[str, Any], config: "Config", *, running: bool) -> list[Block]:
    """The link in full."""
    zone, outbox, link = config.zone, answer["outbox"], answer["link"]
    pairs: list[tuple[str, Cell | list[Cell]]] = [
        ("Link", _link_state(link, config, running=running)),
    ]
    if link is not None:
        pairs.append(("Broker", link["broker"]))
        if link["connected"]:
            pairs.append(("Since", words.moment(link["connected_since"], zone, seconds=True)))
        if link["error"]:
            pairs.append(("Because", (link["error"], "warn")))
        if link["hint"]:
            pairs.append(("Try", link["hint"]))
        pairs.append(("Last ack", words.moment(link["last_ack_at"], zone, seconds=True)))
        pairs.append(("Recharges", f"{link['recharges']} received"))
        if link["last_handling_failure"]:
            pairs.append(("Failed", (link["last_handling_failure"], "bad")))
    pairs.append(("Waiting", _waiting(outbox, zone)))
    pairs.append(("Sequence", f"{outbox['newest_sequence']} newest"))
    pairs.append(("", f"{outbox['acknowledged_sequence']} stored by the head-end"))
    return [Line([(f"Sync of {answer['gateway']}", "strong")]), Facts(pairs)]


def _head(answer: Mapping[str, Any], zone: ZoneInfo) -> Line:
    time = answer["time"]
    trust = _TRUST.get(time["trust"], time["trust"])
    cells: list[Cell] = [
        (answer["gateway"], "strong"),
        "  ",
        words.moment(time["utc"], zone, seconds=True),
        " ",
        (f"({trust})", "dim" if time["proven"] else "warn"),
    ]
    if answer["daemon"]["running"]:
        cells.append((f"  up {words.span(answer['daemon']['uptime_s'])}", "dim"))
    else:
        cells.append(("  NOT RUNNING: as last recorded", "bad"))
    return Line(cells)


def _homes(answer: Mapping[str, Any], room: int | None) -> list[Block]:
    """The homes that need looking at come first when not all can be shown."""
    homes: Sequence[Mapping[str, Any]] = answer["homes"]
    if not homes:
        return [
            Line(["No accounts yet."]),
            Line([("Begin with: gateway meter scan, then gateway account open", "dim")]),
        ]
    meters = {meter["meter"]: meter for meter in answer["meters"]}
    hidden = 0
    if room is not None and len(homes) > room:
        worst = sorted(homes, key=_urgency)[: max(1, room - 1)]
        hidden = len(homes) - len(worst)
        kept = {home["account"] for home in worst}
        homes = [home for home in homes if home["account"] in kept]
    rows = [_home(home, meters.get(home["meter"]), answer["time"]["utc"]) for home in homes]
    columns = [
        Column("Home"),
        Column("Balance", right=True),
        Column("Supply"),
        Column("Power", right=True, drop=1),
        Column("Register kWh", right=True, drop=2),
        Column("Heard", right=True, drop=3),
        Column("Why"),
        Column("Meter", drop=4),
    ]
    blocks: list[Block] = [Table(columns, rows)]
    if hidden:
        text = f"and {hidden} more, all in order or better: gateway account list"
        blocks.append(Line([(text, "dim")]))
    return blocks


def _home(home: Mapping[str, Any], meter: Mapping[str, Any] | None, now: str) -> list[Cell]:
    silent = meter is not None and meter["state"] == "silent"
    heard: Cell = words.since(home["as_of"], now)
    reason = why(home)
    if silent and not reason:
        reason = ("meter silent", "warn")
    return [
        home["account"],
        words.money(home["balance_paise"]),
        words.supply(home["supply"]),
        words.watts(None if silent else home["power_w"]),
        words.kwh(home["register_wh"]),
        (str(heard), "warn" if silent else ""),
        reason,
        home["meter"],
    ]


def _urgency(home: Mapping[str, Any]) -> tuple[int, int]:
    return (0 if home["holds"] or home["supply"] == "unknown" else 1, home["balance_paise"])


def _bus(bus: Mapping[str, Any]) -> Line:
    if not bus["open"]:
        return Line([("○ ", "bad"), f"{bus['bus']}  {bus['error'] or 'not open yet'}"])
    quiet = bus["meters"] - bus["answering"]
    mark: Cell = ("● ", "warn" if quiet else "good")
    share = f", line {bus['busy_share']:.0%} in use" if bus["busy_share"] is not None else ""
    told = f"{bus['answering']} of {bus['meters']} meters answer at {bus['settings']}{share}"
    return Line([mark, f"{bus['bus']}  {told}"])


def _link(sync_now: Mapping[str, Any], config: "Config", *, running: bool) -> Line:
    waiting = sync_now["outbox"]["waiting"]
    state = _link_state(sync_now["link"], config, running=running)
    return Line([*state, (f"  {waiting} event{'' if waiting == 1 else 's'} waiting", "dim")])


def _link_state(link: Mapping[str, Any] | None, config: "Config", *, running: bool) -> list[Cell]:
    if config.mqtt is None:
        return [("- ", "dim"), "head-end  none configured"]
    if not running or link is None:
        return [("○ ", "dim"), f"head-end  {config.mqtt.host}, not connected"]
    if link["connected"]:
        return [("● ", "good"), f"head-end  connected to {link['broker']}"]
    return [("○ ", "warn"), f"head-end  no link to {link['broker']}"]


def _waiting(outbox: Mapping[str, Any], zone: ZoneInfo) -> list[Cell]:
    cells: list[Cell] = [f"{outbox['waiting']} events"]
    if outbox["oldest_waiting_at"]:
        cells += [", the oldest of ", words.moment(outbox["oldest_waiting_at"], zone)]
    return cells


def _alarms(alarms: Sequence[Mapping[str, Any]], total: int, zone: ZoneInfo) -> list[Block]:
    blocks: list[Block] = [
        Line(
            [
                ("! ", "bad"),
                f"{words.clock_time(alarm['since'], zone)}  {alarm['subject']}: {alarm['text']}",
            ]
        )
        for alarm in alarms
    ]
    if total > len(alarms):
        text = f"! and {total - len(alarms)} more alarms: gateway status --once"
        blocks.append(Line([(text, "bad")]))
    return blocks
