"""The bus over an independent peer in virtual time: turns, silences and dead meters."""

import asyncio
from itertools import pairwise

import pytest
from bus_peer import Peer, dead, run_virtual, serves
from bus_street import TWO_READS, VOLTS, Street, line_of, model, running, until, words

from hardware.api import (
    LineSettings,
    LinkState,
    MeterError,
    MeterRefused,
    MeterSilent,
    MeterSpec,
    Quantity,
)
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter

# --- turns and silences ---------------------------------------------------------------------------


@pytest.mark.parametrize("meters", [8, 32])
@pytest.mark.parametrize("baud", [2400, 9600, 38400])
def test_healthy_meters_fill_the_line_and_the_silences_are_kept(meters, baud):
    async def main():
        peer = line_of(meters, LineSettings(baud))
        async with running(peer, meters, interval_s=0) as street:
            await asyncio.sleep(30)
            share = street.bus.health().busy_share
        reads = [len(street.good(f"M{n}")) for n in range(1, meters + 1)]
        return share, peer.silence_violations, reads

    share, violations, reads = run_virtual(main())
    assert violations == 0
    assert share is not None
    assert share >= 0.99
    assert max(reads) - min(reads) <= 1


def test_a_meter_is_read_once_an_interval():
    async def main():
        async with running(line_of(3), 3, interval_s=5.0) as street:
            await asyncio.sleep(51)
            return [len(street.good(f"M{n}")) for n in (1, 2, 3)]

    assert run_virtual(main()) == [11, 11, 11]


def test_readings_carry_value_meter_and_time():
    async def main():
        async with running(line_of(2), 2) as street:
            await until(lambda: street.good("M2"))
            outcome = street.good("M2")[0]
            return outcome, asyncio.get_running_loop().time()

    outcome, now_s = run_virtual(main())
    assert outcome.error is None
    assert outcome.reading.good(Quantity.ENERGY_IMPORT) == 2000
    assert 0 <= now_s - outcome.reading.read_at_s < 1


def test_an_empty_bus_waits_without_spinning():
    async def main():
        async with running(Peer()) as street:
            loop = asyncio.get_running_loop()
            before = loop.turns
            await asyncio.sleep(3600)
            assert loop.turns - before < 20
            street.peer.units[1] = serves(words(5))
            street.attach(1)
            await until(lambda: street.good("M1"), within_s=1)

    run_virtual(main())


def test_a_detached_meter_is_no_longer_asked():
    async def main():
        async with running(line_of(2), 2) as street:
            await until(lambda: street.good("M1"))
            street.bus.detach("M1")
            street.bus.detach("nobody")
            asked = len(street.peer.asked(1))
            await asyncio.sleep(10)
            assert len(street.peer.asked(1)) <= asked + 1
            assert list(street.bus.health().meters) == ["M2"]

    run_virtual(main())


def test_a_meter_that_needs_rest_is_left_alone_and_the_others_use_the_time():
    async def main():
        peer = line_of(2)
        street = Street(peer, model(), 0)
        resting = model(gap_s=0.5)
        street.bus = Rs485Bus(
            "rs485-0",
            "/dev/paper",
            peer.settings,
            opener=peer.open,
            driver_for=lambda s: ModbusMeter(s, resting if s.address == 1 else model()),
            poll_interval_s=0,
        )
        street.attach(2)
        task = asyncio.create_task(street.bus.run())
        await asyncio.sleep(10)
        task.cancel()
        asked = peer.asked(1)
        return min(b - a for a, b in pairwise(asked)), len(peer.asked(2))

    gap_s, other = run_virtual(main())
    assert gap_s >= 0.5
    assert other > 300


