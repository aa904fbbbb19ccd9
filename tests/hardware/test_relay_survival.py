"""What a relay feels when a real process dies: killed, terminated, crashed, restarted.

The daemon is a child process with the real factory and drivers. This test plays the kernel (whose
lines are free when the last descriptor is closed, as the real one's) and systemd (which receives
descriptors over NOTIFY_SOCKET and hands them to the next start by LISTEN_FDS).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paper_gpio import PaperKernel, PaperSystemd

ROOT = Path(__file__).parents[2]

DAEMON = """
import asyncio, sys
from paper_gpio import PaperLines
from hardware.relays.pins import HeldFactory
from hardware.relays.opening import open_switch
relay = open_switch(sys.argv[2], factory=HeldFactory(PaperLines(sys.argv[1])))
print(relay.commanded.value, flush=True)
for line in sys.stdin:
    command = line.strip()
    if command == "crash":
        raise RuntimeError("as a bug would")
    if command == "close":
        relay.close()
    else:
        asyncio.run(getattr(relay, command)())
    print("done", flush=True)
"""


class Daemon:
    """One start of the daemon, with what systemd kept for it."""

    def __init__(self, kernel: PaperKernel, spec: str, systemd: PaperSystemd | None) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LISTEN")}
        environ["PYTHONPATH"] = f"{ROOT}:{Path(__file__).parent}"
        stored = []
        if systemd is not None:
            systemd.read()
            stored = systemd.stored
            environ |= systemd.environ
            environ |= {"LISTEN_FDS": str(len(stored))}
            environ |= {"LISTEN_FDNAMES": ":".join(name for name, _fd in stored)}
        # Copies well above the numbers that they are moved to.
        copies = [os.dup(fd) for _name, fd in stored]
        moves = " ".join(f"{3 + index}>&{fd}" for index, fd in enumerate(copies))
        shell = f'exec {moves}; LISTEN_PID=$$ exec "$@"'
        program = [sys.executable, "-c", DAEMON, str(kernel.path), spec]
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "daemon", *program],
            env=environ,
            pass_fds=copies,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for fd in copies:
            os.close(fd)
        self.commanded_at_start = self.process.stdout.readline().strip()

    def send(self, command: str) -> None:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def do(self, command: str) -> None:
        self.send(command)
        assert self.process.stdout.readline().strip() == "done"

    def end(self, how: str) -> int:
        if how in {"SIGKILL", "SIGTERM"}:
            self.process.send_signal(getattr(signal, how))
        elif how == "crash":
            self.send("crash")
        elif how == "close":
            self.do("close")
        self.process.stdin.close()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code


@pytest.fixture(params=["persist", "strict"])
def kernel(request, tmp_path):
    with PaperKernel(tmp_path / "chip", strict=request.param == "strict") as running:
        yield running


@pytest.fixture
def systemd(tmp_path):
    running = PaperSystemd(tmp_path / "notify")
    yield running
    running.close()


ENDS = {"SIGKILL": -9, "SIGTERM": -15, "crash": 1, "close": 0, "exit": 0}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("spec", ["gpio:17", "gpio:17:active-low"])
def test_under_systemd_the_relay_feels_nothing_of_an_end_and_a_restart(kernel, systemd, how, spec):
    daemon = Daemon(kernel, spec, systemd)
    daemon.do("connect")
    felt = list(kernel.line(17).felt)
    assert daemon.end(how) == ENDS[how]
    systemd.read()
    assert kernel.line(17).felt == felt, "dead daemon"
    daemon = Daemon(kernel, spec, systemd)
    assert daemon.commanded_at_start == "closed"
    assert kernel.line(17).felt == felt, "after the restart"
    daemon.do("disconnect")
    assert len(kernel.line(17).felt) == len(felt) + 1
    daemon.end("exit")


@pytest.mark.parametrize("how", ENDS)
def test_without_systemd_the_relay_keeps_or_drops_with_the_kernel(kernel, how):
    daemon = Daemon(kernel, "gpio:17", None)
    daemon.do("connect")
    daemon.end(how)
    assert kernel.line(17).felt[-1] == (("input", False) if kernel.strict else ("output", True))
    daemon = Daemon(kernel, "gpio:17", None)
    assert daemon.commanded_at_start == ("open" if kernel.strict else "closed")
    daemon.end("exit")


def test_ten_kills_in_a_row_are_not_felt_and_store_one_descriptor(tmp_path, systemd):
    with PaperKernel(tmp_path / "chip", strict=True) as kernel:
        daemon = Daemon(kernel, "gpio:17", systemd)
        daemon.do("connect")
        felt = list(kernel.line(17).felt)
        for _ in range(10):
            daemon.end("SIGKILL")
            daemon = Daemon(kernel, "gpio:17", systemd)
            assert daemon.commanded_at_start == "closed"
        assert kernel.line(17).felt == felt
        assert systemd.names() == ["gpio.pinctrl-paper.17"]
        daemon.end("exit")


def test_killed_in_a_pulse_the_coil_is_off_at_the_latest_after_the_next_start(kernel, systemd):
    daemon = Daemon(kernel, "latching:23,24:pulse-ms=2000", systemd)
    daemon.send("connect")
    while kernel.line(23).felt[-1] != ("output", True):
        pass
    daemon.end("SIGKILL")
    systemd.read()
    assert systemd.names() == []
    assert kernel.line(23).felt[-1] == (("input", False) if kernel.strict else ("output", True))
    daemon = Daemon(kernel, "latching:23,24:pulse-ms=2000", systemd)
    assert daemon.commanded_at_start == "unknown"
    assert kernel.line(23).felt[-1] == ("output", False)
    daemon.end("exit")
