"""Files that people write: what loads can be worked with, what does not is refused in words."""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.core.errors import ConfigError, PolicyError, TariffError
from gateway.core.moment import Moment, Trust
from gateway.core.policy import may_cut
from gateway.core.tariff import DayUsage, bill, total_paise
from gateway.documents.config import load_config
from gateway.documents.policy import load_policy, parse_policy, policy_digest, policy_text
from gateway.documents.tariff import load_tariff, parse_tariff, tariff_digest, tariff_text
from hardware.api import ModelError, SwitchSpecError
from hardware.meters.model import load_model
from hardware.meters.plan import plan_blocks
from hardware.relays.spec import parse_switch
from tests.fuzz.target import Check, Target, demand

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("Asia/Kolkata")


def _file(name: str) -> Path:
    """A file to write each case into, in a folder that lasts as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _FOLDERS.append(folder)
    return Path(folder.name) / name


_FOLDERS: list[tempfile.TemporaryDirectory] = []


def config() -> Check:
    path = _file("gateway.toml")

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            loaded = load_config(path)
        except ConfigError as error:
            demand(bool(str(error)), "an error without a word")
            return
        demand(all(len(key) == 32 for key in loaded.recharge_keys.values()), "a key of odd size")
        demand(loaded.data_dir.is_absolute() and loaded.socket.is_absolute(), "a relative path")

    return check


def tariffs() -> Check:
    path = _file("t.toml")
    month = [date(2026, 2, day) for day in (1, 9, 27, 28)]

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            tariff = load_tariff(path)
        except TariffError as error:
            demand(bool(str(error)), "an error without a word")
            return
        again = parse_tariff(tariff_text(tariff), name="again")
        demand(tariff_digest(again) == tariff_digest(tariff), "not the same when written out")
        before = 0
        for count in range(len(month) + 1):
            days = [DayUsage(day, 7_777_777, True) for day in month[:count]]
            total = total_paise(bill(tariff, days))
            demand(isinstance(total, int) and total >= before, "a bill that falls")
            before = total

    return check


def policies() -> Check:
    path = _file("p.toml")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            policy = load_policy(path)
        except PolicyError as error:
            demand(bool(str(error)), "an error without a word")
            return
        again = parse_policy(policy_text(policy), name="again")
        demand(policy_digest(again) == policy_digest(policy), "not the same when written out")
        for hours in range(0, 400, 37):
            for trust in (Trust.NONE, Trust.NTP):
                now = Moment(start + timedelta(hours=hours), trust)
                above = may_cut(policy, policy.credit_limit_paise + 1, now, ZONE)
                demand(not above.allowed, "a cut with credit left")
                may_cut(policy, -(10**9), now, ZONE)

    return check


def models() -> Check:
    path = _file("sdm120.toml")

    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            model = load_model(path)
        except ModelError as error:
            demand(bool(str(error)), "an error without a word")
            return
        blocks = plan_blocks(model.registers, model.max_registers)
        demand(sum(len(block.quantities) for block in blocks) == len(model.registers), "lost one")
        for quantity, register in model.registers.items():
            for word in (0, 0x7FFF, 0xFFFF):
                register.decode([word] * register.count, quantity)

    return check


def switches() -> Check:
    def check(data: bytes) -> None:
        try:
            spec = parse_switch(data.decode("utf-8", "surrogateescape"))
        except SwitchSpecError as error:
            demand(bool(str(error)), "an error without a word")
            return
        demand(parse_switch(str(spec)) == spec, f"{spec} is read back as something else")

    return check


def _read(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(ROOT.glob(pattern)))


SPECS = (
    b"none", b"gpio:17", b"gpio:17:active-low", b"gpio:17:feedback=27:feedback-active-low",
    b"latching:5,6", b"latching:5,6:pulse-ms=150:active-low",
)  # fmt: skip
FULL_CONFIG = b"""[gateway]
id = "GW-1"
[mqtt]
host = "localhost"
port = 1883
[keys.recharge]
office-1 = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
[bus.rs485-0]
port = "/dev/ttyUSB0"
baud = 9600
parity = "N"
stop_bits = 1
"""

TARGETS = (
    Target("config", config, (FULL_CONFIG, *_read("deploy/config.example.toml")), cost=2),
    Target("tariff files", tariffs, _read("deploy/tariffs/*.toml"), cost=4),
    Target("policy files", policies, _read("deploy/policies/*.toml"), cost=4),
    Target("meter models", models, _read("hardware/meters/models/*.toml"), cost=4),
    Target("switch specs", switches, SPECS, (b":", b"=", b",", b"feedback", b"pulse-ms")),
)
