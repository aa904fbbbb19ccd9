"""How `gateway doctor` looks."""

from collections.abc import Mapping, Sequence

from gateway.cli.checks import Finding
from gateway.cli.render import Line
from gateway.cli.render import show as draw
from gateway.cli.words import Cell

_MARKS: Mapping[str, Cell] = {
    "ok": ("● ok      ", "good"),
    "warn": ("▲ look    ", "warn"),
    "fail": ("✗ wrong   ", "bad"),
    "skip": ("- skipped ", "dim"),
}


def show(finding: Finding) -> None:
    """One verdict, and the next step under it."""
    draw(Line([_MARKS[finding.verdict], (finding.subject, "strong"), f"  {finding.detail}"]))
    if finding.hint and finding.verdict != "ok":
        draw(Line([("            ", ""), ("try: ", "dim"), finding.hint]))


def show_end(findings: Sequence[Finding]) -> None:
    """The sum of it."""
    wrong = sum(finding.verdict == "fail" for finding in findings)
    look = sum(finding.verdict == "warn" for finding in findings)
    told: list[Cell] = [("Everything is in order.", "good")]
    if wrong:
        told = [(f"{wrong} wrong", "bad"), f", {look} to look at."]
    elif look:
        told = [("Nothing is wrong", "good"), f"; {look} to look at."]
    draw(Line(), Line(told))
