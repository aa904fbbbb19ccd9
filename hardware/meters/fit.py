"""Does a meter speak as a model's file says? Tried by what must be true of any supply in India.

Rules of this file: reads only. A model fits when its voltage register shows 180 to 280 V and its
frequency register 49 to 51 Hz, both in the same word order. Models that share a register map fit
together: a fit is a suggestion for a person, never a licence to charge.
"""

from dataclasses import dataclass

from hardware.api import MeterError, Quantity
from hardware.meters.modbus import Exchange
from hardware.meters.model import MeterModel
from hardware.meters.registers import WORD_ORDERS, Register, WordOrder
from hardware.protocols.modbus import ReadRegisters, Registers

PLAUSIBLE_VOLTAGE_MV = range(180_000, 280_001)
PLAUSIBLE_FREQUENCY_MHZ = range(49_000, 51_001)


@dataclass(frozen=True, slots=True)
class ModelFit:
    """A model whose registers show a plausible supply in this word order."""

    model: str
    word_order: WordOrder
    as_filed: bool  # the order is the one that the model's file gives
    voltage_mv: int
    frequency_mhz: int


class ModelCandidate:
    """One model to try on meters that a scan has found."""

    def __init__(self, model: MeterModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    async def fit(self, unit: int, exchange: Exchange) -> ModelFit | None:
        """Try the model on the meter at address `unit`; None when it does not fit."""
        voltage = self._model.registers.get(Quantity.VOLTAGE)
        frequency = self._model.registers.get(Quantity.FREQUENCY)
        if voltage is None or frequency is None:
            return None
        volts = await _words(unit, voltage, exchange)
        hertz = await _words(unit, frequency, exchange) if volts is not None else None
        if volts is None or hertz is None:
            return None
        for order in _orders(voltage):
            voltage_mv = voltage.decode(volts, Quantity.VOLTAGE, order)
            frequency_mhz = frequency.decode(hertz, Quantity.FREQUENCY, order)
            if voltage_mv is None or frequency_mhz is None:
                continue
            if voltage_mv in PLAUSIBLE_VOLTAGE_MV and frequency_mhz in PLAUSIBLE_FREQUENCY_MHZ:
                as_filed = order == voltage.word_order
                return ModelFit(self.name, order, as_filed, voltage_mv, frequency_mhz)
        return None


def _orders(register: Register) -> list[WordOrder]:
    """The file's own order first, then the others."""
    return sorted(WORD_ORDERS, key=lambda order: order != register.word_order)


async def _words(unit: int, register: Register, exchange: Exchange) -> tuple[int, ...] | None:
    try:
        reply = await exchange(
            ReadRegisters(unit, register.function, register.address, register.count)
        )
    except MeterError:
        return None
    return reply.values if isinstance(reply, Registers) else None
