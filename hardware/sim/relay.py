"""Supply contacts that can fail, and a supply switch directly over one.

A `SimContact` sits between the street's wire and one home's load, downstream of the meter's
voltage terminals: when it is open the home draws nothing and the meter still shows voltage. It
knows no pins: whoever simulates a GPIO board calls `command` when a pin moves (a coil of a latching
relay calls it with the side it pulls to) and reads `feedback` for the auxiliary contact.

A fault never hides: `welded` stays closed and `stuck_open` stays open whatever is commanded, and
the auxiliary contact, fixed to the same armature, shows the true position.
"""

import asyncio
from typing import TYPE_CHECKING

from hardware.api import Contact, SwitchUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class SimContact:
    """A contact in one home's supply, closed at first unless told otherwise."""

    def __init__(self, *, closed: bool = True) -> None:
        self._commanded = closed
        self._closed = closed
        self._welded = False
        self._stuck_open = False
        self.moves = 0  # how often the armature moved: its mechanical life is counted in these
        self.before_move: Callable[[], None] = _nothing
        """Called before the position changes, so that energy up to now is booked first."""

    @property
    def closed(self) -> bool:
        """Whether load flows: the true position."""
        return self._closed

    @property
    def commanded_closed(self) -> bool:
        """What the coil was last told."""
        return self._commanded

    def command(self, closed: bool) -> None:
        """Drive the coil. A sound contact follows at once; a faulty one stays where it is."""
        self._commanded = closed
        self._settle()

    def weld(self) -> None:
        """From now on the contact is closed for good."""
        self._welded, self._stuck_open = True, False
        self._settle()

    def stick_open(self) -> None:
        """From now on the contact is open for good."""
        self._welded, self._stuck_open = False, True
        self._settle()

    def repair(self) -> None:
        """A new contact: it follows its coil again."""
        self._welded = self._stuck_open = False
        self._settle()

    def feedback(self) -> Contact:
        """What the auxiliary contact shows."""
        return Contact.CLOSED if self._closed else Contact.OPEN

    def _settle(self) -> None:
        target = self._welded or (self._commanded and not self._stuck_open)
        if target != self._closed:
            self.before_move()
            self._closed = target
            self.moves += 1


class SimSwitch:
    """A `SupplySwitch` over a `SimContact`, for tests and simulations without pins.

    `delay_s` lets the contact follow late, on the running loop's clock; `broken` makes every
    command raise `SwitchUnavailable`; `with_feedback=False` leaves the auxiliary contact unwired.
    """

    def __init__(
        self, name: str, contact: SimContact, *, with_feedback: bool = True, delay_s: float = 0.0
    ) -> None:
        self._name = name
        self.contact = contact
        self.with_feedback = with_feedback
        self.delay_s = delay_s
        self.broken = False
        self.commands = 0
        self._commanded = Contact.CLOSED if contact.commanded_closed else Contact.OPEN
        self._pending: asyncio.TimerHandle | None = None

    @property
    def spec(self) -> str:
        """`sim:` and the name given."""
        return f"sim:{self._name}"

    @property
    def commanded(self) -> Contact:
        """What the switch was last told."""
        return self._commanded

    async def connect(self) -> None:
        """Close the contact. Raises `SwitchUnavailable` while `broken`."""
        self._drive(Contact.CLOSED)

    async def disconnect(self) -> None:
        """Open the contact. Raises `SwitchUnavailable` while `broken`."""
        self._drive(Contact.OPEN)

    def feedback(self) -> Contact:
        """The contact's true position, or UNKNOWN without an auxiliary contact."""
        return self.contact.feedback() if self.with_feedback else Contact.UNKNOWN

    def close(self) -> None:
        """Let go; the contact stays as it is, and a movement still to come does not come."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _drive(self, to: Contact) -> None:
        if self.broken:
            raise SwitchUnavailable(f"switch {self.spec} does not take commands (simulated fault)")
        self.commands += 1
        self._commanded = to
        self.close()
        closed = to is Contact.CLOSED
        if self.delay_s > 0:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(self.delay_s, self.contact.command, closed)
        else:
            self.contact.command(closed)


def _nothing() -> None:
    """No one waits for this contact to move."""
