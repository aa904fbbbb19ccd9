"""The other end of a line, in memory and in virtual time: units that answer, late, wrong or never.

Independent of the simulator, so that a fault there does not hide one in the bus.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from hardware.api import LineSettings, PortUnavailable
from hardware.protocols.modbus_rtu import (
    ReadRegisters,
    Request,
    RequestReader,
    encode_exception,
    encode_reply,
)

T = TypeVar("T")

# What a unit does with a request: replies as (delay after the silence in seconds, bytes).
Unit = Callable[[Request], list[tuple[float, bytes]]]


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: an hour takes no time and repeats exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.turns = 0
        self._selector.select = self._jump  # type: ignore[method-assign]

    def time(self) -> float:
        return self.now_s

    def _jump(self, timeout: float | None = None) -> list:
        self.turns += 1
        if timeout is None:
            raise AssertionError("everybody waits and no timer runs: a deadlock")
        self.now_s += max(timeout, 0.0)
        return []


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a loop of its own in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class Peer:
    """A line with units on it. `open` is an opener for a bus."""

    def __init__(self, settings: LineSettings | None = None) -> None:
        self.settings = settings or LineSettings()
        self.units: dict[int, Unit] = {}
        self.plugged = True
        self.openings: list[LineSettings] = []
        self.stream: PeerStream | None = None
        self.requests: list[tuple[float, Request]] = []
        self.silence_violations = 0
        self.before_reply = b""  # noise put on the line before and after each reply
        self.after_reply = b""

    async def open(self, settings: LineSettings) -> "PeerStream":
        self.openings.append(settings)
        if not self.plugged:
            raise PortUnavailable("the port is not there")
        assert self.stream is None, "opened twice"
        self.stream = PeerStream(self, settings)
        return self.stream

    def unplug(self) -> None:
        self.plugged = False
        if self.stream is not None:
            self.stream.lose()

    def asked(self, unit: int) -> list[float]:
        """When the unit was asked."""
        return [at_s for at_s, request in self.requests if request.unit == unit]


class PeerStream:
    """A `ByteStream` onto a peer, at the pace of its baud rate."""

    def __init__(self, peer: Peer, settings: LineSettings) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._understood = settings == peer.settings
        self._character_s = settings.character_s
        self._silence_s = 0.00175 if settings.baud > 19200 else 3.5 * settings.character_s
        self._server = RequestReader()
        self._unread = bytearray()
        self._arrived = asyncio.Event()
        self._lost = False
        self._idle_at_s = self._loop.time()
        self._replies: list[tuple[float, int, bytes]] = []
        self._count = 0
        self.last_byte_at_s = self._loop.time()

    def write(self, data: bytes) -> None:
        self._check()
        now_s = self._loop.time()
        if now_s < self._idle_at_s + self._silence_s - 1e-6:
            self._peer.silence_violations += 1
        self._idle_at_s = now_s + len(data) * self._character_s
        self._server.silence()
        if not self._understood:
            return
        for request in self._server.feed(data):
            self._peer.requests.append((now_s, request))
            unit = self._peer.units.get(request.unit)
            for delay_s, reply in unit(request) if unit else []:
                self._send(self._idle_at_s + self._silence_s + delay_s, reply)

    def babble(self, data: bytes) -> None:
        """Noise now."""
        self._arrive(data)

    def lose(self) -> None:
        self._lost = True
        self._arrived.set()

    def take(self) -> bytes:
        self._check()
        data = bytes(self._unread)
        self._unread.clear()
        self._arrived.clear()
        return data

    async def arrival(self) -> None:
        await self._arrived.wait()

    async def close(self) -> None:
        self._lost = True
        self._peer.stream = None
        self._replies.clear()

    def _send(self, start_s: float, reply: bytes) -> None:
        self._count += 1
        heapq.heappush(self._replies, (start_s, self._count, reply))
        self._loop.call_at(start_s, self._begin)

    def _begin(self) -> None:
        if not self._replies:
            return
        _, _, reply = heapq.heappop(self._replies)
        noise = self._peer.after_reply
        reply = self._peer.before_reply + reply
        start_s = max(self._loop.time(), self._idle_at_s)
        half = len(reply) // 2
        end_s = start_s + len(reply) * self._character_s
        self._loop.call_at(start_s + half * self._character_s, self._arrive, reply[:half])
        self._loop.call_at(end_s, self._arrive, reply[half:])
        for place in range(len(noise)):
            at_s = end_s + (place + 1) * self._character_s
            self._loop.call_at(at_s, self._arrive, noise[place : place + 1])
        self._idle_at_s = end_s + len(noise) * self._character_s

    def _arrive(self, data: bytes) -> None:
        if self._lost or not data:
            return
        self._unread += data
        self.last_byte_at_s = self._loop.time()
        self._idle_at_s = max(self._idle_at_s, self.last_byte_at_s)
        self._arrived.set()

    def _check(self) -> None:
        if self._lost:
            raise PortUnavailable("the port is gone")


def serves(words: dict[tuple[int, int], int], *, delays_s: Iterable[float] = ()) -> Unit:
    """A unit with `words` by (function, address); others are refused with exception 2."""
    delays = iter(delays_s)

    def unit(request: Request) -> list[tuple[float, bytes]]:
        delay_s = next(delays, 0.0)
        assert isinstance(request, ReadRegisters)
        places = range(request.address, request.address + request.count)
        try:
            values = [words[request.function, place] for place in places]
        except KeyError:
            return [(delay_s, encode_exception(request, 2))]
        return [(delay_s, encode_reply(request, values))]

    return unit


def dead(request: Request) -> list[tuple[float, bytes]]:
    """A unit that says nothing."""
    return []
