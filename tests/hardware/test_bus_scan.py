"""The scan over an independent peer in virtual time, and the pure parts of the bus."""

import asyncio
import struct

import pytest
from bus_peer import Peer, PeerStream, run_virtual, serves

from hardware.api import LineSettings, MeterSpec, PortSettingRefused, PortUnavailable, Quantity
from hardware.buses.backoff import DELAYS_S, SILENT_AFTER, Backoff, SilenceBudget
from hardware.buses.line import Line
from hardware.buses.rs485 import Rs485Bus
from hardware.buses.scan import ScanPlan, ScanProgress, scan
from hardware.buses.share import BusyShare
from hardware.meters.fit import ModelCandidate
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary
from hardware.protocols.modbus_rtu import encode_exception, encode_reply

LIBRARY = ModelLibrary()
CANDIDATES = [ModelCandidate(model) for model in LIBRARY.load_all()[0]]


def sdm120(**more):
    words = dict.fromkeys(((4, place) for place in range(0x60)), 0)
    for address, value in ((0, 231.5), (0x46, 49.98), (0x48, 12.5)):
        words[4, address], words[4, address + 1] = struct.unpack(">2H", struct.pack(">f", value))
    return serves(words, **more)


def on(peer: Peer):
    """What `Rs485Bus.borrowed` gives, without a bus."""
    line: list[Line] = []

    async def open_line(settings: LineSettings) -> Line:
        if line:
            await line.pop().close()
        line.append(Line(await peer.open(settings), settings))
        return line[0]

    return open_line


PLAN = ScanPlan(bauds=(9600, 2400), parities=("N",), addresses=tuple(range(1, 20)))


def test_a_scan_finds_address_settings_and_models():
    async def main():
        peer = Peer(LineSettings(2400))
        peer.units[7] = sdm120()
        return await scan(on(peer), PLAN, CANDIDATES)

    report = run_virtual(main())
    (found,) = report.meters
    assert (found.address, found.settings) == (7, LineSettings(2400))
    assert [fit.model for fit in found.fits] == ["sdm120", "sdm230", "sdm630"]
    assert {fit.word_order for fit in found.fits} == {"ABCD"}
    assert found.fits[0].voltage_mv == 231_500
    assert report.garbled == []


def test_a_meter_that_only_refuses_is_found():
    async def main():
        peer = Peer()
        peer.units[3] = lambda request: [(0.0, encode_exception(request, 1))]
        return await scan(on(peer), PLAN, CANDIDATES)

    report = run_virtual(main())
    assert [(found.address, found.fits) for found in report.meters] == [(3, ())]


def test_a_slow_meter_is_found_at_its_own_address():
    async def main():
        peer = Peer()
        peer.units[5] = sdm120(delays_s=iter(lambda: 0.2, None))  # beyond the scan's patience
        return await scan(on(peer), PLAN, CANDIDATES)

    report = run_virtual(main())
    assert [found.address for found in report.meters] == [5]
    assert report.meters[0].fits


def test_two_meters_on_one_address_are_reported_as_garbled():
    async def main():
        peer = Peer()
        peer.units[4] = lambda request: [(0.0, encode_reply(request, [1, 2])[:5] + b"\x13\x37\x55")]
        return await scan(on(peer), PLAN, CANDIDATES)

    report = run_virtual(main())
    assert report.meters == []
    assert [(settings.baud, address) for settings, address, _ in report.garbled] == [(9600, 4)]


def test_progress_counts_every_question_and_the_estimate_holds():
    async def main():
        seen: list[ScanProgress] = []
        loop = asyncio.get_running_loop()
        before_s = loop.time()
        await scan(on(Peer()), PLAN, (), seen.append)
        return seen, loop.time() - before_s

    seen, took_s = run_virtual(main())
    assert [progress.done for progress in seen] == list(range(1, PLAN.steps + 1))
    assert {progress.total for progress in seen} == {PLAN.steps}
    assert took_s == pytest.approx(PLAN.estimate_s, rel=0.1)


def test_settings_that_the_adapter_refuses_are_reported_and_skipped():
    async def main():
        peer = Peer()
        peer.units[1] = sdm120()
        open_line = on(peer)

        async def picky(settings: LineSettings) -> Line:
            if settings.parity != "N":
                raise PortSettingRefused("no parity on this adapter")
            return await open_line(settings)

        plan = ScanPlan((9600,), ("E", "N"), (1,))
        return await scan(picky, plan)

    report = run_virtual(main())
    assert report.refused_settings == [LineSettings(9600, "E")]
    assert [found.address for found in report.meters] == [1]


