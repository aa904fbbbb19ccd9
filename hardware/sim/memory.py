"""The same paced line without a terminal: asyncio streams on the running loop's clock.

For tests and simulations under a virtual clock, where a year of traffic must take no time and a
run must repeat to the byte. The streams are asyncio's own, over a transport that puts what is
written on a `Wire`; timers are the loop's, so on a real loop they fire up to a millisecond late.
"""

import asyncio
import errno
from collections.abc import Iterable

from hardware.api import LineSettings
from hardware.sim.wire import CHUNK_S, LineCounters, Noise, Units, Wire

# What a master may leave unread before asyncio would pause us; a line that is never read loses
# nothing here, as bytes are few: the wire bounds its own backlog.
_STREAM_LIMIT_BYTES = 65536


class MemoryLine:
    """A paced half-duplex line in memory.

    `open_streams` plugs a master in as streams, `connect` as a protocol; one master at a time.
    With `chunk_s=1.0` replies come whole, which makes a long simulation cheaper.
    """

    def __init__(
        self,
        units: Units,
        settings: LineSettings | None = None,
        *,
        strict_silence: bool = False,
        noise: Noise | None = None,
        chunk_s: float = CHUNK_S,
    ) -> None:
        self.settings = settings or LineSettings()
        self.wire = Wire(
            self.settings,
            units,
            strict_silence=strict_silence,
            chunk_s=chunk_s,
            noise=noise or Noise(0),
        )
        self.plugged = True
        self._transport: _WireTransport | None = None

    @property
    def counters(self) -> LineCounters:
        """What has happened on this line."""
        return self.wire.counters

    async def open_streams(
        self, settings: LineSettings | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A master's end as streams. Raises OSError as `connect` does."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_STREAM_LIMIT_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = self.connect(protocol, settings)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def connect(
        self, protocol: asyncio.Protocol, settings: LineSettings | None = None
    ) -> asyncio.Transport:
        """Plug a master's protocol in, e.g. a bus's own, and give it its transport.

        Raises OSError while unplugged or taken, as a serial port does. `settings` are the
        master's; where they differ from the line's, nobody understands it.
        """
        if not self.plugged:
            raise FileNotFoundError(errno.ENOENT, "the simulated port is unplugged")
        if self._transport is not None and not self._transport.is_closing():
            raise OSError(errno.EBUSY, "the simulated port is in use")
        loop = asyncio.get_running_loop()
        understood = settings is None or settings == self.settings
        self.wire.advance(loop.time())  # what came while nobody listened is gone
        self._transport = _WireTransport(self.wire, protocol, loop, understood=understood)
        protocol.connection_made(self._transport)
        return self._transport

    def unplug(self) -> None:
        """Pull the adapter: an open master's reader raises OSError."""
        self.plugged = False
        self.wire.silence_all()
        if self._transport is not None:
            self._transport.lose(OSError(errno.EIO, "the simulated port was unplugged"))
            self._transport = None

    def replug(self) -> None:
        """Let masters open the line again."""
        self.plugged = True


class _WireTransport(asyncio.Transport):
    """What is written goes on the wire; what arrives goes to the protocol, at the wire's pace."""

    def __init__(
        self,
        wire: Wire,
        protocol: asyncio.Protocol,
        loop: asyncio.AbstractEventLoop,
        *,
        understood: bool,
    ) -> None:
        super().__init__()
        self._wire = wire
        self._protocol = protocol
        self._loop = loop
        self._understood = understood
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self._advance()
        self._wire.send(bytes(data), self._loop.time(), understood=self._understood)
        self._arm()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.lose(None)

    def lose(self, error: OSError | None) -> None:
        """End the connection once, with or without an error."""
        if self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop.call_soon(self._protocol.connection_lost, error)

    # A reader that pauses us is a master that does not read: its UART would overrun. asyncio calls
    # these around `_STREAM_LIMIT_BYTES`, which no wire fills between two reads.
    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def _advance(self) -> None:
        arrived = self._wire.advance(self._loop.time())
        if arrived and not self._closing:
            self._protocol.data_received(arrived)

    def _fire(self) -> None:
        self._timer = None
        self._advance()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = self._wire.next_event_s()
        if due_s is not None and not self._closing:
            self._timer = self._loop.call_at(due_s, self._fire)
