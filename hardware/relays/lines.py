"""The port to the kernel's GPIO lines: what a pin factory needs of a chip, and no more.

A *request* is a file descriptor that owns one line. The kernel frees the line when the last
duplicate of the descriptor is closed, wherever it is: in this process, in a child, or in systemd's
descriptor store. That is the whole trick of a held relay.

Rules of this file: the standard library only, no device. Levels are physical (True = high): what
is active is decided by the driver that knows the relay board.
"""

import enum
from dataclasses import dataclass
from typing import Protocol


class Direction(enum.Enum):
    """How a line is asked for."""

    AS_IS = "as is"  # claim it without touching it: it can be read, not written
    INPUT = "input"
    OUTPUT = "output"


class Bias(enum.Enum):
    """The internal resistor of an input; the values are gpiozero's words for it."""

    FLOATING = "floating"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class LineConfig:
    """What a line should be.

    An output always names its level: the kernel drives low when none is given, and a relay that is
    connected would drop.
    """

    direction: Direction
    bias: Bias | None = None  # None: leave the resistor as it is
    level: bool | None = None

    def __post_init__(self) -> None:
        if (self.level is not None) is not (self.direction is Direction.OUTPUT):
            raise ValueError("a level belongs to an output, and every output has one")
        if self.bias is not None and self.direction is Direction.AS_IS:
            raise ValueError("a line that is claimed as it is keeps its resistor")


AS_IS = LineConfig(Direction.AS_IS)


def output(level: bool) -> LineConfig:
    """An output that drives `level` from the first moment."""
    return LineConfig(Direction.OUTPUT, level=level)


def pulled_input(bias: Bias) -> LineConfig:
    """An input with its resistor."""
    return LineConfig(Direction.INPUT, bias=bias)


@dataclass(frozen=True, slots=True)
class LineInfo:
    """What the kernel says of a line, whoever owns it."""

    used: bool
    consumer: str
    is_output: bool
    bias: Bias | None


class LineRequests(Protocol):
    """One GPIO chip. Every method raises OSError as the kernel does (EBUSY: the line is taken)."""

    @property
    def label(self) -> str:
        """The chip's functional name, stable over reboots, e.g. `pinctrl-rp1`."""

    @property
    def line_count(self) -> int:
        """Lines are numbered 0 to `line_count` - 1; on a Raspberry Pi line n is BCM GPIO n."""

    def info(self, offset: int) -> LineInfo:
        """Who owns the line and how it is set."""

    def claim(self, offset: int, consumer: str, config: LineConfig) -> int:
        """Own the line; returns the request's descriptor, which the caller closes."""

    def level(self, request: int) -> bool:
        """The level at the pin now; for an inherited descriptor too."""

    def set_level(self, request: int, level: bool) -> None:
        """Drive an output. EPERM when the line is no output."""

    def reconfigure(self, request: int, config: LineConfig) -> None:
        """Change an owned line without letting go of it."""

    def close(self) -> None:
        """Let go of the chip; requests stay until their own descriptors are closed."""
