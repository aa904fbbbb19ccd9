"""The bus over an independent peer in virtual time: turns, silences, dead and late meters, loss."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise

import pytest
from bus_peer import Peer, dead, run_virtual, serves

from hardware.api import (
    BusError,
    LineSettings,
    LinkState,
    MeterError,
    MeterGarbled,
    MeterRefused,
    MeterSilent,
    MeterSpec,
    PollOutcome,
    PortUnavailable,
    Quantity,
)
from hardware.buses.rs485 import Rs485Bus
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import MeterModel
from hardware.meters.registers import Register, SerialRegister
from hardware.protocols.modbus_rtu import encode_reply

ENERGY, VOLTS = 0, 100  # far apart: two reads of the same shape


def register(address: int, unit: str) -> Register:
    return Register(4, address, "uint32", unit, Decimal(0), Decimal(10_000_000))


def model(**more) -> MeterModel:
    registers = {Quantity.ENERGY_IMPORT: register(ENERGY, "Wh")}
    return MeterModel(
        "paper", "none", "a meter on paper", "this test", more.pop("registers", registers), **more
    )


TWO_READS = model(
    registers={
        Quantity.ENERGY_IMPORT: register(ENERGY, "Wh"),
        Quantity.VOLTAGE: register(VOLTS, "mV"),
    }
)


def words(energy_wh: int, voltage_mv: int = 230_000) -> dict[tuple[int, int], int]:
    return {
        (4, ENERGY): energy_wh >> 16,
        (4, ENERGY + 1): energy_wh & 0xFFFF,
        (4, VOLTS): voltage_mv >> 16,
        (4, VOLTS + 1): voltage_mv & 0xFFFF,
    }


class Street:
    """A bus on a peer, and what its sink has heard."""

    def __init__(self, peer: Peer, of: MeterModel, interval_s: float) -> None:
        self.peer = peer
        self.outcomes: list[PollOutcome] = []
        self.bus = Rs485Bus(
            "rs485-0",
            "/dev/paper",
            peer.settings,
            opener=peer.open,
            driver_for=lambda spec: ModbusMeter(spec, of),
            poll_interval_s=interval_s,
        )
        self.bus.subscribe(self.outcomes.append)

    def attach(self, count: int) -> None:
        for address in range(1, count + 1):
            self.bus.attach(spec(address))

    def good(self, name: str) -> list[PollOutcome]:
        return [o for o in self.outcomes if o.meter == name and o.reading is not None]

    def link(self, name: str):
        return self.bus.health().meters[name]


def spec(address: int) -> MeterSpec:
    return MeterSpec(f"M{address}", "rs485-0", address, "paper")


@asynccontextmanager
async def running(
    peer: Peer, meters: int = 0, *, of: MeterModel | None = None, interval_s: float = 1.0
) -> AsyncIterator[Street]:
    street = Street(peer, of or model(), interval_s)
    street.attach(meters)
    task = asyncio.create_task(street.bus.run())
    await asyncio.sleep(0)  # let it start
    try:
        yield street
    finally:
        assert not task.done(), "run ended by itself"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def line_of(count: int, settings: LineSettings | None = None) -> Peer:
    peer = Peer(settings)
    for address in range(1, count + 1):
        peer.units[address] = serves(words(1000 * address))
    return peer


async def until(what: Callable[[], object], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.02)


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
