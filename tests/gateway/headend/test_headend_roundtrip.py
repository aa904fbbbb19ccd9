"""Gateway and head-end over a real broker: nothing lost, nothing doubled, whatever is killed."""

import asyncio
import random
import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from gateway.core.moment import Moment, Trust
from gateway.documents.config import MqttConfig
from gateway.documents.signed import RECHARGE_TYPE, read_recharge, verify
from gateway.headend import collector as collector_module
from gateway.headend.broker import BrokerFailed, EmbeddedBroker
from gateway.headend.collector import Collector, collector_options
from gateway.headend.copy import HeadendCopy
from gateway.headend.issuer import Issuer, create_key
from gateway.link import mqtt as link_module
from gateway.link.api import Message, Topics
from gateway.link.mqtt import MqttLink, gateway_link
from gateway.services import outgoing
from gateway.services.sync import Sync
from gateway.store import outbox
from gateway.store.database import Database

GATEWAY = "GW-1"
NOW = Moment(datetime(2026, 11, 24, 10, tzinfo=UTC), Trust.NTP)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(link_module, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(link_module, "LAST_DELAY_S", 0.2)
    monkeypatch.setattr(outgoing, "ACK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(collector_module, "FIRST_RESEND_S", 0.3)
    monkeypatch.setattr(collector_module, "LOOK_S", 0.05)


class Gateway:
    """The sync service over the real store, and a till that credits each recharge once."""

    def __init__(self, tmp_path, mqtt: MqttConfig, keys) -> None:
        self.db = Database(tmp_path / "gateway")
        self.changed = asyncio.Event()
        self.keys = keys
        self.credited: list[str] = []
        self.received = 0
        self.sync = Sync(GATEWAY, gateway_link(GATEWAY, mqtt), self, self.recharge, now=lambda: NOW)
        self.sync._window.timeout_s = 0.5

    def pending(self, after: int, limit: int):
        return outbox.pending(self.db.reader, after, limit)

    async def acknowledge(self, through: int) -> None:
        await self.db.write(lambda tx: outbox.acknowledge(tx, through))

    async def put(self, kind: str, data: dict, count: int = 1) -> None:
        def write(tx) -> None:
            for n in range(count):
                outbox.put(tx, kind, "A-1", data | {"n": n}, NOW)

        await self.db.write(write)
        self.changed.set()

    async def recharge(self, body: bytes) -> None:
        self.received += 1
        recharge = read_recharge(verify(body, self.keys, RECHARGE_TYPE))
        again = recharge.recharge_id in self.credited
        if not again:
            self.credited.append(recharge.recharge_id)
        outcome = "ALREADY_CREDITED" if again else "CREDITED"
        await self.put(
            "recharge.receipt", {"recharge_id": recharge.recharge_id, "outcome": outcome}
        )

    def waiting(self) -> int:
        return outbox.counts(self.db.reader)[0]


@asynccontextmanager
async def running(*services):
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled(), task.exception()


async def until(condition, timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class Street:
    """A gateway and a head-end on one broker."""

    def __init__(self, tmp_path, mqtt: MqttConfig) -> None:
        key = create_key(tmp_path / "key", "office")
        self.mqtt = mqtt
        self.copy = HeadendCopy(tmp_path / "headend.db")
        self.issuer = Issuer(self.copy, key)
        self.gateway = Gateway(tmp_path, mqtt, {"office": key.key.public})
        self.collector = self.new_collector()

    def new_collector(self) -> Collector:
        options = collector_options("head-end", self.mqtt)
        return Collector(self.copy, MqttLink(options, random.Random(1).random))

    def complete(self) -> bool:
        """The head-end has everything, and the gateway knows it."""
        _, newest, through = outbox.counts(self.gateway.db.reader)
        return self.gateway.waiting() == 0 and self.copy.events(GATEWAY) == newest == through

    def close(self) -> None:
        self.copy.close()
        self.gateway.db.close()


@pytest.fixture
def street(tmp_path, mosquitto):
    street = Street(tmp_path, mosquitto.config())
    yield street
    street.close()


@pytest.mark.mosquitto
async def test_events_arrive_and_a_recharge_comes_back_as_a_receipt(street):
    await street.gateway.put("t", {}, 2000)
    async with running(street.gateway.sync, street.collector):
        note = street.issuer.recharge(GATEWAY, "A-1", 50000)
        street.collector.issued.set()
        await until(lambda: street.copy.issued(note.recharge_id).settled)
        await until(street.complete)
        await until(lambda: street.copy.gateways() == {GATEWAY: "online"})
    assert street.gateway.credited == [note.recharge_id]


@pytest.mark.mosquitto
async def test_the_headend_sees_a_gateway_leave(street):
    async with running(street.collector):
        async with running(street.gateway.sync):
            await until(lambda: street.copy.gateways() == {GATEWAY: "online"})
        await until(lambda: street.copy.gateways() == {GATEWAY: "offline"})


@pytest.mark.mosquitto
async def test_a_recharge_signed_while_the_gateway_is_away_is_credited_once(street):
    async with running(street.collector):
        async with running(street.gateway.sync):
            await until(street.copy.gateways)
        note = street.issuer.recharge(GATEWAY, "A-1", 100)
        street.collector.issued.set()
        await asyncio.sleep(1.0)  # it is sent more than once meanwhile
        async with running(street.gateway.sync):
            await until(lambda: street.copy.issued(note.recharge_id).settled)
            await until(lambda: street.gateway.received > 1)
            await until(street.complete)
    assert street.gateway.credited == [note.recharge_id]


@pytest.mark.mosquitto
async def test_with_no_headend_everything_waits_and_then_arrives(street):
    await street.gateway.put("t", {}, 3000)
    async with running(street.gateway.sync):
        await until(lambda: street.gateway.sync.status().resends >= 1)
        assert street.gateway.waiting() == 3000
        async with running(street.collector):
            await until(street.complete)
    assert street.copy.conflicts(GATEWAY) == 0
    assert street.copy.gaps(GATEWAY) == []


@pytest.mark.mosquitto
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_broker_killed_again_and_again_loses_and_doubles_nothing(street, mosquitto, signum):
    notes = []
    async with running(street.gateway.sync, street.collector):
        for _ in range(4):
            await street.gateway.put("t", {"x": "y" * 200}, 1500)
            notes.append(street.issuer.recharge(GATEWAY, "A-1", 100))
            street.collector.issued.set()
            await asyncio.sleep(0.1)
            mosquitto.stop(signum)
            await street.gateway.put("t", {}, 10)
            await asyncio.sleep(0.1)
            mosquitto.start()
        await until(lambda: all(street.copy.issued(note.recharge_id).settled for note in notes))
        await until(street.complete)
    assert sorted(street.gateway.credited) == sorted(note.recharge_id for note in notes)
    assert street.copy.gaps(GATEWAY) == []
    assert street.copy.conflicts(GATEWAY) == 0
    assert street.gateway.sync.status().link.sessions >= 3


@pytest.mark.mosquitto
async def test_a_headend_that_lost_its_database_goes_on_from_where_the_gateway_stands(
    street, tmp_path
):
    await street.gateway.put("t", {}, 10)
    async with running(street.gateway.sync):
        async with running(street.collector):
            await until(street.complete)
        street.copy.close()
        street.copy = HeadendCopy(tmp_path / "new.db")
        await street.gateway.put("t", {}, 5)
        async with running(street.new_collector()):
            await until(lambda: street.gateway.waiting() == 0)
    assert street.copy.gaps(GATEWAY) == [(1, 10)]
    assert street.copy.events(GATEWAY) == 5


@pytest.mark.mosquitto
async def test_it_all_works_over_tls_with_client_certificates(tmp_path, mosquitto_tls):
    mosquitto_tls.start()
    street = Street(tmp_path, mosquitto_tls.config(protocol="5"))
    await street.gateway.put("t", {}, 100)
    async with running(street.gateway.sync, street.collector):
        note = street.issuer.recharge(GATEWAY, "A-1", 100)
        await until(lambda: street.copy.issued(note.recharge_id).settled)
        await until(street.complete)
    street.close()


@pytest.mark.mosquitto
async def test_rubbish_from_a_gateway_is_counted_and_stops_nothing(street, mosquitto):
    topics = Topics(GATEWAY)

    class Rubbish:
        async def run(self) -> None:
            link = MqttLink(link_module.LinkOptions("x", mosquitto.config(), ()), lambda: 1.0)

            async def serve(session) -> None:
                for body in (b"", b"x", b"[1]", b'[{"sequence":1}]', b"\xff", b"[" * 500):
                    await session.publish(Message(topics.events, body))
                await session.publish(Message(topics.state, b"nonsense"))
                await asyncio.sleep(60)

            await link.run(serve)

    async with running(street.collector):
        await until(lambda: street.collector.link_status().connected)
        async with running(Rubbish()):
            await until(lambda: street.collector.refused == 7)
        await street.gateway.put("t", {}, 10)
        async with running(street.gateway.sync):
            await until(street.complete)


# --- the embedded broker of the demo --------------------------------------------------------------


def embedded(broker: EmbeddedBroker, protocol: str = "3.1.1") -> MqttConfig:
    return MqttConfig(
        host="127.0.0.1",
        port=broker.port,
        tls=False,
        ca_file=None,
        cert_file=None,
        key_file=None,
        username="demo",
        password_file=None,
        keepalive_s=30,
        protocol=protocol,
    )


async def test_the_embedded_broker_carries_the_same_and_can_be_stopped_meanwhile(tmp_path):
    async with EmbeddedBroker() as broker:
        street = Street(tmp_path, embedded(broker))
        notes = []
        async with running(street.gateway.sync, street.collector):
            for _ in range(2):
                await street.gateway.put("t", {}, 800)
                notes.append(street.issuer.recharge(GATEWAY, "A-1", 100))
                street.collector.issued.set()
                await until(lambda: street.gateway.sync.link_status().connected)
                await asyncio.sleep(0.1)
                await broker.stop()
                await street.gateway.put("t", {}, 10)
                await asyncio.sleep(0.2)
                await broker.start()
            await until(lambda: all(street.copy.issued(note.recharge_id).settled for note in notes))
            await until(street.complete)
        assert sorted(street.gateway.credited) == sorted(note.recharge_id for note in notes)
        assert street.copy.conflicts(GATEWAY) == 0
        assert street.copy.gaps(GATEWAY) == []
        street.close()


async def test_the_embedded_broker_listens_on_loopback_only_and_says_when_it_cannot():
    async with EmbeddedBroker() as broker:
        assert broker.port > 0
        with pytest.raises(BrokerFailed):
            await EmbeddedBroker(broker.port).start()
        with pytest.raises(OSError, match=r"refused|unreachable|Connect call failed"):
            await asyncio.open_connection("127.0.0.2", broker.port)
    await broker.stop()
