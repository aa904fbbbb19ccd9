"""The driver of a Modbus meter: which requests make a reading, and what the answers say.

Rules of this file: no port and no timing; an `exchange` carries one request to the line and back.
The energy is always read, and without it there is no reading. A quantity of lesser importance that
the meter refuses or leaves unanswered is absent from the reading and asked for again later.
"""

import asyncio
from collections.abc import Awaitable, Callable

from hardware.api import (
    MeterError,
    MeterGarbled,
    MeterIdentity,
    MeterReading,
    MeterRefused,
    MeterSilent,
    MeterSpec,
    Quality,
    Quantity,
    Reading,
)
from hardware.meters.model import MeterModel
from hardware.meters.plan import Block, plan_blocks, split
from hardware.protocols.modbus import ExceptionCode, ReadRegisters, Refused, Registers

# Carries one read to the meter and back. Raises MeterSilent, MeterGarbled or a BusError.
Exchange = Callable[[ReadRegisters], Awaitable[Registers | Refused]]

# A register that the meter says it does not have: ask again in case the firmware or the file is
# changed, but not so often that it costs the line.
REFUSED_REST_POLLS = 100
# A block without the energy that stays silent while the energy is answered costs a timeout each
# time. After this many in a row it rests.
SILENT_IN_A_ROW = 3
SILENT_REST_POLLS = 20

_NOT_THERE = (
    ExceptionCode.ILLEGAL_FUNCTION,
    ExceptionCode.ILLEGAL_ADDRESS,
    ExceptionCode.ILLEGAL_VALUE,
)


class ModbusMeter:
    """One meter of a known model at one address of a line."""

    def __init__(self, spec: MeterSpec, model: MeterModel) -> None:
        self.spec = spec
        self.model = model
        self._blocks = plan_blocks(model.registers, model.max_registers)
        self._rest_polls: dict[Block, int] = {}
        self._silent_in_a_row: dict[Block, int] = {}

    @property
    def timeout_s(self) -> float:
        """Longest wait from the end of a request to the start of the reply."""
        return self.model.timeout_s

    @property
    def gap_s(self) -> float:
        """Rest the meter needs between its reply and the next request to it."""
        return self.model.gap_s

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The reads of one poll, the energy's first."""
        return tuple(self._blocks)

    async def read(self, exchange: Exchange) -> MeterReading:
        """Read all quantities. Raises a `MeterError` when the energy could not be read."""
        values: dict[Quantity, Reading] = {}
        todo = [block for block in self._blocks if not self._rests(block)]
        while todo:
            block = todo.pop(0)
            try:
                reply = await exchange(self._request(block))
            except (MeterSilent, MeterGarbled):
                if block.vital:
                    raise
                self._note_silence(block)
                break  # the meter may have just died: do not wait for it once more
            self._silent_in_a_row.pop(block, None)
            if isinstance(reply, Registers):
                values.update(self._decode(block, reply))
            else:
                todo[:0] = self._after_refusal(block, reply)
        energy = values[Quantity.ENERGY_IMPORT]
        return MeterReading(self.spec.name, energy.read_at_s, values)

    async def identify(self, exchange: Exchange) -> MeterIdentity:
        """Read the serial number, if the model has one and the meter tells it."""
        place = self.model.serial
        serial: str | None = None
        if place is not None:
            request = ReadRegisters(
                self.spec.address, place.function, place.address, place.registers
            )
            try:
                reply = await exchange(request)
            except MeterError:
                reply = Refused(ExceptionCode.DEVICE_FAILURE)
            if isinstance(reply, Registers):
                serial = place.decode(reply.values)
        return MeterIdentity(self.model.name, serial)

    def _request(self, block: Block) -> ReadRegisters:
        return ReadRegisters(self.spec.address, block.function, block.address, block.count)

    def _decode(self, block: Block, reply: Registers) -> dict[Quantity, Reading]:
        now_s = asyncio.get_running_loop().time()
        values: dict[Quantity, Reading] = {}
        for quantity in block.quantities:
            register = self.model.registers[quantity]
            start = register.address - block.address
            value = register.decode(reply.values[start : start + register.count], quantity)
            values[quantity] = (
                Reading(quantity, 0, now_s, Quality.IMPLAUSIBLE)
                if value is None
                else Reading(quantity, value, now_s)
            )
        return values

    def _after_refusal(self, block: Block, refused: Refused) -> list[Block]:
        """Blocks to try instead. Raises `MeterRefused` when nothing can replace the energy."""
        lasting = refused.code in _NOT_THERE
        if lasting and len(block.quantities) > 1:
            smaller = split(block, self.model.registers)
            at = self._blocks.index(block)
            self._blocks[at : at + 1] = smaller
            return smaller
        if block.vital:
            raise MeterRefused(
                f"meter {self.spec.name} (address {self.spec.address}, model {self.model.name}) "
                f"refuses its energy register {block.address}: {refused.words}"
            )
        if lasting:
            self._rest_polls[block] = REFUSED_REST_POLLS
        return []

    def _note_silence(self, block: Block) -> None:
        count = self._silent_in_a_row.get(block, 0) + 1
        self._silent_in_a_row[block] = count
        if count >= SILENT_IN_A_ROW:
            self._silent_in_a_row.pop(block)
            self._rest_polls[block] = SILENT_REST_POLLS

    def _rests(self, block: Block) -> bool:
        left = self._rest_polls.get(block, 0)
        if left == 0:
            return False
        if left == 1:
            del self._rest_polls[block]
        else:
            self._rest_polls[block] = left - 1
        return True
