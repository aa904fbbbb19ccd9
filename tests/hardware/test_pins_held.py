"""The held pin factory over a kernel and a systemd on paper: no edge, no drop, honest refusals."""

import os

import pytest
from gpiozero import (
    Button,
    Device,
    GPIOPinInUse,
    InputDevice,
    OutputDevice,
    PinEdgeDetectUnsupported,
    PinInvalidFunction,
    PinInvalidPin,
    PinInvalidPull,
    PinSetInput,
    PinSPIUnsupported,
)
from paper_gpio import PaperKernel, PaperLines, PaperSystemd

from hardware.api import SwitchUnavailable
from hardware.relays import pins
from hardware.relays.lines import AS_IS, Bias, Direction, LineConfig, output
from hardware.relays.pins import HeldFactory, choose_factory
from hardware.systemd import PassedFd


@pytest.fixture(params=["persist", "strict"])
def kernel(request, tmp_path):
    with PaperKernel(tmp_path / "chip", strict=request.param == "strict") as running:
        yield running


@pytest.fixture
def systemd(tmp_path):
    running = PaperSystemd(tmp_path / "notify")
    yield running
    running.close()


class Life:
    """One run of a daemon after another, in this process: start, then exit or crash."""

    def __init__(self, kernel, systemd) -> None:
        self.kernel, self.systemd = kernel, systemd
        self.factory = None

    def start(self):
        self.systemd.read()
        inherited = [PassedFd(name, os.dup(fd)) for name, fd in self.systemd.stored]
        self.factory = HeldFactory(
            PaperLines(self.kernel.path), inherited=inherited, environ=self.systemd.environ
        )
        return self.factory

    def exit(self):
        self.factory.close()


@pytest.fixture
def life(kernel, systemd):
    return Life(kernel, systemd)


def test_output_on_a_low_line_drives_low_without_an_edge(kernel, life):
    device = OutputDevice(17, initial_value=None, pin_factory=life.start())
    assert not device.is_active
    assert kernel.line(17).felt == [("input", False), ("output", False)]


def test_a_line_that_the_last_owner_left_high_is_taken_over_high(kernel, life):
    request = PaperLines(kernel.path).claim(17, "somebody", output(level=True))
    os.close(request)
    device = OutputDevice(17, initial_value=None, pin_factory=life.start())
    if kernel.strict:  # it drops what nobody owns: there is nothing to take over
        assert not device.is_active
        return
    assert device.is_active
    assert kernel.line(17).felt[1:] == [("output", True)]  # never low, never an input
    device.off()
    assert kernel.line(17).felt[2:] == [("output", False)]


def test_closing_a_device_leaves_its_line_driven_and_owned(kernel, life):
    device = OutputDevice(17, pin_factory=life.start())
    device.on()
    device.close()
    assert kernel.line(17).felt[-1] == ("output", True)
    assert kernel.line(17).used
    again = OutputDevice(17, initial_value=None, pin_factory=life.factory)
    assert again.is_active
    assert kernel.line(17).felt == [("input", False), ("output", False), ("output", True)]


def test_exit_and_restart_under_systemd_do_not_move_the_line(kernel, life):
    OutputDevice(17, pin_factory=life.start()).on()
    felt = list(kernel.line(17).felt)
    life.exit()
    assert kernel.line(17).felt == felt
    device = OutputDevice(17, initial_value=None, pin_factory=life.start())
    assert device.is_active
    device.off()
    assert kernel.line(17).felt == [*felt, ("output", False)]


def test_ten_restarts_store_the_line_once(life):
    for _ in range(10):
        OutputDevice(17, initial_value=None, pin_factory=life.start())
        life.exit()
    assert life.systemd.names() == ["gpio.pinctrl-paper.17"]


def test_systemctl_stop_leaves_it_to_the_kernel(kernel, life):
    OutputDevice(17, pin_factory=life.start()).on()
    life.exit()
    life.systemd.read()
    life.systemd.drop()
    kept = ("output", True)
    dropped = ("input", False)
    assert kernel.line(17).felt[-1] == (dropped if kernel.strict else kept)


