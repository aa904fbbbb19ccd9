"""A scenario: everything that follows from a seed, as plain data.

Rules of this file: no clock, no I/O. Each concern draws from a random source of its own, named by
the seed: switching one kind of fault off (`without`) changes no load and no other fault.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from zoneinfo import ZoneInfo

from gateway.core.policy import CutWindow, Policy, Weekday
from gateway.core.tariff import FixedCharge, Per, Slab, Tariff, TariffVersion

DAY_S = 86400.0
ZONE = ZoneInfo("Asia/Kolkata")


class Kind(Enum):
    """Kinds of faults, and of people's acts; the value is how they are written."""

    FRAMES = "frames"  # lost, late, garbled, truncated, doubled replies for a while
    NOISE = "noise"  # bytes bent and dropped on the wire
    PORT = "port"  # the adapter is unplugged
    METER_DEAD = "meter-dead"
    METER_REBOOT = "meter-reboot"  # 0 for some 100 s
    METER_SPIKE = "meter-spike"
    METER_STUCK = "meter-stuck"
    METER_SWAP = "meter-swap"
    POWER = "power"  # all meters of the line dark for a while
    RELAY_WELD = "relay-weld"
    RELAY_OPEN = "relay-open"
    RELAY_GONE = "relay-gone"  # its driver refuses every command
    BROKER_DOWN = "broker-down"
    LINK_BREAK = "link-break"
    MESSAGES = "messages"  # doubled, overtaken, days late
    ACKS = "acks"  # lost for a while, or each twice
    HEADEND_RESTART = "headend-restart"
    CRASH = "crash"  # between any two steps
    CRASH_COMMIT = "crash-commit"  # before or after a commit
    STOP = "stop"  # in order, as systemd does
    DISK_FULL = "disk-full"
    CLOCK_STEP = "clock-step"  # by years, while nobody vouches for it
    TIME_GONE = "time-gone"  # no source of time for a while
    IMAGE = "image"  # an old image of the card is put back
    LOCK = "lock"  # a lineman locks and unlocks
    RELAY_TEST = "relay-test"
    TARIFF = "tariff"  # a corrected order is loaded
    REVERSAL = "reversal"
    TYPED = "typed"  # the same note comes by hand as well


