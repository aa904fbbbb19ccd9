"""Drive one supply switch to where it should be, and prove that it went there.

A pure step function, called with what is wanted and what is seen. Rules:

- Act when the switch was last told something else than is wanted, and at no other time.
- A command is proved by the feedback contact, or by the meter: no load through an open contact.
- Load through a contact that was told to open, in `LOAD_READS` fresh readings in a row, or a
  feedback contact that disagrees for `SETTLE_S`, means it did not obey: it is told again, at most
  `MAX_ATTEMPTS` times, and then an alarm stands. Never a loop: relays live 10^4 to 10^5 operations.
  Load outweighs a feedback contact that shows open. Attempts count anew for a new goal, and for a
  switch that is seen to obey an hour after it was last told.
- Once an alarm for load stands, a moment without load does not clear it (a welded contact shows
  none while the refrigerator rests): only with the feedback contact, or by obeying the next goal.
- A contact that stays open though supply is due is told again once an hour, alarm or not: somebody
  may be sitting in the dark, and the wear is nothing.
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
UNREACHABLE_PAUSE_S = 600.0
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
        return _command(drive, now_s)
    drive = _weigh(drive, seen, now_s)
    match drive.proof:
        case Proof.PROVEN:
            if drive.attempts and _rested(drive, now_s):
                drive = replace(drive, attempts=0)
            if drive.alarmed:
                return replace(drive, alarmed=False), Action.CLEAR_ALARM
        case Proof.DISOBEYED if drive.attempts >= MAX_ATTEMPTS:
            if drive.alarmed and wanted is Position.CLOSED and _rested(drive, now_s):
                return _operate(drive, now_s)
            return _alarm(drive)
        case Proof.DISOBEYED if _paused(drive, now_s):
            return _operate(drive, now_s)
    return drive, Action.WAIT


def operated(drive: Drive, now_s: float) -> Drive:
    """Remember that the switch was driven at `now_s`, also when its driver then failed."""
    recent = tuple(at_s for at_s in drive.operations_at_s if now_s - at_s < HOUR_S)
    if drive.attempts < MAX_ATTEMPTS:  # beyond, only a device that is gone is told: nothing moves
        recent = (*recent, now_s)
    return replace(
        _without_evidence(drive),
        attempts=drive.attempts + 1,
        last_operated_at_s=now_s,
        operations_at_s=recent,
    )


def _command(drive: Drive, now_s: float) -> tuple[Drive, Action]:
    """The switch has not even been told: at once the first time, then at growing intervals."""
    if drive.attempts < MAX_ATTEMPTS:
        return _operate(drive, now_s) if _paused(drive, now_s) else (drive, Action.WAIT)
    if not drive.alarmed:
        return _alarm(drive)
    return drive, Action.OPERATE if _paused(drive, now_s) else Action.WAIT


def _operate(drive: Drive, now_s: float) -> tuple[Drive, Action]:
    recent = [at_s for at_s in drive.operations_at_s if now_s - at_s < HOUR_S]
    if len(recent) >= MAX_OPERATIONS_PER_HOUR:
        return _alarm(drive)
    return drive, Action.OPERATE


def _alarm(drive: Drive) -> tuple[Drive, Action]:
    if drive.alarmed:
        return drive, Action.WAIT
    return replace(drive, alarmed=True), Action.RAISE_ALARM


def _paused(drive: Drive, now_s: float) -> bool:
    """Whether the pause due after this goal's attempts so far is over."""
    if drive.last_operated_at_s is None or not drive.attempts:
        return True
    pauses_s = (*RETRY_PAUSE_S, UNREACHABLE_PAUSE_S)
    return now_s - drive.last_operated_at_s >= pauses_s[min(drive.attempts, MAX_ATTEMPTS) - 1]


def _rested(drive: Drive, now_s: float) -> bool:
    """Whether the switch has not been told anything for an hour."""
    return drive.last_operated_at_s is None or now_s - drive.last_operated_at_s >= HOUR_S


def _without_evidence(drive: Drive) -> Drive:
    return replace(drive, load_reads=0, disagreed_since_s=None, proof=Proof.NONE)


def _weigh(drive: Drive, seen: Seen, now_s: float) -> Drive:
    """Update the proof from evidence that is newer than the last command by SETTLE_S."""
    settled_s = float("-inf")
    if drive.last_operated_at_s is not None:
        settled_s = drive.last_operated_at_s + SETTLE_S
    drive, by_load = _weigh_load(drive, seen, settled_s)
    if seen.feedback is Position.UNKNOWN:
        return _agreed(drive, by_load or drive.proof)
    if seen.feedback is drive.wanted:
        loaded = by_load is Proof.DISOBEYED
        return _agreed(drive, Proof.DISOBEYED if loaded else Proof.PROVEN)
    since_s = drive.disagreed_since_s if drive.disagreed_since_s is not None else now_s
    drive = replace(drive, disagreed_since_s=since_s)
    if now_s >= settled_s and now_s - since_s >= SETTLE_S:
        return replace(drive, proof=Proof.DISOBEYED)
    return drive


def _agreed(drive: Drive, proof: Proof) -> Drive:
    """No feedback contact disagrees. Most often that is no news: then nothing is made anew."""
    if drive.disagreed_since_s is None and drive.proof is proof:
        return drive
    return replace(drive, disagreed_since_s=None, proof=proof)


def _weigh_load(drive: Drive, seen: Seen, settled_s: float) -> tuple[Drive, Proof | None]:
    """Count fresh load readings; what they alone say of the switch, None for nothing."""
    standing = Proof.DISOBEYED if drive.load_reads >= LOAD_READS else None
    if seen.load_w is None or seen.load_read_at_s is None or seen.load_read_at_s < settled_s:
        return drive, standing
    if seen.load_read_at_s == drive.last_load_at_s:
        return drive, standing  # the same reading is no new evidence
    drive = replace(drive, last_load_at_s=seen.load_read_at_s)
    loaded = seen.load_w > LOAD_THRESHOLD_W
    if drive.wanted is Position.CLOSED:
        return drive, Proof.PROVEN if loaded else None
    if not loaded:
        if standing and drive.alarmed and seen.feedback is Position.UNKNOWN:
            return drive, standing
        return replace(drive, load_reads=0), Proof.PROVEN
    drive = replace(drive, load_reads=drive.load_reads + 1)
    return drive, Proof.DISOBEYED if drive.load_reads >= LOAD_READS else None
