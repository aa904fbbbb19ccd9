"""From a switch as it is written to its driver, with its pins claimed.

Rules of this file: the drivers, and with them the GPIO library, are imported when a switch is
opened: a gateway whose homes have no switch needs none.
"""

from typing import Any

from hardware.api import Contact, SupplySwitch
from hardware.relays.spec import GpioSpec, NoSwitchSpec, SwitchSpec, parse_switch


def open_switch(
    spec: SwitchSpec | str, *, factory: Any = None, assumed: Contact = Contact.UNKNOWN
) -> SupplySwitch:
    """Claim the pins of `spec` and return its driver; no contact moves.

    `factory` is a gpiozero pin factory, by default the process's own (`pins.choose_factory`).
    `assumed` is the last command on record: what a latching relay without feedback is taken to
    show. Raises `SwitchSpecError` or `SwitchUnavailable`.
    """
    if isinstance(spec, str):
        spec = parse_switch(spec)
    from hardware.relays.noswitch import NoSwitch  # noqa: PLC0415 - see the rules of this file

    if isinstance(spec, NoSwitchSpec):
        return NoSwitch()
    from hardware.relays.pins import choose_factory  # noqa: PLC0415

    if factory is None:
        factory = choose_factory()
    if isinstance(spec, GpioSpec):
        from hardware.relays.gpio import GpioRelay  # noqa: PLC0415

        return GpioRelay(spec, factory)
    from hardware.relays.latching import LatchingRelay  # noqa: PLC0415

    return LatchingRelay(spec, factory, assumed=assumed)