# How many a day, for a street of any size. A day of a bad week; quiet days are many in between.
RATES: dict[Kind, float] = {
    Kind.FRAMES: 0.3,
    Kind.NOISE: 0.1,
    Kind.PORT: 0.05,
    Kind.METER_DEAD: 0.3,
    Kind.METER_REBOOT: 0.2,
    Kind.METER_SPIKE: 0.2,
    Kind.METER_STUCK: 0.05,
    Kind.METER_SWAP: 0.02,
    Kind.POWER: 0.1,
    Kind.RELAY_WELD: 0.08,
    Kind.RELAY_OPEN: 0.05,
    Kind.RELAY_GONE: 0.05,
    Kind.BROKER_DOWN: 0.15,
    Kind.LINK_BREAK: 0.5,
    Kind.MESSAGES: 0.15,
    Kind.ACKS: 0.15,
    Kind.HEADEND_RESTART: 0.1,
    Kind.CRASH: 0.5,
    Kind.CRASH_COMMIT: 0.5,
    Kind.STOP: 0.1,
    Kind.DISK_FULL: 0.08,
    Kind.CLOCK_STEP: 0.1,
    Kind.TIME_GONE: 0.1,
    Kind.IMAGE: 0.15,
    Kind.LOCK: 0.15,
    Kind.RELAY_TEST: 0.1,
    Kind.TARIFF: 0.03,
    Kind.REVERSAL: 0.05,
    Kind.TYPED: 0.2,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One happening at `at_s` after the start; `dice` is its own random number."""

    at_s: float
    kind: Kind
    home: int  # 1 is the first
    dice: float


@dataclass(frozen=True, slots=True)
class Consumer:
    """How one household pays, and what it has."""

    opening_paise: int
    topup_paise: int
    patience_h: float  # from being out of credit to paying, on average
    load_permille: int
    switched: bool
    feedback: bool
    relay_delay_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to be played."""

    seed: int
    days: float
    start_utc: datetime
    consumers: tuple[Consumer, ...]
    tariff: Tariff
    policy: Policy
    model: str
    baud: int
    wired: bool  # meters on a line of bytes; else readings without a wire, for many and for long
    quiet_poll_s: float
    busy_poll_s: float
    time_at_start: bool
    kinds: frozenset[Kind]
    faults: tuple[Fault, ...] = field(repr=False)

    def without(self, kinds: Iterable[Kind]) -> "Scenario":
        """The same without some kinds of faults."""
        gone = set(kinds)
        faults = tuple(fault for fault in self.faults if fault.kind not in gone)
        return replace(self, faults=faults, kinds=self.kinds - gone)


def make(
    seed: int,
    days: float,
    *,
    meters: int | None = None,
    quiet_poll_s: float | None = None,
    calm: float = 1.0,
) -> Scenario:
    """The scenario of a seed. `meters` and `quiet_poll_s` overrule what the seed says.

    `calm` makes faults so many times rarer, for long runs.
    """
    chance = random.Random(f"{seed}/scenario")
    count = chance.choice((1, 2, 3, 5, 8, 13, 32))
    poll_s = chance.choice((300.0, 900.0, 3600.0))
    start = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(
        days=chance.randrange(0, 1400), seconds=chance.randrange(int(DAY_S))
    )
    kinds = frozenset(kind for kind in Kind if chance.random() < 0.6)
    count = meters or count
    wired = chance.random() < 0.35 and count <= 8
    return Scenario(
        seed=seed,
        days=days,
        start_utc=start,
        consumers=tuple(_consumer(seed, number) for number in range(1, count + 1)),
        tariff=_tariff(random.Random(f"{seed}/tariff"), start.date()),
        policy=_policy(random.Random(f"{seed}/policy"), start.date()),
        model=chance.choice(("sdm120", "sdm230", "mfm383", "em6400")),
        baud=chance.choice((2400, 9600, 9600, 19200)),
        wired=wired,
        quiet_poll_s=quiet_poll_s or poll_s,
        busy_poll_s=chance.choice((2.0, 5.0, 10.0)),
        time_at_start=chance.random() < 0.8,
        kinds=kinds,
        faults=tuple(_faults(seed, days, count, kinds, calm)),
    )


def _faults(seed: int, days: float, count: int, kinds: frozenset[Kind], calm: float) -> list[Fault]:
    found = []
    for kind in Kind:
        if kind not in kinds:
            continue
        chance = random.Random(f"{seed}/fault/{kind.value}")
        at_s = 0.0
        while True:
            at_s += chance.expovariate(RATES[kind] / calm / DAY_S)
            home, dice = chance.randrange(1, count + 1), chance.random()
            if at_s >= days * DAY_S:
                break
            found.append(Fault(at_s, kind, home, dice))
    return sorted(found, key=lambda fault: (fault.at_s, fault.kind.value))


def _consumer(seed: int, number: int) -> Consumer:
    chance = random.Random(f"{seed}/consumer/{number}")
    return Consumer(
        opening_paise=chance.choice((-5_000, 0, 1, 2_000, 20_000, 100_000)),
        topup_paise=chance.choice((1_000, 5_000, 20_000, 50_000, 200_000)),
        patience_h=chance.choice((0.2, 2.0, 12.0, 60.0)),
        load_permille=chance.choice((0, 200, 1000, 1000, 3000)),
        switched=chance.random() < 0.9,
        feedback=chance.random() < 0.5,
        relay_delay_s=chance.choice((0.0, 0.0, 0.05, 0.6)),
    )


def _tariff(chance: random.Random, start: date) -> Tariff:
    versions = [_version(chance, date(2020, 1, 1))]
    if chance.random() < 0.4:
        versions.append(_version(chance, start + timedelta(days=chance.randrange(1, 40))))
    return Tariff(f"T-{chance.randrange(1000)}", tuple(versions))


def _version(chance: random.Random, since: date) -> TariffVersion:
    def rupees(low: int, high: int) -> Decimal:
        return Decimal(chance.randrange(low, high)) / 100

    slabs = [Slab(rupees(600, 1200))]
    if chance.random() < 0.6:
        slabs = [Slab(rupees(200, 500), 50), Slab(rupees(400, 700), 150), *slabs]
    fixed = FixedCharge(rupees(0, 9000), chance.choice((Per.MONTH, Per.YEAR_365)))
    return TariffVersion(
        since,
        tuple(slabs),
        chance.choice((None, fixed, FixedCharge(rupees(50, 400), Per.DAY))),
        chance.choice((Decimal(0), Decimal(10), Decimal("7.5"))),
        chance.choice((Decimal(0), Decimal("0.10"))),
    )


def _policy(chance: random.Random, start: date) -> Policy:
    if chance.random() < 0.4:
        return Policy(credit_limit_rupees=Decimal(chance.choice((0, -50, 20))))
    week = tuple(Weekday)
    window = CutWindow(
        time(chance.choice((0, 9, 10, 11))),
        time(chance.choice((13, 16, 17)), 30),
        chance.choice((week, week[:6], week[:5])),
    )
    holidays = tuple(sorted({start + timedelta(days=chance.randrange(1, 60)) for _ in range(3)}))
    return Policy(
        name="window",
        credit_limit_rupees=Decimal(chance.choice((0, 0, -100))),
        cut_window=window,
        holidays=holidays,
        unknown_time_overdraft_rupees=Decimal(chance.choice((0, 50))),
    )


def corrected(scenario: Scenario, dice: float) -> Tariff:
    """Another order under the same name, for `Kind.TARIFF`."""
    chance = random.Random(f"{scenario.seed}/correction/{dice}")
    first = _version(chance, date(2020, 1, 1))
    return Tariff(scenario.tariff.name, (first, *scenario.tariff.versions[1:]), source=str(dice))
