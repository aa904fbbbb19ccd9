"""How a receipt looks. Pure; drawing is in `render`."""

from collections.abc import Mapping
from typing import Any

from gateway.cli import words
from gateway.cli.render import Block, Facts, Line
from gateway.cli.words import Cell

_OUTCOMES: Mapping[str, Cell] = {
    "CREDITED": ("● Credited", "good"),
    "ALREADY_CREDITED": ("● Credited before: nothing is added", "good"),
    "CONFLICT": ("✗ Refused: this recharge was credited with another content", "bad"),
    "UNKNOWN_ACCOUNT": ("✗ Refused: there is no such open account here", "bad"),
    "UNKNOWN_REVERSAL": ("✗ Refused: what it takes back was never credited here", "bad"),
    "WRONG_GATEWAY": ("✗ Refused: it is for another gateway", "bad"),
    "BAD_SIGNATURE": ("✗ Refused: the signature does not fit", "bad"),
    "UNKNOWN_KEY": ("✗ Refused: it is signed with a key that is not trusted here", "bad"),
    "MALFORMED": ("✗ Refused: this is not a recharge", "bad"),
}


def receipt(answer: Mapping[str, Any]) -> list[Block]:
    """What became of a note."""
    body = answer["receipt"]
    blocks: list[Block] = [Line([_OUTCOMES.get(answer["outcome"], answer["outcome"])])]
    pairs: list[tuple[str, Cell | list[Cell]]] = []
    if body.get("account"):
        pairs.append(("Account", body["account"]))
    if body.get("amount_paise") is not None:
        pairs.append(("Amount", words.money(body["amount_paise"])))
    if body.get("balance_paise") is not None:
        pairs.append(("Balance", words.money(body["balance_paise"])))
    if body.get("supply"):
        reason = words.holds(body["holds"])
        pairs.append(("Supply", [words.supply(body["supply"]), f"  {reason}" if reason else ""]))
    if body.get("recharge_id"):
        pairs.append(("Recharge", body["recharge_id"]))
    if body.get("ledger_seq") is not None:
        pairs.append(("Ledger line", str(body["ledger_seq"])))
    if body.get("detail"):
        pairs.append(("Because", body["detail"]))
    if pairs:
        blocks.append(Facts(pairs))
    return blocks
