"""A street repeats by seed, keeps its script, and follows a clock."""

import pytest

from hardware.api import Quantity
from hardware.meters.model import ModelLibrary
from hardware.protocols.modbus_rtu import NEED_DATA, ReadRegisters, ReplyReader, encode_request
from hardware.sim.image import RegisterImage
from hardware.sim.street import EventKind, Street, StreetEvent

IMAGES = [RegisterImage(ModelLibrary().get(name)) for name in ("sdm120", "iem3000")]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def street_of(**options):
    return Street(options.pop("seed", 7), options.pop("homes", 4), IMAGES, **options)


def state(street):
    return [
        (home.name, home.meter.serial, home.meter.energy_mwh, home.meter.values())
        for home in street.homes.values()
    ]


def test_a_street_repeats_by_seed_and_however_time_is_cut():
    one, many = street_of(), street_of()
    one.advance(86_400)
    for _ in range(864 * 4):
        many.advance(25)
    assert state(one) == state(many)
    other = street_of(seed=8)
    other.advance(86_400)
    assert state(one) != state(other)


def test_steps_shorter_than_a_millisecond_are_not_lost():
    street = street_of()
    for _ in range(10_000):
        street.advance(0.0003)
    assert street.elapsed_s == 3.0


def test_homes_have_their_own_address_model_and_load():
    street = street_of(first_address=11)
    meters = [home.meter for home in street.homes.values()]
    assert [meter.address for meter in meters] == [11, 12, 13, 14]
    assert [meter.model for meter in meters] == ["sdm120", "iem3000"] * 2
    assert len({meter.serial for meter in meters}) == 4
    assert len({home.load.energy_uj(0, 86_400_000) for home in street.homes.values()}) == 4
    assert list(street.homes) == ["A-101", "A-102", "A-103", "A-104"]


def test_a_street_that_no_line_can_hold_is_refused():
    with pytest.raises(ValueError, match="too many homes"):
        street_of(homes=248)
    with pytest.raises(ValueError, match="model"):
        Street(1, 1, [])
    with pytest.raises(LookupError, match="A-999"):
        street_of(script=[StreetEvent(1, "A-999", EventKind.METER_DIES)])
    with pytest.raises(ValueError, match="forward"):
        street_of().advance(-1)


def test_a_script_happens_at_its_time_and_not_before():
    street = street_of(
        script=[
            StreetEvent(20, "A-102", EventKind.RELAY_WELDS),
            StreetEvent(10, "A-101", EventKind.METER_DIES),
            StreetEvent(30, "A-101", EventKind.METER_RETURNS),
        ]
    )
    first, second = street.homes["A-101"], street.homes["A-102"]
    street.advance(9.999)
    assert not first.meter.faults.dead
    street.advance(0.001)
    assert first.meter.faults.dead
    second.contact.command(False)
    street.advance(9)
    assert second.meter.power_w == 0
    street.advance(100)
    assert not first.meter.faults.dead
    assert [event.at_s for event in street.happened] == [10, 20, 30]
    assert second.meter.power_w > 0
    welded_for_mwh = second.meter.used_mwh
    street.advance(3600)
    assert second.meter.used_mwh > welded_for_mwh


def test_a_load_that_changes_by_script_changes_from_that_moment():
    script = [StreetEvent(3600, "A-101", EventKind.LOAD_CHANGES, 0)]
    street, plain = street_of(script=script), street_of()
    street.advance(7200)
    plain.advance(3600)
    assert street.homes["A-101"].meter.energy_mwh == plain.homes["A-101"].meter.energy_mwh


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_can_be_scripted(kind):
    street = street_of(script=[StreetEvent(1, "A-101", kind, 5)])
    street.advance(2)
    quiet = street_of()
    quiet.advance(2)
    changed = _visible(street.homes["A-101"]) != _visible(quiet.homes["A-101"])
    assert changed or kind in NO_CHANGE_ON_A_SOUND_HOME


NO_CHANGE_ON_A_SOUND_HOME = {
    EventKind.METER_RETURNS,
    EventKind.METER_FREED,
    EventKind.RELAY_REPAIRED,
}


def _visible(home):
    contact = home.contact
    return (
        home.meter.faults,
        home.meter.serial,
        home.meter.energy_mwh,
        home.load.multiplier_permille,
        (contact.closed, contact._welded, contact._stuck_open),
    )


def test_a_street_follows_a_clock_at_its_speed_and_books_a_cut_where_it_lies():
    clock = Clock()
    street, plain = street_of(), street_of()
    street.follow(clock, speed=60)
    home = street.homes["A-101"]
    clock.now_s += 30  # nobody looks for half an hour of street time
    home.contact.command(False)
    clock.now_s += 30
    street.sync()
    assert street.elapsed_s == 3600
    plain.advance(1800)
    assert home.meter.energy_mwh == plain.homes["A-101"].meter.energy_mwh
    street.follow(clock, speed=1)
    clock.now_s += 5
    street.sync()
    assert street.elapsed_s == 3605


def test_an_event_that_moves_a_contact_while_following_does_not_move_time_twice():
    clock = Clock()
    street = street_of(script=[StreetEvent(1, "A-101", EventKind.RELAY_STICKS_OPEN)])
    street.follow(clock, speed=1)
    clock.now_s += 10
    street.sync()
    plain = street_of()
    plain.advance(1)
    assert street.homes["A-101"].meter.energy_mwh == plain.homes["A-101"].meter.energy_mwh
    assert street.elapsed_s == 10


def test_the_units_of_a_street_answer_for_the_moment_they_are_asked():
    clock = Clock()
    street = street_of()
    street.follow(clock, speed=3600)
    request = ReadRegisters(2, 3, 0x0C83, 4)
    registers = []
    for _ in range(2):
        (answer,) = street.slaves().hear(encode_request(request))
        reader = ReplyReader(request)
        reader.feed(answer.data)
        assert reader.result() is not NEED_DATA
        high, mid, low, last = reader.result().values
        registers.append((high << 48) + (mid << 32) + (low << 16) + last)
        clock.now_s += 10
    meter = street.homes["A-102"].meter
    assert registers[0] < registers[1] == meter.values()[Quantity.ENERGY_IMPORT]


def test_some_homes_can_be_the_units_of_a_line_of_their_own():
    street = street_of()
    request = encode_request(ReadRegisters(1, 4, 0, 2))
    assert street.slaves(["A-102"]).hear(request) == []
    assert len(street.slaves(["A-101"]).hear(request)) == 1
