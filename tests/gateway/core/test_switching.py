"""One supply switch: told as seldom as can be, believed only on evidence, never in a loop."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.switching import (
    HOUR_S,
    LOAD_READS,
    LOAD_THRESHOLD_W,
    MAX_ATTEMPTS,
    MAX_OPERATIONS_PER_HOUR,
    RETRY_PAUSE_S,
    SETTLE_S,
    UNREACHABLE_PAUSE_S,
    Action,
    Drive,
    Position,
    Proof,
    Seen,
    operated,
    step,
)

OPEN, CLOSED, UNKNOWN = Position.OPEN, Position.CLOSED, Position.UNKNOWN


@dataclass
class Rig:
    """A relay that may weld, stick, lag or be out of reach, the load behind it, and its driver."""

    feedback_wired: bool
    position: Position = OPEN
    commanded: Position = OPEN
    stuck: bool = False
    reachable: bool = True
    lag_s: float = 0.0
    load_w: int = 500
    now_s: float = 0.0
    moves_at_s: float = 0.0
    drive: Drive = field(default_factory=Drive)
    log: list[tuple[float, Action]] = field(default_factory=list)

    def step(self, wanted: Position) -> Action:
        """One enforcement cycle, with a fresh reading of the meter."""
        self._settle()
        before = self.drive
        self.drive, action = step(self.drive, wanted, self.seen(), self.now_s)
        self.log.append((self.now_s, action))
        if action is Action.OPERATE:
            self.drive = operated(self.drive, self.now_s)
            if self.reachable:
                self.commanded = wanted
                self.moves_at_s = self.now_s + self.lag_s
        if action is Action.RAISE_ALARM:
            assert not before.alarmed
        if action is Action.CLEAR_ALARM:
            assert before.alarmed
        return action

    def seen(self) -> Seen:
        """What the gateway can see now."""
        flowing_w = self.load_w if self.position is CLOSED else 0
        shown = self.position if self.feedback_wired else UNKNOWN
        return Seen(self.commanded, shown, flowing_w, self.now_s)

    def run(self, wanted: Position, duration_s: float, every_s: float = 1.0) -> list[Action]:
        """Cycle for a while; what was done besides waiting."""
        done = []
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            action = self.step(wanted)
            if action is not Action.WAIT:
                done.append(action)
            self.now_s += every_s
        return done

    def _settle(self) -> None:
        if not self.stuck and self.now_s >= self.moves_at_s:
            self.position = self.commanded


@pytest.mark.parametrize("feedback_wired", [True, False])
def test_an_obedient_switch_is_told_once_per_goal_and_proved(feedback_wired):
    rig = Rig(feedback_wired)
    for wanted in (CLOSED, OPEN, CLOSED):
        assert rig.run(wanted, 1000) == [Action.OPERATE]
        assert rig.drive.proof is Proof.PROVEN


def test_nothing_is_done_when_the_switch_stands_where_it_should():
    rig = Rig(feedback_wired=True, position=CLOSED, commanded=CLOSED)
    assert rig.run(CLOSED, 500) == []


def test_a_switch_whose_line_is_unknown_is_told():
    drive, action = step(Drive(), CLOSED, Seen(UNKNOWN), 0.0)
    assert action is Action.OPERATE
    assert drive.wanted is CLOSED


@pytest.mark.parametrize("feedback_wired", [True, False])
def test_a_welded_switch_is_told_three_times_and_then_an_alarm_stands(feedback_wired):
    rig = Rig(feedback_wired, position=CLOSED, commanded=CLOSED, stuck=True)
    assert rig.run(OPEN, 5000) == [Action.OPERATE] * MAX_ATTEMPTS + [Action.RAISE_ALARM]
    told_s = [at_s for at_s, action in rig.log if action is Action.OPERATE]
    assert told_s[1] - told_s[0] >= RETRY_PAUSE_S[0]
    assert told_s[2] - told_s[1] >= RETRY_PAUSE_S[1]


def test_a_contact_welded_at_the_very_first_second_of_the_clock_gets_its_settling_time():
    """Time 0.0 is a time like any other."""
    drive, _ = step(Drive(), OPEN, Seen(CLOSED), 0.0)
    drive = operated(drive, 0.0)
    for at_s in (0.1, 0.2, 0.3, 0.4):
        drive, action = step(drive, OPEN, Seen(OPEN, load_w=500, load_read_at_s=at_s), at_s)
        assert action is Action.WAIT
    assert drive.load_reads == 0


def test_a_refrigerator_that_rests_does_not_clear_the_alarm_of_a_welded_contact():
    rig = Rig(feedback_wired=False, position=CLOSED, commanded=CLOSED, stuck=True)
    rig.run(OPEN, 100)
    rig.load_w = 0
    assert rig.run(OPEN, 100) == []
    assert rig.drive.alarmed
    rig.load_w = 500
    assert rig.run(OPEN, 100) == []


def test_the_alarm_clears_when_the_next_goal_is_obeyed():
    rig = Rig(feedback_wired=False, position=CLOSED, commanded=CLOSED, stuck=True)
    rig.run(OPEN, 100)
    assert rig.run(CLOSED, 100) == [Action.OPERATE, Action.CLEAR_ALARM]


def test_the_alarm_clears_when_a_sticking_contact_lets_go_and_shows_it():
    rig = Rig(feedback_wired=True, position=CLOSED, commanded=CLOSED, stuck=True)
    rig.run(OPEN, 100)
    rig.stuck = False
    assert rig.run(OPEN, 100) == [Action.CLEAR_ALARM]


def test_load_outweighs_a_feedback_contact_that_shows_open():
    """An auxiliary contact can follow its armature while the main contact is welded."""
    drive = Drive()
    actions = []
    commanded = CLOSED
    for second in range(200):
        seen = Seen(commanded, OPEN, 800, float(second))
        drive, action = step(drive, OPEN, seen, float(second))
        if action is Action.OPERATE:
            drive, commanded = operated(drive, float(second)), OPEN
        if action is not Action.WAIT:
            actions.append(action)
    assert actions == [Action.OPERATE] * MAX_ATTEMPTS + [Action.RAISE_ALARM]


@pytest.mark.parametrize("load_w", [0, LOAD_THRESHOLD_W])
def test_a_meters_own_noise_is_no_load(load_w):
    rig = Rig(feedback_wired=False, position=CLOSED, commanded=CLOSED, stuck=True, load_w=load_w)
    assert rig.run(OPEN, 100) == [Action.OPERATE]
    assert rig.drive.proof is Proof.PROVEN


def test_one_reading_seen_many_times_is_one_piece_of_evidence():
    drive = operated(step(Drive(), OPEN, Seen(CLOSED), 1.0)[0], 1.0)
    for n in range(10 * LOAD_READS):
        drive, action = step(drive, OPEN, Seen(OPEN, UNKNOWN, 500, 4.0), 4.0 + n)
        assert action is Action.WAIT
    assert drive.load_reads == 1


def test_a_reading_from_before_the_contact_settled_is_no_evidence():
    drive = operated(step(Drive(), OPEN, Seen(CLOSED), 10.0)[0], 10.0)
    drive, _ = step(drive, OPEN, Seen(OPEN, UNKNOWN, 0, 10.0 + SETTLE_S / 2), 20.0)
    assert drive.proof is Proof.NONE


def test_a_feedback_contact_that_bounces_is_not_disobedience():
    drive = operated(step(Drive(), CLOSED, Seen(OPEN), 10.0)[0], 10.0)
    for n in range(100):
        shown = CLOSED if n % 2 else OPEN
        drive, action = step(drive, CLOSED, Seen(CLOSED, shown), 13.0 + n)
        assert action is Action.WAIT


def test_a_feedback_contact_that_was_out_of_sight_must_disagree_anew():
    drive = operated(step(Drive(), CLOSED, Seen(OPEN), 10.0)[0], 10.0)
    drive, _ = step(drive, CLOSED, Seen(CLOSED, OPEN), 11.0)
    drive, _ = step(drive, CLOSED, Seen(CLOSED, UNKNOWN), 12.0)
    drive, action = step(drive, CLOSED, Seen(CLOSED, OPEN), 60.0)
    assert (drive.proof, action) == (Proof.NONE, Action.WAIT)


def test_a_device_that_is_gone_raises_the_alarm_and_is_tried_until_it_is_back():
    rig = Rig(feedback_wired=True, reachable=False)
    done = rig.run(CLOSED, 2 * HOUR_S)
    assert done[: MAX_ATTEMPTS + 1] == [Action.OPERATE] * MAX_ATTEMPTS + [Action.RAISE_ALARM]
    assert set(done[MAX_ATTEMPTS + 1 :]) == {Action.OPERATE}
    told_s = [at_s for at_s, action in rig.log if action is Action.OPERATE]
    gaps_s = [later - earlier for earlier, later in pairwise(told_s)]
    assert max(gaps_s) == UNREACHABLE_PAUSE_S
    assert min(gaps_s[MAX_ATTEMPTS:]) == UNREACHABLE_PAUSE_S
    rig.reachable = True
    assert rig.run(CLOSED, 2 * UNREACHABLE_PAUSE_S) == [Action.OPERATE, Action.CLEAR_ALARM]
    assert rig.run(OPEN, 100) == [Action.OPERATE], "the hours out of reach wore nothing"


def test_attempts_count_anew_for_a_switch_that_obeyed_for_an_hour():
    """A contactor that drops out once a season is not worn, and its consumer wants light."""
    rig = Rig(feedback_wired=True)
    rig.run(CLOSED, HOUR_S + 10)
    for _ in range(3 * MAX_ATTEMPTS):
        rig.position, rig.stuck = OPEN, True
        rig.run(CLOSED, SETTLE_S + 1)
        rig.stuck = False
        rig.run(CLOSED, HOUR_S + 10, every_s=10)
    done = [action for _, action in rig.log if action is not Action.WAIT]
    assert done == [Action.OPERATE] * (1 + 3 * MAX_ATTEMPTS), "told each time, never an alarm"


def test_a_switch_that_drops_out_at_once_each_time_is_told_three_times_an_hour_at_most():
    rig = Rig(feedback_wired=True)
    for _ in range(1000):
        rig.run(CLOSED, 3)
        rig.stuck, rig.position = True, OPEN
        rig.run(CLOSED, 5)
        rig.stuck = False
    told = [at_s for at_s, action in rig.log if action is Action.OPERATE]
    assert max(sum(1 for t in told if s <= t < s + HOUR_S) for s in told) <= MAX_ATTEMPTS


def test_goals_that_flip_are_served_twenty_times_an_hour_and_then_told():
    rig = Rig(feedback_wired=True)
    done = []
    for n in range(60):
        done += rig.run(CLOSED if n % 2 == 0 else OPEN, 10)
    assert done.count(Action.OPERATE) == MAX_OPERATIONS_PER_HOUR
    assert done.count(Action.RAISE_ALARM) >= 1
    rig.now_s += HOUR_S
    rig.run(CLOSED, 10)
    assert rig.position is CLOSED
    assert not rig.drive.alarmed


class Street(RuleBasedStateMachine):
    """Anything may happen to one switch; the rules must hold at every cycle."""

    @initialize(feedback_wired=st.booleans(), start=st.sampled_from([OPEN, CLOSED]))
    def install(self, feedback_wired, start):
        self.rig = Rig(feedback_wired, position=start, commanded=start)
        self.wanted = start
        self.goal_at_s = 0.0
        self.out_of_reach_s = -HOUR_S

    @rule(wanted=st.sampled_from([OPEN, CLOSED]))
    def want(self, wanted):
        if wanted is not self.wanted:
            self.wanted, self.goal_at_s = wanted, self.rig.now_s
        self.cycle(1.0)

    @rule(stuck=st.booleans())
    def stick(self, stuck):
        self.rig.stuck = stuck

    @rule(lag_s=st.sampled_from([0.0, 0.05, 1.0, 8.0, 30.0]))
    def lag(self, lag_s):
        self.rig.lag_s = lag_s

    @rule(load_w=st.sampled_from([0, 5, 60, 3000]))
    def switch_appliances(self, load_w):
        self.rig.load_w = load_w

    @rule(reachable=st.booleans())
    def pull_the_plug(self, reachable):
        self.rig.reachable = reachable

    @rule(cycles=st.integers(1, 40), every_s=st.sampled_from([0.2, 1.0, 5.0, 120.0]))
    def work(self, cycles, every_s):
        for _ in range(cycles):
            self.cycle(every_s)

    @rule()
    def an_hour_passes(self):
        self.rig.now_s += HOUR_S

    @precondition(lambda self: self.rig.reachable)
    @rule()
    def settle_down(self):
        """Left alone for long enough, the alarm says what is so, as far as it can be seen."""
        rig = self.rig
        rig.now_s += HOUR_S
        for _ in range(200):
            self.cycle(1.0)
        visible = rig.feedback_wired or (self.wanted is OPEN and rig.load_w > LOAD_THRESHOLD_W)
        if visible and rig.position is not self.wanted:
            assert rig.drive.alarmed
            assert rig.drive.proof is Proof.DISOBEYED
        obeys = rig.position is self.wanted
        if obeys and (rig.feedback_wired or (self.wanted is CLOSED and rig.load_w > 60)):
            assert not rig.drive.alarmed

    def cycle(self, every_s):
        rig = self.rig
        if not rig.reachable:
            self.out_of_reach_s = rig.now_s
        before = rig.drive
        commanded_before = rig.commanded
        action = rig.step(self.wanted)
        if action is Action.OPERATE and commanded_before is self.wanted:
            assert before.proof is Proof.DISOBEYED or rig.position is not self.wanted
            assert rig.seen().feedback is not self.wanted or rig.seen().load_w
        if action is Action.CLEAR_ALARM:
            unseen = not rig.feedback_wired and rig.load_w <= LOAD_THRESHOLD_W
            assert rig.position is self.wanted or unseen
        rig.now_s += every_s

    @invariant()
    def never_a_loop(self):
        if not hasattr(self, "rig"):
            return
        told = [at_s for at_s, action in self.rig.log if action is Action.OPERATE]
        if self.rig.now_s - self.out_of_reach_s <= HOUR_S:
            return  # telling a device that is gone wears nothing
        hour = [at_s for at_s in told if at_s > self.rig.now_s - HOUR_S]
        assert len(hour) <= MAX_OPERATIONS_PER_HOUR
        assert len([at_s for at_s in hour if at_s >= self.goal_at_s]) <= MAX_ATTEMPTS

    @invariant()
    def what_is_remembered_is_bounded(self):
        if hasattr(self, "rig"):
            assert len(self.rig.drive.operations_at_s) <= MAX_OPERATIONS_PER_HOUR


TestStreet = Street.TestCase
TestStreet.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
