"""The units of one line: bytes between two silences in, replies out.

Rules of this file: no I/O and no clock. A unit answers only a valid frame with its own address and
only to what its registers can serve; everything else is met with silence or with an exception
response, as real meters do. Faults of a reply (garbled, late) are the meter's, and spent one reply
at a time.

Two meters may hold one address, as happens in the field: both answer, and the wire lets them
collide.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hardware.protocols.modbus import ExceptionCode, ReadRegisters, Request
from hardware.protocols.modbus_rtu import RequestReader, encode_exception, encode_reply
from hardware.sim.wire import Answer


class Unit(Protocol):
    """What the line needs of a meter; `hardware.sim.meter.SimMeter` is one."""

    address: int

    def registers(self, function: int, address: int, count: int) -> Sequence[int] | None:
        """The words asked for; None: no such registers."""

    def reply_fault(self) -> "ReplyFault":
        """How the next reply fails; spends the fault."""


@dataclass(frozen=True, slots=True)
class ReplyFault:
    """How one reply leaves a unit."""

    after_s: float = 0.0  # turnaround: from the end of the request to the reply's start
    garbled: bool = False
    missing: bool = False


class Slaves:
    """All units of one line. `before_answer` is called first, e.g. to bring loads up to now.

    `lock` guards the units where the line is served by a thread of its own.
    """

    def __init__(
        self,
        units: Sequence[Unit] = (),
        *,
        seed: int | str = 0,
        before_answer: Callable[[], None] | None = None,
        lock: contextlib.AbstractContextManager[object] | None = None,
    ) -> None:
        self.units: list[Unit] = list(units)
        self._before_answer = before_answer
        self._lock = lock if lock is not None else threading.RLock()
        self._random = random.Random(f"slaves/{seed}")  # noqa: S311 - a simulation
        self._reader = RequestReader()

    def hear(self, frame: bytes) -> list[Answer]:
        """Answers to every valid request in the bytes between two silences."""
        requests = self._reader.feed(frame)
        self._reader.silence()
        answers: list[Answer] = []
        if requests:
            with self._lock:
                if self._before_answer is not None:
                    self._before_answer()
                for request in requests:
                    answers += self._serve(request)
        return answers

    def _serve(self, request: Request) -> list[Answer]:
        answers = []
        for unit in self.units:
            if unit.address != request.unit:
                continue
            fault = unit.reply_fault()
            if fault.missing:
                continue
            reply = _reply(unit, request)
            if fault.garbled:
                reply = self._garble(reply)
            answers.append(Answer(reply, fault.after_s))
        return answers

    def _garble(self, reply: bytes) -> bytes:
        """Some bits bent somewhere: never a valid frame, for a CRC finds up to three."""
        bent = bytearray(reply)
        for index in self._random.sample(range(len(bent)), k=2):
            bent[index] ^= 1 << self._random.randrange(8)
        return bytes(bent)


def _reply(unit: Unit, request: Request) -> bytes:
    if not isinstance(request, ReadRegisters):
        return encode_exception(request, ExceptionCode.ILLEGAL_FUNCTION)
    words = unit.registers(request.function, request.address, request.count)
    if words is None:
        return encode_exception(request, ExceptionCode.ILLEGAL_ADDRESS)
    return encode_reply(request, words)
