"""Drive one supply switch to where it should be, and prove that it went there.

A pure step function, called with what is wanted and what is seen. Rules:

- Act when the switch was last told something else than is wanted, and at no other time.
- A command is proved by the feedback contact, or by the meter: no load through an open contact.
- Load through a contact that was told to open, in `LOAD_READS` fresh readings in a row, or a
  feedback contact that disagrees for `SETTLE_S`, means it did not obey: it is told again, at most
  `MAX_ATTEMPTS` times, and then an alarm stands. Never a loop: relays live 10^4 to 10^5 operations.
- Once that alarm stands, a moment without load does not clear it (a welded contact shows none while
  the refrigerator rests): only the feedback contact does, or obeying the next goal.
- A command that could not be given at all (device gone) raises the alarm too, and is tried again
  every `UNREACHABLE_PAUSE_S`: nothing moved, so nothing wears, and the device may come back.
- More than `MAX_OPERATIONS_PER_HOUR` are not made, whatever is wanted.
"""

import enum
from dataclasses import dataclass, replace

SETTLE_S = 2.0  # from a command to the first evidence that counts: contact bounce, meter's average
LOAD_READS = 3  # fresh readings in a row before load through an open contact is believed
LOAD_THRESHOLD_W = 15  # more than a meter's own noise, less than one lamp
RETRY_PAUSE_S = (3.0, 10.0)  # before the second and third attempt
MAX_ATTEMPTS = 3
UNREACHABLE_PAUSE_S = 60.0
MAX_OPERATIONS_PER_HOUR = 20
HOUR_S = 3600.0


class Position(enum.Enum):
    """Where a contact is, or should be."""

    CLOSED = "closed"
    OPEN = "open"
    UNKNOWN = "unknown"


class Proof(enum.Enum):
    """What is known of the last command."""

    NONE = "unproven"  # no evidence either way, e.g. connected and nothing switched on
    PROVEN = "proven"
    DISOBEYED = "not obeying"


class Action(enum.Enum):
    """What the caller is to do now."""

    WAIT = "wait"
    OPERATE = "operate"  # drive the switch to `wanted`
    RAISE_ALARM = "raise alarm"
    CLEAR_ALARM = "clear alarm"


@dataclass(frozen=True, slots=True)
class Seen:
    """Evidence at one moment. `load_w` is None without a good, fresh reading."""

    commanded: Position
    feedback: Position = Position.UNKNOWN
    load_w: int | None = None
    load_read_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Drive:
    """What is remembered of one switch. Times are monotonic seconds."""

    wanted: Position = Position.UNKNOWN
    attempts: int = 0
    last_operated_at_s: float | None = None
    operations_at_s: tuple[float, ...] = ()  # within the last hour, at most the allowed number
    load_reads: int = 0
    last_load_at_s: float | None = None
    disagreed_since_s: float | None = None
    proof: Proof = Proof.NONE
    alarmed: bool = False


def step(drive: Drive, wanted: Position, seen: Seen, now_s: float) -> tuple[Drive, Action]:
    """One comparison of what should be with what is. `wanted` is CLOSED or OPEN."""
    if wanted is not drive.wanted:
        # A new goal starts afresh; a standing alarm stays until the switch is seen to obey.
        drive = replace(_without_evidence(drive), wanted=wanted, attempts=0)
    if seen.commanded is not wanted:
        return _command_again(drive, now_s)
    drive = _weigh(drive, seen, now_s)
    match drive.proof:
        case Proof.PROVEN if drive.alarmed:
            return replace(drive, alarmed=False), Action.CLEAR_ALARM
        case Proof.DISOBEYED if drive.attempts >= MAX_ATTEMPTS:
            if drive.alarmed:
                return drive, Action.WAIT
            return replace(drive, alarmed=True), Action.RAISE_ALARM
        case Proof.DISOBEYED:
            pause_s = RETRY_PAUSE_S[min(max(drive.attempts, 1), len(RETRY_PAUSE_S)) - 1]
            last_s = drive.last_operated_at_s
            if last_s is None or now_s - last_s >= pause_s:
                return _operate(drive, now_s)
    return drive, Action.WAIT


def operated(drive: Drive, now_s: float) -> Drive:
    """Remember that the switch was driven at `now_s`."""
    recent = tuple(at_s for at_s in drive.operations_at_s if now_s - at_s < HOUR_S)
    return replace(
        _without_evidence(drive),
        attempts=drive.attempts + 1,
        last_operated_at_s=now_s,
        operations_at_s=(*recent, now_s),
    )


def _command_again(drive: Drive, now_s: float) -> tuple[Drive, Action]:
    """The switch has not even been told: at once the first time, then at growing intervals."""
    if drive.attempts >= MAX_ATTEMPTS and not drive.alarmed:
        return replace(drive, alarmed=True), Action.RAISE_ALARM
    pauses_s = (0.0, *RETRY_PAUSE_S, UNREACHABLE_PAUSE_S)
    pause_s = pauses_s[min(drive.attempts, len(pauses_s) - 1)]
    if drive.last_operated_at_s is not None and now_s - drive.last_operated_at_s < pause_s:
        return drive, Action.WAIT
    return _operate(drive, now_s)


def _operate(drive: Drive, now_s: float) -> tuple[Drive, Action]:
    recent = [at_s for at_s in drive.operations_at_s if now_s - at_s < HOUR_S]
    if len(recent) >= MAX_OPERATIONS_PER_HOUR:
        if drive.alarmed:
            return drive, Action.WAIT
        return replace(drive, alarmed=True), Action.RAISE_ALARM
    return drive, Action.OPERATE


def _without_evidence(drive: Drive) -> Drive:
    return replace(drive, load_reads=0, disagreed_since_s=None, proof=Proof.NONE)


def _weigh(drive: Drive, seen: Seen, now_s: float) -> Drive:
    """Update the proof from evidence that is newer than the last command by SETTLE_S."""
    settled_s = SETTLE_S + (drive.last_operated_at_s or float("-inf"))
    if seen.feedback is not Position.UNKNOWN:
        if seen.feedback is drive.wanted:
            return replace(drive, proof=Proof.PROVEN, disagreed_since_s=None)
        since_s = drive.disagreed_since_s if drive.disagreed_since_s is not None else now_s
        drive = replace(drive, disagreed_since_s=since_s)
        if now_s >= settled_s and now_s - since_s >= SETTLE_S:
            return replace(drive, proof=Proof.DISOBEYED)
        return drive
    if seen.load_w is None or seen.load_read_at_s is None or seen.load_read_at_s < settled_s:
        return drive
    if seen.load_read_at_s == drive.last_load_at_s:
        return drive  # the same reading is no new evidence
    drive = replace(drive, last_load_at_s=seen.load_read_at_s)
    loaded = seen.load_w > LOAD_THRESHOLD_W
    if drive.wanted is Position.CLOSED:
        return replace(drive, proof=Proof.PROVEN) if loaded else drive
    if not loaded:
        return drive if drive.alarmed else replace(drive, load_reads=0, proof=Proof.PROVEN)
    reads = drive.load_reads + 1
    proof = Proof.DISOBEYED if reads >= LOAD_READS else drive.proof
    return replace(drive, load_reads=reads, proof=proof)
