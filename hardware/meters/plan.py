"""Which registers to read together: fewest characters and pauses on the line for one meter.

Rules of this file: pure. A plan covers every quantity once; the block with the energy comes first,
so that a line that fails half-way has failed before anything was believed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hardware.api import Quantity
from hardware.meters.registers import Register

# Reading across a hole costs 2 characters a register. A request of its own costs 8 characters, 5 of
# the reply's frame, twice 3.5 of silence and the meter's turnaround, some 10 more at 9600 baud.
BRIDGE_REGISTERS = 16


@dataclass(frozen=True, slots=True)
class Block:
    """Registers read in one request, and the quantities in them."""

    function: int
    address: int
    count: int
    quantities: tuple[Quantity, ...]

    @property
    def vital(self) -> bool:
        """Whether the energy that is charged is in it."""
        return Quantity.ENERGY_IMPORT in self.quantities


def plan_blocks(
    registers: Mapping[Quantity, Register], max_registers: int, *, bridge: int = BRIDGE_REGISTERS
) -> list[Block]:
    """Merge `registers` into blocks of at most `max_registers`, over holes of up to `bridge`."""
    blocks: list[Block] = []
    for quantity, register in sorted(
        registers.items(), key=lambda item: (item[1].function, item[1].address, item[0].value)
    ):
        end = register.address + register.count
        if blocks and blocks[-1].function == register.function:
            last = blocks[-1]
            hole = register.address - (last.address + last.count)
            count = max(last.count, end - last.address)
            if hole <= bridge and count <= max_registers:
                blocks[-1] = Block(last.function, last.address, count, (*last.quantities, quantity))
                continue
        blocks.append(Block(register.function, register.address, register.count, (quantity,)))
    return sorted(blocks, key=lambda block: not block.vital)


def split(block: Block, registers: Mapping[Quantity, Register]) -> list[Block]:
    """One block for each quantity of `block`, for a meter that refuses the holes between them."""
    return plan_blocks(
        {quantity: registers[quantity] for quantity in block.quantities},
        max_registers=max(registers[quantity].count for quantity in block.quantities),
        bridge=-1,
    )
