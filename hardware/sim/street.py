"""A street: homes with loads, meters and contacts, moved through time together.

Street time counts in whole ms from midnight of day 0; `start_minute` says when the street wakes.
Either the caller moves it (`advance`), or it follows a clock at a speed (`follow`, `sync`): the
line's units call `sync` before each answer and a contact before it moves, so a register read and a
cut lie where they belong however seldom anyone looks.

Rules of this file: everything follows from the seed, the script and the commands to the contacts;
how time is cut into steps changes nothing. Meters and events may be touched from the line's thread
and from the owner's, under `lock`.
"""

import enum
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hardware.sim.image import RegisterImage
from hardware.sim.load import AC_HOME, FAMILY_HOME, SHOP, SMALL_HOME, Load, LoadCurve
from hardware.sim.meter import SimMeter
from hardware.sim.relay import SimContact
from hardware.sim.slave import Slaves

MORNING_MINUTE = 6 * 60

# Who lives in the street, in order of the doors; a lane of small shops and middling homes.
MIX = (FAMILY_HOME, SMALL_HOME, FAMILY_HOME, SHOP, SMALL_HOME, AC_HOME, FAMILY_HOME, SMALL_HOME)

# Meters some way into their life, but below 16,384 kWh, where a float32 kWh register resolves 1 Wh.
_OPENING_WH = (50_000, 9_000_000)
_LAST_ADDRESS = 247


class EventKind(enum.Enum):
    """What can befall a home by script. `amount` is given in the unit named, where there is one."""

    METER_DIES = "meter dies"
    METER_RETURNS = "meter returns"
    METER_REBOOTS = "meter reboots"  # seconds of answering 0
    METER_JUMPS = "register jumps"  # Wh
    METER_STICKS = "meter sticks"
    METER_FREED = "meter freed"
    METER_SWAPPED = "meter swapped"  # Wh on the new one's register
    REPLIES_GARBLED = "replies garbled"  # how many
    REPLIES_LATE = "replies late"  # how many
    RELAY_WELDS = "relay welds"
    RELAY_STICKS_OPEN = "relay sticks open"
    RELAY_REPAIRED = "relay repaired"
    LOAD_CHANGES = "load changes"  # permille of the home's curve


@dataclass(frozen=True, slots=True)
class StreetEvent:
    """Something that befalls one home, `at_s` seconds of street time after the start."""

    at_s: float
    home: str
    kind: EventKind
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Home:
    """One door: who lives there, its meter, and the contact in its supply."""

    name: str
    shape: str
    meter: SimMeter
    contact: SimContact
    load: Load