def test_a_reading_of_a_meter_that_was_replaced_meanwhile_reaches_nobody():
    async def main():
        peer = Peer()
        peer.units[1] = serves(words(111), delays_s=iter(lambda: 0.2, None))
        peer.units[2] = serves(words(222))
        async with running(peer, 1) as street:
            await asyncio.sleep(0.1)  # M1 is being read at address 1
            asked = asyncio.create_task(street.bus.read_now("M1"))
            await asyncio.sleep(0)
            street.bus.detach("M1")
            street.bus.attach(MeterSpec("M1", "rs485-0", 2, "paper"))
            with pytest.raises(MeterError, match="taken off the bus"):
                await asked
            await asyncio.sleep(3)
            energies = {o.reading.good(Quantity.ENERGY_IMPORT) for o in street.outcomes}
            assert energies == {222}

    run_virtual(main())


# --- meters that do not answer --------------------------------------------------------------------


def test_one_dead_meter_of_eight_costs_the_others_less_than_a_twentieth():
    async def rate(kill: bool) -> int:
        peer = line_of(8)
        if kill:
            peer.units[8] = dead
        async with running(peer, 8, interval_s=0) as street:
            await asyncio.sleep(60)
            return sum(len(street.good(f"M{n}")) for n in range(1, 8))

    healthy = run_virtual(rate(False))  # M8 takes its turns here
    assert run_virtual(rate(True)) >= healthy * 8 / 7 * 0.95


def test_thirty_dead_meters_of_thirty_two_cost_the_two_others_less_than_a_tenth():
    async def rate(dead_ones: int) -> int:
        peer = line_of(32)
        for address in range(3, 3 + dead_ones):
            peer.units[address] = dead
        async with running(peer, 2 + dead_ones, interval_s=0) as street:
            await asyncio.sleep(60)  # the first tries
            before = len(street.outcomes) - len([o for o in street.outcomes if o.error])
            await asyncio.sleep(200)
            return len([o for o in street.outcomes if o.reading]) - before

    assert run_virtual(rate(30)) >= 0.9 * run_virtual(rate(0))


def test_a_silent_meter_is_tried_at_growing_intervals_and_found_when_it_comes_back():
    async def main():
        peer = line_of(2)
        peer.units[1] = dead
        async with running(peer, 2) as street:
            await asyncio.sleep(1800)
            link = street.link("M1")
            assert link.state is LinkState.SILENT
            assert link.reads == 0
            assert "no answer from unit 1" in link.last_error
            asked = peer.asked(1)
            gaps = [b - a for a, b in pairwise(asked)]
            assert gaps[0] == pytest.approx(1.35, abs=0.1)  # time-out and a late reply's time
            assert 290 < gaps[-1] < 310
            assert len(asked) < 25
            peer.units[1] = serves(words(7))
            await until(lambda: street.good("M1"), within_s=310)
            assert street.link("M1").state is LinkState.ANSWERING
            assert street.link("M1").last_error is None

    run_virtual(main())


def test_when_the_power_comes_back_all_meters_are_found_at_once():
    async def main():
        peer = Peer()
        async with running(peer, 32) as street:
            await asyncio.sleep(3600)
            peer.units.update(line_of(32).units)
            await until(lambda: all(street.good(f"M{n}") for n in range(1, 33)), within_s=15)

    run_virtual(main())


def test_one_lost_reply_does_not_make_a_meter_silent():
    async def main():
        peer = line_of(1)
        serve, lost = peer.units[1], [False]

        def once(request):
            if not lost[0]:
                lost[0] = True
                return []
            return serve(request)

        peer.units[1] = once
        async with running(peer, 1) as street:
            await until(lambda: street.good("M1"), within_s=2)
            assert street.link("M1").timeouts == 1
            assert isinstance(street.outcomes[0].error, MeterSilent)

    run_virtual(main())


def test_a_refused_energy_register_is_an_error_and_never_a_reading():
    async def main():
        peer = Peer()
        peer.units[1] = serves({(4, VOLTS): 0, (4, VOLTS + 1): 9})
        async with running(peer, 1, of=TWO_READS) as street:
            await asyncio.sleep(30)
            assert not street.good("M1")
            assert isinstance(street.outcomes[0].error, MeterRefused)
            assert "no such register" in str(street.outcomes[0].error)
            assert street.link("M1").refused == len(street.outcomes)

    run_virtual(main())
