"""A number in Modbus registers becomes an exact integer in the unit of its quantity, or nothing.

Rules of this file: pure and exact; floats are taken apart as fractions and rounded once, half up.
What a register cannot mean (not a number, outside the range its file gives) is None, never an
exception: a meter may send anything.

Word orders are written as where the bytes A (most significant) to D of a 32-bit number lie on the
wire: ABCD is big-endian, CDAB has the low word first, BADC swapped bytes, DCBA is little-endian.
For 64 bits the same two switches apply, words reversed and bytes swapped.
"""

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from hardware.api import Quantity
from hardware.protocols.modbus import READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS

NumberType = Literal["float32", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
WordOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
WORD_ORDERS: tuple[WordOrder, ...] = ("ABCD", "CDAB", "BADC", "DCBA")

_STRUCT_CODES: Mapping[str, str] = {
    "float32": ">f",
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
}

# File unit -> (unit of the quantity, how many of those it is).
_UNIT_FACTORS: Mapping[str, tuple[str, int]] = {
    "Wh": ("Wh", 1),
    "kWh": ("Wh", 1000),
    "MWh": ("Wh", 1_000_000),
    "W": ("W", 1),
    "kW": ("W", 1000),
    "MW": ("W", 1_000_000),
    "mV": ("mV", 1),
    "V": ("mV", 1000),
    "kV": ("mV", 1_000_000),
    "mA": ("mA", 1),
    "A": ("mA", 1000),
    "mHz": ("mHz", 1),
    "Hz": ("mHz", 1000),
    "permille": ("permille", 1),
    "percent": ("permille", 10),
    "1": ("permille", 1000),
}

_ADDRESSES = 0x10000
_MAX_SERIAL_REGISTERS = 32  # 64 characters; longer than any serial number on a label


# Asked for with each value that is read: a line knows a few models.
_exact = functools.lru_cache(maxsize=512)(Fraction)


@functools.lru_cache(maxsize=512)
def unit_factor(unit: str, quantity: Quantity) -> int:
    """How many of the quantity's unit one `unit` of a file is. ValueError if it does not fit."""
    fitting = [name for name, (base, _) in _UNIT_FACTORS.items() if base == quantity.unit]
    if unit not in fitting:
        raise ValueError(f"{quantity.value}: unit {unit!r} is not one of {', '.join(fitting)}")
    return _UNIT_FACTORS[unit][1]


def wire_bytes(words: Sequence[int], order: WordOrder) -> bytes:
    """The bytes of `words` with the most significant first."""
    if order in ("CDAB", "DCBA"):
        words = words[::-1]
    byte_order = "<" if order in ("BADC", "DCBA") else ">"
    return struct.pack(f"{byte_order}{len(words)}H", *words)


def number(words: Sequence[int], kind: NumberType, order: WordOrder) -> Fraction | None:
    """The exact number in `words`; None for a float that is not a number or not finite."""
    value = struct.unpack(_STRUCT_CODES[kind], wire_bytes(words, order))[0]
    return Fraction(value) if math.isfinite(value) else None


def to_words(value: float, kind: NumberType, order: WordOrder) -> tuple[int, ...]:
    """The other way, for simulators. Raises ValueError for what the type cannot hold."""
    try:
        data = struct.pack(_STRUCT_CODES[kind], value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value} does not fit {kind}: {error}") from error
    byte_order = "<" if order in ("BADC", "DCBA") else ">"
    words: tuple[int, ...] = struct.unpack(f"{byte_order}{len(data) // 2}H", data)
    return words[::-1] if order in ("CDAB", "DCBA") else words


def half_up(value: Fraction) -> int:
    """The nearest integer; a half goes towards plus infinity."""
    return math.floor(value + Fraction(1, 2))


def _check_place(function: int, address: int, count: int) -> None:
    if function not in (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS):
        raise ValueError(f"function {function} does not read registers; write 3 or 4")
    if not (address >= 0 and address + count <= _ADDRESSES):
        raise ValueError(f"address {address} is not a wire address (0 to 65535, counted from 0)")


def _check_order(count: int, order: WordOrder) -> None:
    if count == 1 and order in ("CDAB", "DCBA"):
        raise ValueError(f"word_order {order} needs two words, but this type has one register")


@dataclass(frozen=True, slots=True)
class Register:
    """Where one quantity is, how it is written, and between what limits it makes sense.

    `value = number * scale`, in `unit`; `min` and `max` are in `unit` too. `address` is the wire
    address, counted from 0.
    """

    function: int
    address: int
    type: NumberType
    unit: str
    min: Decimal
    max: Decimal
    word_order: WordOrder = "ABCD"
    scale: Decimal = Decimal(1)
    note: str = ""

    def __post_init__(self) -> None:
        _check_place(self.function, self.address, self.count)
        _check_order(self.count, self.word_order)
        for name, figure in (("scale", self.scale), ("min", self.min), ("max", self.max)):
            if not figure.is_finite():
                raise ValueError(f"{name} is {figure}; write a number")
        if self.scale == 0:
            raise ValueError("scale is 0, which would make every reading 0")
        if self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")

    @property
    def count(self) -> int:
        """How many registers it takes."""
        return struct.calcsize(_STRUCT_CODES[self.type]) // 2

    def decode(
        self, words: Sequence[int], quantity: Quantity, order: WordOrder | None = None
    ) -> int | None:
        """The value of `words` in the unit of `quantity`; None when it cannot be true.

        `order` tries another word order than the file's.
        """
        raw = number(words, self.type, order or self.word_order)
        if raw is None:
            return None
        value = raw * _exact(self.scale)
        if not _exact(self.min) <= value <= _exact(self.max):
            return None
        return half_up(value * unit_factor(self.unit, quantity))

    def encode(self, value: int, quantity: Quantity) -> tuple[int, ...]:
        """The words a meter shows for `value` in the quantity's unit, for simulators."""
        shown = Fraction(value) / unit_factor(self.unit, quantity) / _exact(self.scale)
        figure = float(shown) if self.type == "float32" else half_up(shown)
        return to_words(figure, self.type, self.word_order)


@dataclass(frozen=True, slots=True)
class SerialRegister:
    """Where a meter keeps its serial number: a number, or `count` registers of ASCII text."""

    function: int
    address: int
    type: Literal["uint16", "uint32", "uint64", "ascii"]
    word_order: WordOrder = "ABCD"
    count: int = 0  # only for ascii; numbers know their own

    def __post_init__(self) -> None:
        if self.type == "ascii" and not 1 <= self.count <= _MAX_SERIAL_REGISTERS:
            raise ValueError(f"ascii needs count = 1 to {_MAX_SERIAL_REGISTERS} registers")
        if self.type != "ascii" and self.count:
            raise ValueError(f"count is for ascii only; {self.type} knows its own")
        _check_place(self.function, self.address, self.registers)
        _check_order(self.registers, self.word_order)

    @property
    def registers(self) -> int:
        """How many registers it takes."""
        if self.type == "ascii":
            return self.count
        return struct.calcsize(_STRUCT_CODES[self.type]) // 2

    def decode(self, words: Sequence[int]) -> str | None:
        """The serial number as it stands on the label; None when the registers are blank."""
        if self.type == "ascii":
            text = wire_bytes(words, self.word_order).split(b"\0")[0].strip()
            printable = bytes(byte for byte in text if 0x20 <= byte < 0x7F)  # noqa: PLR2004 - ASCII
            return printable.decode("ascii") or None
        value = number(words, self.type, self.word_order)
        return str(value) if value else None
