"""`HeldFactory`: gpiozero pins over the kernel's GPIO device, for relays that must not blink.

gpiozero's own factories turn a line into an input when a program ends, and drive it low for a
moment when it starts: fine for lamps, a power cut for a house. Here a line is claimed as it is and
read; as an output it drives what it showed, and it is never turned into an input at the end. What
then happens to a contact at exit, crash, restart and power loss is the table in `held`.

Select it as any gpiozero factory: `GPIOZERO_PIN_FACTORY=held`. gpiozero asks a factory for the
board (which pins exist, under which names): on a Raspberry Pi it comes from the revision code, on
any other Linux box every line n of the chip is `GPIOn`. Edge events, PWM and SPI are left to
gpiozero's other factories.

Run here: the whole factory over a stand-in for the kernel, in the tests, also through kill -9. Not
run here: a real chip (see `chardev`).

Rules of this file: the only one that imports gpiozero's inside; drivers import its devices.
"""

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from gpiozero import (
    Device,
    GPIOPinInUse,
    GPIOZeroError,
    InputDevice,
    OutputDevice,
    PinEdgeDetectUnsupported,
    PinFixedPull,
    PinInvalidFunction,
    PinInvalidPull,
    PinSetInput,
    PinSPIUnsupported,
    PinUnknownPi,
)
from gpiozero.compat import frozendict
from gpiozero.pins import BoardInfo, HeaderInfo, PinInfo
from gpiozero.pins.local import get_pi_revision
from gpiozero.pins.pi import PiBoardInfo, PiFactory, PiPin

from hardware import systemd
from hardware.api import SwitchUnavailable
from hardware.relays.chardev import CHIP_VARIABLE, open_chip
from hardware.relays.held import HeldLine, LineKeeper
from hardware.relays.lines import Bias, LineRequests

_PI_CHIPS = ("pinctrl-bcm", "pinctrl-rp1")  # labels of the header's chip on Raspberry Pis
_FACTORY_VARIABLE = "GPIOZERO_PIN_FACTORY"
PIN_ERRORS = (GPIOZeroError, OSError)  # what gpiozero and the kernel raise about a pin


class HeldPin(PiPin):  # type: ignore[misc]  # gpiozero publishes no types
    """One line of the chip. It is claimed at its first use, not when the object is made."""

    @property
    def _line(self) -> HeldLine:
        try:
            line: HeldLine = self._factory.keeper.line(self._number)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            owner = self._factory.keeper.lines.info(self._number).consumer or "another program"
            raise GPIOPinInUse(f"{self._info.name} is in use by {owner}") from error
        return line

    def close(self) -> None:
        """Let go of an input. An output keeps its level and stays claimed."""
        self._factory.keeper.release(self._number)

    def output_with_state(self, state: Any) -> None:
        """Drive `state` from the first moment: no edge if the line shows it already."""
        self._line.drive(bool(state))

    def input_with_pull(self, pull: str) -> None:
        """Make the line an input with its resistor in one step."""
        self._line.listen(self._bias(pull))

    def _get_function(self) -> str:
        return "output" if self._line.is_output else "input"

    def _set_function(self, value: str) -> None:
        if value == "output":
            self._line.hold()
        elif value == "input":
            self._line.listen(self._line.bias or Bias.FLOATING)
        else:
            raise PinInvalidFunction(f'invalid function "{value}" for pin {self!r}')

    def _get_state(self) -> bool:
        return self._line.level()

    def _set_state(self, value: Any) -> None:
        if not self._line.is_output:
            raise PinSetInput(f"cannot set state of pin {self!r}: it is an input")
        self._line.drive(bool(value))

    def _get_pull(self) -> str:
        return (self._line.bias or Bias.FLOATING).value

    def _set_pull(self, value: str) -> None:
        if self._line.is_output:
            raise PinFixedPull(f"cannot set pull on non-input pin {self!r}")
        self._line.listen(self._bias(value))

    def _bias(self, pull: str) -> Bias:
        if self._info.pull not in (pull, ""):
            raise PinFixedPull(f"{self!r} has a physical pull-{self._info.pull} resistor")
        try:
            return Bias(pull)
        except ValueError as error:
            raise PinInvalidPull(f'invalid pull "{pull}" for pin {self!r}') from error

    def _enable_event_detect(self) -> None:
        raise PinEdgeDetectUnsupported(f"{self!r}: this factory reads contacts, it has no events")

    def _disable_event_detect(self) -> None:
        """Nothing to do: it is never enabled."""


