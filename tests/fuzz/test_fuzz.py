"""Whatever comes from outside: a few thousand changed inputs, and those that once went wrong.

The long form is `python -m tests.fuzz`, guided by coverage where atheris is installed.
"""

import sys

import pytest

from tests.fuzz import messages
from tests.fuzz.run import TARGETS, chance_run, target_of
from tests.fuzz.target import Target

# What was found, as it came: each is tried again for ever.
FOUND = (
    # Half a character in a line on the local socket ended the whole gateway.
    ("local API lines", b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800", "params": {}}'),
    ("local API lines", b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "status"}'),
    ("local API lines", b'{"jsonrpc": "2.0", "id": 1, "method": "\xed\xa0\x80"}'),
    # A number that no database holds ended the head-end; in a retained state, at every start.
    ("messages to the head-end", b'\0{"state":"online","acknowledged":99999999999999999999}'),
    ("messages to the head-end", messages.STATES[0].replace(b"3", b"-9223372036854775809")),
    (
        "messages to the head-end",
        messages.BATCHES[0].replace(b'"sequence": 1,', b'"sequence": 9999999999999999999999,'),
    ),
    (
        "messages to the head-end",
        messages.BATCHES[0].replace(b'"seq": 1,', b'"seq": 9999999999999999999999,'),
    ),
    # Traces instead of words.
    ("command lines", b"headend show GW\xf6"),
    ("command lines", b"headend reverse R-1 --key key --amount !"),
)

CASES = 5000  # of the cheapest targets; a dearer one gets fewer


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
def test_nothing_uncaught_nothing_charged_nothing_switched(target, capsys, caplog):
    caplog.set_level("CRITICAL")
    cases, fault, data = chance_run(target, 1, cases=max(60, CASES // target.cost))

    assert not fault, f"{data!r}\n{fault}"
    with capsys.disabled():
        sys.stdout.write(f" [{cases}] ")


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_once_went_wrong_stays_right(name, data):
    target_of(name).make()(data)


def test_a_fault_is_seen():
    def make():
        def check(data: bytes) -> None:
            if b"\xff\xff" in data:
                raise KeyError

        return check

    cases, fault, data = chance_run(Target("t", make, (b"abc",)), 1, cases=9000)
    assert "KeyError" in fault
    assert b"\xff\xff" in data
    assert cases < 9000
