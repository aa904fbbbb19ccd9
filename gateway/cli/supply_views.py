"""How `gateway supply` looks: answers into blocks. Pure; drawing is in `render`."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli import words
from gateway.cli.render import Block, Column, Facts, Line, Table
from gateway.cli.words import Cell

_PROOFS: Mapping[str, Cell] = {
    "proven": ("proven", "good"),
    "unproven": ("not proven yet", "dim"),
    "not obeying": ("DOES NOT OBEY", "bad"),
}
_RESULTS: Mapping[str, Cell] = {
    "proven": ("proven    ", "good"),
    "unproven": ("unproven  ", "warn"),
    "failed": ("FAILED    ", "bad"),
    "off": ("off       ", "warn"),
}
_STEPS = {"before": "Before", "open": "Opened", "close": "Closed"}
_VERDICTS: Mapping[str, Cell] = {
    "passed": ("The relay opens and closes, proven both ways.", "good"),
    "unproven": ("The relay was driven both ways, but that is not proven.", "warn"),
    "failed": ("The relay does NOT work. Do not rely on it to cut this supply.", "bad"),
    "off": ("The relay opened; supply stays off for another reason.", "warn"),
    "locked meanwhile": ("Locked during the test: supply stays off.", "warn"),
}


def listing(supplies: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Every supply."""
    if not supplies:
        return [
            Line(["There are no accounts yet."]),
            Line([("Open one with: gateway account open", "dim")]),
        ]
    rows = [
        [
            supply["account"],
            words.supply(supply["supply"]),
            words.holds(supply["holds"]) or words.NOTHING,
            _proof(supply),
            words.watts(supply["load_w"]),
            supply["switch"],
        ]
        for supply in supplies
    ]
    columns = [
        Column("Account"),
        Column("Supply"),
        Column("Why"),
        Column("Proof", fold=True),
        Column("Load", right=True, drop=1),
        Column("Switch", drop=2),
    ]
    return [Table(columns, rows)]


def card(supply: Mapping[str, Any], zone: ZoneInfo) -> list[Block]:
    """One supply and its journal."""
    pairs: list[tuple[str, Cell | list[Cell]]] = [
        ("Supply", [words.supply(supply["supply"]), f"  {words.holds(supply['holds'])}"]),
        ("Should be", words.supply(supply["wanted"])),
        ("Proof", _proof(supply)),
        ("Switch", f"{supply['switch']}, told: {supply['commanded']}"),
    ]
    if supply["feedback"] not in (None, "unknown"):
        pairs.append(("Contact", f"the feedback input shows {supply['feedback']}"))
    if supply["load_w"] is not None:
        pairs.append(("Load", f"{supply['load_w']} W"))
    if supply["error"]:
        pairs.append(("Fault", (supply["error"], "bad")))
    blocks: list[Block] = [
        Line([(f"Supply of {supply['account']}", "strong")]),
        Facts(pairs),
    ]
    if supply["operations"]:
        blocks += [Line(), _journal(supply["operations"], zone)]
    return blocks


def moved(supply: Mapping[str, Any], zone: ZoneInfo) -> list[Block]:
    """After a lock or unlock: the state, and what to beware of."""
    blocks = card(supply, zone)[:2]
    if not supply["changed"]:
        blocks.insert(0, Line([("Nothing to do: it was so already.", "dim")]))
    if "LINEMAN_LOCK" in supply["holds"]:
        text = "A lock is no isolation: test that the line is dead before you touch it."
        blocks += [Line(), Line([(text, "warn")])]
    return blocks


def test_step(step: Mapping[str, Any]) -> Line:
    """One step of a relay test, as it happens."""
    name = _STEPS.get(step["step"], step["step"])
    if "result" not in step:
        return Line([f"{name:<8}", ("          ", ""), step["text"]])
    after: Cell = (f"  after {step['after_s']} s", "dim")
    return Line([f"{name:<8}", _RESULTS.get(step["result"], step["result"]), step["text"], after])


def test_verdict(answer: Mapping[str, Any]) -> list[Block]:
    """The end of a relay test."""
    blocks: list[Block] = [Line(), Line([_VERDICTS.get(answer["verdict"], answer["verdict"])])]
    if answer["verdict"] == "unproven":
        text = "Have a lamp switched on there, and test again; or wire a feedback contact."
        blocks.append(Line([(text, "dim")]))
    if answer["verdict"] == "failed":
        text = "See hardware/WIRING.md: the coil's supply, its pin, a welded contact, a bypass."
        blocks.append(Line([(text, "dim")]))
    return blocks


def _proof(supply: Mapping[str, Any]) -> Cell:
    if supply["switch"] == "none":
        return ("no switch", "dim")
    if supply["proof"] == "unproven" and (supply["attempts"] or 0) > 1:
        return ("no effect yet, told again", "bad")
    return _PROOFS.get(supply["proof"], supply["proof"])


def _journal(operations: Sequence[Mapping[str, Any]], zone: ZoneInfo) -> Table:
    rows = [
        [
            words.moment(operation["at"], zone),
            _happened(operation),
            words.holds(operation["reason"].split(", ")),
            operation["by"],
        ]
        for operation in operations
    ]
    columns = [
        Column("When"),
        Column("What"),
        Column("Why", fold=True),
        Column("By", drop=1),
    ]
    return Table(columns, rows, ("Lately, newest first", "dim"))


def _happened(operation: Mapping[str, Any]) -> Cell:
    match operation["kind"]:
        case "hold_placed":
            return f"{words.holds([operation['hold']])} placed"
        case "hold_lifted":
            return f"{words.holds([operation['hold']])} lifted"
        case "commanded":
            return f"told to {'close' if operation['position'] == 'closed' else 'open'}"
        case "proven":
            return (f"seen {operation['position']}", "good")
    return (f"did not go {operation['position']}", "bad")