def test_without_systemd_the_exit_is_left_to_the_kernel(kernel):
    factory = HeldFactory(PaperLines(kernel.path), inherited=[], environ={})
    OutputDevice(17, pin_factory=factory).on()
    factory.close()
    assert kernel.line(17).felt[-1] == (("input", False) if kernel.strict else ("output", True))


def test_reboot_gives_the_boot_resistor_and_the_start_reads_that(kernel, life):
    OutputDevice(17, pin_factory=life.start()).on()
    life.exit()
    life.systemd.read()
    life.systemd.drop()
    kernel.reboot()
    assert not OutputDevice(17, initial_value=None, pin_factory=life.start()).is_active


def test_a_dead_descriptor_in_the_store_is_dropped_and_the_line_claimed_afresh(kernel, life):
    read_end, write_end = os.pipe()  # a descriptor that is no line request
    os.close(write_end)
    life.systemd.stored.append(("gpio.pinctrl-paper.17", read_end))
    device = OutputDevice(17, pin_factory=life.start())
    device.on()
    assert kernel.line(17).felt[-1] == ("output", True)
    assert life.systemd.names() == ["gpio.pinctrl-paper.17"]  # the fresh one, stored anew
    life.exit()
    assert OutputDevice(17, initial_value=None, pin_factory=life.start()).is_active


def test_a_descriptor_that_owns_another_line_is_not_trusted(kernel, life):
    wrong = PaperLines(kernel.path).claim(18, "prepaid-gateway", output(level=False))
    life.systemd.stored.append(("gpio.pinctrl-paper.17", wrong))
    OutputDevice(17, pin_factory=life.start()).on()
    assert kernel.line(17).felt[-1] == ("output", True)
    assert not any(level for _direction, level in kernel.line(18).felt)


def test_a_dead_descriptor_beside_a_good_one_does_not_lose_the_good_one(kernel, life):
    OutputDevice(17, pin_factory=life.start()).on()
    life.exit()
    read_end, write_end = os.pipe()
    os.close(write_end)
    life.systemd.read()
    life.systemd.stored.insert(0, ("gpio.pinctrl-paper.17", read_end))
    felt = list(kernel.line(17).felt)
    assert OutputDevice(17, initial_value=None, pin_factory=life.start()).is_active
    assert life.systemd.names() == ["gpio.pinctrl-paper.17"]
    life.exit()
    assert kernel.line(17).felt == felt


def test_a_second_owner_is_refused_by_name(kernel, life):
    request = PaperLines(kernel.path).claim(17, "gpioset", AS_IS)
    with pytest.raises(GPIOPinInUse, match="GPIO17 is in use by gpioset"):
        OutputDevice(17, pin_factory=life.start())
    os.close(request)
    assert OutputDevice(17, pin_factory=life.factory).value == 0  # free again: works


def test_two_devices_cannot_share_a_pin(life):
    held = OutputDevice(17, pin_factory=life.start())
    with pytest.raises(GPIOPinInUse):
        InputDevice(17, pin_factory=life.factory)
    assert not held.closed


@pytest.mark.parametrize(("pull_up", "idle"), [(True, True), (False, False)])
def test_inputs_are_pulled_and_read_and_let_go(kernel, life, pull_up, idle):
    device = InputDevice(27, pull_up=pull_up, pin_factory=life.start())
    assert device.pin.state is idle
    assert device.pin.pull == ("up" if pull_up else "down")
    assert not device.is_active
    kernel.line(27).contact = not idle
    assert device.is_active
    device.close()
    assert not kernel.line(27).used
    assert life.systemd.names() == []


def test_a_relay_pin_that_becomes_an_input_leaves_the_store(kernel, life):
    OutputDevice(17, pin_factory=life.start()).close()
    assert life.systemd.names() == ["gpio.pinctrl-paper.17"]
    InputDevice(17, pull_up=True, pin_factory=life.factory)
    assert life.systemd.names() == []
    assert not kernel.line(17).is_output


def test_a_momentary_pin_is_never_given_to_systemd(kernel, life):
    life.start().momentary(5)
    OutputDevice(5, pin_factory=life.factory).on()
    assert life.systemd.names() == []
    life.exit()
    if kernel.strict:
        assert not kernel.line(5).is_output


