"""From exhausted credit seen on the bus to the relay open; from a recharge published to it closed.

The gateway runs on a simulated street: real serial port at 9600 baud, real ledger on this disk,
gpiozero mock pins, a real broker. The broker is Mosquitto where it is installed, else amqtt.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from gateway.core.supply import Hold
from gateway.demo.town import ZONE, Household, Town, TownPlan
from gateway.documents.signed import SigningKey
from gateway.link.api import Message, Session, Topics
from gateway.link.mqtt import LinkOptions, MqttLink
from hardware.api import PollOutcome, Quantity
from hardware.sim.street import EventKind, StreetEvent
from tests.bench.figures import Figure, median_and_p99
from tests.gateway.conftest import MOSQUITTO, Mosquitto
from tests.gateway.services.rig import tariff

KID = "bench"
ACCOUNT = "A-101"
RUPEE = 100


class _Watch:
    """When the relay of the one home last moved, and when the bus last told of its register."""

    def __init__(self, town: Town) -> None:
        self.loop = asyncio.get_running_loop()
        self.moved = asyncio.Event()
        self.moved_at_s = 0.0
        self.seen_at_s = 0.0
        self.contact = town.homes[ACCOUNT].contact
        before = self.contact.before_move

        def note() -> None:
            before()
            self.moved_at_s = self.loop.time()
            self.moved.set()

        self.contact.before_move = note

    def observe(self, outcome: PollOutcome) -> None:
        if outcome.reading is not None and outcome.reading.good(Quantity.ENERGY_IMPORT):
            self.seen_at_s = self.loop.time()


@asynccontextmanager
async def _publisher(port: int) -> AsyncIterator[Session]:
    """A head-end's connection."""
    config = Mosquitto(Path(), port=port).config()
    link = MqttLink(LinkOptions("bench", config, ()), jitter=lambda: 0.0)
    connected: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    async def serve(session: Session) -> None:
        connected.set_result(session)
        await asyncio.Event().wait()

    task = asyncio.create_task(link.run(serve))
    try:
        yield await asyncio.wait_for(connected, 10)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def measure(rounds: int) -> list[Figure]:
    """Cut and restore one home `rounds` times."""
    if MOSQUITTO is None:
        return [Figure("recharge to relay (needs: apt install mosquitto)", float("nan"), "ms")]
    key = SigningKey.generate()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        broker = Mosquitto(folder)
        broker.start()
        plan = TownPlan(
            folder,
            [Household(50 * RUPEE, 0)],
            tariff("5.00"),
            datetime(2026, 11, 24, 12, 0, tzinfo=ZONE),
            poll_interval_s=0.05,
            models=("sdm630",),
            config=f"[mqtt]\nhost = '127.0.0.1'\nport = {broker.port}\n"
            f"[keys.recharge]\n{KID} = '{key.public_text}'\n",
        )
        town = Town(plan)
        try:
            await town.start()
            async with _publisher(broker.port) as session:
                cuts, restores = await _rounds(town, session, key, rounds)
        finally:
            await town.stop()
            broker.stop()
    wire_ms = 1000 * 25 * 10 / 9600
    return [
        *median_and_p99("exhausted reading on the bus to relay open", cuts, "one poll", ""),
        *median_and_p99("recharge published to relay closed", restores, "< 150", ""),
        Figure("wire time of one poll of that meter, for comparison", wire_ms, "ms"),
    ]


async def _rounds(
    town: Town, session: Session, key: SigningKey, rounds: int
) -> tuple[list[float], list[float]]:
    watch = _Watch(town)
    live = town.app.books.account(ACCOUNT)
    for bus in town.app.buses.values():
        bus.subscribe(watch.observe)
    while not town.app.sync.link_status().connected or not watch.contact.closed:
        await asyncio.sleep(0.01)
    cuts, restores = [], []
    for number in range(rounds):
        station = town.app.enforcement.stations[ACCOUNT]
        station.drive = type(station.drive)()  # the hourly limit of operations is not at issue
        watch.moved.clear()
        use_wh = max(20, live.balance_paise * 1000 // 500 + 20)
        town.street.sync()
        for step in range(0, use_wh, 1500):
            watch.moved.clear()
            wh = min(1500, use_wh - step)
            town.street.add_events(
                [StreetEvent(town.street.elapsed_s, ACCOUNT, EventKind.METER_JUMPS, wh)]
            )
            if step + wh < use_wh:
                await asyncio.sleep(0.2)
        await asyncio.wait_for(watch.moved.wait(), 10)
        cuts.append(watch.moved_at_s - watch.seen_at_s)
        assert Hold.NO_CREDIT in live.holds
        await asyncio.sleep(0.05)
        watch.moved.clear()
        note = _recharge(key, f"R-{number}", 20 - live.balance_paise)
        published_at_s = asyncio.get_running_loop().time()
        await session.publish(Message(Topics("DEMO-1").recharge, note.encode()))
        await asyncio.wait_for(watch.moved.wait(), 10)
        restores.append(watch.moved_at_s - published_at_s)
        await asyncio.sleep(0.05)
    return cuts, restores


def _recharge(key: SigningKey, recharge_id: str, amount_paise: int) -> str:
    body = {
        "v": 1,
        "gateway": "DEMO-1",
        "account": ACCOUNT,
        "recharge_id": recharge_id,
        "amount_paise": amount_paise,
        "currency": "INR",
    }
    return key.sign(json.dumps(body).encode(), KID, "recharge+jws")
