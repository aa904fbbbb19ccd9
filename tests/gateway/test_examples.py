"""The files in deploy/ load, say what the code does, and explain every key."""

import dataclasses
import re
import typing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.core.moment import Moment, Trust
from gateway.core.policy import may_cut
from gateway.core.tariff import DayUsage, bill, total_paise
from gateway.documents.config import ConfigFile, load_config
from gateway.documents.policy import load_policy
from gateway.documents.tariff import load_tariff
from hardware.datafile import parse_toml

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLE = DEPLOY / "config.example.toml"
INDIA = ZoneInfo("Asia/Kolkata")


def tables() -> dict[str, type]:
    """Each table of the schema by its name in the file."""
    hints = typing.get_type_hints(ConfigFile)
    found = {}
    for name, hint in hints.items():
        arguments = [a for a in typing.get_args(hint) if dataclasses.is_dataclass(a)]
        schema = arguments[0] if arguments else hint
        found[name] = schema
    return found


def documented() -> dict[tuple[str, str], str]:
    """(table, key): the comment right above it, in the example."""
    found, table, comment = {}, "", []
    for line in EXAMPLE.read_text().splitlines():
        if heading := re.fullmatch(r"\[([\w.-]+)\]", line):
            table = heading[1].split(".")[0]
            comment = []
        elif key := re.fullmatch(r"(?:# )?([a-z_]+) = .+", line):
            found[table, key[1]] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def test_the_example_loads():
    config = load_config(EXAMPLE)
    assert config.gateway_id == "GW-1"
    assert config.mqtt is not None
    assert config.mqtt.tls
    assert config.recharge_keys == {}, "an example key would be believed by whoever copies the file"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (table, item.name)
        for table, schema in tables().items()
        if table != "keys"
        for item in dataclasses.fields(schema)
    ],
)
def test_every_key_of_the_schema_stands_in_the_example_with_a_comment(table, key):
    assert len(documented()[table, key]) > 8


def test_both_tables_of_keys_stand_in_the_example():
    text = EXAMPLE.read_text()
    for item in dataclasses.fields(tables()["keys"]):
        assert f"[keys.{item.name}]" in text


def test_the_example_shows_the_defaults():
    """What the example says of a key that it sets, unless it says there is none."""
    written = parse_toml(EXAMPLE.read_text(), ConfigFile, name="example")
    for table, section in (
        ("gateway", written.gateway),
        ("bus", written.bus["rs485-0"]),
        ("time", written.time),
    ):
        for item in dataclasses.fields(section):
            if (
                item.default is dataclasses.MISSING
                or "No default" in documented()[table, item.name]
            ):
                continue
            assert getattr(section, item.name) == item.default, (table, item.name)


def test_the_optional_lines_are_right_when_they_are_uncommented():
    text = re.sub(r"(?m)^# ([a-z_]+ = [^#]+)$", r"\1", EXAMPLE.read_text())
    written = parse_toml(text, ConfigFile, name="example")
    assert written.gateway.policy == "policies/cspdcl.toml"
    assert written.local.socket is not None
    assert written.bus["rs485-0"].timeout_s == Decimal("0.5")


@pytest.mark.parametrize("path", sorted((DEPLOY / "tariffs").glob("*.toml")), ids=lambda p: p.stem)
def test_each_tariff_loads_and_says_where_it_is_from(path):
    tariff = load_tariff(path)
    assert tariff.source
    assert not tariff.verified, "nobody has compared these with an order yet"


@pytest.mark.parametrize("path", sorted((DEPLOY / "policies").glob("*.toml")), ids=lambda p: p.stem)
def test_each_policy_loads_and_says_where_it_is_from(path):
    assert load_policy(path).source


def test_the_cspdcl_tariff_gives_the_worked_example_of_low_use():
    """45 kWh in September 2025: 184.50 + 20.00 + 20.30 + 4.50 = 229.30."""
    tariff = load_tariff(DEPLOY / "tariffs" / "cspdcl-lv1-2025-26.toml")
    days = [DayUsage(date(2025, 9, day), 1500, fixed_due=True) for day in range(1, 31)]
    assert total_paise(bill(tariff, days)) == 22930


def test_the_cspdcl_tariff_gives_the_worked_example_across_two_slabs():
    """250 kWh in September 2025, without FPPAS: 1,110.00 + 20.00 + 122.10 + 25.00."""
    tariff = load_tariff(DEPLOY / "tariffs" / "cspdcl-lv1-2025-26.toml")
    use_wh = [8000] * 20 + [9000] * 10
    days = [DayUsage(date(2025, 9, n + 1), wh, fixed_due=True) for n, wh in enumerate(use_wh)]
    assert total_paise(bill(tariff, days)) == 127710


@pytest.mark.parametrize(
    ("policy", "local", "allowed"),
    [
        ("cspdcl", "2026-11-24T09:59:59", False),
        ("cspdcl", "2026-11-24T10:00:00", True),
        ("cspdcl", "2026-11-24T14:00:00", False),
        ("cspdcl", "2026-11-22T12:00:00", False),  # a Sunday
        ("cspdcl", "2026-10-02T12:00:00", False),  # Gandhi Jayanti, a Friday
        ("up", "2026-11-24T07:59:59", False),
        ("up", "2026-11-24T08:00:00", True),
        ("up", "2026-11-24T18:00:00", False),
        ("bihar", "2026-11-24T10:59:59", False),
        ("bihar", "2026-11-24T17:29:59", True),
        ("bihar", "2026-08-15T12:00:00", False),  # Independence Day, a Saturday
        ("any-hour", "2026-11-22T03:00:00", True),
    ],
)
def test_a_policy_allows_a_cut_exactly_in_its_hours(policy, local, allowed):
    rules = load_policy(DEPLOY / "policies" / f"{policy}.toml")
    at = datetime.fromisoformat(local).replace(tzinfo=INDIA).astimezone(UTC)
    assert may_cut(rules, 0, Moment(at, Trust.NTP), INDIA).allowed is allowed
    assert not may_cut(rules, 1, Moment(at, Trust.NTP), INDIA).allowed
