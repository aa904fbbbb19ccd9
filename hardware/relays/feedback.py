"""An auxiliary contact on an input pin: what the supply contact really does.

Rules of this file: a contact that cannot be read is UNKNOWN, never a guess. The pin is pulled to
its inactive side, so a broken wire reads OPEN: the alarm "told to connect, but open" then points
at it, and a welded contact behind a broken wire is still found by the meter's current.
"""

from typing import Any

from hardware.api import Contact, SwitchUnavailable
from hardware.relays.pins import contact_device, pin_errors
from hardware.relays.spec import FeedbackSpec


class FeedbackContact:
    """Reads the contact of `spec`, or UNKNOWN for ever when None is wired."""

    def __init__(self, spec: FeedbackSpec | None, factory: Any) -> None:
        """Claim the pin. Raises `SwitchUnavailable`."""
        self._device = None
        if spec is not None:
            self._pin = spec.pin
            self._device = contact_device(factory, spec.pin, active_low=spec.active_low)

    def read(self) -> Contact:
        """What the contact shows now."""
        if self._device is None:
            return Contact.UNKNOWN
        try:
            with pin_errors(self._pin):
                return Contact.CLOSED if self._device.is_active else Contact.OPEN
        except SwitchUnavailable:
            return Contact.UNKNOWN

    def close(self) -> None:
        """Let go of the pin; it stays an input."""
        if self._device is not None:
            self._device.close()
        self._device = None
