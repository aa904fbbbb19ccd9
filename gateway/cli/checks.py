"""What `gateway doctor` looks at, one finding after the other.

Rules of this file: nothing is changed. With the gateway running it asks it; without, it looks for
itself, at the database, the ports and the meters. A check that cannot be made says so; it never
says "ok" of what it has not seen.
"""

import asyncio
import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.cli import client, offline, words
from gateway.cli.basics import BROKEN_HINT, Settings
from gateway.cli.failure import Failure
from gateway.core.errors import ConfigError, DatabaseMissing, GatewayError, InvariantBroken
from gateway.core.moment import Trust
from gateway.services.timekeeping import SystemTimeSource
from gateway.store import ledger, registry
from hardware.api import HardwareError

if TYPE_CHECKING:
    from gateway.documents.config import Config

MIN_FREE_MB, LOW_FREE_MB = 50, 500
BROKER_TIMEOUT_S = 5.0
MEGABYTE = 1_000_000
# A gateway that has answered nobody for so long lets its outbox grow without anyone knowing.
OLD_BACKLOG_S = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict: ok, warn, fail, or skip for what could not be looked at."""

    subject: str
    verdict: str
    detail: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def run(settings: Settings) -> Iterator[Finding]:
    """All checks, from the ground up; without a configuration there is nothing to go by."""
    try:
        config = settings.load()
    except ConfigError as error:
        yield Finding("configuration", "fail", str(error), error.hint)
        return
    yield Finding("configuration", "ok", f"{config.path}, gateway {config.gateway_id}")
    yield from _keys(config)
    yield _disk(config)
    yield from _database(config)
    status: Mapping[str, Any] | None = None
    try:
        status = _ask_status(config)
        uptime = words.span(status["daemon"]["uptime_s"]) if status else ""
        if status is not None:
            yield Finding("gateway", "ok", f"runs for {uptime}, answers on {config.socket}")
        else:
            yield Finding(
                "gateway",
                "fail",
                "does not run",
                "gateway run (or: systemctl start prepaid-gateway)",
            )
    except (GatewayError, Failure) as error:
        yield Finding("gateway", "fail", str(error), error.hint)
    if status is not None:
        yield from _running(status, config)
    else:
        yield from _standing(config)


def _ask_status(config: "Config") -> Mapping[str, Any] | None:
    if not client.answers(config.socket):
        return None
    answer: Mapping[str, Any] = client.call(
        config.socket, "status", {}, timeout_s=client.READ_TIMEOUT_S
    )
    return answer


# --- what needs no gateway ------------------------------------------------------------------------


def _keys(config: "Config") -> Iterator[Finding]:
    if config.recharge_keys:
        names = ", ".join(sorted(config.recharge_keys))
        yield Finding("recharge keys", "ok", f"trusted: {names}")
    else:
        yield Finding(
            "recharge keys",
            "warn",
            "none: no recharge can be credited",
            "Put the head-end's public key into [keys.recharge].",
        )
    if config.policy is None:
        yield Finding(
            "policy",
            "warn",
            "none: supply is cut at any hour when the credit is used up",
            "Set [gateway] policy to a file; deploy/policies has examples.",
        )
    else:
        from gateway.documents.policy import load_policy  # noqa: PLC0415 - only if there is one

        try:
            yield Finding("policy", "ok", load_policy(config.policy).name)
        except GatewayError as error:
            yield Finding("policy", "fail", str(error), error.hint)


def _disk(config: "Config") -> Finding:
    folder = config.data_dir
    if not folder.is_dir():
        return Finding("disk", "fail", f"{folder} is not there", "Start the gateway once.")
    free_mb = shutil.disk_usage(folder).free // MEGABYTE
    told = f"{free_mb} MB free for {folder}"
    if free_mb < MIN_FREE_MB:
        return Finding("disk", "fail", told, "Make room, or the ledger cannot be written.")
    if free_mb < LOW_FREE_MB:
        return Finding("disk", "warn", told, "Make room before it runs out.")
    return Finding("disk", "ok", told)


def _database(config: "Config") -> Iterator[Finding]:
    try:
        with offline.record(config) as source:
            reader = source.reader
            verdict = reader.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                hint = "Keep the file as it is, and restore a copy."
                yield Finding("database", "fail", f"is damaged: {verdict}", hint)
                return
            yield _sums(reader)
    except DatabaseMissing as error:
        yield Finding("database", "fail", str(error), error.hint)
    except GatewayError as error:
        yield Finding("database", "fail", str(error), error.hint)


def _sums(reader: sqlite3.Connection) -> Finding:
    accounts = registry.accounts(reader, closed=True)
    for account in accounts:
        try:
            ledger.load_book(reader, account.name)
        except InvariantBroken as error:
            return Finding("ledger", "fail", str(error), BROKEN_HINT)
    entries = reader.execute("SELECT count(*) FROM entries").fetchone()[0]
    told = f"{len(accounts)} accounts, {entries} entries; every balance is the sum of its entries"
    return Finding("ledger", "ok", told)


def _standing(config: "Config") -> Iterator[Finding]:
    """The gateway is down: look at clock, lines, meters and broker ourselves."""
    trust = SystemTimeSource(config.trust_system_clock, config.trust_rtc).trust()
    yield _clock(trust.name.lower(), proven=trust.proven)
    rows = offline.meters_on_record(config)
    if not config.buses:
        yield Finding("buses", "fail", "none configured", "Add [bus.rs485-0] with a port.")
    for name, bus in config.buses.items():
        mine = [row for row in rows if row.bus == name]
        try:
            found = asyncio.run(offline.probe_all(config, name, mine))
        except HardwareError as error:
            yield Finding(f"bus {name}", "fail", str(error), error.hint)
            continue
        told = f"{bus.port} opens at {bus.settings}"
        if mine:
            yield Finding(f"bus {name}", "ok", told)
        else:
            yield Finding(f"bus {name}", "warn", f"{told}, no meter yet", "gateway meter scan")
        for meter, fault in found.items():
            yield _meter(meter, fault)
    yield Finding("relays", "skip", "only a running gateway may hold their pins")
    yield _broker(config)


def _meter(name: str, error: Exception | None) -> Finding:
    if error is None:
        return Finding(f"meter {name}", "ok", "answers")
    return Finding(f"meter {name}", "fail", str(error), getattr(error, "hint", ""))


def _clock(trust: str, *, proven: bool) -> Finding:
    if proven:
        return Finding("clock", "ok", f"proven by {trust}")
    return Finding(
        "clock",
        "warn",
        "not proven: days do not close and cut hours are not known",
        "Let NTP in, or fit a clock chip; timedatectl shows what there is.",
    )


def _broker(config: "Config") -> Finding:
    mqtt = config.mqtt
    if mqtt is None:
        return Finding("head-end", "skip", "no broker is configured; recharges come by hand")
    try:
        with contextlib.closing(socket.create_connection((mqtt.host, mqtt.port), BROKER_TIMEOUT_S)):
            return Finding("head-end", "ok", f"{mqtt.host}:{mqtt.port} can be reached")
    except OSError as error:
        hint = "The gateway works on without it. Check the network, the name and the port."
        return Finding("head-end", "warn", f"{mqtt.host}:{mqtt.port}: {error}", hint)


# --- what the running gateway says ----------------------------------------------------------------


def _running(status: Mapping[str, Any], config: "Config") -> Iterator[Finding]:
    trust = Trust[status["time"]["trust"].upper()]
    yield _clock(trust.name.lower(), proven=trust.proven)
    if not status["buses"]:
        yield Finding("buses", "fail", "none configured", "Add [bus.rs485-0] with a port.")
    for bus in status["buses"]:
        told = f"{bus['port']} at {bus['settings']}"
        if bus["open"]:
            yield Finding(f"bus {bus['bus']}", "ok", told)
        else:
            hint = "Is the adapter plugged in? ls -l /dev/serial/by-id"
            yield Finding(f"bus {bus['bus']}", "fail", bus["error"] or "is not open", hint)
    for meter in status["meters"]:
        yield _live_meter(meter)
    yield from _alarms(status)
    yield _live_link(status["sync"], status["time"]["utc"], config)


def _live_meter(meter: Mapping[str, Any]) -> Finding:
    subject = f"meter {meter['meter']}"
    if meter["state"] == "silent":
        hint = f"Power, A/B, address {meter['address']}; then: gateway meter read {meter['meter']}"
        return Finding(subject, "fail", meter["error"] or "is silent", hint)
    if meter["state"] != "answering":
        return Finding(subject, "warn", meter["error"] or "has not been asked yet")
    tries = meter["reads"] + meter["timeouts"] + meter["garbled"]
    bad = meter["timeouts"] + meter["garbled"]
    told = f"answers in {meter['turnaround_ms']} ms, {bad} of {tries} reads failed"
    if tries and bad * 20 > tries:  # more than one in twenty is a line to be looked at
        hint = "Check the terminators, the shield, and that no two meters share an address."
        return Finding(subject, "warn", told, hint)
    return Finding(subject, "ok", told)


def _alarms(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Relays by their alarms; and every other alarm that no line above has told."""
    relays = 0
    for alarm in status["alarms"]:
        if alarm["alarm"] in ("METER_SILENT", "BUS_DOWN"):
            continue  # told above
        if alarm["alarm"].startswith("SWITCH_"):
            relays += 1
            hint = f"gateway supply show {alarm['subject']}"
            detail = f"{alarm['text']}: {alarm['detail']}"
            yield Finding(f"relay of {alarm['subject']}", "fail", detail, hint)
        else:
            yield Finding(alarm["subject"], "fail", f"{alarm['text']}: {alarm['detail']}")
    switched = [home for home in status["homes"] if home["switch"] != "none"]
    if switched and not relays:
        told = f"{len(switched)} in use, none is known to disobey"
        yield Finding("relays", "ok", told)


def _live_link(sync: Mapping[str, Any], now: str, config: "Config") -> Finding:
    if config.mqtt is None:
        return Finding("head-end", "skip", "no broker is configured; recharges come by hand")
    link, outbox = sync["link"], sync["outbox"]
    told = f"{outbox['waiting']} events waiting"
    if link is None or not link["connected"]:
        reason = (link or {}).get("error") or "no link"
        hint = (link or {}).get("hint") or "The gateway works on without it."
        return Finding("head-end", "warn", f"{reason}; {told}", hint)
    oldest = outbox["oldest_waiting_at"]
    if oldest and (words.parse(now) - words.parse(oldest)).total_seconds() > OLD_BACKLOG_S:
        hint = "The broker takes them, the head-end does not acknowledge: is it running?"
        return Finding("head-end", "warn", f"connected, but {told} for days", hint)
    return Finding("head-end", "ok", f"connected to {link['broker']}, {told}")
