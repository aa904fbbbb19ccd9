"""Gateway and head-end over Mosquitto and a very bad link: everything arrives, and once.

The gateway's own bookkeeping, recharging and sync are at work; both ends go through the proxy.
"""

import asyncio
import random
import sys
from contextlib import asynccontextmanager

import pytest
from faulty_proxy import FaultyProxy

from gateway.app import _Outbox
from gateway.headend import collector as collector_module
from gateway.headend.collector import Collector, collector_options
from gateway.headend.copy import HeadendCopy
from gateway.headend.issuer import Issuer, create_key
from gateway.link import mqtt as link_module
from gateway.link.mqtt import MqttLink, gateway_link
from gateway.services import outgoing
from gateway.services.sync import Sync
from gateway.store import ledger, outbox
from tests.gateway.services.rig import Rig

KINDS = {"reset", "truncated", "split", "delayed"}
BAD_S = 3.5  # for how long the link is bad
GATEWAY = "GW-1"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The product's own times, a hundredth of them: the order of things stays the same."""
    monkeypatch.setattr(link_module, "FIRST_DELAY_S", 0.02)
    monkeypatch.setattr(link_module, "LAST_DELAY_S", 0.2)
    monkeypatch.setattr(link_module, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(link_module, "PUBLISH_TIMEOUT_S", 0.6)
    monkeypatch.setattr(outgoing, "ACK_TIMEOUT_S", 0.4)
    monkeypatch.setattr(outgoing, "LAST_ACK_TIMEOUT_S", 1.0)
    monkeypatch.setattr(collector_module, "FIRST_RESEND_S", 0.3)
    monkeypatch.setattr(collector_module, "LAST_RESEND_S", 1.0)
    monkeypatch.setattr(collector_module, "LOOK_S", 0.1)


@asynccontextmanager
async def at_work(*services):
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            assert task.cancelled(), task.exception()


@pytest.mark.mosquitto
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_everything_arrives_once_over_a_link_that_breaks_all_the_time(
    tmp_path, mosquitto, seed, capsys
):
    chance = random.Random(seed)
    key = create_key(tmp_path / "key", "office-1")
    rig = Rig(tmp_path / "gateway", keys={"office-1": key.key.public})
    for number in range(1, 4):
        await rig.home(f"A-{number}", f"M{number}", "none", balance_paise=0)
    copy = HeadendCopy(tmp_path / "headend.db")
    issuer = Issuer(copy, key)

    async def credit(body: bytes) -> None:
        await rig.recharging.apply(body, "mqtt")

    async with FaultyProxy(mosquitto.port, seed) as proxy:
        config = mosquitto.config(port=proxy.port)
        sync = Sync(
            GATEWAY,
            gateway_link(GATEWAY, config, chance.random),
            _Outbox(rig.books),
            credit,
            now=rig.clock.now,
        )
        collector = Collector(copy, MqttLink(collector_options("office", config), chance.random))
        async with at_work(sync, collector, rig.books):
            loop = asyncio.get_running_loop()
            end_s, last_s = loop.time() + BAD_S, loop.time() + 10 * BAD_S
            # Which fault comes is chance, and so is how long it takes until each has come.
            while loop.time() < end_s or (loop.time() < last_s and not _bad_enough(proxy, sync)):
                issuer.recharge(GATEWAY, f"A-{chance.randint(1, 3)}", chance.randint(1, 10_000))
                collector.issued.set()
                meter = f"M{chance.randint(1, 3)}"
                rig.use(chance.randint(1, 500), meter, seconds=60)
                await rig.books.post(f"A-{meter[1:]}")
                await asyncio.sleep(0.02 + chance.random() * 0.1)
            proxy.calm = True
            await _settled(rig, copy)

    credited = {}
    for name in rig.books.live.accounts:
        entries = list(ledger.entries_of(rig.db.reader, name))
        assert copy.entries(GATEWAY, name) == [ledger.as_event(entry) for entry in entries]
        for entry in entries:
            if entry.kind == "credit":
                assert entry.recharge_id not in credited
                credited[entry.recharge_id] = entry.amount_paise
    assert credited == {note.recharge_id: note.amount_paise for note in copy.notes(GATEWAY)}
    assert {note.outcome for note in copy.notes(GATEWAY)} <= {"CREDITED", "ALREADY_CREDITED"}
    assert _bad_enough(proxy, sync)
    with capsys.disabled():
        sys.stdout.write(f" [{len(credited)} recharges, {dict(proxy.faults)}] ")
    await rig.stop()
    copy.close()


def _bad_enough(proxy: FaultyProxy, sync: Sync) -> bool:
    """Whether each kind of fault has come, and the gateway has had to connect again and again."""
    status = sync.link_status()
    return set(proxy.faults) >= KINDS and status is not None and status.sessions > 3


async def _settled(rig: Rig, copy: HeadendCopy) -> None:
    """Every note has its receipt, and every event is at the head-end and acknowledged."""
    async with asyncio.timeout(15):
        while copy.open_notes(1) or _unacknowledged(rig):
            await asyncio.sleep(0.05)


def _unacknowledged(rig: Rig) -> bool:
    return outbox.counts(rig.db.reader)[1] > rig.books.acknowledged