class HeldFactory(PiFactory):  # type: ignore[misc]  # gpiozero publishes no types
    """gpiozero pins that keep their level over the end of the program.

    `lines` is the chip, by default the header's (see `chardev.open_chip`; the environment variable
    PREPAID_GPIOCHIP names another). `inherited` and `environ` stand for systemd in tests. Raises
    `SwitchUnavailable` when there is no chip to use.
    """

    def __init__(
        self,
        lines: LineRequests | None = None,
        *,
        inherited: Sequence[systemd.PassedFd] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        chip = lines or open_chip((os.environ if environ is None else environ).get(CHIP_VARIABLE))
        self._info: Any = None
        self.keeper = LineKeeper(chip, inherited=inherited, environ=environ)
        self.pin_class = HeldPin

    def close(self) -> None:
        """Let go of the chip. Outputs keep their level as `held` says."""
        super().close()
        self.keeper.close()

    def momentary(self, number: int) -> None:
        """This pin's output (a relay's coil) must not outlive the process."""
        self.keeper.momentary(number)

    def spi(self, **_arguments: Any) -> Any:
        """Not offered: use gpiozero's lgpio factory. Raises `PinSPIUnsupported`."""
        raise PinSPIUnsupported("SPI is not supported by the held pin factory")

    @staticmethod
    def ticks() -> float:
        """Seconds of the monotonic clock, gpiozero's unit for event times."""
        return time.monotonic()

    @staticmethod
    def ticks_diff(later: float, earlier: float) -> float:
        """Seconds between two `ticks`."""
        return later - earlier

    def _get_board_info(self) -> Any:
        if self._info is None:
            self._info = board_info(self.keeper.lines)
        return self._info


class LinuxBoardInfo(BoardInfo):  # type: ignore[misc]  # gpiozero publishes no types
    """A board that is no Raspberry Pi, or one that gpiozero does not know yet."""

    __slots__ = ()

    @property
    def description(self) -> str:
        """What `pinout` prints."""
        return str(self.model)


def board_info(lines: LineRequests) -> Any:
    """The board under `lines`: the Pi of this revision, else one pin per line of the chip."""
    if lines.label.startswith(_PI_CHIPS):
        with suppress(PinUnknownPi, OSError, ValueError):
            return PiBoardInfo.from_revision(get_pi_revision())
    pins = {
        offset + 1: PinInfo(
            number=offset + 1,
            name=f"GPIO{offset}",
            names=frozenset({offset, str(offset), f"GPIO{offset}", f"BCM{offset}"}),
            pull="",
            row=offset // 2 + 1,
            col=offset % 2 + 1,
            interfaces=frozenset({"gpio"}),
        )
        for offset in range(lines.line_count)
    }
    header = HeaderInfo("GPIO", rows=(lines.line_count + 1) // 2, columns=2, pins=frozendict(pins))
    unknown = dict.fromkeys(BoardInfo._fields, 0)
    text = {
        "revision": "",
        "model": f"Linux board with {lines.label}",
        "pcb_revision": "",
        "released": "",
        "soc": lines.label,
        "manufacturer": "",
        "storage": "",
        "wifi": False,
        "bluetooth": False,
        "board": f"{lines.line_count} lines on {lines.label}\n",
        "headers": frozendict({"GPIO": header}),
    }
    return LinuxBoardInfo(**{**unknown, **text})


# --- what the relay drivers use -------------------------------------------------------------------


def choose_factory() -> Any:
    """The pin factory of this process, made at the first call and shared with all of gpiozero.

    `GPIOZERO_PIN_FACTORY` names one exactly as for any gpiozero program (mock, held, lgpio ...).
    Without it: `held`. Raises `SwitchUnavailable`.
    """
    if Device.pin_factory is not None:
        return Device.pin_factory
    name = os.environ.get(_FACTORY_VARIABLE)
    try:
        if name is None or name.lower() == "held":  # held: also when run from a plain checkout
            Device.pin_factory = HeldFactory()
        else:
            Device.ensure_pin_factory()
    except SwitchUnavailable:
        raise
    except (GPIOZeroError, ImportError, OSError) as error:
        raise SwitchUnavailable(
            f"the pin factory {name or 'held'} cannot be used: {error}",
            hint="Unset GPIOZERO_PIN_FACTORY, or set it to mock on a machine without pins.",
        ) from error
    return Device.pin_factory


def mark_momentary(factory: Any, number: int) -> None:
    """Tell the factory, if it can hold pins at all, that this one must not outlive the process."""
    if isinstance(factory, HeldFactory):
        factory.momentary(number)


def output_device(
    factory: Any, number: int, *, active_low: bool, initial: bool | None
) -> OutputDevice:
    """A gpiozero output; `initial` None leaves it as it is, where the factory can.

    Raises `SwitchUnavailable`.
    """
    with pin_errors(number):
        return OutputDevice(
            number, active_high=not active_low, initial_value=initial, pin_factory=factory
        )


def contact_device(factory: Any, number: int, *, active_low: bool) -> InputDevice:
    """A gpiozero input pulled to its inactive side. Raises `SwitchUnavailable`."""
    with pin_errors(number):
        return InputDevice(number, pull_up=active_low, pin_factory=factory)


@contextmanager
def pin_errors(number: int) -> Iterator[None]:
    """Turn what gpiozero and the kernel raise about a pin into `SwitchUnavailable`."""
    try:
        yield
    except SwitchUnavailable:
        raise
    except PIN_ERRORS as error:
        raise SwitchUnavailable(f"GPIO{number} cannot be used: {error}") from error
