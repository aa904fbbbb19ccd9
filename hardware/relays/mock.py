"""gpiozero's own mock pins, with a listener: the far end of the wire for demos and tests.

Whoever plays the relay is told each level that a driver puts on a pin, at once and in its order.
"""

from collections.abc import Callable
from typing import Any

from gpiozero.pins.mock import MockFactory, MockPin

Listener = Callable[[int, bool], None]  # BCM pin number, level


def watched_factory(listener: Listener) -> Any:
    """A mock pin factory whose output pins report each change of level to `listener`."""

    class WatchedPin(MockPin):  # type: ignore[misc]  # gpiozero publishes no types
        """A mock pin that tells what is put on it."""

        def _change_state(self, value: bool) -> bool:
            changed = bool(super()._change_state(value))
            if changed and self.function == "output":
                listener(int(self.info.name.removeprefix("GPIO")), value)
            return changed

    return MockFactory(pin_class=WatchedPin)
