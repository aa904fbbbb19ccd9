"""Supply is a level, not an edge: it should be connected exactly when no hold stands.

A hold says *why* supply is off. Money lifts NO_CREDIT and nothing else, so a recharge can never
energise a line that a lineman has locked off. NO_CREDIT is placed only when the policy allows the
cut at that moment: until then the account is merely "used up", and supply stays.
"""

import enum
from collections.abc import Set as AbstractSet

from gateway.core.policy import CutPermission


class Hold(enum.Enum):
    """A reason for supply to be off; values are what people read and type."""

    NO_CREDIT = "NO_CREDIT"
    LINEMAN_LOCK = "LINEMAN_LOCK"
    OFFICER_LOCK = "OFFICER_LOCK"
    OVERLOAD = "OVERLOAD"
    TAMPER = "TAMPER"
    CLOSED_ACCOUNT = "CLOSED_ACCOUNT"

    @property
    def by_person(self) -> bool:
        """Whether a person places and lifts it."""
        return self in (Hold.LINEMAN_LOCK, Hold.OFFICER_LOCK)


class SupplyState(enum.Enum):
    """What a consumer sees, in the words of COSEM's disconnect control."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class HoldChange(enum.Enum):
    """What to do with the NO_CREDIT hold now."""

    KEEP = "keep"
    PLACE = "place"
    LIFT = "lift"


def wanted(holds: AbstractSet[Hold]) -> SupplyState:
    """What the supply should be."""
    return SupplyState.DISCONNECTED if holds else SupplyState.CONNECTED


def credit_hold(
    holds: AbstractSet[Hold], balance_paise: int, limit_paise: int, permission: CutPermission
) -> HoldChange:
    """Compare the NO_CREDIT hold with the balance (posted plus running).

    `permission` must have been judged for the same balance from a fresh, good reading.
    """
    if Hold.NO_CREDIT in holds:
        return HoldChange.LIFT if balance_paise > limit_paise else HoldChange.KEEP
    return HoldChange.PLACE if permission.allowed else HoldChange.KEEP
