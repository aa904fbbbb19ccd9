"""Talking to systemd: readiness, watchdog, and the file descriptors it keeps over a restart.

Rules of this file: the standard library only; nothing here raises because systemd is absent, so
the same program runs from a shell. Without `NOTIFY_SOCKET` every call is a no-op that says False.

The file descriptor store (`FileDescriptorStoreMax=` in the unit) keeps a duplicate of a descriptor
while the service dies and comes back, and hands it to the next start through `LISTEN_FDS`. systemd
drops the store at `systemctl stop`, when the unit gives up and is `failed` (set
`StartLimitIntervalSec=0`), and at reboot; a single descriptor goes when it reports a hang-up.

Source of the formats: sd_notify(3), sd_listen_fds(3), systemd.io/FILE_DESCRIPTOR_STORE.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START: after stdin, stdout and stderr
_SEND_TIMEOUT_S = 0.5  # a datagram to a busy service manager must not stop the caller for longer
_NAME_LENGTH_MAX = 255  # of FDNAME, sd_notify(3)


@dataclass(frozen=True, slots=True)
class PassedFd:
    """One descriptor that systemd handed to this start of the service."""

    name: str
    fd: int


def notify(
    *assignments: str,
    fds: Sequence[int] = (),
    environ: Mapping[str, str] | None = None,
) -> bool:
    """Send `assignments` such as `READY=1` or `WATCHDOG=1`, with `fds`, to the service manager.

    Returns whether a service manager took the message. False means that there is none, or that its
    socket could not be written; the caller decides whether that matters.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract name space
    message = "\n".join(assignments).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SEND_TIMEOUT_S)
            channel.connect(address)
            if fds:
                socket.send_fds(channel, [message], list(fds))
            else:
                channel.send(message)
    except OSError:
        return False
    return True


def store_fd(fd: int, name: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Ask systemd to keep a duplicate of `fd` under `name` and hand it to the next start.

    Returns whether the request was sent. systemd gives no answer: with `FileDescriptorStoreMax=0`,
    its default, it drops the descriptor silently. Raises ValueError for an impossible name.
    """
    _check_name(name)
    return notify("FDSTORE=1", f"FDNAME={name}", fds=[fd], environ=environ)


def remove_fd(name: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Ask systemd to forget every descriptor stored under `name`. Returns whether it was sent."""
    _check_name(name)
    return notify("FDSTOREREMOVE=1", f"FDNAME={name}", environ=environ)


def received_fds(environ: Mapping[str, str] | None = None) -> list[PassedFd]:
    """The descriptors handed to this process at its start, in systemd's order.

    Empty when they were meant for another process (`LISTEN_PID`) or there are none. Names may
    repeat. Each descriptor is kept from child processes; the environment is left as it is, so the
    call may be repeated, by the socket's user and by the pins' user.
    """
    variables = os.environ if environ is None else environ
    try:
        addressee = int(variables.get("LISTEN_PID", ""))
        count = int(variables.get("LISTEN_FDS", ""))
    except ValueError:
        return []
    if addressee != os.getpid() or count <= 0:
        return []
    names = variables.get("LISTEN_FDNAMES", "").split(":")
    passed = []
    for index in range(count):
        fd = _FIRST_PASSED_FD + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue  # closed since: nothing to hand out
        name = names[index] if index < len(names) and names[index] else "unknown"
        passed.append(PassedFd(name, fd))
    return passed


def watchdog_interval_s(environ: Mapping[str, str] | None = None) -> float | None:
    """Seconds within which `WATCHDOG=1` must be sent, or None when no watchdog runs for us."""
    variables = os.environ if environ is None else environ
    try:
        interval_us = int(variables["WATCHDOG_USEC"])
        addressee = int(variables.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    if interval_us <= 0 or addressee != os.getpid():
        return None
    return interval_us / 1_000_000


def _check_name(name: str) -> None:
    """Refuse what FDNAME cannot carry: control characters, non-ASCII, `:` and over-long names."""
    if not 0 < len(name) <= _NAME_LENGTH_MAX:
        raise ValueError(f"a descriptor's name has 1 to {_NAME_LENGTH_MAX} characters: {name!r}")
    if not name.isascii() or not name.isprintable() or ":" in name:
        raise ValueError(f"a descriptor's name is printable ASCII without a colon: {name!r}")
