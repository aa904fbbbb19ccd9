"""The relay drivers, row by row of their tables, on mock pins and on a kernel on paper."""

import asyncio
import os

import pytest
from gpiozero.pins.mock import MockFactory
from paper_gpio import PaperKernel, PaperLines, PaperSystemd

from hardware.api import Contact, SwitchUnavailable
from hardware.relays.lines import output
from hardware.relays.opening import open_switch
from hardware.relays.pins import HeldFactory
from hardware.systemd import PassedFd


@pytest.fixture
def mock():
    factory = MockFactory()
    yield factory
    factory.close()


@pytest.fixture(params=["persist", "strict"])
def kernel(request, tmp_path):
    with PaperKernel(tmp_path / "chip", strict=request.param == "strict") as running:
        yield running


@pytest.fixture
def systemd(tmp_path):
    running = PaperSystemd(tmp_path / "notify")
    yield running
    running.close()


def held(kernel, systemd=None):
    """The factory of one start; `systemd` hands over what earlier starts stored."""
    inherited, environ = [], {}
    if systemd is not None:
        systemd.read()
        inherited = [PassedFd(name, os.dup(fd)) for name, fd in systemd.stored]
        environ = systemd.environ
    return HeldFactory(PaperLines(kernel.path), inherited=inherited, environ=environ)


# --- gpio ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "closed_level"), [("", True), (":active-low", False)])
async def test_gpio_drives_its_pin_by_polarity(mock, option, closed_level):
    relay = open_switch(f"gpio:17{option}", factory=mock)
    await relay.connect()
    assert mock.pin(17).state is closed_level
    assert relay.commanded is Contact.CLOSED
    await relay.disconnect()
    assert mock.pin(17).state is not closed_level
    assert relay.commanded is Contact.OPEN


@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize(("option", "closed_level"), [("", True), (":active-low", False)])
def test_gpio_at_start_shows_what_its_line_shows_and_does_not_move_it(
    mock, option, closed_level, level
):
    pin = mock.pin(17)
    pin.function = "output"
    pin.state = level
    pin.clear_states()
    relay = open_switch(f"gpio:17{option}", factory=mock)
    assert relay.commanded is (Contact.CLOSED if level is closed_level else Contact.OPEN)
    assert [state.state for state in pin.states] == [level]


@pytest.mark.parametrize(
    ("option", "level_when_closed", "idle"),
    [("", True, "down"), (":feedback-active-low", False, "up")],
)
def test_gpio_feedback_reads_the_contact_and_idles_open(mock, option, level_when_closed, idle):
    relay = open_switch(f"gpio:17:feedback=27{option}", factory=mock)
    contact = mock.pin(27)
    assert contact.pull == idle
    assert relay.feedback() is Contact.OPEN  # also what a broken wire reads
    contact.drive_high() if level_when_closed else contact.drive_low()
    assert relay.feedback() is Contact.CLOSED
    assert relay.commanded is Contact.OPEN  # feedback is not a command


def test_without_feedback_it_is_unknown(mock):
    assert open_switch("gpio:17", factory=mock).feedback() is Contact.UNKNOWN
    assert open_switch("latching:5,6", factory=mock).feedback() is Contact.UNKNOWN


@pytest.mark.parametrize("option", ["", ":active-low"])
async def test_gpio_close_and_restart_under_systemd_never_move_the_contact(kernel, systemd, option):
    factory = held(kernel, systemd)
    relay = open_switch(f"gpio:17{option}", factory=factory)
    await relay.connect()
    felt = list(kernel.line(17).felt)
    relay.close()
    relay.close()
    factory.close()
    relay = open_switch(f"gpio:17{option}", factory=held(kernel, systemd))
    assert relay.commanded is Contact.CLOSED
    assert kernel.line(17).felt == felt
    await relay.disconnect()
    assert kernel.line(17).felt[:-1] == felt


async def test_gpio_exit_without_systemd_keeps_or_drops_as_the_table_says(kernel):
    factory = held(kernel)
    await open_switch("gpio:17", factory=factory).connect()
    factory.close()
    relay = open_switch("gpio:17", factory=held(kernel))
    assert relay.commanded is (Contact.OPEN if kernel.strict else Contact.CLOSED)


async def test_gpio_after_power_loss_shows_open_until_it_is_decided_again(kernel):
    factory = held(kernel)
    await open_switch("gpio:17", factory=factory).connect()
    factory.close()
    kernel.reboot()
    assert open_switch("gpio:17", factory=held(kernel)).commanded is Contact.OPEN


def test_gpio_on_a_pulled_up_boot_pin_shows_closed_which_is_why_wiring_forbids_it(kernel):
    assert open_switch("gpio:5", factory=held(kernel)).commanded is Contact.CLOSED
    assert open_switch("gpio:6:active-low", factory=held(kernel)).commanded is Contact.OPEN


async def test_gpio_taken_by_another_program_is_a_clear_refusal(kernel):
    first = held(kernel)
    open_switch("gpio:17", factory=first)
    with pytest.raises(SwitchUnavailable, match="GPIO17 is in use by prepaid-gateway"):
        open_switch("gpio:17:feedback=27", factory=held(kernel))
    assert not kernel.line(27).used  # nothing is left claimed


def test_a_pin_that_the_board_lacks_is_a_clear_refusal(mock):
    with pytest.raises(SwitchUnavailable, match="GPIO99 cannot be used"):
        open_switch("gpio:99", factory=mock)


