"""The hand-over between a bus and a meter's driver: one read of registers, there and back."""

from collections.abc import Awaitable, Callable

from hardware.protocols.modbus import ReadRegisters, Refused, Registers

# Raises MeterSilent, MeterGarbled or a BusError; a refusal is an answer, for the driver to judge.
Exchange = Callable[[ReadRegisters], Awaitable[Registers | Refused]]
