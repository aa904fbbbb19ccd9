"""The bus over an independent peer in virtual time: noise, late replies, a lost port."""

import asyncio
import random

import pytest
from bus_peer import Peer, run_virtual, serves
from bus_street import TWO_READS, line_of, running, until, words

from hardware.api import (
    MeterError,
    MeterGarbled,
    PortUnavailable,
    Quantity,
)
from hardware.protocols.modbus_rtu import encode_reply

# --- noise and late replies -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_late_reply_is_never_taken_for_the_answer_to_another_question(seed):
    """Two reads of one shape; delays around and beyond the time-out."""

    async def main():
        chance = random.Random(seed)
        delays = (chance.choice([0.0, 0.0, 0.25, 0.31, 0.7, 1.2]) for _ in iter(int, 1))
        peer = Peer()
        peer.units[1] = serves(words(111_111, 222_222), delays_s=delays)
        peer.units[2] = serves(words(333_333, 444_444))
        async with running(peer, 2, of=TWO_READS, interval_s=0) as street:
            for _ in range(40):
                await asyncio.sleep(chance.random())
                try:
                    await street.bus.read_now("M1")
                except MeterError:
                    continue
        return street

    street = run_virtual(main())
    truth = {"M1": (111_111, 222_222), "M2": (333_333, 444_444)}
    readings = [outcome.reading for outcome in street.outcomes if outcome.reading]
    assert len([reading for reading in readings if reading.meter == "M1"]) > 20
    assert any(outcome.error for outcome in street.outcomes)
    for reading in readings:
        energy_wh, voltage_mv = truth[reading.meter]
        assert reading.good(Quantity.ENERGY_IMPORT) == energy_wh
        assert reading.good(Quantity.VOLTAGE) in (voltage_mv, None)


@pytest.mark.parametrize(
    ("before", "after"), [(b"\x00", b""), (b"\xff\x01\x04", b"\x00\x00"), (b"", b"\xff" * 9)]
)
def test_noise_around_replies_costs_no_reading(before, after):
    async def main():
        peer = line_of(4)
        peer.before_reply, peer.after_reply = before, after
        async with running(peer, 4) as street:
            await asyncio.sleep(20.5)
            assert all(outcome.reading for outcome in street.outcomes)
            assert len(street.outcomes) >= 80
            assert peer.silence_violations == 0

    run_virtual(main())


def test_bent_replies_are_counted_as_garbled_and_say_why():
    async def main():
        peer = Peer()
        peer.units[1] = lambda request: [(0.0, encode_reply(request, [1, 2])[:-1] + b"\x00")]
        async with running(peer, 1) as street:
            await until(lambda: street.outcomes)
            error = street.outcomes[0].error
            assert isinstance(error, MeterGarbled)
            assert "check value is wrong" in str(error)
            assert street.link("M1").garbled == 1

    run_virtual(main())


def test_a_line_that_never_falls_silent_is_reported_and_does_not_hang():
    async def main():
        peer = line_of(1)

        async def babble():
            while True:
                await asyncio.sleep(0.001)
                if peer.stream is not None:
                    peer.stream.babble(b"\x55")

        task = asyncio.create_task(babble())
        async with running(peer, 1) as street:
            await until(lambda: street.outcomes)
            assert "never falls silent" in str(street.outcomes[0].error)
            task.cancel()
            await until(lambda: street.good("M1"))

    run_virtual(main())


# --- the port -------------------------------------------------------------------------------------


def test_an_unplugged_port_is_told_once_and_reopened_when_it_is_back():
    async def main():
        peer = line_of(3)
        async with running(peer, 3) as street:
            await until(lambda: street.good("M3"))
            peer.unplug()
            await asyncio.sleep(60)
            health = street.bus.health()
            assert not health.open
            assert "not there" in health.last_error
            lost = [o for o in street.outcomes if isinstance(o.error, PortUnavailable)]
            assert sorted(o.meter for o in lost) == ["M1", "M2", "M3"]
            assert len(peer.openings) < 20
            assert all(link.timeouts == 0 for link in health.meters.values())
            heard = len(street.good("M1"))
            peer.plugged = True
            await until(lambda: len(street.good("M1")) > heard, within_s=6)
            assert street.bus.health().open
            assert street.bus.health().last_error is None

    run_virtual(main())


def test_a_bus_starts_without_its_port():
    async def main():
        peer = line_of(1)
        peer.plugged = False
        async with running(peer, 1) as street:
            await asyncio.sleep(10)
            assert [type(o.error) for o in street.outcomes] == [PortUnavailable]
            peer.plugged = True
            await until(lambda: street.good("M1"), within_s=6)

    run_virtual(main())


def test_cancelling_the_bus_closes_the_port():
    async def main():
        peer = line_of(1)
        async with running(peer, 1):
            await asyncio.sleep(1)
            assert peer.stream is not None
        assert peer.stream is None

    run_virtual(main())
