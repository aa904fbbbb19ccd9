"""What comes over a serial line: replies to a master, requests to a simulated meter, registers."""

import asyncio

from hardware.api import MeterGarbled, MeterReading, MeterRefused, MeterSpec, Quality, Quantity
from hardware.meters.modbus import ModbusMeter
from hardware.meters.model import ModelLibrary
from hardware.protocols import modbus_rtu as rtu
from hardware.protocols.modbus import NEED_DATA
from tests.fuzz.target import Check, Target, demand

REQUESTS = (
    rtu.ReadRegisters(1, 4, 0, 2),
    rtu.ReadRegisters(17, 3, 0xFFFE, 2),
    rtu.ReadRegisters(247, 4, 72, 125),
    rtu.ReadBits(1, 1, 3, 17),
    rtu.ReadBits(9, 2, 0, 2000),
    rtu.WriteCoil(2, 5, on=True),
    rtu.WriteRegister(3, 6, 65535),
    rtu.WriteRegisters(4, 16, (1, 2, 3)),
)


def plain_crc(data: bytes) -> int:
    """CRC-16/MODBUS bit by bit, as the specification describes it; nothing of ours in it."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xA001 if crc & 1 else 0)
    return crc


def replies() -> Check:
    """First byte: the request; second: the size of the pieces; the rest is what arrives."""

    def check(data: bytes) -> None:
        if len(data) < 2:
            return
        request = REQUESTS[data[0] % len(REQUESTS)]
        reader, size, line = rtu.ReplyReader(request), data[1] % 37 + 1, data[2:]
        for at in range(0, len(line), size):
            reader.feed(line[at : at + size])
        result = reader.result()
        reader.fault()
        demand(len(reader._buffer) <= rtu.MAX_REPLY_BUFFER_BYTES + 37, "the buffer grows")
        if result is NEED_DATA or isinstance(result, rtu.Garbled):
            return
        demand(_stands_in(line, request, result), f"{result} is not in what came")

    return check


def _stands_in(line: bytes, request: rtu.Request, result: rtu.Reply) -> bool:
    """Whether a whole frame with a right check value says so somewhere."""
    function = rtu.encode_request(request)[1]
    size = 5 if isinstance(result, rtu.Refused) else rtu.reply_size_bytes(request)
    for start in range(len(line) - size + 1):
        frame = line[start : start + size]
        told = int.from_bytes(frame[-2:], "little")
        if frame[0] != request.unit or plain_crc(frame[:-2]) != told:
            continue
        match result:
            case rtu.Refused(code):
                if frame[1] == function | 0x80 and frame[2] == code:
                    return True
            case rtu.Registers(values):
                words = b"".join(value.to_bytes(2, "big") for value in values)
                if frame[1] == function and frame[3:-2] == words:
                    return True
            case _:
                if frame[1] == function:
                    return True
    return False


def requests() -> Check:
    """What a simulated meter is sent: it serves only what is whole."""

    def check(data: bytes) -> None:
        reader, found = rtu.RequestReader(), []
        for at in range(0, len(data), 29):
            found += reader.feed(data[at : at + 29])
        demand(len(reader._buffer) <= rtu.MAX_REQUEST_BUFFER_BYTES, "the buffer grows")
        for request in found:
            demand(rtu.encode_request(request) in data, f"{request} is not in what came")

    return check


def registers() -> Check:
    """Any words from a meter of any model become a reading that is within its file's limits."""
    library = ModelLibrary()
    models = [library.get(name) for name in library.names()]
    loop = asyncio.new_event_loop()

    def check(data: bytes) -> None:
        if not data:
            return
        model = models[data[0] % len(models)]
        meter = ModbusMeter(MeterSpec("M", "b", 1, model.name), model)
        at = 1

        async def exchange(request: rtu.ReadRegisters):
            nonlocal at
            kind = data[at] if at < len(data) else 0
            body = data[at + 1 : at + 1 + 2 * request.count].ljust(2 * request.count, b"\0")
            at += 1 + 2 * request.count
            if kind == 0xFF:
                return rtu.Refused(body[0] or 1)
            words = [int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body), 2)]
            return rtu.Registers(tuple(words))

        async def twice() -> None:
            for _ in range(2):
                try:
                    _within_limits(await meter.read(exchange), model)
                except (MeterRefused, MeterGarbled):
                    return
                await meter.identify(exchange)

        loop.run_until_complete(twice())

    return check


def _within_limits(reading: MeterReading, model) -> None:
    for quantity, value in reading.values.items():
        demand(isinstance(value.value, int), "a reading that is no integer")
        register = model.registers[quantity]
        if value.quality is Quality.GOOD:
            highest = abs(register.max) + abs(register.min)
            demand(abs(value.value) <= highest * 1_000_000, "beyond the file's limits")
    demand(Quantity.ENERGY_IMPORT in reading.values, "a reading without energy")


def _frames() -> tuple[bytes, ...]:
    frames = []
    for number, request in enumerate(REQUESTS):
        count = getattr(request, "count", 0)
        reply = rtu.encode_reply(request, [number] * count)
        frames.append(bytes((number, 7)) + reply)
        frames.append(bytes((number, 1)) + b"\0\xff" + rtu.encode_exception(request, 2) + reply)
    return tuple(frames)


TARGETS = (
    Target("modbus replies", replies, _frames()),
    Target("modbus requests", requests, tuple(map(rtu.encode_request, REQUESTS))),
    Target(
        "meter registers",
        registers,
        tuple(bytes((number,)) + bytes(range(256)) for number in range(6)),
        (b"\x7f\xc0\0\0", b"\x7f\x80\0\0", b"\xff\x80\0\0", b"\x80\0\0\0"),
        cost=2,
    ),
)
