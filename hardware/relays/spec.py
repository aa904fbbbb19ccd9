"""How a supply switch is written.

    none                                    a meter without a switch
    gpio:17                                 a relay held by GPIO17, connected while the pin is high
    gpio:17:active-low                      connected while the pin is low
    gpio:17:feedback=27                     with an auxiliary contact that pulls GPIO27 up
    gpio:17:feedback=27:feedback-active-low ... that pulls GPIO27 to ground (the usual wiring)
    latching:5,6                            connect coil on GPIO5, disconnect coil on GPIO6
    latching:5,6:pulse-ms=150               a longer pulse than 100 ms

The kind and its pins come first, then options separated by colons, in any order, each once.
`active-low` and the two feedback options fit both kinds, `pulse-ms` only `latching`. Pins are BCM
GPIO numbers. `str()` of a spec is its canonical text: what the database and the commands show.

Rules of this file: parsing needs no GPIO library and no pin; `opening` has what makes it a driver.
"""

import difflib
from dataclasses import dataclass

from hardware.api import SwitchSpecError

PULSE_MS_DEFAULT = 100
PULSE_MS_MIN = 10
PULSE_MS_MAX = 2_000  # coils are made for pulses: none of them needs more, many burn at more
_PIN_MAX = 511  # beyond any chip's lines; the board says which of them exist


@dataclass(frozen=True, slots=True)
class FeedbackSpec:
    """An auxiliary contact: active while the supply contact is closed."""

    pin: int
    active_low: bool = False  # True: the contact pulls the pin to ground, the Pi pulls it up

    def __str__(self) -> str:
        return f":feedback={self.pin}" + (":feedback-active-low" if self.active_low else "")


@dataclass(frozen=True, slots=True)
class GpioSpec:
    """A relay that one pin holds."""

    pin: int
    active_low: bool = False
    feedback: FeedbackSpec | None = None

    def __post_init__(self) -> None:
        _refuse_shared_pins(str(self), self.pin, feedback=self.feedback)

    def pins(self) -> frozenset[int]:
        """Every pin this switch needs for itself."""
        return _pins(self.pin, feedback=self.feedback)

    def __str__(self) -> str:
        return f"gpio:{self.pin}{':active-low' if self.active_low else ''}{self.feedback or ''}"


@dataclass(frozen=True, slots=True)
class LatchingSpec:
    """A bistable relay that two pulsed coils move."""

    connect_pin: int
    disconnect_pin: int
    active_low: bool = False
    feedback: FeedbackSpec | None = None
    pulse_ms: int = PULSE_MS_DEFAULT

    def __post_init__(self) -> None:
        if not PULSE_MS_MIN <= self.pulse_ms <= PULSE_MS_MAX:
            raise SwitchSpecError(
                f"{self}: a pulse is {PULSE_MS_MIN} to {PULSE_MS_MAX} ms long",
                hint="Take the relay's own figure; 100 ms fits most.",
            )
        _refuse_shared_pins(
            str(self), self.connect_pin, self.disconnect_pin, feedback=self.feedback
        )

    def pins(self) -> frozenset[int]:
        """Every pin this switch needs for itself."""
        return _pins(self.connect_pin, self.disconnect_pin, feedback=self.feedback)

    def __str__(self) -> str:
        low = ":active-low" if self.active_low else ""
        pulse = "" if self.pulse_ms == PULSE_MS_DEFAULT else f":pulse-ms={self.pulse_ms}"
        return f"latching:{self.connect_pin},{self.disconnect_pin}{low}{self.feedback or ''}{pulse}"


@dataclass(frozen=True, slots=True)
class NoSwitchSpec:
    """A meter without a switch."""

    def pins(self) -> frozenset[int]:
        """None."""
        return frozenset()

    def __str__(self) -> str:
        return "none"


SwitchSpec = GpioSpec | LatchingSpec | NoSwitchSpec


def parse_switch(text: str) -> SwitchSpec:
    """Read a switch as people write it. Raises `SwitchSpecError`."""
    kind, *parts = text.strip().lower().split(":")
    if kind == "none" and not parts:
        return NoSwitchSpec()
    if kind not in {"gpio", "latching"}:
        raise SwitchSpecError(f"{text!r} is no kind of switch{_nearest(kind, _KINDS)}")
    if not parts:
        raise SwitchSpecError(f"{text!r} names no pin")
    pins = [_pin(word, text) for word in parts[0].split(",")]
    if kind == "gpio":
        if len(pins) != 1:
            raise SwitchSpecError(f"{text!r}: gpio takes one pin; for two coils write latching:5,6")
        options = _options(parts[1:], text, flags=_FLAGS, numbers=("feedback",))
        return GpioSpec(pins[0], "active-low" in options, _feedback(options, text))
    if len(pins) != 2:  # noqa: PLR2004 - two coils
        raise SwitchSpecError(f"{text!r}: latching takes two pins, connect coil, disconnect coil")
    options = _options(parts[1:], text, flags=_FLAGS, numbers=("feedback", "pulse-ms"))
    return LatchingSpec(
        pins[0],
        pins[1],
        active_low="active-low" in options,
        feedback=_feedback(options, text),
        pulse_ms=options.get("pulse-ms", PULSE_MS_DEFAULT),
    )


_KINDS = ("gpio", "latching", "none")
_FLAGS = ("active-low", "feedback-active-low")


def _options(
    words: list[str], text: str, *, flags: tuple[str, ...], numbers: tuple[str, ...]
) -> dict[str, int]:
    """The options as name -> number; a flag that is given stands as 1."""
    options: dict[str, int] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if name in options:
            raise SwitchSpecError(f"{text!r}: {name} is given twice")
        if name in flags and not separator:
            options[name] = 1
        elif name in numbers and separator:
            options[name] = _number(value, text)
        else:
            known = [*flags, *(f"{number}=" for number in numbers)]
            raise SwitchSpecError(f"{text!r}: unknown option {word!r}{_nearest(word, known)}")
    return options


def _feedback(options: dict[str, int], text: str) -> FeedbackSpec | None:
    if "feedback" not in options:
        if "feedback-active-low" in options:
            raise SwitchSpecError(f"{text!r}: feedback-active-low needs feedback=PIN")
        return None
    pin = _pin(str(options["feedback"]), text)
    return FeedbackSpec(pin, active_low="feedback-active-low" in options)


def _pin(word: str, text: str) -> int:
    number = _number(word, text)
    if number > _PIN_MAX:
        raise SwitchSpecError(f"{text!r}: there is no GPIO{number}")
    return number


def _number(word: str, text: str) -> int:
    if not (word.isascii() and word.isdecimal()) or len(word) > 4:  # noqa: PLR2004 - digits
        raise SwitchSpecError(f"{text!r}: {word!r} is not a number such as 17")
    return int(word)


def _nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _pins(*pins: int, feedback: FeedbackSpec | None) -> frozenset[int]:
    return frozenset(pins) | ({feedback.pin} if feedback else set())


def _refuse_shared_pins(text: str, *pins: int, feedback: FeedbackSpec | None) -> None:
    wanted = len(pins) + (feedback is not None)
    if len(_pins(*pins, feedback=feedback)) != wanted:
        raise SwitchSpecError(
            f"{text}: one pin cannot have two jobs", hint="Give each coil and contact its own pin."
        )
