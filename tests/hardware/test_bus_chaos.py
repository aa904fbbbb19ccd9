"""Whatever meters and adapters do, the bus goes on, believes nothing false, and recovers.

Faults are drawn from a seed of their own; a failure names it.
"""

import asyncio
import random
from contextlib import suppress

import pytest
from bus_peer import Peer, Unit, run_virtual, serves

from hardware.api import HardwareError, LineSettings, MeterSpec, PollOutcome, Quantity
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary
from hardware.protocols.modbus_rtu import Request

MODEL = ModelLibrary().get("sdm630")
METERS = range(1, 7)


def truth(address: int) -> dict[Quantity, int]:
    return {
        Quantity.ENERGY_IMPORT: 1_000_000 * address,
        Quantity.ENERGY_EXPORT: 0,
        Quantity.ACTIVE_POWER: 100 * address,
        Quantity.VOLTAGE: 230_000,
        Quantity.CURRENT: 1_000 * address,
        Quantity.POWER_FACTOR: 1_000,
        Quantity.FREQUENCY: 50_000,
    }


def honest(address: int) -> Unit:
    words = dict.fromkeys(((4, place) for place in range(0x60)), 0)
    for quantity, register in MODEL.registers.items():
        for place, word in enumerate(register.encode(truth(address)[quantity], quantity)):
            words[4, register.address + place] = word
    return serves(words)


def bend(reply: bytes, chance: random.Random) -> bytes:
    bent = bytearray(reply)
    for _ in range(chance.randint(1, 3)):
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
    return bytes(bent)


def misbehave(reply: bytes, chance: random.Random) -> list[tuple[float, bytes]]:
    """One of the ways in which a reply goes wrong; half of the time none."""
    ways = [
        [],
        [(0.0, bend(reply, chance))],
        [(chance.uniform(0.2, 0.75), reply)],
        [(0.0, reply), (0.0, reply)],
        [(0.0, reply[: chance.randrange(len(reply))])],
        [(0.0, chance.randbytes(chance.randrange(300)))],
        [(0.0, chance.randbytes(5) + reply)],
    ]
    return chance.choice(ways) if chance.random() < 0.5 else [(0.0, reply)]


def mad(address: int, chance: random.Random, faults: list[bool]) -> Unit:
    """An honest unit that misbehaves while `faults[0]`."""
    serve = honest(address)

    def unit(request: Request) -> list[tuple[float, bytes]]:
        ((_, reply),) = serve(request)
        return misbehave(reply, chance) if faults[0] else [(0.0, reply)]

    return unit


async def trouble(peer: Peer, bus: Rs485Bus, chance: random.Random) -> None:
    """A minute of pulled plugs, babble, and callers who give up."""
    for _ in range(60):
        await asyncio.sleep(chance.uniform(0, 2))
        match chance.randrange(5):
            case 0:
                peer.unplug()
            case 1 | 2:
                peer.plugged = True
            case 3:
                with suppress(HardwareError, TimeoutError):
                    async with asyncio.timeout(chance.uniform(0, 3)):
                        await bus.read_now(f"M{chance.choice(METERS)}")
            case _:
                if peer.stream is not None:
                    peer.stream.babble(chance.randbytes(20))


@pytest.mark.parametrize("seed", range(8))
def test_no_fault_ends_the_bus_or_makes_it_believe_a_wrong_figure(seed):
    async def main():
        chance, faults = random.Random(seed), [True]
        peer = Peer(LineSettings(chance.choice([2400, 9600, 19200])))
        peer.units.update({address: mad(address, chance, faults) for address in METERS})
        bus = Rs485Bus(
            "b",
            "p",
            peer.settings,
            opener=peer.open,
            driver_for=lambda spec: ModbusMeter(spec, MODEL),
            poll_interval_s=chance.choice([0.5, 1.0]),
        )
        outcomes: list[PollOutcome] = []
        bus.subscribe(outcomes.append)
        task = asyncio.create_task(bus.run())
        for address in METERS:
            bus.attach(MeterSpec(f"M{address}", "b", address, "sdm630"))

        await trouble(peer, bus, chance)
        assert not task.done()
        peer.plugged, faults[0] = True, False
        await asyncio.sleep(310)
        healed = len(outcomes)
        await asyncio.sleep(10)
        assert not task.done()
        assert all(outcome.reading for outcome in outcomes[healed:])
        assert {outcome.meter for outcome in outcomes[healed:]} == {f"M{n}" for n in METERS}
        task.cancel()
        return outcomes

    outcomes = run_virtual(main())
    assert any(outcome.error for outcome in outcomes)
    for outcome in outcomes:
        if outcome.reading is not None:
            expected = truth(int(outcome.meter[1:]))
            for quantity, reading in outcome.reading.values.items():
                assert reading.value == expected[quantity], (outcome.meter, quantity)