class Street:
    """`homes` homes whose meters are of the models in `images`, in turn."""

    def __init__(
        self,
        seed: int | str,
        homes: int,
        images: Sequence[RegisterImage],
        *,
        first_address: int = 1,
        multiplier_permille: int = 1000,
        start_minute: int = MORNING_MINUTE,
        script: Iterable[StreetEvent] = (),
    ) -> None:
        if not 1 <= first_address <= first_address + homes - 1 <= _LAST_ADDRESS:
            raise ValueError(f"a line has addresses 1 to {_LAST_ADDRESS}: too many homes for one")
        if not images:
            raise ValueError("a street needs at least one meter model")
        self.seed = seed
        self.lock = threading.RLock()
        self._start_ms = start_minute * 60_000
        self._now_ms = self._start_ms
        self._asked_us = 0  # what `advance` was told so far, whole microseconds
        self._clock: Callable[[], float] | None = None
        self._clock_from_s = 0.0
        self._follow_from_ms = 0
        self._speed = 1.0
        self._moving = False  # an event that moves a contact must not move time again
        chance = random.Random(f"street/{seed}")  # noqa: S311 - a simulation
        self.homes: dict[str, Home] = {}
        for index in range(homes):
            home = self._build(
                index,
                first_address + index,
                images[index % len(images)],
                multiplier_permille,
                chance,
            )
            self.homes[home.name] = home
        self._script: list[StreetEvent] = []
        self.happened: list[StreetEvent] = []  # in order; as long as the script at most
        self.add_events(script)
        self.advance(0)  # draws the first day of all curves now, not in the first reply

    def _build(
        self,
        index: int,
        address: int,
        image: RegisterImage,
        multiplier_permille: int,
        chance: random.Random,
    ) -> Home:
        shape = MIX[index % len(MIX)]
        load = Load(LoadCurve(shape, f"{self.seed}/{index}"), multiplier_permille)
        contact = SimContact()
        contact.before_move = self.sync
        meter = SimMeter(
            f"M{index + 1}",
            address,
            image,
            load,
            contact,
            serial=str(chance.randrange(10_000_000, 100_000_000)),
            register_wh=chance.randrange(*_OPENING_WH),
            start_ms=self._start_ms,
        )
        return Home(f"A-{101 + index}", shape.name, meter, contact, load)

    # --- time -------------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Street time since the start."""
        return (self._now_ms - self._start_ms) / 1000

    @property
    def now_ms(self) -> int:
        """Street time: ms since midnight of day 0."""
        return self._now_ms

    def advance(self, dt_s: float) -> None:
        """Move the street `dt_s` seconds of street time on."""
        if dt_s < 0:
            raise ValueError("street time runs forward only")
        with self.lock:
            self._asked_us += round(dt_s * 1_000_000)
            whole_ms, self._asked_us = divmod(self._asked_us, 1000)
            self._move_to(self._now_ms + whole_ms)

    def follow(self, clock: Callable[[], float], speed: float = 1.0) -> None:
        """From now on `sync` keeps the street `speed` times as fast as `clock` (in seconds)."""
        if speed < 0:
            raise ValueError("a street's speed cannot be negative")
        with self.lock:
            self.sync()
            self._clock, self._speed = clock, speed
            self._clock_from_s, self._follow_from_ms = clock(), self._now_ms

    def sync(self) -> None:
        """Bring the street up to the clock it follows; without one this does nothing."""
        with self.lock:
            if self._clock is not None and not self._moving:
                passed_s = (self._clock() - self._clock_from_s) * self._speed
                self._move_to(max(self._now_ms, self._follow_from_ms + int(passed_s * 1000)))

    def _move_to(self, target_ms: int) -> None:
        self._moving = True
        try:
            self._run_until(target_ms)
        finally:
            self._moving = False

    def _run_until(self, target_ms: int) -> None:
        while self._script:
            event = self._script[0]
            due_ms = self._start_ms + round(event.at_s * 1000)
            if due_ms > target_ms:
                break
            self._script.pop(0)
            self._set_time(max(due_ms, self._now_ms))
            _HAPPENINGS[event.kind](self.homes[event.home], event.amount)
            self.happened.append(event)
        self._set_time(target_ms)

    def _set_time(self, now_ms: int) -> None:
        self._now_ms = now_ms
        for home in self.homes.values():
            home.meter.advance(now_ms)

    # --- script and line --------------------------------------------------------------------------

    def add_events(self, events: Iterable[StreetEvent]) -> None:
        """Script more events; one that is already past happens at the next step.

        Raises LookupError for a home that is not in the street.
        """
        with self.lock:
            for event in events:
                if event.home not in self.homes:
                    raise LookupError(f"no home {event.home} in this street")
                self._script.append(event)
            self._script.sort(key=lambda event: event.at_s)

    def slaves(self, homes: Iterable[str] | None = None) -> Slaves:
        """The meters of some homes (all by default) as the units of one line."""
        names = list(self.homes) if homes is None else list(homes)
        return Slaves(
            [self.homes[name].meter for name in names],
            seed=self.seed,
            before_answer=self.sync,
            lock=self.lock,
        )


def _swap(home: Home, register_wh: int) -> None:
    home.meter.swap(str(int(home.meter.serial) + 1), register_wh)


def _set(fault: str, value: bool) -> Callable[[Home, int], None]:
    return lambda home, _: setattr(home.meter.faults, fault, value)


def _count(fault: str) -> Callable[[Home, int], None]:
    return lambda home, replies: setattr(home.meter.faults, fault, replies)


_HAPPENINGS: Mapping[EventKind, Callable[[Home, int], None]] = {
    EventKind.METER_DIES: _set("dead", True),
    EventKind.METER_RETURNS: _set("dead", False),
    EventKind.METER_REBOOTS: lambda home, seconds: home.meter.reboot(seconds),
    EventKind.METER_JUMPS: lambda home, wh: home.meter.jump(wh),
    EventKind.METER_STICKS: lambda home, _: home.meter.get_stuck(),
    EventKind.METER_FREED: _set("stuck", False),
    EventKind.METER_SWAPPED: _swap,
    EventKind.REPLIES_GARBLED: _count("garble_replies"),
    EventKind.REPLIES_LATE: _count("late_replies"),
    EventKind.RELAY_WELDS: lambda home, _: home.contact.weld(),
    EventKind.RELAY_STICKS_OPEN: lambda home, _: home.contact.stick_open(),
    EventKind.RELAY_REPAIRED: lambda home, _: home.contact.repair(),
    EventKind.LOAD_CHANGES: lambda home, permille: setattr(
        home.load, "multiplier_permille", permille
    ),
}
