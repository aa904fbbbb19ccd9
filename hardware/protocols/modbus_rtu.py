"""Modbus RTU, bytes in and bytes out: both ends of a line, with no port and no clock.

Rules of this file: a frame counts only when its unit, function, length and check value all fit;
what does not fit is skipped, byte by byte, until something does. A reply is known to be complete
from its own length, never from silence.

RTU carries no transaction number: a late reply to an earlier request of the same shape cannot be
told from the reply to this one. The master must drain the line after a timeout before it asks
again. The reply to a write repeats the request, so on a line that echoes it proves nothing.

Source: "MODBUS over Serial Line V1.02", modbus.org, section 2.5.1. On the wire: unit, function,
data, CRC-16 with its low byte first.
"""

import struct
from collections.abc import Iterator, Sequence

from hardware.protocols.modbus import (
    NEED_DATA,
    READ_COILS,
    WRITE_COIL,
    WRITE_REGISTER,
    WRITE_REGISTERS,
    Bits,
    ExceptionCode,
    Garbled,
    NeedData,
    ReadBits,
    ReadRegisters,
    Refused,
    Registers,
    Reply,
    Request,
    WriteCoil,
    WriteRegister,
    WriteRegisters,
    Written,
    check_words,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "NEED_DATA",
    "Bits",
    "ExceptionCode",
    "Garbled",
    "NeedData",
    "ReadBits",
    "ReadRegisters",
    "Refused",
    "Registers",
    "Reply",
    "ReplyReader",
    "Request",
    "RequestReader",
    "WriteCoil",
    "WriteRegister",
    "WriteRegisters",
    "Written",
    "crc16",
    "encode_exception",
    "encode_reply",
    "encode_request",
    "reply_size_bytes",
    "with_crc",
]

MAX_FRAME_BYTES = 256

# A line that babbles must not fill memory. Four frames hold any reply behind any noise that
# arrives within one timeout on a line worth using.
MAX_REPLY_BUFFER_BYTES = 4 * MAX_FRAME_BYTES
MAX_REQUEST_BUFFER_BYTES = 2 * MAX_FRAME_BYTES

