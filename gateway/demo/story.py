"""The story of the demonstration: who runs out, who pays, what breaks, what comes back.

Nothing here touches the gateway but by the roads that exist: recharges come signed from the
head-end over MQTT, or as a file while the link is down; faults happen to the street and the broker.
"""

import asyncio
from dataclasses import dataclass

from gateway.core.supply import Hold
from gateway.core.units import format_rupees
from gateway.demo.news import News
from gateway.demo.town import Household, Town
from gateway.headend.broker import EmbeddedBroker
from gateway.headend.collector import Collector
from gateway.headend.issuer import Issuer
from hardware.sim.street import EventKind, StreetEvent

RUPEE = 100
PAY_AFTER_S = 4.0  # real seconds from the dark to the consumer's payment
VEND_PAISE = 30 * RUPEE

# Loads are six times a home's usual, so that something happens within two minutes.
LIVELY_PERMILLE = 6000
HOUSEHOLDS = (
    Household(2_00, LIVELY_PERMILLE),
    Household(85_00, LIVELY_PERMILLE),
    Household(3_20, LIVELY_PERMILLE),
    Household(60_00, LIVELY_PERMILLE),
    Household(5_00, LIVELY_PERMILLE),
    Household(120_00, LIVELY_PERMILLE),
    Household(4_20, LIVELY_PERMILLE),
    Household(40_00, LIVELY_PERMILLE),
)
DYING_METER = "A-106"


@dataclass(slots=True)
class HeadEnd:
    """The other side: broker, collector, issuer."""

    broker: EmbeddedBroker
    collector: Collector
    issuer: Issuer
    link_up: bool = True


class Story:
    """Plays the story over `seconds` of real time."""

    def __init__(self, town: Town, head_end: HeadEnd, news: News, seconds: float) -> None:
        self._town = town
        self._head_end = head_end
        self._news = news
        self._seconds = seconds
        self._paying: set[str] = set()
        self.recharges = 0

    async def play(self) -> None:
        """Run the whole story; at its end everything that broke has been mended."""
        async with asyncio.TaskGroup() as group:
            people = group.create_task(self._people())
            await self._faults()
            people.cancel()

    async def mend(self) -> None:
        """Bring back whatever is still broken, when the story is cut short."""
        self._happen(EventKind.METER_RETURNS)
        if not self._head_end.link_up:
            await self._head_end.broker.start()
            self._head_end.link_up = True

    async def _faults(self) -> None:
        share = self._seconds / 100
        await asyncio.sleep(12 * share)
        self._happen(EventKind.METER_DIES)
        self._news.tell(f"{DYING_METER}: its meter stops answering; its home stays connected")
        await asyncio.sleep(23 * share)
        await self._head_end.broker.stop()
        self._head_end.link_up = False
        self._news.tell("the link to the head-end drops; the street goes on by itself")
        await asyncio.sleep(25 * share)
        await self._head_end.broker.start()
        self._head_end.link_up = True
        self._news.tell("the link is back; what waited in the outbox goes up")
        await asyncio.sleep(12 * share)
        self._happen(EventKind.METER_RETURNS)
        self._news.tell(f"{DYING_METER}: its meter answers again; what was used is charged now")
        await asyncio.sleep(28 * share)

    def _happen(self, kind: EventKind) -> None:
        street = self._town.street
        street.sync()
        if DYING_METER in street.homes:
            street.add_events([StreetEvent(street.elapsed_s, DYING_METER, kind)])
            street.sync()

    async def _people(self) -> None:
        """Whoever sits in the dark pays after a while."""
        async with asyncio.TaskGroup() as group:
            while True:
                for live in list(self._town.app.books.live.accounts.values()):
                    if Hold.NO_CREDIT in live.holds and live.name not in self._paying:
                        self._paying.add(live.name)
                        group.create_task(self._pay(live.name))
                await asyncio.sleep(0.1)

    async def _pay(self, account: str) -> None:
        await asyncio.sleep(PAY_AFTER_S)
        gateway = self._town.config.gateway_id
        issued = self._head_end.issuer.recharge(gateway, account, VEND_PAISE)
        self.recharges += 1
        if self._head_end.link_up:
            self._news.tell(f"{account} pays {format_rupees(VEND_PAISE)}; the head-end sends it")
            self._head_end.collector.issued.set()
        else:
            self._news.tell(
                f"{account} pays {format_rupees(VEND_PAISE)}; no link, so the lineman brings a file"
            )
            await self._town.app.recharging.apply(issued.note.encode(), "file")
        await asyncio.sleep(2 * PAY_AFTER_S)
        self._paying.discard(account)
