"""What a Modbus master may ask and a unit may answer: plain messages, checked when they are made.

Rules of this file: messages only, no bytes; a message that exists is one that may go on a line.
Addresses are wire addresses, counted from 0; printed "register numbers" are often one higher.

Source: "MODBUS Application Protocol Specification V1.1b3", modbus.org, sections 6 and 7.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

READ_COILS, READ_DISCRETE_INPUTS = 1, 2
READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS = 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 5, 6, 16

MAX_READ_REGISTERS = 125  # the byte count of a reply is one byte, and a frame has 256
MAX_READ_BITS = 2000
MAX_WRITE_REGISTERS = 123

MAX_UNIT = 247  # the highest address of a serial line; 0 is broadcast

_UNITS = range(1, MAX_UNIT + 1)
_ADDRESSES = 0x10000


# --- requests -------------------------------------------------------------------------------------


def _check(unit: int, address: int, count: int, count_max: int) -> None:
    if unit not in _UNITS:
        raise ValueError(f"unit address {unit} is not between 1 and 247")
    if not 1 <= count <= count_max:
        raise ValueError(f"count {count} is not between 1 and {count_max}")
    if not (address >= 0 and address + count <= _ADDRESSES):
        raise ValueError(f"addresses {address}..{address + count - 1} are not within 0..65535")


def check_words(values: Sequence[int]) -> None:
    """Raise ValueError unless each value fits a register: 0..65535."""
    for value in values:
        if not 0 <= value < _ADDRESSES:
            raise ValueError(f"register value {value} is not between 0 and 65535")


@dataclass(frozen=True, slots=True)
class ReadRegisters:
    """Read `count` registers from wire address `address` (0-based); function 3 or 4."""

    unit: int
    function: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if self.function not in (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS):
            raise ValueError(f"function {self.function} does not read registers; 3 and 4 do")
        _check(self.unit, self.address, self.count, MAX_READ_REGISTERS)


@dataclass(frozen=True, slots=True)
class ReadBits:
    """Read `count` coils (function 1) or discrete inputs (function 2)."""

    unit: int
    function: int
    address: int
    count: int

    def __post_init__(self) -> None:
        if self.function not in (READ_COILS, READ_DISCRETE_INPUTS):
            raise ValueError(f"function {self.function} does not read bits; 1 and 2 do")
        _check(self.unit, self.address, self.count, MAX_READ_BITS)


@dataclass(frozen=True, slots=True)
class WriteCoil:
    """Switch one coil (function 5)."""

    unit: int
    address: int
    on: bool
    function: ClassVar[int] = WRITE_COIL

    def __post_init__(self) -> None:
        _check(self.unit, self.address, 1, 1)


@dataclass(frozen=True, slots=True)
class WriteRegister:
    """Write one holding register (function 6)."""

    unit: int
    address: int
    value: int
    function: ClassVar[int] = WRITE_REGISTER

    def __post_init__(self) -> None:
        _check(self.unit, self.address, 1, 1)
        check_words([self.value])


@dataclass(frozen=True, slots=True)
class WriteRegisters:
    """Write holding registers in a row (function 16)."""

    unit: int
    address: int
    values: tuple[int, ...]
    function: ClassVar[int] = WRITE_REGISTERS

    def __post_init__(self) -> None:
        _check(self.unit, self.address, len(self.values), MAX_WRITE_REGISTERS)
        check_words(self.values)


Request = ReadRegisters | ReadBits | WriteCoil | WriteRegister | WriteRegisters


# --- replies --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers asked for, each 0..65535."""

    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bits:
    """The coils or inputs asked for."""

    values: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The unit says that it has written."""


class ExceptionCode(enum.IntEnum):
    """Why a unit refuses a request."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    BUSY = 6
    MEMORY_PARITY = 8
    GATEWAY_PATH = 10
    GATEWAY_TARGET = 11


_EXCEPTION_WORDS = {
    ExceptionCode.ILLEGAL_FUNCTION: "it does not know this function code",
    ExceptionCode.ILLEGAL_ADDRESS: "it has no such register address",
    ExceptionCode.ILLEGAL_VALUE: "it does not take this register count or value",
    ExceptionCode.DEVICE_FAILURE: "it failed while serving the request",
    ExceptionCode.ACKNOWLEDGE: "it is working on the request and has no answer yet",
    ExceptionCode.BUSY: "it is busy with something else",
    ExceptionCode.MEMORY_PARITY: "its memory has a parity fault",
    ExceptionCode.GATEWAY_PATH: "a Modbus gateway on the line has no path to it",
    ExceptionCode.GATEWAY_TARGET: "it did not answer the Modbus gateway on the line",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """An exception response: the unit is there but will not serve this request."""

    code: int

    @property
    def words(self) -> str:
        """The reason in plain words."""
        try:
            return f"{_EXCEPTION_WORDS[ExceptionCode(self.code)]} (exception {self.code})"
        except ValueError:
            return f"it gives a reason that Modbus does not name (exception {self.code})"


@dataclass(frozen=True, slots=True)
class Garbled:
    """Bytes came, but no reply to this request; `reason` says what they look like."""

    reason: str


class NeedData(enum.Enum):
    """The one answer of a reader that has not seen a whole frame yet."""

    NEED_DATA = "need data"


NEED_DATA = NeedData.NEED_DATA

Reply = Registers | Bits | Written | Refused
