"""The driver: what makes a reading, and what happens when the meter refuses or falls silent."""

import pytest

from hardware.api import MeterRefused, MeterSilent, MeterSpec, Quality, Quantity
from hardware.meters.fit import ModelCandidate
from hardware.meters.modbus import (
    REFUSED_REST_POLLS,
    SILENT_IN_A_ROW,
    SILENT_REST_POLLS,
    ModbusMeter,
)
from hardware.meters.model import ModelLibrary
from hardware.meters.registers import to_words
from hardware.protocols.modbus import ReadRegisters, Refused, Registers

TRUTH = {
    Quantity.ENERGY_IMPORT: 1_234_500,
    Quantity.ENERGY_EXPORT: 0,
    Quantity.ACTIVE_POWER: 690,
    Quantity.VOLTAGE: 230_000,
    Quantity.CURRENT: 3_000,
    Quantity.POWER_FACTOR: 1_000,
    Quantity.FREQUENCY: 50_000,
}


class PaperMeter:
    """Answers as a model's registers would; refuses or drops what it is told to."""

    def __init__(self, name: str = "sdm120") -> None:
        self.model = ModelLibrary().get(name)
        self.words: dict[tuple[int, int], int] = {}
        for quantity, register in self.model.registers.items():
            for place, word in enumerate(register.encode(TRUTH[quantity], quantity)):
                self.words[register.function, register.address + place] = word
        self.holes = True  # reads across registers that are not there
        self.refuses: dict[int, int] = {}  # address -> exception code
        self.silent: set[int] = set()  # addresses
        self.asked: list[ReadRegisters] = []

    async def exchange(self, request: ReadRegisters) -> Registers | Refused:
        self.asked.append(request)
        places = range(request.address, request.address + request.count)
        if self.silent & set(places):
            raise MeterSilent("no answer")
        for place in places:
            if place in self.refuses:
                return Refused(self.refuses[place])
            if not self.holes and (request.function, place) not in self.words:
                return Refused(2)
        return Registers(tuple(self.words.get((request.function, place), 0) for place in places))


def driver(paper: PaperMeter) -> ModbusMeter:
    return ModbusMeter(MeterSpec("M1", "rs485-0", 7, paper.model.name), paper.model)


@pytest.mark.parametrize("name", ModelLibrary().names())
async def test_each_shipped_model_reads_back_what_its_meter_shows(name):
    paper = PaperMeter(name)
    reading = await driver(paper).read(paper.exchange)
    assert reading.meter == "M1"
    for quantity in paper.model.registers:
        assert reading.good(quantity) == TRUTH[quantity]
    assert {request.unit for request in paper.asked} == {7}


async def test_a_meter_that_refuses_holes_is_read_piece_by_piece_from_then_on():
    paper = PaperMeter()
    paper.holes = False
    meter = driver(paper)
    reading = await meter.read(paper.exchange)
    assert {q: reading.good(q) for q in paper.model.registers} == TRUTH
    paper.asked.clear()
    await meter.read(paper.exchange)
    assert len(paper.asked) == 5  # Hz with both energies stay together
    assert meter.blocks[0].vital


async def test_a_refused_register_of_lesser_importance_is_absent_and_asked_again_later():
    paper = PaperMeter()
    paper.refuses[0x1E] = 2
    meter = driver(paper)
    reading = await meter.read(paper.exchange)
    assert Quantity.POWER_FACTOR not in reading.values
    assert reading.good(Quantity.CURRENT) == 3_000
    assert reading.good(Quantity.ENERGY_IMPORT) == 1_234_500
    paper.refuses.clear()
    for _ in range(REFUSED_REST_POLLS):
        assert Quantity.POWER_FACTOR not in (await meter.read(paper.exchange)).values
    assert (await meter.read(paper.exchange)).good(Quantity.POWER_FACTOR) == 1_000


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6])
async def test_a_refused_energy_register_is_an_error_every_time(code):
    paper = PaperMeter()
    paper.refuses[0x48] = code
    meter = driver(paper)
    for _ in range(3):
        with pytest.raises(MeterRefused, match="refuses its energy register") as caught:
            await meter.read(paper.exchange)
        assert f"exception {code}" in str(caught.value)


async def test_a_busy_meter_is_not_taken_apart():
    paper = PaperMeter()
    paper.refuses[0] = 6
    meter = driver(paper)
    before = meter.blocks
    reading = await meter.read(paper.exchange)
    assert reading.good(Quantity.ENERGY_IMPORT) == 1_234_500
    assert Quantity.VOLTAGE not in reading.values
    assert meter.blocks == before
    paper.refuses.clear()
    assert (await meter.read(paper.exchange)).good(Quantity.VOLTAGE) == 230_000


