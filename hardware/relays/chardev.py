"""The kernel's GPIO character device, version 2, through its ioctls.

Why not the `gpiod` library: its Python binding cannot adopt a request that systemd hands back, so
values and configuration must go through the ioctls in any case; then the claim may as well, and one
path serves all, also where no wheel exists. Source of structures, numbers and rules: linux/gpio.h
of the kernel's user-space headers ("gpio_v2_*"), and Documentation/userspace-api/gpio/chardev.rst.

What is checked where: structure sizes, field offsets and ioctl numbers against the C header, and
the bytes of each request against those that libgpiod sends, in the tests. Claim-as-is, reconfigure
with a value, and the descriptor store were measured with libgpiod on Linux 6.12 with gpio-sim. This
module itself has not been run on a Raspberry Pi: `gateway supply test` is the place to do that.

Rules of this file: one line per request, so that each relay has a descriptor of its own.
"""

import ctypes
import fcntl
import os
from pathlib import Path

from hardware.api import SwitchUnavailable
from hardware.relays.lines import Bias, Direction, LineConfig, LineInfo

CHIP_VARIABLE = (
    "PREPAID_GPIOCHIP"  # environment: the label of the chip, where several could be meant
)

# --- linux/gpio.h ---------------------------------------------------------------------------------

_NAME_SIZE = 32  # GPIO_MAX_NAME_SIZE
_LINES_MAX = 64  # GPIO_V2_LINES_MAX
_ATTRS_MAX = 10  # GPIO_V2_LINE_NUM_ATTRS_MAX

FLAG_USED = 1 << 0
FLAG_INPUT = 1 << 2
FLAG_OUTPUT = 1 << 3
FLAG_BIAS_PULL_UP = 1 << 8
FLAG_BIAS_PULL_DOWN = 1 << 9
FLAG_BIAS_DISABLED = 1 << 10

_ATTR_OUTPUT_VALUES = 2  # GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES


class ChipInfo(ctypes.Structure):
    """`struct gpiochip_info`."""

    _fields_ = (
        ("name", ctypes.c_char * _NAME_SIZE),
        ("label", ctypes.c_char * _NAME_SIZE),
        ("lines", ctypes.c_uint32),
    )


class LineValues(ctypes.Structure):
    """`struct gpio_v2_line_values`; bit 0 is the request's only line."""

    _fields_ = (("bits", ctypes.c_uint64), ("mask", ctypes.c_uint64))


class LineAttribute(ctypes.Structure):
    """`struct gpio_v2_line_attribute`; `value` stands for the union of flags, values, debounce."""

    _fields_ = (
        ("id", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),
        ("value", ctypes.c_uint64),
    )


class LineConfigAttribute(ctypes.Structure):
    """`struct gpio_v2_line_config_attribute`."""

    _fields_ = (("attr", LineAttribute), ("mask", ctypes.c_uint64))


class RequestConfig(ctypes.Structure):
    """`struct gpio_v2_line_config`."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("num_attrs", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("attrs", LineConfigAttribute * _ATTRS_MAX),
    )


class LineRequest(ctypes.Structure):
    """`struct gpio_v2_line_request`."""

    _fields_ = (
        ("offsets", ctypes.c_uint32 * _LINES_MAX),
        ("consumer", ctypes.c_char * _NAME_SIZE),
        ("config", RequestConfig),
        ("num_lines", ctypes.c_uint32),
        ("event_buffer_size", ctypes.c_uint32),
        ("padding", ctypes.c_uint32 * 5),
        ("fd", ctypes.c_int32),
    )


class KernelLineInfo(ctypes.Structure):
    """`struct gpio_v2_line_info`."""

    _fields_ = (
        ("name", ctypes.c_char * _NAME_SIZE),
        ("consumer", ctypes.c_char * _NAME_SIZE),
        ("offset", ctypes.c_uint32),
        ("num_attrs", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("attrs", LineAttribute * _ATTRS_MAX),
        ("padding", ctypes.c_uint32 * 4),
    )


_READ, _WRITE = 2, 1  # asm-generic/ioctl.h, as on x86, arm and arm64


def _ioctl_number(direction: int, number: int, argument: type[ctypes.Structure]) -> int:
    """`_IOC(direction, 0xB4, number, sizeof(argument))`."""
    return direction << 30 | ctypes.sizeof(argument) << 16 | 0xB4 << 8 | number


GET_CHIPINFO = _ioctl_number(_READ, 0x01, ChipInfo)
GET_LINEINFO = _ioctl_number(_READ | _WRITE, 0x05, KernelLineInfo)
GET_LINE = _ioctl_number(_READ | _WRITE, 0x07, LineRequest)
LINE_SET_CONFIG = _ioctl_number(_READ | _WRITE, 0x0D, RequestConfig)
LINE_GET_VALUES = _ioctl_number(_READ | _WRITE, 0x0E, LineValues)
LINE_SET_VALUES = _ioctl_number(_READ | _WRITE, 0x0F, LineValues)

_BIAS_FLAGS = {
    None: 0,
    Bias.UP: FLAG_BIAS_PULL_UP,
    Bias.DOWN: FLAG_BIAS_PULL_DOWN,
    Bias.FLOATING: FLAG_BIAS_DISABLED,
}
_DIRECTION_FLAGS = {
    Direction.AS_IS: 0,  # neither: the kernel leaves the line alone
    Direction.INPUT: FLAG_INPUT,
    Direction.OUTPUT: FLAG_OUTPUT,
}


def packed_config(config: LineConfig) -> RequestConfig:
    """The kernel's form of `config` for a request of one line."""
    packed = RequestConfig()
    packed.flags = _DIRECTION_FLAGS[config.direction] | _BIAS_FLAGS[config.bias]
    if config.level is not None:
        packed.num_attrs = 1
        packed.attrs[0].attr.id = _ATTR_OUTPUT_VALUES
        packed.attrs[0].attr.value = int(config.level)
        packed.attrs[0].mask = 1
    return packed


