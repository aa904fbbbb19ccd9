"""Contacts and the switch over them fail the way they say."""

import asyncio

import pytest

from hardware.api import Contact, SupplySwitch, SwitchUnavailable
from hardware.sim.relay import SimContact, SimSwitch


def test_a_sound_contact_follows_its_coil_and_counts_moves():
    contact = SimContact()
    contact.command(False)
    contact.command(False)
    assert (contact.closed, contact.feedback(), contact.moves) == (False, Contact.OPEN, 1)
    contact.command(True)
    assert (contact.closed, contact.feedback(), contact.moves) == (True, Contact.CLOSED, 2)


def test_a_welded_contact_stays_closed_and_its_auxiliary_says_so():
    contact = SimContact()
    contact.weld()
    contact.command(False)
    assert contact.closed
    assert contact.feedback() is Contact.CLOSED
    assert not contact.commanded_closed
    contact.repair()
    assert not contact.closed


def test_a_contact_stuck_open_never_closes_until_repaired():
    contact = SimContact()
    contact.stick_open()
    assert not contact.closed
    contact.command(True)
    assert contact.feedback() is Contact.OPEN
    contact.repair()
    assert contact.closed


def test_energy_is_booked_before_the_position_changes():
    contact = SimContact()
    seen = []
    contact.before_move = lambda: seen.append(contact.closed)
    contact.command(False)
    contact.command(False)
    contact.weld()
    assert seen == [True, False]


async def test_a_switch_commands_its_contact():
    switch: SupplySwitch = SimSwitch("A-101", SimContact())
    assert switch.spec == "sim:A-101"
    assert switch.commanded is Contact.CLOSED
    await switch.disconnect()
    assert (switch.commanded, switch.feedback()) == (Contact.OPEN, Contact.OPEN)
    await switch.connect()
    assert (switch.commanded, switch.feedback()) == (Contact.CLOSED, Contact.CLOSED)


async def test_a_switch_over_a_welded_contact_is_commanded_open_and_shows_closed():
    contact = SimContact()
    contact.weld()
    switch = SimSwitch("w", contact)
    await switch.disconnect()
    assert (switch.commanded, switch.feedback()) == (Contact.OPEN, Contact.CLOSED)


async def test_an_unwired_auxiliary_contact_is_unknown():
    assert SimSwitch("x", SimContact(), with_feedback=False).feedback() is Contact.UNKNOWN


async def test_a_slow_switch_moves_late_and_the_last_command_wins():
    contact = SimContact()
    switch = SimSwitch("s", contact, delay_s=0.03)
    await switch.disconnect()
    assert contact.closed
    await asyncio.sleep(0.06)
    assert not contact.closed
    await switch.connect()
    await switch.disconnect()
    await asyncio.sleep(0.06)
    assert contact.moves == 1
    await switch.connect()
    switch.close()
    await asyncio.sleep(0.06)
    assert not contact.closed


async def test_a_broken_switch_raises_and_moves_nothing():
    contact = SimContact()
    switch = SimSwitch("b", contact)
    switch.broken = True
    with pytest.raises(SwitchUnavailable) as caught:
        await switch.disconnect()
    assert caught.value.hint
    assert contact.closed
    assert switch.commanded is Contact.CLOSED
