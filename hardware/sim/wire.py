"""The RS-485 wire itself: half-duplex, as slow as its baud rate, with collisions and noise.

Theory of operation. Time is handed in; the wire keeps three things: the request that the master is
putting on the wire, the replies that units have still to send, and when the wire last fell idle.
Bytes the master hands over start their wire time at once (or behind those still under way). When
3.5 characters of silence follow them, the units have heard a frame and answer; a reply starts that
silence or the unit's turnaround after the request, whichever is longer, and reaches the master
character by character, in chunks. All times are computed from the wire, never from when a timer
happened to fire, so a late timer delays one chunk and not the ones behind it.

Two who talk at once spoil each other: the request is not heard, and what is left of the reply
arrives bent. Silences are checked as strict slaves do: a request that begins before 3.5 characters
of silence is a violation, counted always and, with `strict_silence`, not heard.

Rules of this file: no clock, no device, no asyncio; seconds are floats of the caller's clock.
Source of the silences: "MODBUS over Serial Line V1.02", modbus.org, section 2.5.1.1: 3.5
characters, and 1.75 ms above 19200 baud.
"""

import math
import random
from dataclasses import dataclass, field
from typing import Protocol

from hardware.api import LineSettings

SILENCE_CHARACTERS = 3.5
FAST_BAUD = 19200
FAST_SILENCE_S = 0.00175

# Sums of times differ in their last bits; a master that is early by less has kept the silence.
CLOCK_GRAIN_S = 2e-6

# A reply is handed over in pieces of about this much wire time, as a UART's FIFO would. A wire with
# longer pieces is cheaper to simulate, and its master sees replies come whole.
CHUNK_S = 0.005
# The master's writes that have not been heard yet. Four of the longest frames: a master that puts
# more on a half-duplex line without waiting is broken, and what is above is lost.
MAX_UNHEARD_BYTES = 1024
# Replies still to come, late ones included; a late reply is a test's fault, and few.
MAX_REPLIES = 64


def silence_s(settings: LineSettings) -> float:
    """The silence that parts two frames."""
    if settings.baud > FAST_BAUD:
        return FAST_SILENCE_S
    return SILENCE_CHARACTERS * settings.character_s


@dataclass(frozen=True, slots=True)
class Answer:
    """A unit's reply, and how long after the request it starts; not before the silence."""

    data: bytes
    after_s: float = 0.0


class Units(Protocol):
    """The units on the line, as the wire sees them."""

    def hear(self, frame: bytes) -> list[Answer]:
        """What the units answer to the bytes between two silences."""


@dataclass(slots=True)
class LineCounters:
    """What has happened on a line since it was made."""

    requests: int = 0  # bursts of the master that were followed by silence
    replies: int = 0  # answers that a unit began to send
    master_bytes: int = 0
    reply_bytes: int = 0
    busy_s: float = 0.0  # wire time of both, without silences
    collisions: int = 0
    silence_violations: int = 0
    spoiled_bytes: int = 0  # flipped or dropped by noise or a collision
    lost_bytes: int = 0  # a bound was passed, or the master did not read
    wrong_settings: int = 0  # bursts sent at another baud rate, which no unit understands


class Noise:
    """Seeded noise: each byte is bent or lost with a given chance per million."""

    def __init__(self, seed: int | str, *, flip_ppm: int = 0, drop_ppm: int = 0) -> None:
        for ppm in (flip_ppm, drop_ppm):
            if not 0 <= ppm <= _MILLION:
                raise ValueError(f"a chance of {ppm} in a million is not one")
        self.flip_ppm = flip_ppm
        self.drop_ppm = drop_ppm
        self._random = random.Random(f"noise/{seed}")  # noqa: S311 - a simulation

    def spoil(self, data: bytes, counters: LineCounters) -> bytes:
        """`data` as it arrives."""
        if not self.flip_ppm and not self.drop_ppm:
            return data
        out = bytearray()
        for byte in data:
            if self._random.randrange(_MILLION) < self.drop_ppm:
                counters.spoiled_bytes += 1
                continue
            bent = self._random.randrange(_MILLION) < self.flip_ppm
            counters.spoiled_bytes += bent
            out.append(byte ^ (1 << self._random.randrange(8)) if bent else byte)
        return bytes(out)

    def bend(self, data: bytes) -> bytes:
        """`data` with every byte bent: two senders at once."""
        return bytes(byte ^ self._random.randrange(1, 256) for byte in data)


_MILLION = 1_000_000


@dataclass(slots=True)
class _Reply:
    start_s: float
    data: bytes
    sent: int = 0
    started: bool = False

    def end_s(self, character_s: float) -> float:
        return self.start_s + len(self.data) * character_s


