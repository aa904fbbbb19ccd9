"""`latching:5,6`: a bistable relay; a pulse on one coil connects, on the other disconnects.

This is the recommended wiring: between pulses nothing is held, so the contact stays where it is
through everything that can happen to the Pi.

| event                       | the contact                      | the coils                       |
|-----------------------------|----------------------------------|---------------------------------|
| start                       | stays                            | claimed off, both               |
| close, exit, exception      | stays                            | off                             |
| task cancelled in a pulse   | may or may not have moved        | off at once                     |
| SIGTERM (the daemon cancels)| as above                         | off                             |
| kill -9 between pulses      | stays                            | off                             |
| kill -9 in a pulse          | may or may not have moved        | on until the next start, where  |
|                             |                                  | the kernel keeps outputs; never |
|                             |                                  | kept by systemd                 |
| restart, systemctl stop     | stays                            | off                             |
| reboot, power loss          | stays                            | off, if the driver board is off |
|                             |                                  | at the pins' boot levels        |

Where the contact is, the software knows only by feedback; without it, `commanded` at the start is
what the caller assumes (the last command on record) and the proof is the meter's current.

Rules of this file: never both coils at once; a coil that was switched on is switched off, whatever
happens to the task.
"""

import asyncio
import logging
from typing import Any

from hardware.api import Contact, SwitchUnavailable
from hardware.relays.feedback import FeedbackContact
from hardware.relays.pins import PIN_ERRORS, mark_momentary, output_device, pin_errors
from hardware.relays.spec import LatchingSpec

_log = logging.getLogger(__name__)


class LatchingRelay:
    """A `SupplySwitch` with a connect coil and a disconnect coil."""

    def __init__(
        self, spec: LatchingSpec, factory: Any, *, assumed: Contact = Contact.UNKNOWN
    ) -> None:
        """Claim both coils off, on a gpiozero pin factory. Raises `SwitchUnavailable`."""
        self._spec = spec
        self._pulse_s = spec.pulse_ms / 1000
        self._one_pulse = asyncio.Lock()
        self._contact = FeedbackContact(spec.feedback, factory)
        self._coils: dict[Contact, Any] = {}
        pins = {Contact.CLOSED: spec.connect_pin, Contact.OPEN: spec.disconnect_pin}
        try:
            for contact, pin in pins.items():
                mark_momentary(factory, pin)
                self._coils[contact] = output_device(
                    factory, pin, active_low=spec.active_low, initial=False
                )
        except SwitchUnavailable:
            self.close()
            raise
        shown = self._contact.read()
        self._commanded = assumed if shown is Contact.UNKNOWN else shown

    @property
    def spec(self) -> str:
        """The canonical text of this switch."""
        return str(self._spec)

    @property
    def commanded(self) -> Contact:
        """What the last whole pulse told it; UNKNOWN after one that was cut short."""
        return self._commanded

    async def connect(self) -> None:
        """Pulse the connect coil. Raises `SwitchUnavailable`."""
        await self._pulse(Contact.CLOSED)

    async def disconnect(self) -> None:
        """Pulse the disconnect coil. Raises `SwitchUnavailable`."""
        await self._pulse(Contact.OPEN)

    def feedback(self) -> Contact:
        """What the auxiliary contact shows; UNKNOWN when none is wired or it cannot be read."""
        return self._contact.read()

    def close(self) -> None:
        """Switch both coils off and let go of them; the contact stays. May be called again."""
        for coil in self._coils.values():
            try:
                if not coil.closed:
                    coil.off()
            except PIN_ERRORS:  # the other coil must still be switched off
                _log.exception("%s: a coil cannot be switched off: cut its supply", self.spec)
            coil.close()
        self._contact.close()

    async def _pulse(self, contact: Contact) -> None:
        async with self._one_pulse:
            coil = self._coils[contact]
            other = self._coils[Contact.OPEN if contact is Contact.CLOSED else Contact.CLOSED]
            with pin_errors(self._spec.connect_pin):
                if other.is_active:
                    raise SwitchUnavailable(
                        f"{self.spec}: the other coil is on",
                        hint="Its pin is shorted or its driver is broken: check the board.",
                    )
                self._commanded = Contact.UNKNOWN  # until the pulse is whole
                try:
                    coil.on()
                    await asyncio.sleep(self._pulse_s)
                finally:
                    if not coil.closed:
                        coil.off()
            if coil.closed:
                raise SwitchUnavailable(f"{self.spec}: closed during a pulse")
            self._commanded = contact
