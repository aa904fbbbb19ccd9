"""What `status`, `meter list` and `sync status` answer: the whole gateway at one look.

Rules of this file: as `queries`: plain dicts, nothing is changed, and with the daemon down what the
database knows. Times of meters and links are told as ISO 8601 in UTC.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway import __version__
from gateway.core.moment import iso_utc
from gateway.services.queries import Source, account_list, natural
from gateway.store import intervals, outbox, registry
from gateway.store.registry import MeterRow
from hardware.api import BusHealth, LinkState, MeterLink, MeterReading, Quantity


def status(source: Source) -> dict[str, Any]:
    """The whole gateway. `daemon.running` false: what the database knows, and no more."""
    live, now = source.live, source.now()
    homes = account_list(source)
    reports = _reports(source)
    vitals = live.health.vitals() if live else None
    return {
        "gateway": source.gateway_id,
        "version": __version__,
        "daemon": {
            "running": live is not None,
            "uptime_s": vitals.uptime_s if vitals else None,
            "peak_memory_kb": vitals.peak_memory_kb if vitals else None,
        },
        "time": {
            "utc": now.iso(),
            "trust": now.trust.name.lower(),
            "proven": now.proven,
            "zone": source.zone.key,
        },
        "policy": source.policy.name,
        "homes": homes,
        "buses": [_bus(report) for report in reports],
        "meters": meter_list(source),
        "alarms": [
            {
                "alarm": standing.alarm.name,
                "text": standing.alarm.value,
                "subject": standing.subject,
                "detail": standing.detail,
                "since": standing.since_utc,
            }
            for standing in (live.books.alarms.standing() if live else ())
        ],
        "sync": sync_status(source),
        "refused_recharges": live.recharging.refused if live else None,
    }


def sync_status(source: Source) -> dict[str, Any]:
    """The link to the head-end, and what waits for it."""
    waiting, newest, acknowledged = outbox.counts(source.reader)
    if source.live is not None:  # acknowledged events are deleted with the next write
        acknowledged = source.live.books.acknowledged
        waiting = newest - acknowledged
    first = outbox.pending(source.reader, acknowledged, 1)
    return {
        "gateway": source.gateway_id,
        "outbox": {
            "waiting": waiting,
            "newest_sequence": newest,
            "acknowledged_sequence": acknowledged,
            "oldest_waiting_at": iso_utc(first[0].utc_s) if first else None,
        },
        "link": _link(source),
    }


def meter_list(source: Source) -> list[dict[str, Any]]:
    """Every meter in service, how its line is, and the last it said."""
    users = {row.meter: row.name for row in registry.accounts(source.reader)}
    links: dict[str, MeterLink] = {}
    for report in _reports(source):
        links.update(report.meters)
        if not report.open:  # their counters say how they were: nobody can answer on a dead line
            for link in report.meters.values():
                link.state, link.last_error = LinkState.SILENT, report.last_error
    newest = next(intervals.newest(source.reader, 1), None) if source.live is None else None
    found = []
    for row in sorted(registry.meters(source.reader), key=lambda row: natural(row.name)):
        told = _meter_facts(row, users.get(row.name))
        if source.live is not None:
            told |= _last_heard(source, row.name, links.get(row.name))
        elif newest is not None and row.name in newest.readings:
            register_wh, power_w = newest.readings[row.name]
            told |= {
                "register_wh": register_wh,
                "power_w": power_w,
                "as_of": iso_utc(newest.utc_s),
            }
        found.append(told)
    return found


def reading_values(reading: MeterReading) -> dict[str, dict[str, Any]]:
    """Every value of a reading by the name of its quantity."""
    return {
        quantity.value: {"value": value.value, "unit": value.unit, "quality": value.quality.value}
        for quantity, value in reading.values.items()
    }


# --- parts ----------------------------------------------------------------------------------------


def _reports(source: Source) -> list[BusHealth]:
    return [bus.health() for bus in source.live.buses.values()] if source.live else []


def _bus(report: BusHealth) -> dict[str, Any]:
    links = report.meters.values()
    return {
        "bus": report.bus,
        "port": report.port,
        "settings": str(report.settings),
        "open": report.open,
        "error": report.last_error,
        "busy_share": round(report.busy_share, 3) if report.busy_share is not None else None,
        "meters": len(report.meters),
        "answering": sum(link.state is LinkState.ANSWERING for link in links),
    }


def _link(source: Source) -> dict[str, Any] | None:
    """The link as the running gateway sees it; None without a daemon or without a broker."""
    counters = source.live.sync.status() if source.live else None
    link = counters.link if counters else None
    if counters is None or link is None:
        return None
    return {
        "broker": link.broker,
        "connected": link.connected,
        "connected_since": _at(source, link.connected_since_s),
        "sessions": link.sessions,
        "failures": link.failures,
        "next_attempt_at": _at(source, link.next_attempt_at_s),
        "error": None if link.connected else link.last_error,
        "hint": None if link.connected else link.last_hint,
        "events_sent": counters.events_sent,
        "batches_sent": counters.batches_sent,
        "resends": counters.resends,
        "acks": counters.acks,
        "last_ack_at": _at(source, counters.last_ack_at_s),
        "recharges": counters.recharges,
        "handling_failures": counters.failures,
        "last_handling_failure": counters.last_failure,
    }


def _at(source: Source, loop_s: float | None) -> str | None:
    """A time of the event loop as wall time."""
    if loop_s is None:
        return None
    return iso_utc(source.now().utc_s + round(loop_s - asyncio.get_running_loop().time()))


def _meter_facts(row: MeterRow, account: str | None) -> dict[str, Any]:
    return {
        "meter": row.name,
        "bus": row.bus,
        "address": row.address,
        "model": row.model,
        "serial": row.serial,
        "max_w": row.max_w,
        "account": account,
        "state": LinkState.UNKNOWN.value,
        "register_wh": None,
        "power_w": None,
        "voltage_mv": None,
        "as_of": None,
        "error": None,
    }


def _last_heard(source: Source, name: str, link: MeterLink | None) -> Mapping[str, Any]:
    told: dict[str, Any] = {}
    heard = source.live.books.live.meters.get(name) if source.live else None
    if heard is not None and heard.reading is not None:
        told |= {
            "register_wh": heard.reading.good(Quantity.ENERGY_IMPORT),
            "power_w": heard.reading.good(Quantity.ACTIVE_POWER),
            "voltage_mv": heard.reading.good(Quantity.VOLTAGE),
            "as_of": _at(source, heard.reading.read_at_s),
        }
    if link is not None:
        turnaround_s = link.turnaround_s
        told |= {
            "state": link.state.value,
            "error": link.last_error,
            "reads": link.reads,
            "timeouts": link.timeouts,
            "garbled": link.garbled,
            "refused": link.refused,
            "turnaround_ms": round(turnaround_s * 1000, 1) if turnaround_s is not None else None,
            "next_try_at": _at(source, link.next_try_at_s),
        }
    else:
        told |= {"error": "its bus is not in the configuration"}
    return told
