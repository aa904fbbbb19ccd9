"""A simulated RS-485 line on a real pseudo-terminal, under a stable name.

The master opens the name like any serial port; the wire behind it is as slow as its baud rate.

Why a thread: an asyncio timer on Linux fires up to a millisecond late (epoll counts whole
milliseconds), which on a transaction of 6 ms at 115200 baud is far too much, and a busy loop would
make the simulated wire slow where the program under test is slow. A thread that waits in `select`
is woken within some 0.1 ms and sleeps while the line is quiet. The wire computes all times itself,
so lateness does not add up within a transaction. What the pseudo-terminal and the timer take on
their own (some 0.5 ms a transaction) is measured when the line opens, and replies are handed over
by as much sooner; silences are judged with that tolerance, so that no careful master is accused.

Rules of this file: the thread alone touches the wire; `unplug`, `replug` and `close` are called by
the owner, from one thread. Units are guarded by the lock of their `Slaves`. A pseudo-terminal
lives in real time, so this file reads the monotonic clock; `MemoryLine` is the line for a virtual
clock.
"""

import contextlib
import os
import select
import statistics
import termios
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

from hardware.api import LineSettings
from hardware.sim.wire import FAST_SILENCE_S, LineCounters, Noise, Units, Wire

_READ_BYTES = 4096
# Enough for a median; costs some 20 ms at opening.
_LATENESS_ROUNDS = 9
_TIMER_S = 0.002
# On a machine busier than this no lead helps: half the shortest silence, so that a master that
# keeps none is still found out.
_LATENESS_S_MAX = FAST_SILENCE_S / 2
_OUTPUT_SPEED = 5  # index in what termios.tcgetattr gives


class SimLine:
    """A paced half-duplex line between whoever opens `link` and `units`.

    Usable as a context manager. `link` becomes a symbolic link to the pseudo-terminal; its folder
    is made if missing. A master that sets another baud rate than the line's is not understood (a
    pseudo-terminal knows no parity, so parity is not checked).
    """

    def __init__(
        self,
        link: Path,
        units: Units,
        settings: LineSettings | None = None,
        *,
        strict_silence: bool = False,
        noise: Noise | None = None,
    ) -> None:
        self.link = link
        self.settings = settings or LineSettings()
        self.wire = Wire(
            self.settings, units, strict_silence=strict_silence, noise=noise or Noise(0)
        )
        self._lead_s = 0.0
        self._thread: threading.Thread | None = None
        self._stop_fd = -1

    @property
    def counters(self) -> LineCounters:
        """What has happened on this line; goes on over `unplug` and `replug`."""
        return self.wire.counters

    @property
    def plugged(self) -> bool:
        """Whether the port is there to be opened."""
        return self._thread is not None

    def open(self) -> Self:
        """Put the port in place; takes some 30 ms, blocking.

        Raises OSError when the link's folder cannot be written.
        """
        if self._thread is not None:
            return self
        controller, terminal = os.openpty()
        read_stop, self._stop_fd = os.pipe()
        try:
            tty.setraw(terminal)
            _set_speed(terminal, self.settings.baud)
            os.set_blocking(controller, False)
            self._lead_s = _own_lateness_s(controller, terminal)
            self.wire.silence_tolerance_s = self._lead_s
            self._place_link(os.ttyname(terminal))
        except BaseException:
            for descriptor in (controller, terminal, read_stop, self._stop_fd):
                os.close(descriptor)
            raise
        self._thread = threading.Thread(
            target=self._serve,
            args=(controller, terminal, read_stop),
            name=f"sim-line {self.link.name}",
            daemon=True,
        )
        self._thread.start()
        return self

    def unplug(self) -> None:
        """Pull the adapter: whoever has the port open gets an error, and the name is gone."""
        if self._thread is None:
            return
        with contextlib.suppress(FileNotFoundError):
            self.link.unlink()
        os.close(self._stop_fd)
        self._thread.join()
        self._thread = None
        self.wire.silence_all()

    def replug(self) -> None:
        """Bring the port back under the same name."""
        self.open()

    def close(self) -> None:
        """Take the line away for good."""
        self.unplug()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place_link(self, target: str) -> None:
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.link)  # at no moment is there a link to nothing

    # --- the line's own thread --------------------------------------------------------------------

    def _serve(self, controller: int, terminal: int, read_stop: int) -> None:
        # The terminal side stays open here too, or the line would end with its first master.
        try:
            while True:
                due_s = self.wire.next_event_s()
                wait_s = None
                if due_s is not None:
                    wait_s = max(0.0, due_s - self._lead_s - time.monotonic())
                ready, _, _ = select.select([controller, read_stop], [], [], wait_s)
                if read_stop in ready:
                    return
                now_s = time.monotonic()
                self._hand_over(controller, self.wire.advance(now_s + self._lead_s))
                if controller in ready:
                    data = os.read(controller, _READ_BYTES)
                    self.wire.send(data, now_s, understood=self._same_speed(terminal))
        finally:
            for descriptor in (controller, terminal, read_stop):
                os.close(descriptor)

    def _hand_over(self, controller: int, data: bytes) -> None:
        if not data:
            return
        try:
            written = os.write(controller, data)
        except BlockingIOError:  # nobody reads, and the terminal's buffer is full
            written = 0
        self.counters.lost_bytes += len(data) - written

    def _same_speed(self, terminal: int) -> bool:
        asked = getattr(termios, f"B{self.settings.baud}", None)
        return asked is None or termios.tcgetattr(terminal)[_OUTPUT_SPEED] == asked


def _own_lateness_s(controller: int, terminal: int) -> float:
    """What a transaction takes here beyond its wire time: two ways through, and a timer."""
    passes, timers = [], []
    for _ in range(_LATENESS_ROUNDS):
        before_s = time.monotonic()
        os.write(terminal, b"U")
        select.select([controller], [], [], _LATENESS_S_MAX)
        passes.append(time.monotonic() - before_s)
        with contextlib.suppress(BlockingIOError):
            os.read(controller, _READ_BYTES)
        before_s = time.monotonic()
        select.select([], [], [], _TIMER_S)
        timers.append(time.monotonic() - before_s - _TIMER_S)
    lateness_s = 2 * statistics.median(passes) + statistics.median(timers)
    termios.tcflush(terminal, termios.TCIOFLUSH)
    return min(max(0.0, lateness_s), _LATENESS_S_MAX)


def _set_speed(terminal: int, baud: int) -> None:
    """Give a fresh terminal the line's speed, for masters that do not set one."""
    speed = getattr(termios, f"B{baud}", None)
    if speed is not None:
        attributes = termios.tcgetattr(terminal)
        attributes[_OUTPUT_SPEED - 1] = attributes[_OUTPUT_SPEED] = speed
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