_EXCEPTION_FLAG = 0x80
_FIXED_SIZE_BYTES = 8  # reads, writes of one value, and the replies to all writes
_EXCEPTION_SIZE_BYTES = 5
_READ_OVERHEAD_BYTES = 5  # unit, function, byte count, CRC
_WRITE_MANY_OVERHEAD_BYTES = 9  # unit, function, address, count, byte count, CRC
_COIL_ON, _COIL_OFF = 0xFF00, 0x0000


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes | bytearray | memoryview) -> int:
    """CRC-16/MODBUS of `data`: polynomial 0x8005 reflected, start 0xFFFF. `123456789` is 0x4B37."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def with_crc(body: bytes) -> bytes:
    """`body` with its check value appended, low byte first: a whole frame."""
    return body + crc16(body).to_bytes(2, "little")


def _is_whole(frame: bytes | bytearray) -> bool:
    # Over a frame with its own CRC, low byte first, the CRC comes out as nought.
    return crc16(frame) == 0


def encode_request(request: Request) -> bytes:
    """The whole frame that asks for `request`."""
    match request:
        case ReadRegisters(unit, function, address, count) | ReadBits(
            unit, function, address, count
        ):
            return with_crc(struct.pack(">BBHH", unit, function, address, count))
        case WriteCoil(unit, address, on):
            value = _COIL_ON if on else _COIL_OFF
            return with_crc(struct.pack(">BBHH", unit, WRITE_COIL, address, value))
        case WriteRegister(unit, address, value):
            return with_crc(struct.pack(">BBHH", unit, WRITE_REGISTER, address, value))
        case WriteRegisters(unit, address, values):
            count = len(values)
            head = struct.pack(">BBHHB", unit, WRITE_REGISTERS, address, count, 2 * count)
            return with_crc(head + struct.pack(f">{count}H", *values))


def reply_size_bytes(request: Request) -> int:
    """Length of the whole frame that serves `request`."""
    match request:
        case ReadRegisters():
            return _READ_OVERHEAD_BYTES + 2 * request.count
        case ReadBits():
            return _READ_OVERHEAD_BYTES + (request.count + 7) // 8
        case _:
            return _FIXED_SIZE_BYTES


class ReplyReader:
    """Finds the reply to one request in whatever arrives, between and after any garbage."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._sent = encode_request(request)
        self._size = reply_size_bytes(request)
        self._buffer = bytearray()
        self._result: Reply | Garbled | NeedData = NEED_DATA

    def feed(self, data: bytes) -> None:
        """Take bytes in the order in which they arrived, in pieces of any size."""
        if self._result is not NEED_DATA:
            return  # trailing garbage
        self._buffer += data
        self._result = self._search()
        if self._result is NEED_DATA and len(self._buffer) > MAX_REPLY_BUFFER_BYTES:
            self._result = Garbled("the line never falls silent")

    def result(self) -> Reply | Garbled | NeedData:
        """The reply as soon as it is whole, NEED_DATA before, Garbled when the bound is passed."""
        return self._result

    def fault(self) -> Garbled | None:
        """For a master that has waited long enough: what came instead; None when nothing came."""
        if isinstance(self._result, Garbled):
            return self._result
        return Garbled(self._explain()) if self._buffer else None

    def _search(self) -> Reply | NeedData:
        unit, function = self._sent[0], self._sent[1]
        for start in _occurrences(self._buffer, bytes((unit, function))):
            frame = self._buffer[start : start + self._size]
            if self._fits(frame) and _is_whole(frame):
                return self._parse(frame)
        for start in _occurrences(self._buffer, bytes((unit, function | _EXCEPTION_FLAG))):
            frame = self._buffer[start : start + _EXCEPTION_SIZE_BYTES]
            if len(frame) == _EXCEPTION_SIZE_BYTES and frame[2] and _is_whole(frame):
                return Refused(frame[2])
        return NEED_DATA

    def _fits(self, frame: bytearray) -> bool:
        """Whether a frame of our unit and function has the length and head that we asked for."""
        size = self._size
        if len(frame) != size:
            return False
        if isinstance(self._request, ReadRegisters | ReadBits):
            return frame[2] == size - _READ_OVERHEAD_BYTES
        return frame[:6] == self._sent[:6]  # address and value or count, as they were sent

    def _parse(self, frame: bytearray) -> Reply:
        count = getattr(self._request, "count", 0)
        match self._request:
            case ReadRegisters():
                return Registers(struct.unpack_from(f">{count}H", frame, 3))
            case ReadBits():
                return Bits(tuple(bool(frame[3 + i // 8] >> i % 8 & 1) for i in range(count)))
            case _:
                return Written()

    def _explain(self) -> str:
        if self._sent in self._buffer:
            return "our own request came back and no reply: the adapter echoes what it sends"
        for start in range(len(self._buffer)):
            frame = _any_reply(self._buffer, start)
            if frame is not None:
                return self._explain_other(frame)
        start = self._buffer.find(self._sent[:2])
        if start < 0:
            return f"{len(self._buffer)} bytes came that are no Modbus reply"
        if len(self._buffer) - start < self._size:
            return "the reply stops short"
        return "the reply's check value is wrong"

    def _explain_other(self, frame: bytearray) -> str:
        """What is wrong with a valid frame that is not the reply we wait for."""
        unit, function = self._sent[0], self._sent[1]
        if frame[0] != unit:
            return f"unit {frame[0]} answered instead of unit {unit}"
        if frame[1] & ~_EXCEPTION_FLAG != function:
            return f"a reply to function {frame[1]} came, but function {function} was asked"
        return f"a reply of {len(frame)} bytes came, not {self._size}"


def _occurrences(buffer: bytearray, pattern: bytes) -> Iterator[int]:
    start = buffer.find(pattern)
    while start >= 0:
        yield start
        start = buffer.find(pattern, start + 1)


def _any_reply(buffer: bytearray, start: int) -> bytearray | None:
    """A whole, valid reply frame of any unit at `start`, or None."""
    if len(buffer) - start < _EXCEPTION_SIZE_BYTES:
        return None
    function = buffer[start + 1]
    if function & _EXCEPTION_FLAG:
        size = _EXCEPTION_SIZE_BYTES
    elif function in (WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS):
        size = _FIXED_SIZE_BYTES
    else:
        size = _READ_OVERHEAD_BYTES + buffer[start + 2]
    frame = buffer[start : start + size]
    return frame if len(frame) == size and _is_whole(frame) else None


# --- the other end, for simulators ----------------------------------------------------------------


class RequestReader:
    """Finds requests to any unit in what a master sends, between and after any garbage."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Take bytes as they arrive; gives the requests that are now whole, in order."""
        self._buffer += data
        found: list[Request] = []
        start = 0
        while start < len(self._buffer):
            request, size = _request_at(self._buffer, start)
            if request is None:
                start += 1
                continue
            found.append(request)
            del self._buffer[: start + size]
            start = 0
        del self._buffer[:-MAX_REQUEST_BUFFER_BYTES]
        return found

    def silence(self) -> None:
        """Forget an unfinished frame: 3.5 characters of silence have passed."""
        self._buffer.clear()


def _request_at(buffer: bytearray, start: int) -> tuple[Request | None, int]:
    """The whole, valid request at `start` and its length in bytes, or (None, 0)."""
    if len(buffer) - start < _FIXED_SIZE_BYTES:
        return None, 0
    unit, function, address, value = struct.unpack_from(">BBHH", buffer, start)
    size = _FIXED_SIZE_BYTES
    if function == WRITE_REGISTERS:
        size = _WRITE_MANY_OVERHEAD_BYTES + buffer[start + 6]
    elif function not in range(READ_COILS, WRITE_REGISTER + 1):
        return None, 0
    frame = buffer[start : start + size]
    if len(frame) != size or not _is_whole(frame):
        return None, 0
    try:
        return _build_request(frame, unit, function, address, value), size
    except ValueError:
        return (
            None,
            0,
        )  # a valid check value around a request that may not be: noise, or a broadcast


def _build_request(
    frame: bytearray, unit: int, function: int, address: int, value: int
) -> Request | None:
    match function:
        case 1 | 2:
            return ReadBits(unit, function, address, value)
        case 3 | 4:
            return ReadRegisters(unit, function, address, value)
        case 5 if value in (_COIL_ON, _COIL_OFF):
            return WriteCoil(unit, address, value == _COIL_ON)
        case 6:
            return WriteRegister(unit, address, value)
        case 16 if frame[6] == 2 * value:
            return WriteRegisters(unit, address, struct.unpack_from(f">{value}H", frame, 7))
        case _:
            return None


def encode_reply(request: Request, values: Sequence[int] = ()) -> bytes:
    """The whole frame that serves `request`; `values` are its registers or bits, if it reads.

    Raises ValueError when there are not as many values as were asked for.
    """
    if isinstance(request, ReadRegisters | ReadBits):
        if len(values) != request.count:
            raise ValueError(f"{request.count} values were asked for, not {len(values)}")
        if isinstance(request, ReadRegisters):
            check_words(values)
            body = struct.pack(f">{request.count}H", *values)
        else:
            bits = sum(bool(value) << index for index, value in enumerate(values))
            body = bits.to_bytes((request.count + 7) // 8, "little")
        return with_crc(bytes((request.unit, request.function, len(body))) + body)
    return with_crc(encode_request(request)[:6])


def encode_exception(request: Request, code: int) -> bytes:
    """The whole frame with which a unit refuses `request`."""
    return with_crc(bytes((request.unit, request.function | _EXCEPTION_FLAG, code)))