async def test_a_closed_switch_refuses_commands(mock):
    for spec in ("gpio:17", "latching:5,6"):
        switch = open_switch(spec, factory=mock)
        switch.close()
        with pytest.raises(SwitchUnavailable):
            await switch.connect()


async def test_two_switches_cannot_share_a_pin(mock):
    first = open_switch("latching:5,6", factory=mock)
    with pytest.raises(SwitchUnavailable, match="in use"):
        open_switch("gpio:6", factory=mock)
    await first.disconnect()


# --- latching -------------------------------------------------------------------------------------


def pulses(pin):
    return [state.state for state in pin.states]


@pytest.mark.parametrize(("option", "on"), [("", True), (":active-low", False)])
async def test_latching_pulses_one_coil_and_rests_with_both_off(mock, option, on):
    relay = open_switch(f"latching:5,6:pulse-ms=20{option}", factory=mock)
    connect, disconnect = mock.pin(5), mock.pin(6)
    connect.clear_states()
    disconnect.clear_states()
    started = asyncio.get_running_loop().time()
    await relay.connect()
    assert asyncio.get_running_loop().time() - started >= 0.019
    assert relay.commanded is Contact.CLOSED
    assert pulses(connect) == [not on, on, not on]
    assert pulses(disconnect) == [not on]
    await relay.disconnect()
    assert relay.commanded is Contact.OPEN
    assert pulses(disconnect) == [not on, on, not on]
    assert pulses(connect) == [not on, on, not on]


async def test_latching_never_has_both_coils_on(mock):
    relay = open_switch("latching:5,6:pulse-ms=20", factory=mock)
    coils = [mock.pin(5), mock.pin(6)]
    both = []

    async def watch():
        while True:
            both.append(all(coil.state for coil in coils))
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    await asyncio.gather(relay.connect(), relay.disconnect(), relay.connect())
    watching.cancel()
    assert len(both) > 20
    assert not any(both)
    assert relay.commanded is Contact.CLOSED


async def test_latching_cancelled_in_a_pulse_switches_the_coil_off_and_does_not_know(mock):
    relay = open_switch("latching:5,6:pulse-ms=2000", factory=mock, assumed=Contact.OPEN)
    pulse = asyncio.create_task(relay.connect())
    await asyncio.sleep(0.01)
    assert mock.pin(5).state
    pulse.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulse
    assert not mock.pin(5).state
    assert relay.commanded is Contact.UNKNOWN


async def test_latching_closed_in_a_pulse_switches_the_coil_off(mock):
    relay = open_switch("latching:5,6:pulse-ms=30", factory=mock)
    pulse = asyncio.create_task(relay.connect())
    await asyncio.sleep(0.01)
    relay.close()
    assert not mock.pin(5).state
    with pytest.raises(SwitchUnavailable, match="closed during a pulse"):
        await pulse


async def test_latching_refuses_while_the_other_coil_is_stuck_on(mock):
    relay = open_switch("latching:5,6", factory=mock)
    mock.pin(6).state = True  # as a shorted pin reads
    with pytest.raises(SwitchUnavailable, match="the other coil is on"):
        await relay.connect()
    assert not mock.pin(5).state


async def test_latching_switches_the_coil_off_when_the_pin_fails_in_the_pulse(kernel, monkeypatch):
    factory = held(kernel)
    relay = open_switch("latching:23,24:pulse-ms=20", factory=factory)
    lines, real = factory.keeper.lines, factory.keeper.lines.set_level
    failing = [True]

    def set_level(request, level):
        real(request, level)
        if level and failing.pop():
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(lines, "set_level", set_level)
    with pytest.raises(SwitchUnavailable, match="Input/output error"):
        await relay.connect()
    assert kernel.line(23).felt[-1] == ("output", False)
    assert relay.commanded is Contact.UNKNOWN


@pytest.mark.parametrize("assumed", list(Contact))
def test_latching_at_start_is_what_the_caller_assumes(mock, assumed):
    assert open_switch("latching:5,6", factory=mock, assumed=assumed).commanded is assumed
    assert not mock.pin(5).state
    assert not mock.pin(6).state


@pytest.mark.parametrize(("level", "shown"), [(True, Contact.CLOSED), (False, Contact.OPEN)])
def test_latching_feedback_outranks_what_is_assumed(kernel, level, shown):
    kernel.line(27).contact = level
    relay = open_switch("latching:23,24:feedback=27", factory=held(kernel), assumed=Contact.UNKNOWN)
    assert relay.commanded is shown
    assert relay.feedback() is shown


async def test_latching_coils_rest_off_over_exit_and_restart_and_stay_out_of_the_store(
    kernel, systemd
):
    for _ in range(2):
        factory = held(kernel, systemd)
        relay = open_switch("latching:23,24:pulse-ms=10", factory=factory)
        await relay.disconnect()
        relay.close()
        factory.close()
    assert systemd.names() == []
    high = [felt for felt in kernel.line(24).felt if felt[1]]
    assert high == [("output", True), ("output", True)]  # the two pulses
    assert not any(level for _direction, level in kernel.line(23).felt)


def test_latching_start_ends_a_pulse_that_a_killed_daemon_left_on(kernel):
    lines = PaperLines(kernel.path)
    os.close(lines.claim(23, "prepaid-gateway", output(level=True)))
    open_switch("latching:23,24", factory=held(kernel))
    assert kernel.line(23).felt[-1] == ("output", False)
