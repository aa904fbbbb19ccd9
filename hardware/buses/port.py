"""The serial port: bytes out, bytes in, and the moment when each came.

Rules of this file: the only one that imports pyserial-asyncio. What goes wrong with a port is a
`PortUnavailable` or a `PortSettingRefused` with words, whatever the libraries below raise. A port
is opened for us alone: a second program on the line would make every reading suspect.

Anything that opens as a `ByteStream` can stand in for a port: the simulator, a test.
"""

import asyncio
import contextlib
import errno
import termios
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import serial
import serial_asyncio

from hardware.api import BusError, LineSettings, PortSettingRefused, PortUnavailable

# What a line may deliver between two looks at it. A master looks after each frame, so more than
# this is noise, of which the newest is enough.
MAX_UNREAD_BYTES = 4096

# A port lets go at once; one that does not is broken, and must not hold up the bus.
CLOSE_S_MAX = 1.0


class ByteStream(Protocol):
    """An open line. Bytes that arrive wait until they are taken."""

    @property
    def last_byte_at_s(self) -> float:
        """Loop time at which the last byte arrived."""

    def write(self, data: bytes) -> None:
        """Send `data`; returns at once. Raises `PortUnavailable` when the port is lost."""

    def take(self) -> bytes:
        """All bytes that have arrived, maybe none. Raises `PortUnavailable` when lost."""

    async def arrival(self) -> None:
        """Wait until there is something to take, or the port is lost."""

    async def close(self) -> None:
        """Let go of the port, so that it can be opened again; may be called twice."""


# Opens the line of one bus with the settings given. Raises PortUnavailable or PortSettingRefused.
Opener = Callable[[LineSettings], Awaitable[ByteStream]]


class SerialStream(asyncio.Protocol):
    """A `ByteStream` over an asyncio transport."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None  # pyserial-asyncio publishes no types
        self._unread = bytearray()
        self._arrived = asyncio.Event()
        self._made = asyncio.Event()
        self._released = asyncio.Event()
        self._lost: str | None = None
        self._last_byte_at_s = self._loop.time()

    @property
    def last_byte_at_s(self) -> float:
        """Loop time at which the last byte arrived."""
        return self._last_byte_at_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; asyncio calls this."""
        self._transport = transport
        self._made.set()

    async def opened(self) -> None:
        """Wait until the transport is ours; the port is open before that."""
        await self._made.wait()

    def data_received(self, data: bytes) -> None:
        """Keep what came; asyncio calls this."""
        self._unread += data
        del self._unread[:-MAX_UNREAD_BYTES]
        self._last_byte_at_s = self._loop.time()
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember why the port is gone; asyncio calls this."""
        self._lost = self._lost or (str(exc) if exc else "it was closed")
        self._arrived.set()
        self._released.set()

    def write(self, data: bytes) -> None:
        """Send `data`; returns at once."""
        self._check()
        self._transport.write(data)

    def take(self) -> bytes:
        """All bytes that have arrived, maybe none."""
        self._check()
        data = bytes(self._unread)
        self._unread.clear()
        self._arrived.clear()
        return data

    async def arrival(self) -> None:
        """Wait until there is something to take, or the port is lost."""
        await self._arrived.wait()

    async def close(self) -> None:
        """Let go of the port, so that it can be opened again; may be called twice."""
        self._lost = self._lost or "it was closed"
        if not self._transport.is_closing():
            self._transport.abort()
        # The transport lets go in a later turn of the loop; until then our own lock is in the way.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX):
                await self._released.wait()
            return
        self._transport.abort()  # it was waiting to send what can no longer be sent

    def _check(self) -> None:
        if self._lost is not None:
            raise PortUnavailable(f"{self._port} is gone: {self._lost}")


def serial_opener(port: str) -> Opener:
    """An opener of the serial port called `port`, best a stable name under /dev/serial/by-id."""

    async def open_port(settings: LineSettings) -> ByteStream:
        return await open_serial(port, settings)

    return open_port


async def open_serial(port: str, settings: LineSettings) -> SerialStream:
    """Open `port` for us alone. Raises `PortUnavailable` or `PortSettingRefused`."""
    loop = asyncio.get_running_loop()
    try:
        _, stream = await serial_asyncio.create_serial_connection(
            loop,
            lambda: SerialStream(port),
            port,
            baudrate=settings.baud,
            bytesize=serial.EIGHTBITS,
            parity=settings.parity,
            stopbits=settings.stop_bits,
            exclusive=True,
        )
    except (serial.SerialException, termios.error, OSError, ValueError) as error:
        raise _in_words(port, settings, error) from error
    opened = cast("SerialStream", stream)
    await opened.opened()
    return opened


def _in_words(port: str, settings: LineSettings, error: Exception) -> BusError:
    """Which of our two errors an opening has failed with, and what to try."""
    # pyserial puts the system's number into errno, or only into its text; termios into its args.
    number = getattr(error, "errno", None)
    if isinstance(error, termios.error):
        number = error.args[0] if error.args else None
    if isinstance(error, serial.SerialException):
        number = number or _number_in_text(str(error))
    if number == errno.ENOENT:
        return PortUnavailable(
            f"{port} is not there", hint="Plug the adapter in; list ports: ls /dev/serial/by-id"
        )
    if number in (errno.EACCES, errno.EPERM):
        return PortUnavailable(
            f"{port} may not be opened by this user",
            hint="Put the user into the group dialout, and log in again.",
        )
    if number in (errno.EAGAIN, errno.EBUSY):
        return PortUnavailable(
            f"{port} is in use by another program",
            hint=f"Find it with: fuser -v {port}",
        )
    if number == errno.EINVAL or isinstance(error, (termios.error, ValueError)):
        return PortSettingRefused(f"{port} does not take {settings}: {error}")
    return PortUnavailable(f"{port} cannot be opened: {error}")


def _number_in_text(text: str) -> int | None:
    """The system's error number in texts such as `lock port x: [Errno 11] ...` or `(22, ...`."""
    for mark, end in (("[Errno ", "]"), ("(", ",")):
        _, found, rest = text.partition(mark)
        digits = rest.partition(end)[0]
        if found and digits.isdigit():
            return int(digits)
    return None
