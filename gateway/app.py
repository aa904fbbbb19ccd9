"""The composition root: the only module that picks concrete drivers.

`App` is the whole gateway, put together from a configuration. Everything it is made of can be
replaced by the caller (`Parts`): the demo and the simulation run this very class with another
clock, other ports and another disk.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway import __version__
from gateway.core.policy import Policy
from gateway.documents.config import Config
from gateway.documents.policy import load_policy
from gateway.link.api import Link
from gateway.link.mqtt import gateway_link
from gateway.services.alarms import Alarms
from gateway.services.bookkeeping import Bookkeeper
from gateway.services.commissioning import Commissioning, SwitchGrammar
from gateway.services.enforcement import Enforcement, OpenSwitch
from gateway.services.health import Health
from gateway.services.recharging import Recharging
from gateway.services.sync import Sync
from gateway.services.timekeeping import Clock, SystemTimeSource, Timekeeper
from gateway.store import outbox, registry
from gateway.store.database import Database
from gateway.store.outbox import OutboxEvent
from hardware import systemd
from hardware.api import Contact, MeterBus, SupplySwitch
from hardware.registry import model_library, open_bus
from hardware.relays.opening import open_switch
from hardware.relays.spec import parse_switch

log = logging.getLogger(__name__)


def _notify(message: str) -> None:
    systemd.notify(message)


def _open_switch(spec: str, assumed: Contact) -> SupplySwitch:
    return open_switch(spec, assumed=assumed)


@dataclass(slots=True)
class Parts:
    """What a caller may put in the place of the real thing; None stands for the real thing."""

    clock: Clock | None = None
    database: Database | None = None
    buses: Mapping[str, MeterBus] | None = None
    open_switch: OpenSwitch = _open_switch
    link: Link | None = None
    notify: Callable[[str], None] = _notify
    extra_tasks: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)


class App:
    """A gateway, assembled and loaded, ready to `run`. Make it inside a running event loop."""

    def __init__(self, config: Config, parts: Parts | None = None) -> None:
        """Open the database, load the accounts, claim the switches as they are.

        Raises `ConfigError`, `PolicyError` or `StoreError`. A missing port or pin is an alarm, not
        an error: the rest works on.
        """
        parts = parts or Parts()
        self.config = config
        self.parts = parts
        policy = load_policy(config.policy) if config.policy else Policy()
        self.library = model_library([config.models] if config.models else [])
        self.db = parts.database or Database(config.data_dir)
        self.alarms = Alarms()
        self.clock = parts.clock or self._system_clock()
        self.books = Bookkeeper(self.db, self.clock, config.zone, policy, self.alarms)
        self.buses: Mapping[str, MeterBus] = (
            parts.buses if parts.buses is not None else self._open_buses()
        )
        self.enforcement = Enforcement(self.books, parts.open_switch)
        grammar = SwitchGrammar(
            canonical=lambda text: str(parse_switch(text)),
            pins=lambda text: parse_switch(text).pins(),
        )
        self.commissioning = Commissioning(self.books, self.enforcement, self.buses, grammar)
        self.recharging = Recharging(self.books, config.gateway_id, config.recharge_keys)
        self.sync = Sync(
            config.gateway_id,
            parts.link or gateway_link(config.gateway_id, config.mqtt),
            _Outbox(self.books),
            self._credit,
            now=self.clock.now,
            version=__version__,
        )
        self.health = Health(self.buses, self.alarms, self.clock, parts.notify)
        self.commissioning.load()
        for bus in self.buses.values():
            bus.subscribe(self.books.observe)

    async def run(self) -> None:
        """Run every loop until cancelled, or until one of them finds the ledger broken.

        Raises an `ExceptionGroup` when a loop fails: the process should then end, and systemd
        start it again. Supply stays as it is meanwhile.
        """
        self.books.fatal = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._end_if_broken(), name="invariants")
                for name, bus in self.buses.items():
                    group.create_task(bus.run(), name=f"bus {name}")
                group.create_task(self.books.run(), name="bookkeeping")
                group.create_task(self.enforcement.run(), name="enforcement")
                group.create_task(self.sync.run(), name="sync")
                group.create_task(self.health.run(), name="health")
                for start in self.parts.extra_tasks:
                    group.create_task(start())
        finally:
            self.close()

    def close(self) -> None:
        """Let go of switches and database; contacts stay where they are."""
        self.enforcement.close()
        self.db.close()

    async def _end_if_broken(self) -> None:
        if self.books.fatal is not None:
            await self.books.fatal

    async def _credit(self, note: bytes) -> None:
        await self.recharging.apply(note, "mqtt")

    def _system_clock(self) -> Clock:
        config = self.config
        source = SystemTimeSource(config.trust_system_clock, config.trust_rtc)
        floor = registry.time_floor(self.db.reader)
        return Timekeeper(source, asyncio.get_running_loop().time, floor)

    def _open_buses(self) -> dict[str, MeterBus]:
        return {
            name: open_bus(
                name,
                bus.port,
                bus.settings,
                self.library,
                poll_interval_s=bus.poll_interval_s,
                timeout_s=bus.timeout_s,
            )
            for name, bus in self.config.buses.items()
        }


class _Outbox:
    """The outbox as the sync service sees it."""

    def __init__(self, books: Bookkeeper) -> None:
        self._books = books

    @property
    def changed(self) -> asyncio.Event:
        """Set whenever an event was added."""
        return self._books.outbox_changed

    def pending(self, after: int, limit: int) -> list[OutboxEvent]:
        """The next events after a sequence."""
        return outbox.pending(self._books.db.reader, after, limit)

    async def acknowledge(self, through: int) -> None:
        """Forget what the head-end has stored."""
        await self._books.acknowledge(through)