@dataclass(slots=True)
class Wire:
    """One half-duplex line between a master and its units; see the top of the file."""

    settings: LineSettings
    units: Units
    strict_silence: bool = False
    silence_tolerance_s: float = CLOCK_GRAIN_S  # what the caller's clock cannot tell apart
    chunk_s: float = CHUNK_S
    noise: Noise = field(default_factory=lambda: Noise(0))
    counters: LineCounters = field(default_factory=LineCounters)
    _request: bytearray = field(default_factory=bytearray)
    _request_end_s: float = -math.inf
    _unheard: bool = False  # the request under way will not be understood
    _replies: list[_Reply] = field(default_factory=list)
    _idle_since_s: float = -math.inf

    @property
    def silence_s(self) -> float:
        """The silence that parts two frames on this line."""
        return silence_s(self.settings)

    def send(self, data: bytes, now_s: float, *, understood: bool = True) -> None:
        """The master hands over bytes at `now_s`; call `advance(now_s)` first.

        `understood=False`: sent at another baud rate, so they only occupy the wire.
        """
        if not data:
            return
        room = MAX_UNHEARD_BYTES - len(self._request)
        self.counters.lost_bytes += max(0, len(data) - room)
        data = data[:room]
        if not self._request:
            self._unheard = False
            self._request_end_s = now_s
            if now_s - self._idle_since_s < self.silence_s - self.silence_tolerance_s:
                self.counters.silence_violations += 1
                self._unheard = self.strict_silence
        if not understood:
            self._unheard = True
            self.counters.wrong_settings += 1
        self._collide(now_s)
        wire_s = len(data) * self.settings.character_s
        self._request_end_s = max(now_s, self._request_end_s) + wire_s
        self.counters.busy_s += wire_s
        self.counters.master_bytes += len(data)
        self._request += data

    def next_event_s(self) -> float | None:
        """When `advance` will next have something to do; None: not before the next `send`."""
        times = [self._next_s(reply) for reply in self._replies]
        if self._request:
            times.append(self._request_end_s + self.silence_s)
        return min(times, default=None)

    def advance(self, now_s: float) -> bytes:
        """Let everything happen that happens until `now_s`; gives what reaches the master."""
        arrived = bytearray()
        while True:
            event_s = self.next_event_s()
            if event_s is None or event_s > now_s:
                return bytes(arrived)
            if self._request and event_s == self._request_end_s + self.silence_s:
                self._hear()
                continue
            reply = min(self._replies, key=self._next_s)
            if reply.started:
                arrived += self._deliver(reply, now_s)
            else:
                self._start(reply)

    def silence_all(self) -> None:
        """Forget what is under way: the line was cut."""
        self._request.clear()
        self._replies.clear()

    # --- steps ------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Silence has followed the request: the units answer."""
        frame = self.noise.spoil(bytes(self._request), self.counters)
        self._request.clear()
        self._idle_since_s = max(self._idle_since_s, self._request_end_s)
        self.counters.requests += 1
        if self._unheard:
            return
        for answer in self.units.hear(frame):
            if len(self._replies) >= MAX_REPLIES:
                self.counters.lost_bytes += len(answer.data)
                continue
            start_s = self._request_end_s + max(self.silence_s, answer.after_s)
            self._replies.append(_Reply(start_s, answer.data))

    def _start(self, reply: _Reply) -> None:
        """A unit begins to send, whoever else is sending."""
        others = [other for other in self._replies if other.started]
        on_wire = self._request and reply.start_s < self._request_end_s
        if others or on_wire:
            self.counters.collisions += 1
            self._unheard = self._unheard or bool(on_wire)
            for bent in [*others, reply]:
                self._bend(bent)
        reply.started = True
        self.counters.replies += 1
        self.counters.reply_bytes += len(reply.data)
        self.counters.busy_s += len(reply.data) * self.settings.character_s

    def _collide(self, now_s: float) -> None:
        """The master begins to send at `now_s`: into whom?"""
        talking = [reply for reply in self._replies if reply.started]
        if talking:
            self.counters.collisions += 1
            self._unheard = True
            for reply in talking:
                done = int((now_s - reply.start_s) / self.settings.character_s)
                self._bend(reply, keep=max(done, reply.sent))

    def _bend(self, reply: _Reply, keep: int = 0) -> None:
        keep = max(keep, reply.sent)
        self.counters.spoiled_bytes += max(0, len(reply.data) - keep)
        reply.data = reply.data[:keep] + self.noise.bend(reply.data[keep:])

    def _chunk(self) -> int:
        """How many characters are handed over at a time."""
        return max(1, int(self.chunk_s / self.settings.character_s))

    def _next_s(self, reply: _Reply) -> float:
        """When a reply starts, or when its next chunk is complete."""
        if not reply.started:
            return reply.start_s
        complete = min(reply.sent + self._chunk(), len(reply.data))
        return reply.start_s + complete * self.settings.character_s

    def _deliver(self, reply: _Reply, now_s: float) -> bytes:
        """Hand over all characters complete by `now_s`, at least the chunk that is due."""
        character_s = self.settings.character_s
        due = reply.sent + self._chunk()
        complete = max(due, int((now_s - reply.start_s) / character_s))
        piece = reply.data[reply.sent : complete]
        reply.sent = min(complete, len(reply.data))
        if reply.sent >= len(reply.data):
            self._replies.remove(reply)
            self._idle_since_s = max(self._idle_since_s, reply.end_s(character_s))
        return self.noise.spoil(piece, self.counters)
