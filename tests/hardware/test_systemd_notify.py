"""sd_notify, the descriptor store and LISTEN_FDS, against real sockets and real descriptors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hardware import systemd

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A datagram socket that plays the service manager, and the environment that names it."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.settimeout(2)
    if request.param == "path":
        name = address = str(tmp_path / "notify")
    else:
        name = f"@prepaid-test-{os.getpid()}"
        address = "\0" + name[1:]
    receiver.bind(address)
    yield receiver, {"NOTIFY_SOCKET": name}
    receiver.close()


def test_assignments_arrive_in_one_datagram(manager):
    receiver, environ = manager
    assert systemd.notify("READY=1", "STATUS=8 meters", environ=environ)
    assert receiver.recv(4096) == b"READY=1\nSTATUS=8 meters\n"


def test_stored_fd_arrives_as_the_same_open_file(manager):
    receiver, environ = manager
    read_end, write_end = os.pipe()
    assert systemd.store_fd(write_end, "gpio.pinctrl-rp1.17", environ=environ)
    os.close(write_end)
    message, fds, _flags, _address = socket.recv_fds(receiver, 4096, 4)
    assert message == b"FDSTORE=1\nFDNAME=gpio.pinctrl-rp1.17\n"
    os.write(fds[0], b"still open")
    assert os.read(read_end, 100) == b"still open"
    os.close(fds[0])
    assert os.read(read_end, 100) == b""  # the stored copy was the last one
    os.close(read_end)


def test_remove_names_the_descriptor(manager):
    receiver, environ = manager
    assert systemd.remove_fd("gpio.x.17", environ=environ)
    assert receiver.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=gpio.x.17\n"


@pytest.mark.parametrize("address", ["", "relative/path", "/nowhere/notify"])
def test_without_a_service_manager_it_says_false_and_does_not_raise(address):
    assert not systemd.notify("READY=1", environ={"NOTIFY_SOCKET": address})
    assert not systemd.notify("READY=1", environ={})


def test_a_manager_that_does_not_read_cannot_block_us(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        sent = 0
        while systemd.notify("WATCHDOG=1", environ=environ):
            sent += 1
            assert sent < 10_000
        assert sent > 0


@pytest.mark.parametrize("name", ["", "a:b", "two\nlines", "x" * 256, "\u0930"])
def test_impossible_names_are_refused(name):
    with pytest.raises(ValueError, match="name"):
        systemd.store_fd(0, name, environ={})


def test_descriptors_meant_for_another_process_are_not_ours():
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert systemd.received_fds(environ) == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "x", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_absent_or_broken_variables_mean_none(environ):
    assert systemd.received_fds(environ) == []


def test_a_started_service_finds_its_descriptors_by_name_and_keeps_them_from_its_children():
    read_end, write_end = os.pipe()
    child = (
        "import os; from hardware import systemd\n"
        "first, second = systemd.received_fds()\n"
        "assert (first.name, first.fd) == ('held', 3), first\n"
        "assert (second.name, second.fd) == ('unknown', 4), second\n"
        "assert systemd.received_fds() == [first, second]\n"
        "assert not os.get_inheritable(3)\n"
        "os.write(first.fd, b'handed over')\n"
    )
    script = f'exec 3>&{write_end} 4>&{write_end}; LISTEN_PID=$$ exec "$0" -c "$1"'
    subprocess.run(
        ["bash", "-c", script, sys.executable, child],
        env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "held", "PYTHONPATH": str(ROOT)},
        pass_fds=[write_end],
        check=True,
        timeout=20,
    )
    os.close(write_end)
    assert os.read(read_end, 100) == b"handed over"
    os.close(read_end)


def test_watchdog_interval_is_told_only_to_the_process_it_is_for():
    mine = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    assert systemd.watchdog_interval_s(mine) == 30.0
    assert systemd.watchdog_interval_s({**mine, "WATCHDOG_PID": "1"}) is None
    assert systemd.watchdog_interval_s({"WATCHDOG_USEC": "soon"}) is None
    assert systemd.watchdog_interval_s({}) is None
