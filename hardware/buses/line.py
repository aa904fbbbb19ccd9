"""One open line and its master: one request, its reply, and the silences that the line needs.

Rules of this file: one exchange at a time; whoever uses a line sees to that. Times are loop times.

- Before each request the line has been silent for 3.5 characters (1.75 ms above 19200 baud, "MODBUS
  over Serial Line V1.02", section 2.5.1.1), and whatever arrived meanwhile is thrown away.
- A reply may come late, after we have given up. RTU cannot tell it from the reply to the next
  request of the same shape, so a unit that let us wait in vain is not asked again before its late
  reply has had time to arrive and be thrown away. Other units may be asked: a frame of the wrong
  unit is not taken for theirs.
"""

import asyncio
from collections.abc import Callable

from hardware.api import LineSettings, MeterGarbled, MeterSilent
from hardware.buses.port import ByteStream
from hardware.protocols.modbus_rtu import (
    NEED_DATA,
    Bits,
    Garbled,
    ReadBits,
    ReadRegisters,
    Refused,
    Registers,
    Reply,
    ReplyReader,
    Request,
    Written,
    encode_request,
    reply_size_bytes,
)

SILENCE_CHARACTERS = 3.5
FIXED_SILENCE_ABOVE_BAUD = 19200
FIXED_SILENCE_S = 0.00175

# How long after our patience has ended a reply may still come. Meters that are slow are slow by
# some 100 ms; the time-out itself comes on top. Only the unit concerned waits, so it may be long.
LATE_REPLY_S = 1.0
# A line that does not fall silent for so long is not going to: report it.
BABBLE_S = 0.5
# Sums of times differ in their last bits; no wait is worth less than this.
CLOCK_GRAIN_S = 1e-6


class Line:
    """The master of one open line."""

    def __init__(
        self,
        stream: ByteStream,
        settings: LineSettings,
        *,
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._settings = settings
        self._on_sent = on_sent
        self._loop = asyncio.get_running_loop()
        self._busy_until_s = self._loop.time()  # the end of what we have sent ourselves
        self._unit_free_at_s: dict[int, float] = {}  # at most 247
        self.wire_s = 0.0  # what all exchanges so far needed on the wire, silences included
        self.turnaround_s: float | None = None  # of the last reply

    @property
    def settings(self) -> LineSettings:
        """How characters travel here."""
        return self._settings

    @property
    def silence_s(self) -> float:
        """The silence that ends one frame and must precede the next."""
        if self._settings.baud > FIXED_SILENCE_ABOVE_BAUD:
            return FIXED_SILENCE_S
        return SILENCE_CHARACTERS * self._settings.character_s

    def exchange_wire_s(self, request: Request) -> float:
        """What the request, its reply and their two silences take at this speed."""
        characters = len(encode_request(request)) + reply_size_bytes(request)
        return characters * self._settings.character_s + 2 * self.silence_s

    def free_at_s(self, unit: int) -> float:
        """When `unit` may be asked again without the line having to wait for it."""
        return self._unit_free_at_s.get(unit, 0.0)

    async def exchange(self, request: Request, *, timeout_s: float, gap_s: float = 0.0) -> Reply:
        """Send `request` and wait for its reply, which may be a refusal.

        `timeout_s` runs from the end of the request to the start of the reply; `gap_s` is how long
        the unit rests after its reply. Raises `MeterSilent`, `MeterGarbled` or `PortUnavailable`.
        """
        unit = request.unit
        await self._quiet(unit)
        frame = encode_request(request)
        self._stream.write(frame)
        self._busy_until_s = self._loop.time() + len(frame) * self._settings.character_s
        if self._on_sent is not None:
            self._on_sent()
        reader = ReplyReader(request)
        reply_s = reply_size_bytes(request) * self._settings.character_s
        try:
            await self._listen(reader, self._busy_until_s + timeout_s + reply_s)
        finally:
            # Also when we are cancelled: somebody else may ask this unit next.
            answered = not isinstance(reader.result(), Garbled) and reader.result() is not NEED_DATA
            rest_s = gap_s if answered else LATE_REPLY_S
            self._unit_free_at_s[unit] = self._loop.time() + rest_s
        result = reader.result()
        if isinstance(result, Registers | Bits | Written | Refused):
            self.wire_s += self.exchange_wire_s(request)
            return result
        raise _fault(reader, request)

    async def close(self) -> None:
        """Let go of the port."""
        await self._stream.close()

    async def _listen(self, reader: ReplyReader, deadline_s: float) -> None:
        """Feed the reader until it has a reply, or until `deadline_s`."""
        self.turnaround_s = None
        try:
            async with asyncio.timeout_at(deadline_s):
                while reader.result() is NEED_DATA:
                    await self._stream.arrival()
                    data = self._stream.take()
                    if self.turnaround_s is None:
                        travelled_s = len(data) * self._settings.character_s
                        started_s = self._stream.last_byte_at_s - travelled_s
                        self.turnaround_s = max(0.0, started_s - self._busy_until_s)
                    reader.feed(data)
        except TimeoutError:
            return

    async def _quiet(self, unit: int) -> None:
        """Wait until the line is silent and `unit` may be asked; throw away what comes."""
        patience_until_s = max(self._loop.time(), self.free_at_s(unit)) + BABBLE_S
        while True:
            self._stream.take()
            now_s = self._loop.time()
            heard_s = max(self._stream.last_byte_at_s, self._busy_until_s)
            free_at_s = max(heard_s + self.silence_s, self.free_at_s(unit))
            if now_s >= free_at_s - CLOCK_GRAIN_S:
                return
            if now_s > patience_until_s:
                raise MeterGarbled(
                    "the line never falls silent",
                    hint="Something else is sending: a second master, or an adapter without bias.",
                )
            await asyncio.sleep(free_at_s - now_s)


def _fault(reader: ReplyReader, request: Request) -> MeterSilent | MeterGarbled:
    what = f"unit {request.unit}"
    if isinstance(request, ReadRegisters | ReadBits):
        what += f", function {request.function}, address {request.address}, {request.count} wanted"
    fault = reader.fault()
    if fault is None:
        return MeterSilent(f"no answer from {what}")
    return MeterGarbled(f"no valid answer from {what}: {fault.reason}")
