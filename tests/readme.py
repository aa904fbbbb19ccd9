"""The generated part of README.md; `python -m tests.readme` writes it anew."""

import re
from pathlib import Path

from gateway.cli.root import all_commands

README = Path(__file__).parents[1] / "README.md"
_COMMANDS = re.compile(r"(<!-- commands: begin -->\n).*?(<!-- commands: end -->)", re.DOTALL)


def command_table() -> str:
    """Every command with its one line of help."""
    rows = [f"| `gateway {name}` | {text} |\n" for name, text in all_commands()]
    return "| command | what it does |\n|---|---|\n" + "".join(rows)


def renewed(text: str) -> str:
    """README's text with the table as it should be."""
    return _COMMANDS.sub(lambda match: match[1] + command_table() + match[2], text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
