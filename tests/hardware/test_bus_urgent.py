"""The bus over an independent peer in virtual time: urgent reads, and lending the line."""

import asyncio

import pytest
from bus_peer import Peer, dead, run_virtual, serves
from bus_street import Street, line_of, model, running, spec, words

from hardware.api import (
    BusError,
    LineSettings,
    MeterSilent,
    PortUnavailable,
    Quantity,
)
from hardware.meters.registers import SerialRegister

# --- urgent reads ---------------------------------------------------------------------------------


def test_an_urgent_read_goes_ahead_of_the_queue_and_is_told_to_the_sinks_too():
    async def main():
        loop = asyncio.get_running_loop()
        async with running(line_of(32), 32, interval_s=0) as street:
            await asyncio.sleep(5)
            asked_s, heard = loop.time(), len(street.good("M20"))
            reading = await street.bus.read_now("M20")
            assert reading.good(Quantity.ENERGY_IMPORT) == 20_000
            assert loop.time() - asked_s < 0.08  # the exchange under way, and its own
            assert len(street.good("M20")) == heard + 1

    run_virtual(main())


def test_an_urgent_read_of_a_dead_meter_tries_three_times_and_says_so():
    async def main():
        peer = line_of(2)
        peer.units[1] = dead
        async with running(peer, 2, interval_s=100) as street:
            await asyncio.sleep(50)
            asked = len(peer.asked(1))
            with pytest.raises(MeterSilent, match="no answer from unit 1"):
                await street.bus.read_now("M1")
            assert len(peer.asked(1)) == asked + 3

    run_virtual(main())


def test_the_others_are_polled_while_an_urgent_read_waits_for_its_next_try():
    async def main():
        peer = line_of(8)
        peer.units[1] = dead
        async with running(peer, 8, interval_s=0) as street:
            await asyncio.sleep(50)
            heard, before_s = len(street.outcomes), asyncio.get_running_loop().time()
            with pytest.raises(MeterSilent):
                await street.bus.read_now("M1")
            took_s = asyncio.get_running_loop().time() - before_s
            assert took_s < 4
            assert len(street.outcomes) - heard > 0.5 * took_s / 0.025

    run_virtual(main())


def test_a_probe_reads_a_meter_that_is_not_attached_with_its_serial_number():
    async def main():
        peer = Peer()
        peer.units[9] = serves(words(77) | {(3, 50): 1, (3, 51): 2})
        of = model(serial=SerialRegister(3, 50, "uint32"))
        async with running(peer, 0, of=of) as street:
            identity, reading = await street.bus.probe(spec(9))
            assert (identity.model, identity.serial) == ("paper", "65538")
            assert reading.good(Quantity.ENERGY_IMPORT) == 77
            assert street.outcomes == []
            with pytest.raises(MeterSilent):
                await street.bus.probe(spec(10))

    run_virtual(main())


def test_urgent_reads_fail_in_words_when_they_cannot_be_served():
    async def main():
        peer = line_of(1)
        street = Street(peer, model(), 1.0)
        with pytest.raises(BusError, match="M7 is not on bus"):
            await street.bus.read_now("M7")
        street.attach(1)
        with pytest.raises(BusError, match="not running"):
            await street.bus.read_now("M1")
        async with running(peer, 1) as street:
            await asyncio.sleep(1)
            peer.unplug()
            with pytest.raises(PortUnavailable):
                await street.bus.read_now("M1")
            with pytest.raises(PortUnavailable):
                await street.bus.read_now("M1")

    run_virtual(main())


def test_who_waits_for_an_urgent_read_is_told_when_the_bus_stops():
    async def main():
        peer = Peer()
        peer.units[1] = peer.units[2] = dead
        street = Street(peer, model(), 1.0)
        street.attach(2)
        task = asyncio.create_task(street.bus.run())
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(street.bus.read_now(name)) for name in ("M1", "M2")]
        await asyncio.sleep(0.6)
        task.cancel()
        for reader in waiting:
            with pytest.raises(BusError, match="has stopped"):
                await reader

    run_virtual(main())


def test_a_caller_who_gives_up_leaves_the_bus_in_order():
    async def main():
        async with running(line_of(2), 2, interval_s=0) as street:
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await street.bus.read_now("M1")
            heard = len(street.outcomes)
            await asyncio.sleep(1)
            assert len(street.outcomes) > heard + 20
            assert all(outcome.reading for outcome in street.outcomes)

    run_virtual(main())


# --- lending the line -----------------------------------------------------------------------------


def test_a_borrowed_line_is_not_polled_and_polling_goes_on_afterwards():
    async def main():
        peer = line_of(2)
        async with running(peer, 2, interval_s=0) as street:
            await asyncio.sleep(1)
            async with street.bus.borrowed() as open_line:
                assert len(street.outcomes) == len(peer.requests)  # nothing is held back
                await open_line(LineSettings(2400))
                before = len(peer.requests)
                await asyncio.sleep(5)
                assert len(peer.requests) == before
            heard = len(street.outcomes)
            await asyncio.sleep(1)
            assert len(street.outcomes) > heard + 20
            assert peer.openings[-1] == peer.settings

    run_virtual(main())
