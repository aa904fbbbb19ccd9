"""README says what the commands are, and only what there is."""

import re
from pathlib import Path

from gateway.cli.root import all_commands
from tests.readme import README, renewed


def test_the_table_of_commands_is_the_programs_own():
    text = README.read_text(encoding="utf-8")

    assert renewed(text) == text, "write it anew with: python -m tests.readme"


def test_every_command_has_a_line_of_help():
    assert [name for name, text in all_commands() if len(text) < 10] == []


def test_every_command_and_file_that_readme_names_is_there():
    text = README.read_text(encoding="utf-8")
    known = {name for name, _ in all_commands()}
    nouns = {name.split()[0] for name in known if " " in name}
    named = re.findall(r"gateway ([a-z]+ [a-z]+)", text)

    assert [words for words in named if words.split()[0] in nouns and words not in known] == []
    for path in re.findall(r"\]\(([a-zA-Z_./-]+)\)", text):
        assert (Path(README.parent) / path).exists(), path