def test_a_pin_stored_as_a_relay_leaves_the_store_when_it_becomes_a_coil(life):
    OutputDevice(5, pin_factory=life.start())
    life.exit()
    life.start().momentary(5)
    OutputDevice(5, pin_factory=life.factory)
    assert life.systemd.names() == []


def test_an_output_always_names_its_level():
    with pytest.raises(ValueError, match="every output has one"):
        LineConfig(Direction.OUTPUT)
    with pytest.raises(ValueError, match="level belongs to an output"):
        LineConfig(Direction.INPUT, level=True)
    with pytest.raises(ValueError, match="keeps its resistor"):
        LineConfig(Direction.AS_IS, bias=Bias.UP)


def test_what_the_factory_does_not_offer_it_refuses(life):
    factory = life.start()
    pin = factory.pin(17)
    with pytest.raises(PinSetInput):
        pin.state = True
    with pytest.raises(PinInvalidPull):
        pin.input_with_pull("sideways")
    with pytest.raises(PinInvalidFunction):
        pin.function = "alt0"
    with pytest.raises(PinEdgeDetectUnsupported):
        Button(22, pin_factory=factory)
    with pytest.raises(PinSPIUnsupported):
        factory.spi(port=0, device=0)
    with pytest.raises(PinInvalidPin):
        factory.pin(28)


def test_a_box_that_is_no_pi_has_one_pin_per_line(life):
    board = life.start().board_info
    assert "pinctrl-paper" in board.description
    names = [pin.name for header in board.headers.values() for pin in header.pins.values()]
    assert names == [f"GPIO{number}" for number in range(28)]
    assert board.to_gpio("BCM17") == "GPIO17"
    assert "GPIO27" in f"{board:mono headers}"
    assert "pinctrl-paper" in f"{board:mono full}"


def test_a_pi_has_its_own_header(tmp_path, monkeypatch):
    monkeypatch.setattr(pins, "get_pi_revision", lambda: 0xC04170)  # a Pi 5, 4 GB
    with PaperKernel(tmp_path / "chip", label="pinctrl-rp1", lines=54) as kernel:
        factory = HeldFactory(PaperLines(kernel.path), inherited=[], environ={})
        assert factory.board_info.model == "5B"
        assert factory.board_info.to_gpio("J8:11") == "GPIO17"
        factory.close()


def test_a_pi_that_gpiozero_does_not_know_still_has_its_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(pins, "get_pi_revision", lambda: 0x99)
    with PaperKernel(tmp_path / "chip", label="pinctrl-bcm2711", lines=58) as kernel:
        factory = HeldFactory(PaperLines(kernel.path), inherited=[], environ={})
        assert factory.board_info.to_gpio(17) == "GPIO17"
        factory.close()


@pytest.fixture
def no_factory_yet(monkeypatch):
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)


@pytest.mark.usefixtures("no_factory_yet")
def test_the_environment_chooses_the_factory_as_in_any_gpiozero_program(monkeypatch):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "Mock")
    factory = choose_factory()
    assert type(factory).__name__ == "MockFactory"
    assert choose_factory() is factory is Device.pin_factory


@pytest.mark.usefixtures("no_factory_yet")
def test_an_unknown_factory_is_a_clear_refusal(monkeypatch):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "hold")
    with pytest.raises(SwitchUnavailable, match="hold") as caught:
        choose_factory()
    assert "mock" in caught.value.hint


@pytest.mark.usefixtures("no_factory_yet")
@pytest.mark.parametrize("name", [None, "held", "HELD"])
def test_without_a_chip_the_default_says_what_to_do(monkeypatch, name):
    if name:
        monkeypatch.setenv("GPIOZERO_PIN_FACTORY", name)

    def no_chip(_label):
        raise SwitchUnavailable("this machine has no GPIO chip", hint="GPIOZERO_PIN_FACTORY=mock")

    monkeypatch.setattr(pins, "open_chip", no_chip)
    with pytest.raises(SwitchUnavailable, match="no GPIO chip"):
        choose_factory()
    assert Device.pin_factory is None


@pytest.mark.usefixtures("no_factory_yet")
def test_with_a_chip_the_default_is_held(monkeypatch, kernel):
    monkeypatch.setattr(pins, "open_chip", lambda _label: PaperLines(kernel.path))
    assert isinstance(choose_factory(), HeldFactory)
    choose_factory().close()
