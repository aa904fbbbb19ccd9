"""The wire keeps time to the character, spoils collisions, and judges silences."""

import pytest

from hardware.api import LineSettings
from hardware.sim.wire import MAX_UNHEARD_BYTES, Answer, LineCounters, Noise, Wire, silence_s

AT_9600 = LineSettings(9600)
CHAR = 10 / 9600
REQUEST, REPLY = b"Q" * 8, bytes(range(21))


class Echo:
    """Answers each frame with what it is told."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers) or [Answer(REPLY)]
        self.heard = []

    def hear(self, frame):
        self.heard.append(frame)
        return self.answers


def run(wire, until_s=100.0):
    """All that reaches the master, as (time, bytes)."""
    arrivals = []
    while (event_s := wire.next_event_s()) is not None and event_s <= until_s:
        data = wire.advance(event_s)
        if data:
            arrivals.append((event_s, data))
    return arrivals


def test_a_transaction_takes_its_wire_time_and_the_silence():
    wire = Wire(AT_9600, Echo())
    wire.send(REQUEST, 5.0)
    arrivals = run(wire)
    assert b"".join(data for _, data in arrivals) == REPLY
    assert arrivals[-1][0] - 5.0 == pytest.approx((8 + 3.5 + 21) * CHAR)
    assert wire.counters.busy_s == pytest.approx(29 * CHAR)


def test_no_byte_arrives_before_it_was_sent_and_chunks_are_small():
    wire = Wire(AT_9600, Echo())
    wire.send(REQUEST, 0.0)
    start, count = 11.5 * CHAR, 0
    for at_s, data in run(wire):
        count += len(data)
        assert at_s >= start + count * CHAR - 1e-9
        assert len(data) <= 5


def test_a_late_timer_delays_nothing_behind_it():
    wire = Wire(AT_9600, Echo())
    wire.send(REQUEST, 0.0)
    halfway = (11.5 + 10.4) * CHAR
    assert wire.advance(halfway) == REPLY[:10]
    assert run(wire)[-1][0] == pytest.approx(32.5 * CHAR)


def test_a_reply_may_come_in_one_piece_and_no_sooner():
    wire = Wire(AT_9600, Echo(), chunk_s=1.0)
    wire.send(REQUEST, 0.0)
    assert run(wire) == [(pytest.approx(32.5 * CHAR), REPLY)]


def test_a_slow_unit_starts_after_its_turnaround_instead_of_the_silence():
    wire = Wire(AT_9600, Echo(Answer(REPLY, 0.020)))
    wire.send(REQUEST, 0.0)
    assert run(wire)[-1][0] == pytest.approx((8 + 21) * CHAR + 0.020)


@pytest.mark.parametrize(
    ("settings", "expected_s"),
    [
        (LineSettings(9600), 3.5 * 10 / 9600),
        (LineSettings(19200, "E"), 3.5 * 11 / 19200),
        (LineSettings(115200), 0.00175),
    ],
)
def test_the_silence_is_three_and_a_half_characters_but_fixed_above_19200(settings, expected_s):
    assert silence_s(settings) == pytest.approx(expected_s)


def test_bytes_of_one_frame_may_come_in_pieces():
    echo = Echo()
    wire = Wire(AT_9600, echo)
    wire.send(b"ab", 0.0)
    assert wire.advance(3 * CHAR) == b""
    wire.send(b"cd", 3 * CHAR)
    run(wire)
    assert echo.heard == [b"abcd"]


@pytest.mark.parametrize(("strict", "heard"), [(True, 1), (False, 2)])
def test_a_request_without_silence_is_counted_and_unheard_by_strict_units(strict, heard):
    echo = Echo()
    wire = Wire(AT_9600, echo, strict_silence=strict)
    wire.send(REQUEST, 0.0)
    end_s = run(wire)[-1][0]
    wire.send(REQUEST, end_s + 3.4 * CHAR)
    run(wire)
    assert wire.counters.silence_violations == 1
    assert len(echo.heard) == heard


def test_a_request_after_the_full_silence_is_no_violation():
    wire = Wire(AT_9600, Echo(), strict_silence=True)
    wire.send(REQUEST, 0.0)
    end_s = run(wire)[-1][0]
    wire.send(REQUEST, end_s + 3.51 * CHAR)
    assert wire.counters.silence_violations == 0
    assert len(run(wire)) > 0


def test_a_tolerance_spares_who_is_late_by_less_and_nobody_else():
    wire = Wire(AT_9600, Echo(), strict_silence=True, silence_tolerance_s=0.5 * CHAR)
    wire.send(REQUEST, 0.0)
    end_s = run(wire)[-1][0]
    wire.send(REQUEST, end_s + 3.1 * CHAR)
    assert wire.counters.silence_violations == 0
    end_s = run(wire)[-1][0]
    wire.send(REQUEST, end_s + 2.9 * CHAR)
    assert wire.counters.silence_violations == 1


def test_talking_into_a_reply_spoils_both():
    echo = Echo()
    wire = Wire(AT_9600, echo)
    wire.send(REQUEST, 0.0)
    now_s = 20 * CHAR
    early = wire.advance(now_s)
    wire.send(REQUEST, now_s)
    late = b"".join(data for _, data in run(wire))
    assert wire.counters.collisions == 1
    assert len(echo.heard) == 1
    assert early == REPLY[: len(early)]
    assert len(early + late) == len(REPLY)
    assert late[-8:] != REPLY[-8:]


def test_what_was_on_the_wire_before_a_collision_is_whole_even_if_not_yet_handed_over():
    wire = Wire(AT_9600, Echo())
    wire.send(REQUEST, 0.0)
    now_s = (11.5 + 5.5) * CHAR  # five characters are through, four were a chunk
    early = wire.advance((11.5 + 4) * CHAR + 1e-6) + wire.advance(now_s)
    wire.send(REQUEST, now_s)
    late = b"".join(data for _, data in run(wire))
    assert len(early) == 4
    assert (early + late)[:5] == REPLY[:5]
    assert (early + late)[5:8] != REPLY[5:8]


def test_two_units_that_answer_at_once_spoil_each_other():
    wire = Wire(AT_9600, Echo(Answer(b"a" * 9), Answer(b"b" * 9)))
    wire.send(REQUEST, 0.0)
    arrived = b"".join(data for _, data in run(wire))
    assert wire.counters.collisions == 1
    assert len(arrived) == 18
    assert b"aaa" not in arrived
    assert b"bbb" not in arrived


def test_a_late_reply_comes_into_the_next_exchange():
    echo = Echo(Answer(b"LATE", 0.5))
    wire = Wire(AT_9600, echo)
    wire.send(REQUEST, 0.0)
    wire.advance(0.498)
    echo.answers = [Answer(b"NEXT")]
    wire.send(REQUEST, 0.498)
    arrived = run(wire)
    assert wire.counters.collisions == 1
    assert b"".join(data for _, data in arrived) != b"LATENEXT"


def test_another_baud_rate_is_not_understood():
    echo = Echo()
    wire = Wire(AT_9600, echo)
    wire.send(REQUEST, 0.0, understood=False)
    assert run(wire) == []
    assert (wire.counters.wrong_settings, echo.heard) == (1, [])
    wire.send(REQUEST, 1.0)
    assert run(wire)


def test_what_a_master_can_pile_up_is_bounded():
    echo = Echo()
    wire = Wire(AT_9600, echo)
    for _ in range(5):
        wire.send(b"x" * 400, 0.0)
    run(wire)
    assert len(echo.heard[0]) == MAX_UNHEARD_BYTES
    assert wire.counters.lost_bytes == 2000 - MAX_UNHEARD_BYTES


def test_noise_repeats_by_seed_and_hits_about_as_often_as_asked():
    data = bytes(20_000)
    counters = LineCounters()
    one = Noise("s", flip_ppm=10_000, drop_ppm=5_000).spoil(data, counters)
    two = Noise("s", flip_ppm=10_000, drop_ppm=5_000).spoil(data, LineCounters())
    other = Noise("t", flip_ppm=10_000, drop_ppm=5_000).spoil(data, LineCounters())
    assert one == two != other
    assert 50 < len(data) - len(one) < 200
    assert 100 < sum(byte != 0 for byte in one) < 400
    assert counters.spoiled_bytes == len(data) - len(one) + sum(byte != 0 for byte in one)


def test_a_chance_above_one_is_refused():
    with pytest.raises(ValueError, match="million"):
        Noise(0, flip_ppm=1_000_001)
