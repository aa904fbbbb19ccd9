"""`gpio:17`: a relay or contactor that one pin holds, for as long as the pin is active.

What happens to the contact. "held" is our pin factory (`pins`), under systemd with its descriptor
store; "alone" is the same factory started from a shell; "others" are gpiozero's own factories
(lgpio measured). "kept" on Raspberry Pi OS means: the kernel leaves a released output alone, its
default; with `dtparam=strict_gpiod` it drops as at power loss.

| event                  | held              | alone             | others                        |
|------------------------|-------------------|-------------------|-------------------------------|
| start                  | stays             | stays             | drops: driven inactive        |
| close, exit, exception | stays             | kept              | drops: the pin becomes input  |
| SIGTERM                | stays             | kept              | kept (no clean-up runs)       |
| kill -9                | stays             | kept              | kept                          |
| automatic restart      | stays             | stays             | drops at the start            |
| systemctl restart      | stays             | -                 | drops                         |
| systemctl stop         | kept              | -                 | drops                         |
| reboot, power loss     | drops until the daemon has started and decides again, all three         |

"drops" is the relay's rest position: which way that is, is wiring (WIRING.md, NO or NC).

Rules of this file: the contact moves only in `connect` and `disconnect`.
"""

from typing import Any

from hardware.api import Contact, SwitchUnavailable
from hardware.relays.feedback import FeedbackContact
from hardware.relays.pins import output_device, pin_errors
from hardware.relays.spec import GpioSpec


class GpioRelay:
    """A `SupplySwitch` on one pin, optionally with an auxiliary contact."""

    def __init__(self, spec: GpioSpec, factory: Any) -> None:
        """Claim the pins as they are, on a gpiozero pin factory. Raises `SwitchUnavailable`."""
        self._spec = spec
        self._contact = FeedbackContact(spec.feedback, factory)
        try:
            self._output = output_device(
                factory, spec.pin, active_low=spec.active_low, initial=None
            )
            with pin_errors(spec.pin):
                self._commanded = Contact.CLOSED if self._output.is_active else Contact.OPEN
        except SwitchUnavailable:
            self._contact.close()
            raise

    @property
    def spec(self) -> str:
        """The canonical text of this switch."""
        return str(self._spec)

    @property
    def commanded(self) -> Contact:
        """What the relay was last told; before that, what its pin showed at the start."""
        return self._commanded

    async def connect(self) -> None:
        """Close the contact. Raises `SwitchUnavailable`."""
        self._drive(Contact.CLOSED)

    async def disconnect(self) -> None:
        """Open the contact. Raises `SwitchUnavailable`."""
        self._drive(Contact.OPEN)

    def feedback(self) -> Contact:
        """What the auxiliary contact shows; UNKNOWN when none is wired or it cannot be read."""
        return self._contact.read()

    def close(self) -> None:
        """Let go of the pins as the table says. May be called again."""
        self._contact.close()
        self._output.close()

    def _drive(self, contact: Contact) -> None:
        with pin_errors(self._spec.pin):
            self._output.value = contact is Contact.CLOSED
        self._commanded = contact