# --- one chip -------------------------------------------------------------------------------------


class CharacterDevice:
    """`LineRequests` over `/dev/gpiochipN`. Raises OSError when it is missing or not allowed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._chip = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            info = ChipInfo()
            fcntl.ioctl(self._chip, GET_CHIPINFO, info)
        except OSError:
            os.close(self._chip)
            raise
        self._label: str = info.label.decode("ascii", "replace") or info.name.decode(
            "ascii", "replace"
        )
        self._line_count = int(info.lines)

    @property
    def label(self) -> str:
        """The chip's functional name."""
        return self._label

    @property
    def line_count(self) -> int:
        """How many lines the chip has."""
        return self._line_count

    def info(self, offset: int) -> LineInfo:
        """Who owns the line and how it is set."""
        info = KernelLineInfo(offset=offset)
        fcntl.ioctl(self._chip, GET_LINEINFO, info)
        bias = next((bias for bias, flag in _BIAS_FLAGS.items() if info.flags & flag), None)
        return LineInfo(
            used=bool(info.flags & FLAG_USED),
            consumer=info.consumer.decode("ascii", "replace"),
            is_output=bool(info.flags & FLAG_OUTPUT),
            bias=bias,
        )

    def claim(self, offset: int, consumer: str, config: LineConfig) -> int:
        """Own one line; the descriptor is closed on exec and belongs to the caller."""
        request = LineRequest(num_lines=1, config=packed_config(config))
        request.offsets[0] = offset
        request.consumer = consumer.encode("ascii")[: _NAME_SIZE - 1]
        fcntl.ioctl(self._chip, GET_LINE, request)
        return int(request.fd)

    def level(self, request: int) -> bool:
        """The level at the pin now."""
        values = LineValues(mask=1)
        fcntl.ioctl(request, LINE_GET_VALUES, values)
        return bool(values.bits & 1)

    def set_level(self, request: int, level: bool) -> None:
        """Drive an output."""
        fcntl.ioctl(request, LINE_SET_VALUES, LineValues(bits=int(level), mask=1))

    def reconfigure(self, request: int, config: LineConfig) -> None:
        """Change an owned line without letting go of it."""
        fcntl.ioctl(request, LINE_SET_CONFIG, packed_config(config))

    def close(self) -> None:
        """Close the chip; lines stay with their requests. May be called again."""
        if self._chip >= 0:
            os.close(self._chip)
        self._chip = -1


def device_paths(dev: Path = Path("/dev")) -> list[Path]:
    """Every gpiochip of this machine once, in order of number; links are followed."""
    paths = {path.resolve() for path in dev.glob("gpiochip[0-9]*")}
    return sorted(paths, key=lambda path: int("".join(filter(str.isdigit, path.name)) or 0))


def open_chip(label: str | None = None, *, dev: Path = Path("/dev")) -> CharacterDevice:
    """Open the chip called `label`, or the one whose lines are the header's.

    Without `label`: the only chip whose label starts with `pinctrl-` (on every Raspberry Pi that is
    the 40-pin header: pinctrl-bcm2835, pinctrl-bcm2711, pinctrl-rp1, under whatever number), else
    the only chip there is. Raises `SwitchUnavailable` rather than guess between several.
    """
    chips: list[CharacterDevice] = []
    refused: OSError | None = None
    for path in device_paths(dev):
        try:
            chips.append(CharacterDevice(path))
        except OSError as error:
            refused = error
    if label is not None:
        fitting = [chip for chip in chips if chip.label == label]
    else:
        fitting = [chip for chip in chips if chip.label.startswith("pinctrl-")] or chips
    chosen = fitting[0] if len(fitting) == 1 else None
    for chip in chips:
        if chip is not chosen:
            chip.close()
    if chosen is None:
        raise _no_chip(label, [chip.label for chip in chips], refused)
    return chosen


def _no_chip(label: str | None, found: list[str], refused: OSError | None) -> SwitchUnavailable:
    """Why no chip was opened, in words that lead on."""
    if isinstance(refused, PermissionError):
        return SwitchUnavailable(
            f"this user may not open {refused.filename}",
            hint="Add the user to the group gpio, then log in again or restart the service.",
        )
    if refused is not None and not found:
        return SwitchUnavailable(f"{refused.filename} cannot be used: {refused.strerror}")
    if not found:
        return SwitchUnavailable(
            "this machine has no GPIO chip (/dev/gpiochip*)",
            hint="On a machine without pins set GPIOZERO_PIN_FACTORY=mock to try things out.",
        )
    wanted = f"no GPIO chip is called {label}" if label else "several GPIO chips could be meant"
    return SwitchUnavailable(
        f"{wanted}; found: {', '.join(found)}",
        hint=f"Name one in the environment: {CHIP_VARIABLE}={found[0]}",
    )
