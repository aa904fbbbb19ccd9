"""`none`: a meter without a switch, such as a check meter or a consumer who is never cut.

| event       | the supply                          |
|-------------|-------------------------------------|
| any         | not ours to change: nothing happens |

Rules of this file: it never pretends to have switched.
"""

from hardware.api import Contact, SwitchUnavailable


class NoSwitch:
    """A `SupplySwitch` that refuses every command."""

    @property
    def spec(self) -> str:
        """Always `none`."""
        return "none"

    @property
    def commanded(self) -> Contact:
        """Always UNKNOWN."""
        return Contact.UNKNOWN

    async def connect(self) -> None:
        """Raises `SwitchUnavailable`."""
        raise self._refusal()

    async def disconnect(self) -> None:
        """Raises `SwitchUnavailable`."""
        raise self._refusal()

    def feedback(self) -> Contact:
        """Always UNKNOWN."""
        return Contact.UNKNOWN

    def close(self) -> None:
        """Nothing to let go of."""

    def _refusal(self) -> SwitchUnavailable:
        return SwitchUnavailable(
            "this account has no switch", hint="Wire a relay and give the account its pin."
        )
