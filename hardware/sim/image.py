"""What a meter of a given model shows in its registers: the model file read backwards.

Any model file can be served, shipped or a user's own. Rules of this file: no clock, no state but a
cache; values are integers in the unit of their quantity, words are 0..65535.
"""

import bisect
import functools
import struct
from collections.abc import Mapping
from fractions import Fraction

from hardware.api import Quantity
from hardware.meters.model import MeterModel
from hardware.meters.registers import SerialRegister, to_words, unit_factor

# Registers that lie this close together are one table to the simulated meter: what is between
# them reads 0, as other quantities that the model file does not name would read something. Beyond,
# the meter has no such address. Eastron's widest hole in what a master wants at once is 40.
TABLE_GAP_REGISTERS = 48

# The smallest step of an energy register whose format does not say: a float32 in kWh on meters
# that count 0.01 kWh, as the Eastron and Selec ones do on their displays.
FLOAT_STEP_WH = 10
# Quantities change by the second and come back: keep a few hundred encoded ones a model.
_ENCODED_KEPT = 512


class RegisterImage:
    """The registers of one model; shared by all meters of that model.

    `step_wh` is the step in which its energy register counts: by default one unit of an integer
    register, `FLOAT_STEP_WH` of a float one (1 Wh where the file's unit is Wh). With
    `bridge_registers=0` it is a meter that refuses every read across a hole.
    """

    def __init__(
        self,
        model: MeterModel,
        *,
        step_wh: int | None = None,
        bridge_registers: int = TABLE_GAP_REGISTERS,
    ) -> None:
        self.model = model.name
        self.step_wh = step_wh if step_wh is not None else _step_wh(model)
        if self.step_wh < 1:
            raise ValueError(f"{model.name}: an energy step of {self.step_wh} Wh is none")
        self._registers = model.registers
        self._serial = model.serial
        self._max_registers = model.max_registers
        self._tables = _tables(model, bridge_registers)
        self._encode = functools.lru_cache(maxsize=_ENCODED_KEPT)(self._encode_value)

    def read(
        self,
        function: int,
        address: int,
        count: int,
        values: Mapping[Quantity, int],
        serial: str,
    ) -> list[int] | None:
        """The words asked for, 0 where the model names nothing.

        None: the meter has no such addresses, or gives fewer registers at a time.
        """
        if count > self._max_registers:
            return None
        tables = self._tables.get(function, [])
        index = bisect.bisect_right(tables, (address, 0x10000)) - 1
        if index < 0 or address + count > tables[index][1]:
            return None
        words = [0] * count
        for quantity, place in self._registers.items():
            if place.function == function and _overlap(place.address, place.count, address, count):
                _lay(words, address, place.address, self._encode(quantity, values.get(quantity, 0)))
        own = self._serial
        if (
            own is not None
            and own.function == function
            and _overlap(own.address, own.registers, address, count)
        ):
            _lay(words, address, own.address, serial_words(own, serial))
        return words

    def _encode_value(self, quantity: Quantity, value: int) -> tuple[int, ...]:
        return self._registers[quantity].encode(value, quantity)


def serial_words(place: SerialRegister, serial: str) -> tuple[int, ...]:
    """`serial` as its register shows it; a number too long for it loses its high digits."""
    if place.type == "ascii":
        text = serial.encode("ascii")[: 2 * place.count].ljust(2 * place.count, b"\0")
        byte_order = "<" if place.word_order in ("BADC", "DCBA") else ">"
        words: tuple[int, ...] = struct.unpack(f"{byte_order}{place.count}H", text)
        return words[::-1] if place.word_order in ("CDAB", "DCBA") else words
    return to_words(int(serial) % (1 << (16 * place.registers)), place.type, place.word_order)


def _step_wh(model: MeterModel) -> int:
    register = model.registers[Quantity.ENERGY_IMPORT]
    factor = unit_factor(register.unit, Quantity.ENERGY_IMPORT)
    if register.type == "float32":
        return 1 if factor == 1 else FLOAT_STEP_WH
    return max(1, round(factor * abs(Fraction(register.scale))))


def _tables(model: MeterModel, bridge: int) -> dict[int, list[tuple[int, int]]]:
    """Per function, the address ranges (start, end) that the meter has, in order."""
    spans = [(place.function, place.address, place.count) for place in model.registers.values()]
    if model.serial is not None:
        spans.append((model.serial.function, model.serial.address, model.serial.registers))
    tables: dict[int, list[tuple[int, int]]] = {}
    for function, start, count in sorted(spans):
        known = tables.setdefault(function, [])
        if known and start - known[-1][1] <= bridge:
            known[-1] = (known[-1][0], max(known[-1][1], start + count))
        else:
            known.append((start, start + count))
    return tables


def _overlap(start: int, count: int, other: int, other_count: int) -> bool:
    return start < other + other_count and other < start + count


def _lay(words: list[int], base: int, start: int, piece: tuple[int, ...]) -> None:
    """Put `piece`, which begins at address `start`, into `words`, which begin at `base`."""
    for index, word in enumerate(piece, start - base):
        if 0 <= index < len(words):
            words[index] = word
