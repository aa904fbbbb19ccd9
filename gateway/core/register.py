"""Is this register reading to be believed? Judged before it can touch money.

The register only rises, and no faster than the supply can deliver. What breaks that is kept out:

- lower than before: never accepted (a rebooting meter answers 0 for a while, then the truth);
- a rise that is possible only because the last reading is long ago: accepted when the next reading
  agrees, so that one garbled value after an outage is never billed;
- higher than can have flowed: held back until `CONFIRMATIONS` further reads agree with it, and, for
  more than `prompt_wh`, over `CONFIRM_S`. A drop back to the old level costs nothing;
- higher than `confirmable_wh` beyond that: parked until a person decides.

The energy that could have flowed is counted to the first suspicious reading, so that a wrong level
does not become acceptable by waiting.
"""

import enum
from dataclasses import dataclass, replace

# Reads that must agree with a jump before it is taken for the truth, and for how long: some meters
# answer wrongly for minutes after their own reboot.
CONFIRMATIONS = 3
CONFIRM_S = 300.0
# What the load limit lets flow in this time is believed from a single reading.
AT_ONCE_S = 300.0
# After a restart without a proven time, the outage is taken to be no longer than this.
UNKNOWN_GAP_S = 72 * 3600.0
# Meters and clocks are not exact: what the load limit allows, and a quarter more.
HEADROOM_NUMERATOR, HEADROOM_DENOMINATOR = 5, 4


class Verdict(enum.Enum):
    """What is to be done with a register reading."""

    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"  # a jump that further reads agreed with: accepted, and told
    UNCONFIRMED = "unconfirmed"  # a jump seen too few times
    BACKWARD = "backward"
    PARKED = "parked"  # a jump too large to take without a person

    @property
    def accepted(self) -> bool:
        """Whether the reading may move money."""
        return self in (Verdict.ACCEPTED, Verdict.CONFIRMED)


@dataclass(frozen=True, slots=True)
class RegisterLimits:
    """How fast a register may rise: `max_w` watts, and `burst_wh` at once at any time."""

    max_w: int = 25_000  # a single-phase service at 100 A
    burst_wh: int = 2_000  # a few coarse register steps, or a poll that was long delayed
    prompt_wh: int = 25_000  # a few days of a home: what a wrong belief in it costs stays small
    confirmable_wh: int = 100_000  # a jump beyond this is for a person to judge


@dataclass(frozen=True, slots=True)
class Suspect:
    """A level above what can have flowed, and how often it has been seen."""

    first_at_s: float
    last_wh: int
    last_at_s: float
    seen: int


@dataclass(frozen=True, slots=True)
class RegisterGate:
    """The last accepted reading; `accepted_at_s` is monotonic, None when the gap is unknown."""

    accepted_wh: int
    accepted_at_s: float | None
    suspect: Suspect | None = None


def judge(
    gate: RegisterGate, register_wh: int, at_s: float, limits: RegisterLimits
) -> tuple[RegisterGate, Verdict]:
    """Judge a reading taken at monotonic `at_s`; the gate moves only when it is accepted."""
    suspect = gate.suspect
    if register_wh < gate.accepted_wh:
        if suspect is not None:  # the meter contradicts itself: agreement starts anew
            gate = replace(gate, suspect=replace(suspect, seen=0))
        return gate, Verdict.BACKWARD
    agrees = suspect is not None and _could_follow(suspect, register_wh, at_s, limits)
    possible_wh = _possible_wh(gate, at_s if suspect is None else suspect.first_at_s, limits)
    risen_wh = register_wh - gate.accepted_wh
    if risen_wh <= possible_wh + limits.burst_wh:
        seen_before = suspect is not None and agrees and suspect.seen > 0
        at_once_wh = _flow_wh(AT_ONCE_S, limits) + limits.burst_wh
        if risen_wh <= at_once_wh or seen_before:
            return RegisterGate(register_wh, at_s), Verdict.ACCEPTED
    if suspect is None or not agrees:
        fresh = Suspect(at_s, register_wh, at_s, seen=1)
        return replace(gate, suspect=fresh), Verdict.UNCONFIRMED
    seen = Suspect(suspect.first_at_s, register_wh, at_s, suspect.seen + 1)
    wait_s = 0.0 if risen_wh - possible_wh <= limits.prompt_wh else CONFIRM_S
    if seen.seen <= CONFIRMATIONS or at_s - seen.first_at_s < wait_s:
        return replace(gate, suspect=seen), Verdict.UNCONFIRMED
    if risen_wh - possible_wh <= limits.confirmable_wh:
        return RegisterGate(register_wh, at_s), Verdict.CONFIRMED
    return replace(gate, suspect=seen), Verdict.PARKED


def _could_follow(suspect: Suspect, register_wh: int, at_s: float, limits: RegisterLimits) -> bool:
    """Whether a reading is what a meter standing at the suspect level would show now."""
    risen_wh = register_wh - suspect.last_wh
    flowed_wh = _flow_wh(at_s - suspect.last_at_s, limits)
    return 0 <= risen_wh <= flowed_wh + limits.burst_wh


def _possible_wh(gate: RegisterGate, at_s: float, limits: RegisterLimits) -> int:
    gap_s = UNKNOWN_GAP_S if gate.accepted_at_s is None else at_s - gate.accepted_at_s
    return _flow_wh(gap_s, limits)


def _flow_wh(gap_s: float, limits: RegisterLimits) -> int:
    gap_ms = max(0, int(gap_s * 1000))
    return limits.max_w * gap_ms * HEADROOM_NUMERATOR // (3_600_000 * HEADROOM_DENOMINATOR)