async def test_a_silent_meter_is_an_error():
    paper = PaperMeter()
    paper.silent.add(0x48)
    with pytest.raises(MeterSilent):
        await driver(paper).read(paper.exchange)


async def test_a_block_that_stays_silent_rests_and_comes_back():
    paper = PaperMeter()
    paper.silent.add(0x0C)
    meter = driver(paper)
    for _ in range(SILENT_IN_A_ROW):
        reading = await meter.read(paper.exchange)
        assert reading.good(Quantity.ENERGY_IMPORT) == 1_234_500
        assert Quantity.VOLTAGE not in reading.values
    paper.silent.clear()
    paper.asked.clear()
    for _ in range(SILENT_REST_POLLS):
        await meter.read(paper.exchange)
    assert len(paper.asked) == SILENT_REST_POLLS
    assert (await meter.read(paper.exchange)).good(Quantity.VOLTAGE) == 230_000


@pytest.mark.parametrize("words", [(0x7FC0, 0), (0xC120, 0), (0x7F80, 0)])
async def test_energy_that_cannot_be_true_is_marked_and_never_good(words):
    paper = PaperMeter()
    paper.words[4, 0x48], paper.words[4, 0x49] = words
    reading = await driver(paper).read(paper.exchange)
    energy = reading.values[Quantity.ENERGY_IMPORT]
    assert (energy.value, energy.quality) == (0, Quality.IMPLAUSIBLE)
    assert reading.good(Quantity.ENERGY_IMPORT) is None
    assert reading.good(Quantity.VOLTAGE) == 230_000


async def test_the_serial_number_is_told_and_its_absence_is_no_error():
    paper = PaperMeter()
    paper.words[3, 0xFC00], paper.words[3, 0xFC01] = to_words(19080001, "uint32", "ABCD")
    assert (await driver(paper).identify(paper.exchange)).serial == "19080001"
    paper.refuses[0xFC00] = 2
    assert (await driver(paper).identify(paper.exchange)).serial is None
    paper.silent.add(0xFC00)
    assert (await driver(paper).identify(paper.exchange)).serial is None
    other = PaperMeter("mfm383")
    assert (await driver(other).identify(other.exchange)).serial is None
    assert other.asked == []


# --- which model is it? ---------------------------------------------------------------------------


async def fits(paper: PaperMeter) -> dict[str, str]:
    found = {}
    for model in ModelLibrary().load_all()[0]:
        fit = await ModelCandidate(model).fit(7, paper.exchange)
        if fit is not None:
            found[fit.model] = fit.word_order
    return found


@pytest.mark.parametrize("name", ModelLibrary().names())
async def test_every_model_recognises_its_own_meter(name):
    assert name in await fits(PaperMeter(name))


async def test_models_with_another_map_do_not_fit():
    assert set(await fits(PaperMeter("sdm120"))) == {"sdm120", "sdm230", "sdm630"}
    assert await fits(PaperMeter("em6400")) == {"em6400": "CDAB"}
    assert set(await fits(PaperMeter("iem3000"))) == {"iem3000"}


async def test_a_meter_set_to_another_word_order_is_found_with_that_order():
    paper = PaperMeter("mfm383")
    for quantity, register in paper.model.registers.items():
        words = register.encode(TRUTH[quantity], quantity)
        paper.words[4, register.address], paper.words[4, register.address + 1] = words[::-1]
    fit = await ModelCandidate(paper.model).fit(7, paper.exchange)
    assert (fit.word_order, fit.as_filed) == ("CDAB", False)
    assert (fit.voltage_mv, fit.frequency_mhz) == (230_000, 50_000)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [(Quantity.VOLTAGE, 110_000), (Quantity.VOLTAGE, 0), (Quantity.FREQUENCY, 60_000)],
)
async def test_what_cannot_be_the_supply_does_not_fit(quantity, value):
    paper = PaperMeter()
    register = paper.model.registers[quantity]
    for place, word in enumerate(register.encode(value, quantity)):
        paper.words[4, register.address + place] = word
    assert await fits(paper) == {}


async def test_a_meter_that_refuses_or_falls_silent_fits_nothing():
    paper = PaperMeter()
    paper.refuses[0] = 2
    assert await fits(paper) == {}
    paper.silent.add(0)
    assert await fits(paper) == {}