def test_a_port_that_is_lost_ends_the_scan_in_words():
    async def main():
        peer = Peer()
        peer.unplug()
        with pytest.raises(PortUnavailable):
            await scan(on(peer), PLAN)

    run_virtual(main())


def test_a_scan_on_a_running_bus_pauses_it_and_gives_the_line_back():
    async def main():
        peer = Peer()
        peer.units[1], peer.units[2] = sdm120(), sdm120()
        bus = Rs485Bus(
            "rs485-0",
            "/dev/paper",
            peer.settings,
            opener=peer.open,
            driver_for=lambda spec: ModbusMeter(spec, LIBRARY.get(spec.model)),
        )
        bus.attach(MeterSpec("M1", "rs485-0", 1, "sdm120"))
        outcomes = []
        bus.subscribe(outcomes.append)
        task = asyncio.create_task(bus.run())
        await asyncio.sleep(3)
        async with bus.borrowed() as open_line:
            report = await scan(open_line, PLAN, CANDIDATES)
        heard = len(outcomes)
        await asyncio.sleep(3)
        assert [found.address for found in report.meters] == [1, 2]
        assert len(outcomes) > heard
        assert outcomes[-1].reading.good(Quantity.ENERGY_IMPORT) == 12_500
        assert all(outcome.reading for outcome in outcomes)
        task.cancel()

    run_virtual(main())


def test_stopping_a_bus_whose_line_is_borrowed_leaves_the_borrower_his_line():
    async def main():
        peer = Peer()
        peer.units[1] = sdm120()
        bus = Rs485Bus(
            "b", "p", peer.settings, opener=peer.open, driver_for=lambda _: pytest.fail("none")
        )
        task = asyncio.create_task(bus.run())
        await asyncio.sleep(1)
        async with bus.borrowed() as open_line:
            line = await open_line(peer.settings)
            task.cancel()
            await asyncio.wait([task])
            assert isinstance(peer.stream, PeerStream)
            assert (
                await scan(lambda _: asyncio.sleep(0, line), ScanPlan((9600,), ("N",), (1,)))
            ).meters
        assert peer.stream is None

    run_virtual(main())


@pytest.mark.parametrize(
    "bad",
    [
        {"bauds": ()},
        {"parities": ()},
        {"addresses": ()},
        {"addresses": (0,)},
        {"addresses": (248,)},
        {"parities": ("M",)},
        {"bauds": (0,)},
        {"timeout_s": 0.0},
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_swept_is_refused(bad):
    with pytest.raises(ValueError, match=r"at least one|address|parity|above 0"):
        ScanPlan(**bad)


# --- back-off, budget, share ----------------------------------------------------------------------


def test_delays_grow_from_half_a_second_over_ten_to_five_minutes_and_start_again():
    backoff = Backoff()
    delays = [backoff.fail() for _ in range(20)]
    assert delays[:6] == [0.5, 1, 2, 4, 8, 10]
    assert delays == sorted(delays)
    assert delays[-1] == DELAYS_S[-1] == 300
    assert backoff.silent
    backoff.succeed()
    assert not backoff.silent
    assert backoff.fail() == 0.5
    assert SILENT_AFTER == 2


def test_the_budget_bounds_what_silent_meters_cost_whatever_their_number():
    budget, now_s, spent_s = SilenceBudget(share=0.02, burst_s=0.1), 0.0, 0.0
    while now_s < 1000:
        wait_s = budget.ready_in_s(now_s)
        now_s += wait_s
        if wait_s == 0:
            now_s += 0.35
            spent_s += 0.35
            budget.spend(now_s, 0.35)
    assert spent_s <= 0.1 + 0.35 + 0.021 * now_s
    assert spent_s >= 0.015 * now_s


def test_the_budget_saves_no_more_than_its_burst():
    budget = SilenceBudget(share=0.5, burst_s=0.3)
    budget.spend(0.0, 0.0)
    budget.spend(10_000.0, 0.5)
    assert budget.ready_in_s(10_000.0) == pytest.approx(0.4, abs=0.01)


def test_the_share_is_of_the_last_minute_and_of_the_start_before_that():
    share = BusyShare()
    share.start(100.0)
    assert share.at(100.0) == 0
    share.add(105.0, 2.5)
    assert share.at(110.0) == pytest.approx(0.25)
    for second in range(200, 400):
        share.add(float(second), 0.5)
    assert share.at(400.0) == pytest.approx(0.5, abs=0.02)
    assert share.at(500.0) == 0
    assert len(share._seconds) <= 62
