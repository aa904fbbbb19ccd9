"""A recharge: a signed credit, applied once for ever, by whatever road it comes.

The payload is the head-end's contract. Credits commute, so order never matters; `seq` only names
gaps. No credit is refused or delayed because of a timestamp. A reversal is a new negative entry
that names the recharge it takes back.
"""

import enum
from dataclasses import dataclass

# Larger than any vend a low-tension consumer makes; it keeps a typing error out of the ledger.
MAX_AMOUNT_PAISE = 10_000_000_00
MAX_ID_LENGTH = 128


class Outcome(enum.Enum):
    """What became of a recharge, in order of precedence. A receipt carries one of these."""

    CREDITED = "CREDITED"
    ALREADY_CREDITED = "ALREADY_CREDITED"  # the same recharge before: nothing more is credited
    CONFLICT = "CONFLICT"  # this recharge_id was credited with another content
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_REVERSAL = "UNKNOWN_REVERSAL"  # it takes back a recharge that is not known here
    WRONG_GATEWAY = "WRONG_GATEWAY"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    MALFORMED = "MALFORMED"

    @property
    def transient(self) -> bool:
        """Whether the same note may succeed later, after an account is opened or a key pinned."""
        return self in (Outcome.UNKNOWN_ACCOUNT, Outcome.UNKNOWN_REVERSAL, Outcome.UNKNOWN_KEY)

    @property
    def final(self) -> bool:
        """Whether the head-end need not send it again."""
        return self in (Outcome.CREDITED, Outcome.ALREADY_CREDITED)


@dataclass(frozen=True, slots=True)
class Recharge:
    """The payload of a `recharge+jws`, version 1."""

    v: int
    gateway: str
    account: str
    recharge_id: str
    amount_paise: int
    currency: str
    seq: int | None = None
    issued_at: str | None = None
    reverses: str | None = None

    def __post_init__(self) -> None:
        if self.v != 1:
            raise ValueError(f"version {self.v} is not known here; 1 is")
        if self.currency != "INR":
            raise ValueError(f"currency {self.currency!r} is not INR")
        if not 0 < len(self.recharge_id) <= MAX_ID_LENGTH:
            raise ValueError(f"recharge_id must have 1 to {MAX_ID_LENGTH} characters")
        if abs(self.amount_paise) > MAX_AMOUNT_PAISE:
            raise ValueError(f"amount_paise {self.amount_paise} is beyond any recharge")
        if self.amount_paise == 0:
            raise ValueError("amount_paise must not be 0")
        if (self.amount_paise < 0) != (self.reverses is not None):
            raise ValueError("a negative amount must name the recharge it reverses, and only that")


@dataclass(frozen=True, slots=True)
class Applied:
    """What the ledger remembers of a recharge it credited."""

    recharge_id: str
    account: str
    amount_paise: int
    ledger_seq: int
    balance_paise: int  # right after it, as its first receipt said
    reverses: str | None = None  # the recharge it took back, if it was a reversal
    reversed_paise: int = 0  # what later reversals have taken back, not negative


def assess(
    recharge: Recharge,
    *,
    gateway: str,
    account_open: bool,
    before: Applied | None,
    reversed_entry: Applied | None,
) -> Outcome:
    """Judge a recharge whose signature is good.

    `before` is the ledger's record of the same recharge_id, `reversed_entry` that of the one it
    reverses, if it names one.
    """
    if recharge.gateway != gateway:
        return Outcome.WRONG_GATEWAY
    if before is not None:
        same = (before.account, before.amount_paise, before.reverses) == (
            recharge.account,
            recharge.amount_paise,
            recharge.reverses,
        )
        return Outcome.ALREADY_CREDITED if same else Outcome.CONFLICT
    if not account_open:
        return Outcome.UNKNOWN_ACCOUNT
    if recharge.reverses is not None:
        if reversed_entry is None or reversed_entry.account != recharge.account:
            return Outcome.UNKNOWN_REVERSAL
        left_paise = reversed_entry.amount_paise - reversed_entry.reversed_paise
        if -recharge.amount_paise > left_paise:
            return Outcome.CONFLICT
    return Outcome.CREDITED
